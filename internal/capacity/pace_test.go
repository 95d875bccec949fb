// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"testing"
	"time"
)

// bucket is a cloud that takes a request every so often, and keeps some tokens.
type bucket struct {
	every   time.Duration
	burst   int
	tokens  float64
	last    time.Time
	refused []time.Time
	taken   int
}

func (b *bucket) take(at time.Time) bool {
	if b.last.IsZero() {
		b.tokens, b.last = float64(b.burst), start
	}
	b.tokens = min(float64(b.burst), b.tokens+float64(at.Sub(b.last))/float64(b.every))
	b.last = at
	if b.tokens < 1 {
		b.refused = append(b.refused, at)
		return false
	}
	b.tokens--
	b.taken++
	return true
}

// A few refusals tell how many requests an account may send, and the search
// then sends nearly as many.
func TestThrottleIsMeasured(t *testing.T) {
	for _, every := range []time.Duration{12 * time.Second, 25 * time.Second, time.Minute, 3 * time.Minute} {
		for _, p := range []Policy{policy(), launchOnly(), {Interval: time.Second, Round: time.Minute, Deadline: policy().Deadline}} {
			b := &bucket{every: every, burst: 3}
			w := full()
			report := w.report
			w.report = func(o []Offer, at time.Time) Reply {
				if !b.take(at) {
					return Reply{Outcome: Throttled, Reason: "429"}
				}
				return report(o, at)
			}
			w.launch = func(_ Offer, at time.Time) Result {
				if !b.take(at) {
					return Result{Outcome: Throttled, Reason: "429"}
				}
				return Result{Outcome: NoCapacity}
			}
			live(t, New(p, start, offers()), w)
			most := int(10 * time.Hour / every)
			if p.Round > 0 {
				most = min(most, 3*int(10*time.Hour/p.Round))
			}
			if b.taken < most*3/4 || len(b.refused) > 14 {
				t.Errorf("one request per %s, policy %+v: %d of %d sent, %d refused", every, p, b.taken, most, len(b.refused))
			}
			last := 0
			for _, at := range b.refused {
				if at.Sub(start) > 2*time.Hour {
					last++
				}
			}
			if last > 5 {
				t.Errorf("one request per %s: %d refusals after two hours", every, last)
			}
		}
	}
}

// Whoever refuses everything is asked less and less; when it is over the old
// pace comes back.
func TestThrottleThatEnds(t *testing.T) {
	w := full()
	report := w.report
	w.report = func(o []Offer, at time.Time) Reply {
		if d := at.Sub(start); d > time.Hour && d < 3*time.Hour {
			return Reply{Outcome: Throttled, Reason: "429"}
		}
		return report(o, at)
	}
	p := policy()
	p.Deadline = start.Add(40 * time.Hour)
	steps := live(t, New(p, start, offers()), w)
	meanwhile := 0
	for _, s := range steps {
		if d := s.at.Sub(start); d > time.Hour && d < 3*time.Hour {
			meanwhile++
		}
	}
	if meanwhile > 25 {
		t.Errorf("%d requests in two hours of refusals", meanwhile)
	}
	if last := len(steps) - 2; steps[last].at.Sub(steps[last-1].at) > 11*time.Second {
		t.Errorf("a day later still at one request per %s", steps[last].at.Sub(steps[last-1].at))
	}
}

// Rounds keep to their grid, and one that took long is not made up for.
func TestRounds(t *testing.T) {
	p := Policy{Round: time.Minute, Deadline: start.Add(time.Hour), NoAsking: true}
	w := full()
	late := false
	s := New(p, start, offers())
	now := start
	var at []time.Duration
	for now.Before(p.Deadline) {
		m := s.Next(now)
		if m.Try == nil {
			now = m.Until
			continue
		}
		at = append(at, now.Sub(start))
		now = now.Add(2 * time.Second)
		if !late && len(at) == 10 {
			now, late = now.Add(20*time.Minute), true // a machine came up slowly and died
		}
		s.Observe(*m.Try, now, w.launch(*m.Try, now))
	}
	for i, d := range at {
		if i < 10 && d != time.Duration(i/3)*time.Minute+time.Duration(i%3)*2*time.Second {
			t.Errorf("request %d at %s", i, d)
		}
	}
	if n := len(at); n > 3*45 {
		t.Errorf("%d requests: the late round was made up for", n)
	}
	if m := New(Policy{}, start, offers()); m.policy.Interval <= 0 {
		t.Error("a policy without a pace would be a busy loop")
	}
}
