// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import "context"

// Sundries is a cloud that makes what a machine needs beside it, as soon as a
// machine is asked for: a security group, a key pair.
type Sundries interface {
	// RemoveSundries removes what was made and returns when it is gone. The
	// machines that needed it are gone already.
	RemoveSundries(ctx context.Context) error
}
