// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/launch"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// search is the launch loop over the real adapter, the real SDK and a whole
// simulated cloud.
type search struct {
	*launch.Loop
	said  []string
	alive map[string]bool
}

func newSearch(t *testing.T, s *sim, p capacity.Policy) *search {
	t.Helper()
	b := s.newBuild(t, func(c *BuildConfig) {
		c.Sizes = []Size{{Shape: a1, OCPUs: 2, MemoryGB: 12}, {Shape: a1, OCPUs: 1, MemoryGB: 6}}
	})
	plan, err := b.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x := &search{alive: map[string]bool{}}
	x.Loop = &launch.Loop{
		Cloud: b, Offers: plan.Offers, Token: b.owner.Token,
		Policy: p,
		Say:    func(f string, a ...any) { x.said = append(x.said, fmt.Sprintf(f, a...)) },
		Made:   func(id string) { x.alive[id] = true },
		Gone:   func(id string) { delete(x.alive, id) },
	}
	return x
}

// pace is one request a minute for some hours.
func pace(hours int, noAsking bool) capacity.Policy {
	return capacity.Policy{Interval: time.Minute, Deadline: time.Now().Add(time.Duration(hours) * time.Hour), Retries: 2, NoAsking: noAsking}
}

// count is how many lines contain all of parts.
func (x *search) count(parts ...string) (n int) {
	for _, line := range x.said {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			n++
		}
	}
	return n
}

// machines lists what is not terminated.
func (s *sim) machines() (ids []string) {
	for _, r := range s.Inventory().Tenancies[0].Regions {
		for _, i := range r.Instances {
			ids = append(ids, i.ID+" "+i.State)
		}
		for _, v := range r.BootVolumes {
			ids = append(ids, v.ID+" "+v.State)
		}
	}
	return ids
}

