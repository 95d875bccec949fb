// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// What options say about time, in a bubble's time: how long a build waits, and how
// often it asks. Each is counted with the option and without it.
func TestTimes(t *testing.T) {
	t.Parallel()
	full := []ocisim.Fault{{Kind: ocisim.FaultCapacity}}
	slow := func(op, state string) []ocisim.Fault {
		return []ocisim.Fault{{Kind: ocisim.FaultSlow, Op: op, State: state, Delay: ocisim.Duration(5 * time.Hour)}}
	}
	minutes := func(_ []sent, took time.Duration) int { return int(took.Minutes()) }
	count := func(op string) func([]sent, time.Duration) int {
		return func(list []sent, _ time.Duration) (n int) {
			for _, s := range list {
				if s.op == op {
					n++
				}
			}
			return n
		}
	}
	for _, tt := range []struct {
		option, value string
		faults        []ocisim.Fault
		with          options
		measure       func(list []sent, took time.Duration) int
		// from and to are what the option makes of it; without it there is more.
		from, to, without int
		says              string
	}{
		{
			option: "capacity_timeout", value: "1h", faults: full, with: options{"capacity_timeout": "", "capacity_interval": "5m"}, measure: minutes, from: 60, to: 61, without: 6*60 - 1,
			says: `capacity_timeout = "1h"`,
		},
		{
			option: "capacity_interval", value: "3m", faults: full, with: options{"capacity_timeout": "1h", "capacity_reports": false},
			measure: count(launch), from: 18, to: 22, without: 300,
		},
		{
			option: "capacity_round", value: "20m", faults: full, with: options{"capacity_timeout": "1h"},
			measure: count("POST /computeCapacityReports"), from: 6, to: 12, without: 100,
		},
		{
			option: "instance_timeout", value: "3m", with: options{"capacity_timeout": "1m", "shape_config": options{"ocpus": 1}}, faults: []ocisim.Fault{{Kind: ocisim.FaultLaunchStuck}},
			measure: minutes, from: 3, to: 6, without: 15, says: "no host was found for it within 3m0s",
		},
		{
			option: "image_timeout", value: "30m", with: options{"skip_create_image": false}, faults: slow("CreateImage", "PROVISIONING"),
			measure: minutes, from: 30, to: 52, without: 75, says: `timed out after 30m0s waiting for image`,
		},
		{
			option: "cleanup_timeout", value: "4m", faults: slow("TerminateInstance", "TERMINATING"),
			measure: minutes, from: 4, to: 8, without: 10, says: "could not be terminated, please do so by hand",
		},
		{
			option: "skip_termination_wait", value: "true", faults: slow("TerminateInstance", "TERMINATING"),
			measure: minutes, from: 0, to: 5, without: 10, says: "its end is not waited for (skip_termination_wait)",
		},
	} {
		t.Run(tt.option, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newWireSet(t)
				measure := func(set options) (int, string) {
					begin := time.Now()
					list, said, err := s.requests(t, tt.faults, "", tt.with, set)
					if err != nil {
						said += err.Error()
					}
					return tt.measure(list, time.Since(begin)), said
				}
				n, said := measure(options{tt.option: tt.value})
				if n < tt.from || n > tt.to {
					t.Errorf("%d, want %d to %d\n%s", n, tt.from, tt.to, said)
				}
				if !strings.Contains(said, tt.says) {
					t.Errorf("%q is not said:\n%s", tt.says, said)
				}
				s.ResetFaults()
				time.Sleep(6 * time.Hour) // of the bubble: what lingers is gone
				if n, said := measure(nil); n < tt.without {
					t.Errorf("%d without it, want at least %d\n%s", n, tt.without, said)
				}
			})
		})
	}
}
