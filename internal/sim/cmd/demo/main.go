// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Demo runs the whole pipeline before your eyes: the real Packer, the plugin
// that was just built, two simulated tenancies of Oracle Cloud, and between
// them a real ARM64 Debian 12 guest that is launched, hardened, checked, turned
// into an image, copied into the other tenancy, and started there again from
// its own bytes. It ends with a summary, and fails if anything is left over in
// either tenancy.
//
// Run it by "make demo", which provides what it needs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	var d demo
	flag.StringVar(&d.packer, "packer", "bin/packer", "the Packer to run")
	flag.StringVar(&d.plugin, "plugin", "bin/packer-plugin-armfree", "the plugin to run it with")
	flag.StringVar(&d.guest, "guest", ".cache/guest", "the folder of the guest image")
	flag.StringVar(&d.cache, "cache", ".cache", "where temporary files go")
	flag.StringVar(&d.example, "example", "example", "the folder of the examples")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	d.out = os.Stdout
	start := time.Now()
	err := d.run(ctx)
	switch {
	case errors.Is(err, context.Canceled) && !errors.Is(err, errLeft):
		fmt.Fprintf(os.Stderr, "demo: interrupted after %s; nothing is left in either tenancy, and what it started has ended\n", time.Since(start).Round(time.Second))
		os.Exit(130)
	case err != nil:
		fmt.Fprintf(os.Stderr, "demo: failed after %s: %v\n", time.Since(start).Round(time.Second), err)
		os.Exit(1)
	}
}
