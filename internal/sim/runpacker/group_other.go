//go:build !unix

// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package runpacker

import (
	"context"
	"os"
	"os/exec"
)

func guarded(ctx context.Context, name string, args []string) *exec.Cmd {
	return exec.CommandContext(ctx, name, args...)
}

func guard(*exec.Cmd) (release func(), err error) { return func() {}, nil }

func interruptGroup(cmd *exec.Cmd) error { return cmd.Process.Signal(os.Interrupt) }

func killGroup(*exec.Cmd) {}
