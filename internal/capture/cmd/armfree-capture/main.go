// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

// Command armfree-capture is the helper that the plugin brings to a machine whose disk
// it captures. It is built for linux/arm64 by embedhelper and travels inside the plugin;
// nobody calls it by hand.
//
// It must run as root. Its argument is the folder in memory that it was put into, which
// it gives up when it ends.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/armfree/packer-plugin-armfree/internal/capture/helper"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
)

func main() {
	// A connection that ends is to be noticed by what it ends, not by dying half way:
	// what is frozen has to be thawed.
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	err := run(ctx)
	stop()
	if len(os.Args) == 2 {
		_ = unix.Unmount(os.Args[1], unix.MNT_DETACH)
		_ = os.Remove(os.Args[1]) //nolint:gosec // the plugin made it, and says where
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "armfree-capture:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if os.Getuid() != 0 {
		return fmt.Errorf("the helper does not run as root")
	}
	if err := os.Chdir("/proc"); err != nil { // and not where the shell was, on a disk
		return err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	h := helper.Helper{
		In: os.Stdin, Out: os.Stdout, Quiet: helper.QuietMachine,
		Hello: wire.Hello{System: helper.System("/etc/os-release"), Kernel: unix.ByteSliceToString(u.Release[:])},
	}
	return h.Run(ctx)
}
