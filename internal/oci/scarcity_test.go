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

func newSearch(t *testing.T, s *sim, timeout time.Duration) *search {
	t.Helper()
	b := s.newBuild(t, func(c *BuildConfig) { c.Sizes = []Size{{2, 12}, {1, 6}} })
	offers, err := b.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x := &search{alive: map[string]bool{}}
	x.Loop = &launch.Loop{
		Cloud: b, Offers: offers, Token: b.owner.Token,
		Policy: capacity.Policy{Interval: time.Minute, Round: 2 * time.Minute, Deadline: time.Now().Add(timeout), Retries: 2},
		Say:    func(f string, a ...any) { x.said = append(x.said, fmt.Sprintf(f, a...)) },
		Made:   func(id string) { x.alive[id] = true },
		Gone:   func(id string) { delete(x.alive, id) },
	}
	return x
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

// Five hours without capacity, with whatever else goes wrong on such a day,
// take a few seconds here.
func TestFiveHoursOfScarcity(t *testing.T) {
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
		x := newSearch(t, s, 6*time.Hour)
		id, offer, err := x.Run(t.Context())
		if err != nil {
			t.Fatalf("%v\n%s", err, strings.Join(x.said, "\n"))
		}
		took := time.Since(begin)
		if took < 5*time.Hour || took > 5*time.Hour+20*time.Minute {
			t.Errorf("found %s after %s", offer, took)
		}
		for _, want := range [][]string{
			{"no capacity: Out of host capacity. (500 InternalError", "Next try in"}, {"throttled"}, {"Asking again with the same token"}, {"no host was found for it"}, {"the machine is there"}, {"launched"},
		} {
			if x.count(want...) == 0 {
				t.Errorf("%q is not said", want)
			}
		}
		// About one a minute, less what the other troubles took.
		if n := x.count("no capacity: Out of host capacity. (500"); n < 240 || n > 300 {
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
		x := newSearch(t, s, time.Hour)
		begin := time.Now()
		_, _, err := x.Run(t.Context())
		var none *launch.NoMachineError
		if !errors.As(err, &none) || time.Since(begin) != time.Hour || len(none.Tried) != 24 {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		x = newSearch(t, s, 100*time.Hour)
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
		x := newSearch(t, s, time.Hour)
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
