// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/lifeline"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
	"github.com/armfree/packer-plugin-armfree/internal/trace"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Site is where a build takes place.
type Site interface {
	cloud.Cloud
	// Plan looks at the cloud before anything costs money.
	Plan(ctx context.Context) (cloud.Plan, error)
	// TagImage gives the image of a machine more tags.
	TagImage(machine string, tags map[string]string) error
	// Leftovers is where earlier builds may have left something that this build may
	// remove.
	Leftovers() []sweep.Cloud
	// Extend says until when what is made from now on may be needed, if that is later
	// than the build seemed to take.
	Extend(until time.Time)
}

// Build is what the builds of all builders have in common: find a machine, connect
// to it, provision it, make an image of it, and leave nothing else behind.
type Build struct {
	UI    packersdk.Ui
	Hook  packersdk.Hook
	Site  Site
	Token func(parts ...string) string
	// ID is the build's own; what carries it is no leftover.
	ID string
	// Life is how long what the build makes is needed at most, from when it is made. What
	// goes on for longer is renewed; 0 for a build whose end is known.
	Life time.Duration
	// Sundries, if set, is what the cloud makes beside a machine.
	Sundries cloud.Sundries
	// Debug and OnError are Packer's -debug and -on-error.
	Debug   bool
	OnError string

	// Policy, Hold and Timeout are those of FindMachine.
	Policy         capacity.Policy
	Hold           map[string]time.Duration
	Timeout        time.Duration
	CleanupTimeout time.Duration

	Comm *communicator.Config
	// Pin, if set, says which host key the machine has.
	Pin Pin
	// Found, if set, is called with the machine before it is connected to.
	Found func(*FindMachine)
	// More is what provisioners and post-processors find in build.* beside what
	// is there for every machine.
	More func(*FindMachine) map[string]interface{}
	// Tunnel, if set, leads to a machine without a public address.
	Tunnel *Tunnel
	// Captures, if set, makes an object of the disk where it is wanted, in place of an
	// image.
	Captures *Captures
	// Leave, if set, says whether the end of the machine need not be waited for when all
	// went well.
	Leave func(*FindMachine) bool
	// NoImage, if set, says why no image is made.
	NoImage string
	// Replaces means that the image takes the place of an older one. Then it stays even
	// when nobody is left who could be told of it. A captured disk replaces nothing.
	Replaces bool
	// Left, if set, is told what could not be removed; a finished image stays one all
	// the same.
	Left func(error)
	// TraceFile, if set, is the file that gets what the build spent its time on.
	TraceFile string
	// SweepOptions are added to the command that removes the rest.
	SweepOptions []string
}

// Made is what a build has made.
type Made struct {
	Image string // its id; empty if none was to be made
	// Captured is the object that the disk became in place of an image.
	Captured *Captured
	Offer    capacity.Offer
	Data     map[string]interface{} // build.*
}

// Run builds.
func (b *Build) Run(ctx context.Context) (*Made, error) {
	find := &FindMachine{
		UI: b.UI, Cloud: b.Site, Token: b.Token, Plan: b.Site.Plan, Found: b.Found,
		Policy: b.Policy, Hold: b.Hold, Timeout: b.Timeout, TimeoutOption: "capacity_timeout", Again: b.extend, Leave: b.Leave,
	}
	connect := &Connect{UI: b.UI, Config: b.Comm, Machine: find, Pin: b.Pin}
	provision := &Provision{
		UI: b.UI, Hook: b.Hook, Config: b.Comm, Machine: find, Connect: connect,
		More: func() map[string]interface{} { return b.More(find) },
	}
	checked := &Validated{UI: b.UI, Machine: find, Tag: b.Site.TagImage}
	defer checked.Forget()
	image := &MakeImage{UI: b.UI, Cloud: b.Site, Token: b.Token, Machine: find, Begin: b.extend}
	ready := &readyHelper{ui: b.UI, how: b.Captures, dir: "/run/armfree-capture-" + b.ID, config: b.Comm, machine: find, connect: connect}
	disk := &captureDisk{ui: b.UI, how: b.Captures, ready: ready, machine: find, begin: b.extend}
	work := []Phase{connect, provision}
	if b.Captures != nil && b.NoImage == "" {
		work = []Phase{connect, ready, provision}
	}

	var phases []Phase
	if b.Sundries != nil {
		phases = append(phases, &KeepSundries{Cloud: b.Sundries})
	}
	if b.Tunnel == nil {
		phases = append(append(phases, find), work...)
	} else {
		b.Tunnel.Machine, connect.Wrap = find, b.Tunnel.Through
		phases = append(append(phases, b.Tunnel.Bastion, find, b.Tunnel), work...)
	}
	checked.Follow(connect, provision)
	switch {
	case b.NoImage != "":
	case b.Captures != nil:
		phases = append(phases, &imageOrDisk{image: image, capture: disk, machine: find})
	default:
		phases = append(phases, image)
	}
	b.UI.Sayf("Build %s", b.ID)
	if b.TraceFile != "" {
		record := trace.New()
		ctx = trace.With(ctx, record)
		defer func() {
			if err := record.Write(b.TraceFile); err != nil {
				b.UI.Errorf("The trace could not be written: %v", err)
				return
			}
			b.UI.Sayf("Times: %s. They are in %s", record.Summary(), b.TraceFile)
		}()
	}
	defer lifeline.Rest(ctx, func() []string { return sweep.Commands(lifeline.Binary(), b.ID, b.Site.Leftovers(), b.SweepOptions...) })()
	sweep.AtStart(ctx, b.Site.Leftovers(), b.ID, b.UI.Sayf)
	defer b.keep(ctx)()
	runner := Runner{UI: b.UI, Debug: b.Debug, OnError: b.OnError, CleanupTimeout: b.CleanupTimeout, Left: b.Left}
	if err := runner.Run(ctx, phases...); err != nil {
		return nil, err
	}
	if b.NoImage == "" && (!b.Replaces || disk.Captured != nil) && ctx.Err() != nil && lifeline.Alive(ctx) != nil {
		// A Packer that has died tells nobody of the image or the object, and nobody
		// would ever remove it.
		if disk.Captured != nil {
			c, cancel := wait.Cleanup(ctx, b.CleanupTimeout)
			defer cancel()
			return nil, errors.Join(lifeline.ErrNoPacker, disk.Undo(c, lifeline.ErrNoPacker))
		}
		return nil, errors.Join(lifeline.ErrNoPacker, image.discard(ctx, b.CleanupTimeout))
	}
	switch {
	case b.NoImage != "":
		b.UI.Say("No image was made: " + b.NoImage)
	case ctx.Err() != nil && disk.Captured != nil:
		b.UI.Sayf("The build was cancelled after its disk was captured: the object %s stays", disk.Captured.Object)
	case ctx.Err() != nil:
		b.UI.Sayf("The build was cancelled after its image was finished: image %s stays", image.ID)
	}
	return &Made{Image: image.ID, Captured: disk.Captured, Offer: find.Offer, Data: provision.Data}, nil
}
