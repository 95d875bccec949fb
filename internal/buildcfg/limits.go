// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

// Package buildcfg is what the templates of all builders have in common: how long
// a build may take, at what pace it looks for a machine, and SSH keys as text.
package buildcfg

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
)

// Limits say how long a build may take and at what pace it looks for a machine.
type Limits struct {
	// How long to look for a machine, over all places and sizes: after that
	// nothing more is asked for. A machine that was accepted before may take
	// `instance_timeout` longer. Defaults to `6h`: free capacity comes in short
	// windows.
	CapacityTimeout time.Duration `mapstructure:"capacity_timeout" required:"false"`
	// The least time between two requests to the cloud during the search,
	// capacity reports and launches alike. It is lengthened by up to a tenth at
	// random. Defaults to `10s` on OCI, where accounts that ask every second are
	// throttled, and every ten seconds are not; and to `2s` on AWS.
	CapacityInterval time.Duration `mapstructure:"capacity_interval" required:"false"`
	// The least time from the beginning of one round through all availability
	// domains or zones to the beginning of the next. By default
	// `capacity_interval` alone sets the pace.
	CapacityRound time.Duration `mapstructure:"capacity_round" required:"false"`
	// What comes first: `place` takes the best that an availability domain or
	// zone has when its turn comes; `size` takes a smaller form only if none has
	// a larger one. Defaults to `place`: what is free may be gone before the
	// others have been asked.
	CapacityOrder string `mapstructure:"capacity_order" required:"false"`
	// How long a machine that was accepted may take until it runs and has an
	// address. Defaults to `15m`.
	InstanceTimeout time.Duration `mapstructure:"instance_timeout" required:"false"`
	// How long the image may take. Defaults to `60m`.
	ImageTimeout time.Duration `mapstructure:"image_timeout" required:"false"`
	// How long removing what a build made may take at its end: the machine, an
	// image that is not finished and what else there is, each. Defaults to `10m`.
	CleanupTimeout time.Duration `mapstructure:"cleanup_timeout" required:"false"`
	// A file that gets what the build spent its time on: its phases and each
	// request to the cloud, in the format that https://ui.perfetto.dev and
	// chrome://tracing draw. Requests are named by method and path, or by their
	// action, and nothing else of them is kept. The times of the phases are also
	// printed. With several sources, give each a file of its own:
	// `trace-{{build_name}}.json`. By default there is none.
	TraceFile string `mapstructure:"trace_file" required:"false"`
}

// life is how much longer than its own limits what a build makes is valid.
const life = 2 * time.Hour

// Defaults fills in what the template leaves out. interval is that of the cloud.
func (l *Limits) Defaults(interval time.Duration) {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&l.CapacityTimeout, 6 * time.Hour}, {&l.CapacityInterval, interval},
		{&l.InstanceTimeout, 15 * time.Minute}, {&l.ImageTimeout, time.Hour}, {&l.CleanupTimeout, 10 * time.Minute},
	} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	if l.CapacityOrder == "" {
		l.CapacityOrder = "place"
	}
}

// Problems lists what is wrong, in the words of the template.
func (l *Limits) Problems() (list []error) {
	if l.CapacityOrder != "place" && l.CapacityOrder != "size" {
		list = append(list, fmt.Errorf("capacity_order must be \"place\" or \"size\", it is %q", l.CapacityOrder))
	}
	for _, d := range []struct {
		value, least time.Duration
		name         string
	}{
		{l.CapacityTimeout, time.Second, "capacity_timeout"}, {l.CapacityInterval, time.Millisecond, "capacity_interval"},
		{l.CapacityRound, time.Millisecond, "capacity_round"}, {l.InstanceTimeout, time.Second, "instance_timeout"},
		{l.ImageTimeout, time.Second, "image_timeout"}, {l.CleanupTimeout, time.Second, "cleanup_timeout"},
	} {
		if err := CheckDuration(d.name, d.value, d.least); err != nil {
			list = append(list, err)
		}
	}
	if l.TraceFile != "" {
		if at, err := os.Stat(filepath.Dir(l.TraceFile)); err != nil || !at.IsDir() {
			list = append(list, fmt.Errorf("trace_file: there is no folder %s", filepath.Dir(l.TraceFile)))
		} else if at, err := os.Stat(l.TraceFile); err == nil && at.IsDir() {
			list = append(list, fmt.Errorf("trace_file: %s is a folder", l.TraceFile))
		}
	}
	return list
}

// CheckDuration says why the time that an option has cannot be meant. A number
// without a unit, which JSON templates may have, counts nanoseconds.
func CheckDuration(option string, d, least time.Duration) error {
	switch {
	case d < 0:
		return fmt.Errorf("%s must not be negative", option)
	case 0 < d && d < least:
		return fmt.Errorf("%s is %s, which is too short; a number without a unit counts nanoseconds, so write \"300s\" for 300 seconds", option, d)
	}
	return nil
}

// SizeFirst says whether a larger form elsewhere comes before a smaller one here.
func (l *Limits) SizeFirst() bool { return l.CapacityOrder == "size" }

// Policy paces the search.
func (l *Limits) Policy() capacity.Policy {
	return capacity.Policy{
		Interval: l.CapacityInterval, Jitter: 0.1, Round: l.CapacityRound, Retries: 2,
		SizeFirst: l.SizeFirst(), Seed: rand.Uint64(),
	}
}

// Life is how long what a build makes is valid: as long as the build may take, and
// a little longer. connect is the limit for connecting to the machine. How long
// provisioning takes nobody knows; what lives longer is renewed. An image is not, so its
// life must be enough for all that is waited for until it is finished, one after the
// other.
func (l *Limits) Life(connect time.Duration) time.Duration {
	return max(l.CapacityTimeout+l.InstanceTimeout+l.ImageTimeout+connect, imageWaits*l.ImageTimeout) + life
}

// imageWaits is how often image_timeout may be waited for in the making of an image: on
// AWS for the machine to stop, the snapshots, the image, a place among the copies and
// the copies.
const imageWaits = 5
