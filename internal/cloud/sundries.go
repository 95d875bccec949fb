// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
)

// Sundries is a cloud that makes what a machine needs beside it, as soon as a
// machine is asked for: a security group, a key pair.
type Sundries interface {
	// MakeSundries makes what the launch on offer with token needs and is not there
	// yet. It takes several requests, and comes before Launch so that the launch
	// itself is one: whether somebody still wants a machine is asked in between. A
	// request that is under way is not cut short when ctx ends. Classify understands
	// its errors; none of them leaves open whether there is a machine.
	MakeSundries(ctx context.Context, offer capacity.Offer, token string) error
	// RemoveSundries removes what was made and returns when it is gone. The
	// machines that needed it are gone already.
	RemoveSundries(ctx context.Context) error
}
