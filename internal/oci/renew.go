// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// Extend implements phase.Site. It is not called while a request is under way that may
// be sent again: OCI wants the same words for the same token.
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

// Renew implements sweep.Renewer, for machines: what else OCI has of a build is needed
// for no longer than its tag says. OCI replaces all freeform tags at once, so they are
// read, and written only if nobody has changed them since.
func (l *Leftovers) Renew(ctx context.Context, t sweep.Thing) error {
	id := t.ID
	if t.Kind != sweep.Instance {
		return fmt.Errorf("no %s can be renewed on OCI", t.Kind)
	}
	return repeat(ctx, "renew instance", id, func(ctx context.Context) error {
		i, err := l.compute.GetInstance(shield(ctx), core.GetInstanceRequest{InstanceId: &id, RequestMetadata: once()})
		if err != nil || ended(i.LifecycleState) {
			return err
		}
		tags := maps.Clone(i.FreeformTags)
		tags[owner.Key] = t.Mark.String()
		_, err = l.compute.UpdateInstance(shield(ctx), core.UpdateInstanceRequest{
			InstanceId: &id, IfMatch: i.Etag, UpdateInstanceDetails: core.UpdateInstanceDetails{FreeformTags: tags}, RequestMetadata: once(),
		})
		return err
	})
}
