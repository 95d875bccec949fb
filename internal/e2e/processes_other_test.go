// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package e2e

import (
	"errors"
	"syscall"
)

// The tests that end processes are for Unix.

func signal(int, syscall.Signal) error { return errors.ErrUnsupported }

func signalGroup(int, syscall.Signal) error { return errors.ErrUnsupported }