// Ten hours without capacity; then there is room for the smaller size, in one
// fault domain of one availability domain. One report after the other shows
// that there is nothing, and then where to go.
func TestTenHoursOfScarcity(t *testing.T) {
	const open = 10*time.Hour - 5*time.Minute
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		full := func(f ocisim.Fault) ocisim.Fault { f.Kind = ocisim.FaultCapacity; return f }
		s := newSim(t, simOptions{faults: []ocisim.Fault{
			full(ocisim.Fault{Until: ocisim.Duration(open)}),
			full(ocisim.Fault{AD: "AD-1"}), full(ocisim.Fault{AD: "AD-3"}), full(ocisim.Fault{MinOCPUs: 2}),
			full(ocisim.Fault{FaultDomain: "FAULT-DOMAIN-1"}), full(ocisim.Fault{FaultDomain: "FAULT-DOMAIN-2"}),
		}})
		p := pace(11, false)
		p.Interval = 4 * time.Minute
		x := newSearch(t, s, p)
		before := len(s.Requests())
		id, offer, err := x.Run(t.Context())
		if err != nil {
			t.Fatalf("%v\n%s", err, strings.Join(x.said, "\n"))
		}
		if d := time.Since(begin); d < open || d > open+20*time.Minute || short(offer) != "AD-2/3 1" {
			t.Errorf("found %s after %s", offer, d)
		}
		if n := len(s.Requests()) - before; n < 140 || n > 170 {
			t.Errorf("%d requests in ten hours", n)
		}
		if n := s.CountRequests("LaunchInstance"); n < 5 || n > 15 {
			t.Errorf("%d launches", n)
		}
		if n := len(x.said); n < 70 || n > 160 {
			t.Errorf("%d lines are said in ten hours", n)
		}
		for _, want := range [][]string{
			{"EU-FRANKFURT-1-AD-3: no capacity for VM.Standard.A1.Flex 2 OCPU/12 GB or 1 OCPU/6 GB, says the capacity report. Next: ", "left"},
			{"Nothing new after ", " since the last line). Next: "},
			{"AD-2: VM.Standard.A1.Flex 1 OCPU/6 GB has room in FAULT-DOMAIN-3; no capacity for VM.Standard.A1.Flex 2 OCPU/12 GB"},
		} {
			if x.count(want...) == 0 {
				t.Errorf("%q is not said:\n%s", want, strings.Join(x.said, "\n"))
			}
		}
		if err := x.Loop.Cloud.Terminate(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
}

// Five hours without capacity and without reports, with whatever else goes
// wrong on such a day.
func TestFiveHoursOfTroubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		const launches = "LaunchInstance"
		at := func(d time.Duration, f ocisim.Fault) ocisim.Fault {
			f.From, f.Until = ocisim.Duration(d), ocisim.Duration(d+30*time.Minute)
			return f
		}
		s := newSim(t, simOptions{faults: []ocisim.Fault{
			at(1*time.Hour, ocisim.Fault{Kind: ocisim.FaultStatus, Op: launches, Status: 429, Code: "TooManyRequests", Message: "Too many requests for the user", Times: 3}),
			at(2*time.Hour, ocisim.Fault{Kind: ocisim.FaultStatus, Op: launches, Status: 502, Times: 2}),
			at(3*time.Hour, ocisim.Fault{Kind: ocisim.FaultStatus, Op: launches, Status: 500, Code: "InternalError", Message: "An internal error occurred.", Times: 1}),
			{Kind: ocisim.FaultCapacity, Until: ocisim.Duration(5 * time.Hour)},
			{Kind: ocisim.FaultLaunchFails, From: ocisim.Duration(5 * time.Hour), Times: 1},
			{Kind: ocisim.FaultLaunchStuck, From: ocisim.Duration(5 * time.Hour), Skip: 1, Times: 1},
			{Kind: ocisim.FaultCutAfterEffect, Op: launches, From: ocisim.Duration(5 * time.Hour), Skip: 2, Times: 1},
		}})
		x := newSearch(t, s, pace(6, true))
		id, offer, err := x.Run(t.Context())
		if err != nil {
			t.Fatalf("%v\n%s", err, strings.Join(x.said, "\n"))
		}
		took := time.Since(begin)
		if took < 5*time.Hour || took > 5*time.Hour+20*time.Minute {
			t.Errorf("found %s after %s", offer, took)
		}
		for _, want := range [][]string{
			{"no capacity: Out of host capacity. (500 InternalError", "Next: ", " in 1m"}, {"throttled"}, {"Asking again with the same token"}, {"no host was found for it"}, {"the machine is there"}, {"launched"},
		} {
			if x.count(want...) == 0 {
				t.Errorf("%q is not said", want)
			}
		}
		// About one a minute, less what the other troubles took.
		if n := x.count("no capacity: Out of host capacity. (500"); n < 230 || n > 300 {
			t.Errorf("%d attempts in five hours", n)
		}
		if len(x.alive) != 1 || !x.alive[id] {
			t.Errorf("alive: %v, found %s", x.alive, id)
		}
		if err := x.Loop.Cloud.Terminate(t.Context(), id); err != nil {
			t.Error(err)
		}
		if left := s.machines(); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

func TestScarcityWithoutAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity}}})
		x := newSearch(t, s, pace(1, false))
		var tried []capacity.Tried
		x.Tried = func(t []capacity.Tried) { tried = t }
		begin := time.Now()
		_, _, err := x.Run(t.Context())
		var none *launch.NoMachineError
		if !errors.As(err, &none) || time.Since(begin) != time.Hour || len(tried) != 24 {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		x = newSearch(t, s, pace(100, true))
		begin = time.Now()
		time.AfterFunc(2*time.Hour+time.Second, cancel)
		_, _, err = x.Run(ctx)
		if d := time.Since(begin); !errors.Is(err, context.Canceled) || d != 2*time.Hour+time.Second {
			t.Errorf("after %s: %v", d, err)
		}
		if left := s.machines(); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// A launch that hangs is given up after the client's limit and looked up.
func TestALaunchThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs hanging
		s := newSim(t, simOptions{wrap: hangs.wrap})
		s.http.Timeout = time.Minute
		x := newSearch(t, s, pace(1, true))
		id, _, err := x.Run(t.Context())
		if err != nil || x.count("the machine is there") != 1 || len(x.alive) != 1 {
			t.Fatalf("%q, %v\n%s", id, err, strings.Join(x.said, "\n"))
		}
		if n := s.CountRequests("LaunchInstance"); n != 1 {
			t.Errorf("%d launches", n)
		}
		if err := x.Loop.Cloud.Terminate(t.Context(), id); err != nil || len(s.machines()) > 0 {
			t.Errorf("%v, left %q", err, s.machines())
		}
	})
}
