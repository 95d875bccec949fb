// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package sshhost

import (
	"os/exec"
	"syscall"
)

// asSession lets a command have a session of its own, as under sshd.
func asSession(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
