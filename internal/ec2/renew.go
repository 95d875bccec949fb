// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// Extend implements phase.Site. It is not called while a request is under way that may
// be sent again: EC2 wants the same words for the same token.
func (b *Build) Extend(until time.Time) {
	if until = until.UTC().Truncate(time.Second); until.After(b.until) {
		b.until = until
	}
}

// current is the owner of what is made now. Names are made of the build's owner itself:
// they must not change.
func (b *Build) current() owner.Build {
	o := b.owner
	if b.until.After(o.Expires) {
		o.Expires = b.until
	}
	return o
}

// Renew implements sweep.Renewer.
func (l *Leftovers) Renew(ctx context.Context, t sweep.Thing) error {
	err := l.repeat(ctx, "create tags of", t.ID, func(ctx context.Context) error {
		_, err := l.createTags(ctx, &ec2.CreateTagsInput{Resources: []string{t.ID}, Tags: tagList(map[string]string{owner.Key: t.Mark.String()})})
		return err
	})
	if missing(err) { // it is gone
		return nil
	}
	return err
}
