// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// What a build may ask of the cloud: so much for itself, and on top of it what the paces
// of waiting and of the search allow. docs/benchmarks.md states the same figures.
func TestRequestBudget(t *testing.T) {
	t.Parallel()
	lasts := func(op, state string, d time.Duration) ocisim.Fault {
		return ocisim.Fault{Kind: ocisim.FaultSlow, Op: op, State: state, Delay: ocisim.Duration(d)}
	}
	with := options{"skip_create_image": false}
	for _, tt := range []struct {
		name    string
		faults  []ocisim.Fault
		with    options
		ceiling int
		least   int // of what it takes, so that the ceiling means something
		fails   bool
	}{
		{name: "nothing is waited for", with: with, ceiling: 55, least: 35},
		{
			name: "an image in four minutes", with: with, ceiling: 55 + 40 + 110 + 45, least: 150,
			faults: []ocisim.Fault{lasts("LaunchInstance", "PROVISIONING", 36*time.Second), lasts("CreateImage", "PROVISIONING", 243*time.Second), lasts("TerminateInstance", "TERMINATING", 41*time.Second)},
		},
		{
			name: "an hour without capacity", with: options{"capacity_timeout": "1h", "capacity_interval": ""}, fails: true, ceiling: 55 + 3600/10 + 10, least: 250,
			faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newWireSet(t)
				list, said, err := s.requests(t, tt.faults, "", tt.with)
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
