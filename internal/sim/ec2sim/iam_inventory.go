// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"maps"
	"slices"
	"strings"
)

// inventory lists what clients have made in IAM. Roles of services stay, as
// they do at Amazon.
func (in *iamAccount) inventory() []Resource {
	rows := []Resource{}
	add := func(kind, id, name string, tags tagMap) {
		rows = append(rows, Resource{Kind: kind, ID: id, Name: name, Tags: maps.Clone(tags)})
	}
	for _, name := range slices.Sorted(maps.Keys(in.users)) {
		if u := in.users[name]; !u.given {
			add("user", in.userARN(u), name, u.tags)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.roles)) {
		if r := in.roles[name]; !r.given && r.service == "" {
			add("role", in.roleARN(r), name, r.tags)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(in.profiles)) {
		if p := in.profiles[name]; !p.given {
			add("instance-profile", in.profileARN(p), name, p.tags)
		}
	}
	for _, arn := range slices.Sorted(maps.Keys(in.policies)) {
		if m := in.policies[arn]; !strings.HasPrefix(arn, "arn:aws:iam::aws:") {
			add("policy", arn, m.name, m.tags)
		}
	}
	for _, arn := range slices.Sorted(maps.Keys(in.providers)) {
		add("oidc-provider", arn, in.providers[arn].url, in.providers[arn].tags)
	}
	return rows
}
