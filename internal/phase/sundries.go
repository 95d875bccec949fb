// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// KeepSundries stands before FindMachine and makes nothing. It removes what a
// cloud makes beside a machine once the machine is gone: undoing runs in reverse
// order, and what a machine uses cannot be removed before it.
type KeepSundries struct{ Cloud cloud.Sundries }

// Name implements Phase.
func (*KeepSundries) Name() string { return "prepare what a machine needs" }

// Run implements Phase.
func (*KeepSundries) Run(context.Context) error { return nil }

// Undo implements Phase.
func (p *KeepSundries) Undo(ctx context.Context, _ error) error { return p.Cloud.RemoveSundries(ctx) }
