// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// chance is a world in which anything may happen.
type chance struct {
	r *rand.Rand
	// calm worlds do not throttle, and no limits are doubted in them.
	calm   bool
	closed map[Offer]bool
	t      testing.TB
}

func (c *chance) launch(o Offer, _ time.Time) Result {
	if c.closed[o] {
		c.t.Fatalf("%s was tried after it was closed", o)
	}
	switch n := c.r.IntN(400); {
	case n == 0:
		return Result{Outcome: Launched}
	case n == 1:
		c.closed[o] = true
		return Result{Outcome: Unavailable}
	case n == 2:
		c.closed[o] = true
		return Result{Outcome: LimitReached, ZoneOnly: c.r.IntN(2) == 0}
	case n < 10:
		return Result{Outcome: Transient}
	case n < 16 && !c.calm:
		return Result{Outcome: Throttled}
	case n < 20 && !c.calm:
		return Result{Outcome: LimitDoubtful, ZoneOnly: c.r.IntN(2) == 0}
	}
	return Result{Outcome: NoCapacity, Elsewhere: c.rumour(o)}
}

// rumour is what the cloud says of other zones, true or not.
func (c *chance) rumour(o Offer) []string {
	if c.r.IntN(4) > 0 {
		return nil
	}
	return []string{"AD-1", "AD-3", o.Zone, "nowhere"}[c.r.IntN(4):]
}

func (c *chance) report(o []Offer, _ time.Time) (r Reply) {
	for _, p := range o {
		if c.closed[p] {
			c.t.Fatalf("asked about %s after it was closed", p)
		}
	}
	switch n := c.r.IntN(1000); {
	case n == 0:
		return Reply{Outcome: Rejected}
	case n < 20:
		return Reply{Outcome: Transient}
	case n < 30 && !c.calm:
		return Reply{Outcome: Throttled}
	}
	for range o {
		h := Full
		if c.r.IntN(30) == 0 {
			h = Hint(c.r.IntN(int(Missing) + 1))
		}
		r.Hints = append(r.Hints, h)
	}
	return r
}

// run lives through one search in a world of chance.
func (c *chance) run(p Policy) ([]step, *Search) {
	s := New(p, start, slices.Concat(offers(), place("r2", "X-1")))
	return live(c.t, s, world{c.launch, c.report}), s
}

// Whatever the cloud answers: the search never waits for the past, never tries
// what is closed, never sends more than its pace, never goes past the deadline,
// forgets no open offer, and the same answers give the same moves.
func FuzzSearch(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed, seed%2 == 0, uint8(seed%4))
	}
	f.Fuzz(func(t *testing.T, seed uint64, calm bool, kind uint8) {
		p := policy()
		p.Seed = seed
		p.SizeFirst = kind&1 != 0
		p.NoAsking = kind&2 != 0
		run := func() ([]step, *Search) {
			c := &chance{r: rand.New(rand.NewPCG(seed, 1)), calm: calm, closed: map[Offer]bool{}, t: t}
			return c.run(p)
		}
		steps, s := run()
		again, _ := run()
		if !reflect.DeepEqual(steps, again) {
			t.Fatal("the same answers gave other moves")
		}
		if n := len(s.accounts); n != 1 {
			t.Fatalf("%d accounts", n)
		}
		paced(t, steps, p)
		if calm {
			remembered(t, steps, s)
		}
	})
}

// paced checks that the requests up to any moment are no more than the pace
// allows from the first one on, and one, and that none is past the deadline.
func paced(t *testing.T, steps []step, p Policy) {
	t.Helper()
	for i, s := range steps {
		if s.end != "" {
			break
		}
		if !s.at.Before(p.Deadline) {
			t.Fatalf("request %d at %s, past the deadline", i, s.at)
		}
		// One more for a launch that a report called for, one for a question
		// that may not be asked, and launches against the reports.
		visits := float64(s.at.Sub(start)) / float64(p.Interval)
		if most := visits*(1+1.0/probeEvery) + 8; float64(i+1) > most {
			t.Fatalf("%d requests in %s", i+1, s.at.Sub(start))
		}
	}
}

// remembered checks that every offer that is open was looked at again and
// again: launched, or asked about, at least every hour, and launched every few
// hours.
func remembered(t *testing.T, steps []step, s *Search) {
	t.Helper()
	end := steps[len(steps)-1].at
	last := map[Offer]time.Time{}
	longest := map[Offer]time.Duration{}
	see := func(o Offer, at time.Time) {
		before, ok := last[o]
		if !ok {
			before = start
		}
		longest[o] = max(longest[o], at.Sub(before))
		last[o] = at
	}
	for _, st := range steps {
		if st.try != (Offer{}) {
			see(st.try, st.at)
		}
		for _, o := range st.ask {
			see(o, st.at)
		}
	}
	for _, tr := range s.Tried() {
		if tr.Closed {
			continue
		}
		see(tr.Offer, end)
		if longest[tr.Offer] > time.Hour {
			t.Errorf("%s was not looked at for %s", tr.Offer, longest[tr.Offer])
		}
		if tr.Attempts == 0 && end.Sub(start) > 9*time.Hour {
			t.Errorf("%s was never launched in %s", tr.Offer, end.Sub(start))
		}
	}
}
