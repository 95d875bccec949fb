// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// StartBastion implements cloud.Bastions.
func (f *Fleet) StartBastion(ctx context.Context, machine, token string) (string, bool, error) {
	b := f.of(machine)
	f.keep(b, token)
	id, own, err := b.StartBastion(ctx, token)
	f.keep(b, id)
	return id, own, err
}

// FindBastions implements cloud.Bastions.
func (f *Fleet) FindBastions(ctx context.Context, token string) ([]string, error) {
	return f.find(token, func(b *Build) ([]string, error) { return b.FindBastions(ctx, token) })
}

// AwaitBastion implements cloud.Bastions.
func (f *Fleet) AwaitBastion(ctx context.Context, id string) error {
	return f.of(id).AwaitBastion(ctx, id)
}

// DeleteBastion implements cloud.Bastions.
func (f *Fleet) DeleteBastion(ctx context.Context, id string) error {
	return f.of(id).DeleteBastion(ctx, id)
}

// StartSession implements cloud.Bastions.
func (f *Fleet) StartSession(ctx context.Context, bastion string, to cloud.Target, token string) (string, error) {
	b := f.of(bastion)
	id, err := b.StartSession(ctx, bastion, to, token)
	f.keep(b, id)
	return id, err
}

// FindSessions implements cloud.Bastions.
func (f *Fleet) FindSessions(ctx context.Context, bastion, token string) ([]string, error) {
	b := f.of(bastion)
	ids, err := b.FindSessions(ctx, bastion, token)
	f.keep(b, ids...)
	return ids, err
}

// AwaitSession implements cloud.Bastions.
func (f *Fleet) AwaitSession(ctx context.Context, id string) (cloud.Session, error) {
	return f.of(id).AwaitSession(ctx, id)
}

// EndSession implements cloud.Bastions.
func (f *Fleet) EndSession(ctx context.Context, id string) error { return f.of(id).EndSession(ctx, id) }

// DeleteSession implements cloud.Bastions.
func (f *Fleet) DeleteSession(ctx context.Context, id string) error {
	return f.of(id).DeleteSession(ctx, id)
}
