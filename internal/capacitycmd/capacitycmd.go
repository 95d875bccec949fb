// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package capacitycmd is the command "capacity": what is free for Ampere machines on OCI
// right now, where, and what a build would try first. It starts nothing and needs no
// template.
package capacitycmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/armfree/packer-plugin-armfree/internal/flags"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/outlook"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
	"github.com/armfree/packer-plugin-armfree/version"
)

// The exit codes.
const (
	Free   = 0 // something that is allowed is free
	Failed = 1 // the command could not be carried out
	Full   = 2 // nothing is
)

// Command is one run of the command.
type Command struct {
	Out, Err io.Writer
	Mask     *mask.Masker
	// HTTP replaces the client that the environment describes; tests set it.
	HTTP *http.Client
}

// Main is the command as the plugin has it. Ctrl-C ends it at once.
func Main(ctx context.Context, secrets *mask.Masker, args []string) int {
	return flags.Run(ctx, func(ctx context.Context) int {
		return Command{Out: os.Stdout, Err: os.Stderr, Mask: secrets}.Run(ctx, args)
	})
}

// Run carries the command out and returns its exit code.
func (c Command) Run(ctx context.Context, args []string) int {
	out, errs := c.Mask.Writer(c.Out), c.Mask.Writer(c.Err)
	o, err := parse(args, out)
	if errors.Is(err, flag.ErrHelp) {
		return Free
	}
	var clients []*oci.Client
	if err == nil {
		c.Mask.Add(o.question.Credentials.Secrets()...)
		clients, err = o.question.Clients(ctx, oci.Options{UserAgent: version.UserAgent(), HTTP: c.HTTP, Secret: c.Mask.Add})
	}
	if err != nil {
		fmt.Fprintln(errs, "capacity:", err)
		return Failed
	}
	for {
		code := o.print(out, outlook.Look(ctx, clients, o.sizes))
		if o.watch == 0 || code == Free && o.untilFree {
			return code
		}
		if err := wait.Sleep(ctx, o.watch); err != nil {
			return code
		}
	}
}
