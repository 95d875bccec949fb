//go:build unix

// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package proof

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// private says why a file is not this user's alone.
func private(info fs.FileInfo, most fs.FileMode) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to the user %d", stat.Uid)
	}
	if info.Mode().Perm()&^most != 0 {
		return fmt.Errorf("others have access to it (mode %04o)", info.Mode().Perm())
	}
	return nil
}
