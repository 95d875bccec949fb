// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// buildKey is the key of a tag that has the build's id alone, so that policies of
// IAM can ask for it.
const buildKey = owner.Key + ":build"

// tagged are the user's tags with our own: who made it, and in which role.
func (b *Build) tagged(role, attempt string, unfinished bool, user map[string]string) map[string]string {
	t := b.current().Tag(role)
	t.Attempt, t.Unfinished = attempt, unfinished
	return b.withBuild(t, user)
}

// finished are the tags of what is to stay: it belongs to the user from now on and
// has no expiry.
func (b *Build) finished(user map[string]string) map[string]string {
	return b.withBuild(owner.Tag{Build: b.owner.ID, Role: owner.RoleImage, Series: b.cfg.Image.Series}, user)
}

func (b *Build) withBuild(t owner.Tag, user map[string]string) map[string]string {
	all := t.With(user)
	all[buildKey] = b.owner.ID
	return all
}

// tagList is tags as EC2 wants them, in a fixed order: a repeated request must be
// the same to the letter.
func tagList(tags map[string]string) (list []types.Tag) {
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return list
}

// spec are the tags of what a request is about to make.
func spec(kind types.ResourceType, tags map[string]string) types.TagSpecification {
	return types.TagSpecification{ResourceType: kind, Tags: tagList(tags)}
}

// tagMap undoes tagList.
func tagMap(list []types.Tag) map[string]string {
	all := map[string]string{}
	for _, t := range list {
		all[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return all
}

// ours is our own tag among others.
func ours(list []types.Tag) (owner.Tag, bool) {
	t, err := owner.ParseTag(tagMap(list)[owner.Key])
	return t, err == nil
}

// ofBuild finds what this build made.
func (b *Build) ofBuild() []types.Filter { return []types.Filter{filter("tag:"+buildKey, b.owner.ID)} }

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: &name, Values: values}
}

// filters are the user's own, in a fixed order.
func filters(f map[string][]string) (list []types.Filter) {
	for _, k := range slices.Sorted(maps.Keys(f)) {
		list = append(list, filter(k, f[k]...))
	}
	return list
}
