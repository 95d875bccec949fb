// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package e2e

import (
	"syscall"
)

// signal sends a signal to a process.
func signal(pid int, s syscall.Signal) error { return syscall.Kill(pid, s) }

// signalGroup sends a signal to the process group of a process.
func signalGroup(pid int, s syscall.Signal) error {
	group, err := syscall.Getpgid(pid)
	if err != nil {
		return err
	}
	return syscall.Kill(-group, s)
}
