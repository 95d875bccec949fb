// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// Gone implements cloud.Mortal, where the place of the machine does.
func (f *Fleet) Gone(ctx context.Context, machine string) error {
	p := f.of(machine)
	if m, ok := p.Site.(cloud.Mortal); ok {
		return p.err(m.Gone(ctx, machine))
	}
	return nil
}

// AwaitEnd implements cloud.Mortal, where the place of the machine does.
func (f *Fleet) AwaitEnd(ctx context.Context, machine string) error {
	p := f.of(machine)
	if m, ok := p.Site.(cloud.Mortal); ok {
		return p.err(m.AwaitEnd(ctx, machine))
	}
	return nil
}
