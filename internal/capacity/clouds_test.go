// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"slices"
	"testing"
	"time"
)

// graviton are offers of another cloud: three types in two zones, on demand and spot.
func graviton() (all []Offer) {
	for _, zone := range []string{"eu-central-1a", "eu-central-1b"} {
		for _, market := range []string{"", "spot"} {
			all = append(all,
				Offer{Cloud: "aws", Region: "eu-central-1", Zone: zone, Shape: "t4g.micro", OCPUs: 2, MemoryGB: 1, Market: market},
				Offer{Cloud: "aws", Region: "eu-central-1", Zone: zone, Shape: "t4g.small", OCPUs: 2, MemoryGB: 2, Market: market},
				Offer{Cloud: "aws", Region: "eu-central-1", Zone: zone, Shape: "m6g.medium", OCPUs: 1, MemoryGB: 4, Market: market})
		}
	}
	return all
}

// Two clouds are searched side by side, each at its own pace; one may wait for
// the other, but not for one that has nothing open.
func TestClouds(t *testing.T) {
	both := slices.Concat(offers(), graviton())
	of := func(steps []step, cloud string) (list []step) {
		for _, s := range steps {
			if s.try.Cloud == cloud || len(s.ask) > 0 && s.ask[0].Cloud == cloud {
				list = append(list, s)
			}
		}
		return list
	}
	p := launchOnly()
	p.Deadline = start.Add(10 * time.Minute)
	p.Clouds = map[string]Terms{"aws": {Interval: 2 * time.Second}}
	steps := live(t, New(p, start, both), full())
	if oci, aws := len(of(steps, "oci")), len(of(steps, "aws")); oci < 55 || oci > 61 || aws < 270 || aws > 301 {
		t.Errorf("%d requests to one cloud and %d to the other", oci, aws)
	}

	p.Clouds["aws"] = Terms{Interval: 2 * time.Second, NotBefore: start.Add(5 * time.Minute)}
	steps = live(t, New(p, start, both), full())
	if aws := of(steps, "aws"); len(aws) == 0 || aws[0].at != start.Add(5*time.Minute) {
		t.Errorf("the other cloud is asked first: %+v", aws[0])
	}

	// Nothing is waited for that cannot come.
	refused := full()
	refused.launch = func(o Offer, _ time.Time) Result {
		if o.Cloud == "oci" {
			return Result{Outcome: Rejected, Reason: "no"}
		}
		return Result{Outcome: Launched}
	}
	steps = live(t, New(p, start, both), refused)
	if aws := of(steps, "aws"); len(aws) != 1 || !aws[0].at.Before(start.Add(time.Minute)) {
		t.Errorf("%+v", steps)
	}
}

// A limit that counts processors closes whatever has as many, of its market.
func TestLimitOfAnyShape(t *testing.T) {
	for _, tt := range []struct {
		any  bool
		open int
	}{{true, 8}, {false, 10}} {
		s := New(launchOnly(), start, graviton())
		s.Observe(graviton()[0], start, Result{Outcome: LimitReached, AnyShape: tt.any})
		if open := openOffers(s); open != tt.open {
			t.Errorf("any shape %v: %d offers are open", tt.any, open)
		}
	}
	s := New(launchOnly(), start, graviton())
	s.Observe(graviton()[2], start, Result{Outcome: LimitReached, AnyShape: true}) // one processor is too much
	if open := openOffers(s); open != 6 {
		t.Errorf("%d offers are open, not those of the other market", open)
	}
}

func openOffers(s *Search) (n int) {
	for _, tried := range s.Tried() {
		if !tried.Closed {
			n++
		}
	}
	return n
}
