// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// What a build may ask of the cloud: so much for itself, and on top of it what the paces
// of waiting and of the search allow. docs/benchmarks.md states the same figures.
func TestRequestBudget(t *testing.T) {
	t.Parallel()
	lasts := func(op, state string, d time.Duration) ec2sim.Fault {
		return ec2sim.Fault{Kind: ec2sim.FaultSlow, Op: op, State: state, Delay: ec2sim.Duration(d)}
	}
	with := set{"skip_create_ami": false}
	for _, tt := range []struct {
		name    string
		faults  []ec2sim.Fault
		with    set
		ceiling int
		least   int // of what it takes, so that the ceiling means something
		fails   bool
	}{
		{name: "nothing is waited for", with: with, ceiling: 45, least: 25},
		{
			name: "a snapshot in two and a half minutes", with: with, ceiling: 45 + 40 + 30 + 70 + 45, least: 120,
			faults: []ec2sim.Fault{lasts("RunInstances", "pending", 36*time.Second), lasts("StopInstances", "stopping", 27*time.Second), lasts("CreateSnapshot", "pending", 153*time.Second), lasts("TerminateInstances", "shutting-down", 41*time.Second)},
		},
		{
			name: "an hour without capacity", with: set{"capacity_timeout": "1h"}, fails: true, ceiling: 45 + 3600/2 + 10, least: 1200,
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultCapacity}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newWireSet(t, t.TempDir())
				list, said, err := s.requests(t, onWire{faults: tt.faults}, tt.with)
				if (err != nil) != tt.fails {
					t.Fatalf("%v\n%s", err, said)
				}
				if n := len(list); n > tt.ceiling || n < tt.least {
					t.Errorf("%d requests; at most %d are allowed, and at least %d were thought to be needed", n, tt.ceiling, tt.least)
				}
				t.Logf("%d requests", len(list))
			})
		})
	}
}
