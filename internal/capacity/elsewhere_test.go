// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"slices"
	"testing"
	"time"
)

// talkative are offers of a cloud that cannot be asked, and whose answers to launches
// may say where there is room.
func talkative() (list []Offer) {
	for _, z := range []string{"z-1a", "z-1b", "z-1c", "z-1d"} {
		for _, shape := range []string{"micro", "small"} {
			list = append(list, Offer{Cloud: "aws", Region: "z-1", Zone: z, Shape: shape})
		}
	}
	return append(list, Offer{Cloud: "aws", Region: "y-1", Zone: "y-1a", Shape: "micro"})
}

func elsewhere(zones ...string) world {
	w := full()
	w.report = func([]Offer, time.Time) Reply { return Reply{Outcome: Rejected} }
	w.launch = func(Offer, time.Time) Result { return Result{Outcome: NoCapacity, Elsewhere: zones} }
	return w
}

// A zone that the cloud names is tried next, for the same shape, and at once.
func TestElsewhereIsNext(t *testing.T) {
	w := elsewhere("z-1d", "y-1a")
	w.launch = func(o Offer, _ time.Time) Result {
		if o.Zone == "z-1d" && o.Shape == "micro" {
			return Result{Outcome: Launched}
		}
		return Result{Outcome: NoCapacity, Elsewhere: []string{"z-1d", "y-1a"}} // the other region's is not meant
	}
	got := tries(live(t, New(policy(), start, talkative()), w))
	if len(got) != 2 || got[0].try.Zone != "z-1a" || got[1].try.Zone != "z-1d" || !got[1].at.Equal(got[0].at) {
		t.Errorf("%+v", got)
	}
}

// Hints that are never true, and zones that point at each other, keep nothing from
// being tried, and lead to no more requests than the pace has.
func TestElsewhereThatLies(t *testing.T) {
	p := policy()
	s := New(p, start, talkative())
	steps := tries(live(t, s, elsewhere("z-1a", "z-1b", "z-1c", "z-1d")))
	least := len(steps)
	for _, tr := range s.Tried() {
		least = min(least, tr.Attempts)
	}
	if least < len(steps)/30 {
		t.Errorf("an offer was launched %d times of %d", least, len(steps))
	}
	if most := int(p.Deadline.Sub(start)/p.Interval) + 1; len(steps) > most {
		t.Errorf("%d launches, of at most %d", len(steps), most)
	}
}

// What is closed or not an offer is not tried because the cloud names it.
func TestElsewhereIsNowhere(t *testing.T) {
	w := elsewhere("z-1b", "z-1x", "")
	w.launch = func(o Offer, _ time.Time) Result {
		if o.Zone == "z-1b" {
			return Result{Outcome: Unavailable}
		}
		return Result{Outcome: NoCapacity, Elsewhere: []string{"z-1b", "z-1x", ""}}
	}
	steps := tries(live(t, New(policy(), start, talkative()), w))
	if n := len(slices.DeleteFunc(slices.Clone(steps), func(s step) bool { return s.try.Zone != "z-1b" })); n != 2 { // once for each shape
		t.Errorf("%d launches in z-1b", n)
	}
}
