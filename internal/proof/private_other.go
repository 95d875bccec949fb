//go:build !unix

// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package proof

import "io/fs"

// private takes the folder of this user's temporary files for private, where
// modes say nothing.
func private(fs.FileInfo, fs.FileMode) error { return nil }
