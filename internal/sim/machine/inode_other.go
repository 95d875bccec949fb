// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package machine

import "io/fs"

// inode tells files apart on Unix; elsewhere a guest sees the owners and permissions of
// the host's files.
func inode(fs.FileInfo) (uint64, bool) { return 0, false }
