// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// errNoBastions is the answer of a cloud that has none.
var errNoBastions = errors.New("this cloud has no bastions")

// bastions is the place's site, if it has bastions.
func (p *Place) bastions() (cloud.Bastions, error) {
	if b, ok := p.Site.(cloud.Bastions); ok {
		return b, nil
	}
	return nil, errNoBastions
}

// StartBastion implements cloud.Bastions.
func (f *Fleet) StartBastion(ctx context.Context, machine, token string) (string, bool, error) {
	p := f.of(machine)
	b, err := p.bastions()
	if err != nil {
		return "", false, err
	}
	f.keep(p, token)
	id, own, err := b.StartBastion(ctx, machine, token)
	f.keep(p, id)
	return id, own, p.err(err)
}

// FindBastions implements cloud.Bastions.
func (f *Fleet) FindBastions(ctx context.Context, token string) ([]string, error) {
	return f.find(token, func(s Site) ([]string, error) {
		b, ok := s.(cloud.Bastions)
		if !ok {
			return nil, nil
		}
		return b.FindBastions(ctx, token)
	})
}

// AwaitBastion implements cloud.Bastions.
func (f *Fleet) AwaitBastion(ctx context.Context, id string) error {
	return f.bastion(id, func(b cloud.Bastions) error { return b.AwaitBastion(ctx, id) })
}

// DeleteBastion implements cloud.Bastions.
func (f *Fleet) DeleteBastion(ctx context.Context, id string) error {
	return f.bastion(id, func(b cloud.Bastions) error { return b.DeleteBastion(ctx, id) })
}

// StartSession implements cloud.Bastions.
func (f *Fleet) StartSession(ctx context.Context, bastion string, to cloud.Target, token string) (id string, err error) {
	err = f.bastion(bastion, func(b cloud.Bastions) (err error) {
		id, err = b.StartSession(ctx, bastion, to, token)
		return err
	})
	f.keep(f.of(bastion), id)
	return id, err
}

// FindSessions implements cloud.Bastions.
func (f *Fleet) FindSessions(ctx context.Context, bastion, token string) (ids []string, err error) {
	err = f.bastion(bastion, func(b cloud.Bastions) (err error) {
		ids, err = b.FindSessions(ctx, bastion, token)
		return err
	})
	f.keep(f.of(bastion), ids...)
	return ids, err
}

// AwaitSession implements cloud.Bastions.
func (f *Fleet) AwaitSession(ctx context.Context, id string) (s cloud.Session, err error) {
	err = f.bastion(id, func(b cloud.Bastions) (err error) {
		s, err = b.AwaitSession(ctx, id)
		return err
	})
	return s, err
}

// EndSession implements cloud.Bastions.
func (f *Fleet) EndSession(ctx context.Context, id string) error {
	return f.bastion(id, func(b cloud.Bastions) error { return b.EndSession(ctx, id) })
}

// DeleteSession implements cloud.Bastions.
func (f *Fleet) DeleteSession(ctx context.Context, id string) error {
	return f.bastion(id, func(b cloud.Bastions) error { return b.DeleteSession(ctx, id) })
}

// bastion asks the place to which a bastion or one of its sessions belongs.
func (f *Fleet) bastion(id string, ask func(cloud.Bastions) error) error {
	p := f.of(id)
	b, err := p.bastions()
	if err == nil {
		err = ask(b)
	}
	return p.err(err)
}
