// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// What people see of the search, with the real Packer.
func TestAccCapacity(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	always := func(build, _ *ocisim.Tenancy) { build.AlwaysFree = true }
	full := func(f ocisim.Fault) ocisim.Fault { f.Kind = ocisim.FaultCapacity; return f }
	tests := []struct {
		name     string
		options  stage.Options
		faults   []ocisim.Fault
		args     []string
		says     []string
		fails    bool
		within   time.Duration // 0: however long it takes
		launches int
	}{
		{
			name:     "three are full, the fourth has room",
			faults:   []ocisim.Fault{full(ocisim.Fault{Times: 3})},
			args:     []string{"capacity_reports=false"},
			says:     []string{"Attempt 3: ", "no capacity: Out of host capacity. (500 InternalError, request ", "Next: ", " left", "Attempt 4: ", "launched"},
			launches: 4,
		},
		{
			name:     "capacity comes after a while, in one fault domain, for the smaller size",
			faults:   []ocisim.Fault{full(ocisim.Fault{Until: ocisim.Duration(6 * time.Second)}), full(ocisim.Fault{MinOCPUs: 2}), full(ocisim.Fault{FaultDomain: "FAULT-DOMAIN-1"}), full(ocisim.Fault{FaultDomain: "FAULT-DOMAIN-2"})},
			says:     []string{"no capacity for VM.Standard.A1.Flex 2 OCPU/12 GB or 1 OCPU/6 GB, says the capacity report. Next: ", "1 OCPU/6 GB has room in FAULT-DOMAIN-3", "FAULT-DOMAIN-3 VM.Standard.A1.Flex 1 OCPU/6 GB: launched"},
			launches: -1, // some launches against the reports come first
		},
		{
			name:    "what used to be free",
			options: stage.Options{Adjust: always},
			args:    []string{"sizes=[{ocpus=4, memory=24}]"},
			says:    []string{"nothing was started", "the limit \"standard-a1-core-count\" is 2, 0 in use", "Since June 2026 Always Free is 2 OCPUs and 12 GB of memory, no longer 4 and 24"},
			fails:   true, within: 40 * time.Second,
		},
		{
			name:  "nothing may cost money",
			args:  []string{"sizes=[{ocpus=4, memory=24}]", "free_tier=require"},
			says:  []string{"free_tier = \"require\" forbids VM.Standard.A1.Flex 4 OCPU/24 GB"},
			fails: true, within: 40 * time.Second,
		},
		{
			name:   "the time is over",
			faults: []ocisim.Fault{full(ocisim.Fault{})},
			args:   []string{"capacity_timeout=3s", "capacity_reports=false"},
			says:   []string{"last answer", "no capacity: Out of host capacity.", "the time allowed for the search is over (capacity_timeout = \"3s\")"},
			fails:  true, within: 40 * time.Second, launches: -1,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stage.ForTest(t, tt.options)
			if err := s.Cloud.AddFaults(tt.faults...); err != nil {
				t.Fatal(err)
			}
			var args []string
			for _, a := range tt.args {
				args = append(args, "-var", a)
			}
			start := time.Now()
			said, err := pipeline(t.Context(), s, p, args...)
			t.Log(said)
			if (err != nil) != tt.fails {
				t.Fatal(err)
			}
			if d := time.Since(start); tt.within > 0 && d > tt.within {
				t.Errorf("it took %s", d)
			}
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said", want)
				}
			}
			if n := s.Cloud.CountRequests("LaunchInstance"); tt.launches >= 0 && n != tt.launches {
				t.Errorf("%d launches, want %d", n, tt.launches)
			}
			if left := s.Left(imageID.FindAllString(said, -1)...); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// The data source hands values of the right types to a template, also before they are known.
func TestAccCapacityData(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for _, tt := range []struct {
		name string
		full ocisim.Fault
		says string
	}{
		{name: "one domain is full", full: ocisim.Fault{AD: "AD-1"}, says: "16 of 24 places, first " + stage.BuildRegion + " 2/12, 4 cores left"},
		{name: "all is full", says: "nothing is free that the limits allow, and require_free is set, so nothing is built: of 24 places 24 full"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stage.ForTest(t, stage.Options{Adjust: func(b, _ *ocisim.Tenancy) { b.Limits["standard-a1-core-count"] = 4 }})
			tt.full.Kind = ocisim.FaultCapacity
			if err := s.Cloud.AddFaults(tt.full); err != nil {
				t.Fatal(err)
			}
			said, err := packerBuild(t.Context(), p, s.Env(), "capacity.pkr.hcl")
			said = strings.Join(strings.Fields(said), " ") // Packer breaks lines of diagnostics
			if (err == nil) != (tt.full.AD != "") || !strings.Contains(said, tt.says) || strings.Contains(said, "CRASH") {
				t.Errorf("%v\n%s", err, said)
			}
			if n := s.Cloud.CountRequests("LaunchInstance"); n != 0 {
				t.Errorf("%d launches", n)
			}
		})
	}
}
