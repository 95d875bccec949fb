// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package machine

import (
	"errors"
	"net"
	"os"
	"syscall"
)

func childOfThisProcess() *syscall.SysProcAttr { return nil }

func killGroup(p *os.Process) { p.Kill() }

func socketPair() (net.Conn, *os.File, error) {
	return nil, nil, errors.New("ARM64 machines need a Linux host")
}
