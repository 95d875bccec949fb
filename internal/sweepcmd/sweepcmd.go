// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package sweepcmd is the command "sweep": it removes what dead builds and copies
// have left behind, from a shell or from a scheduled workflow.
//
// It reads the command line and the environment, signs in and reports. What goes is
// decided by internal/sweep, the same way as at the start of every build.
package sweepcmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/flags"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
	"github.com/armfree/packer-plugin-armfree/version"
)

// The exit codes.
const (
	Done   = 0 // nothing is left that should be gone
	Failed = 1 // the command could not be carried out
	Left   = 2 // something should be gone and is not
)

// Command is one run of the command.
type Command struct {
	Out, Err io.Writer
	Mask     *mask.Masker
	// HTTP replaces the client that the environment describes; tests set it.
	HTTP *http.Client
}

// Main is the command as the plugin has it. Ctrl-C ends it: what is being removed is
// finished or named.
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
		return Done
	}
	if err != nil {
		fmt.Fprintln(errs, "sweep:", err)
		return Failed
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	clouds, err := c.clouds(ctx, o)
	if err != nil {
		fmt.Fprintln(errs, "sweep:", err)
		return Failed
	}
	p := printer{out: out, dry: o.dryRun, quiet: o.asJSON}
	looks := make([]look, len(clouds))
	var wg sync.WaitGroup
	for i, cloud := range clouds {
		wg.Go(func() {
			s := sweep.Sweep{
				Cloud: cloud, DryRun: o.dryRun,
				Rules: sweep.Rules{Grace: o.grace, OlderThan: o.olderThan, Builds: o.builds},
			}
			looks[i].result, looks[i].err = s.Run(ctx)
			p.print(looks[i])
		})
	}
	wg.Wait()
	if o.asJSON {
		if err := writeJSON(out, looks, o.dryRun); err != nil {
			fmt.Fprintln(errs, "sweep:", err)
			return Failed
		}
	}
	return code(looks)
}

// look is what looking at one place came to.
type look struct {
	result sweep.Result
	err    error
}

// code is the exit code: that a place could not be looked at counts for more than
// what is left in another.
func code(looks []look) int {
	code := Done
	for _, l := range looks {
		switch {
		case l.err != nil:
			return Failed
		case len(l.result.Left)+len(l.result.UnderWay) > 0:
			code = Left
		}
		for _, b := range l.result.Blind {
			if !b.Refused {
				return Failed
			}
		}
	}
	return code
}

// clouds signs in and lists the places.
func (c Command) clouds(ctx context.Context, o *options) (all []sweep.Cloud, err error) {
	agent := version.UserAgent()
	if o.oci != nil {
		c.Mask.Add(o.oci.Secrets()...)
		who, err := oci.SignIn(ctx, *o.oci, oci.Options{UserAgent: agent, HTTP: c.HTTP, Secret: c.Mask.Add})
		if err != nil {
			return nil, fmt.Errorf("oci: %w", err)
		}
		for _, region := range o.regions.Or(who.Region) {
			client, err := who.Client(oci.FullRegion(region))
			if err != nil {
				return nil, fmt.Errorf("oci: %w", err)
			}
			all = append(all, &oci.Leftovers{Client: client, Compartments: o.where(), Bastions: true, Buckets: true})
		}
	}
	if o.aws != nil {
		c.Mask.Add(append(o.aws.Secrets(), o.aws.AccessKey)...)
		client, err := ec2.SignIn(ctx, *o.aws, ec2.Options{UserAgent: agent, HTTP: c.HTTP, Secret: c.Mask.Add})
		if err != nil {
			return nil, fmt.Errorf("aws: %w", err)
		}
		for i, region := range o.regions.Or(client.Region) {
			all = append(all, &ec2.Leftovers{Client: client.In(region), Profiles: i == 0, Rest: true})
		}
	}
	return all, nil
}
