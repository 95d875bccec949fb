// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Without reports, too, no zone is asked for the second size before all have
// been asked for the first, in any and in each fault domain.
func TestSizeFirstWithoutReports(t *testing.T) {
	p := launchOnly()
	p.SizeFirst = true
	steps := tries(live(t, New(p, start, offers()), full()))
	seen := map[Offer]bool{}
	for i, s := range steps[:24] {
		if seen[s.try] || (s.try.OCPUs == 2) != (i < 12) {
			t.Errorf("launch %d is %s", i, s.try)
		}
		seen[s.try] = true
	}
	place := tries(live(t, New(launchOnly(), start, offers()), full()))
	if slices.EqualFunc(steps[:24], place[:24], func(x, y step) bool { return x.try == y.try }) {
		t.Error("the order makes no difference")
	}
}

// A first size that reports see and that cannot be launched does not keep the
// second one, which could, from being tried.
func TestSizeFirstDoesNotStarve(t *testing.T) {
	for _, out := range []Outcome{NoCapacity, Transient, LimitDoubtful, Throttled} {
		p := policy()
		p.SizeFirst = true
		w := full()
		w.report = func(o []Offer, _ time.Time) Reply {
			return hints(o, func(o Offer) bool { return o.Zone == "AD-1" && o.OCPUs == 1 || o.Zone == "AD-3" && o.OCPUs == 2 })
		}
		n := 0
		w.launch = func(o Offer, _ time.Time) Result {
			if o.OCPUs == 1 && o.Zone == "AD-1" {
				return Result{Outcome: Launched}
			}
			if n++; out == Throttled && n > 3 {
				return Result{Outcome: Transient}
			}
			return Result{Outcome: out, ZoneOnly: true, Reason: "r"}
		}
		steps := live(t, New(p, start, offers()), w)
		last := steps[len(steps)-1]
		if last.end != "" || last.at.Sub(start) > 10*time.Minute {
			t.Errorf("%s: after %s: %s", out, last.at.Sub(start), last.end)
		}
	}
}

// A report that says nothing is none.
func TestReportsWithoutAWord(t *testing.T) {
	w := full()
	w.report = func(o []Offer, _ time.Time) Reply { return Reply{Hints: make([]Hint, len(o))} }
	s := New(policy(), start, offers())
	steps := live(t, s, w)
	if asked, launched := len(steps)-len(tries(steps)), len(tries(steps)); launched < asked-5 {
		t.Errorf("%d launches, %d reports", launched, asked)
	}
}

// A form that the cloud refuses closes itself, and the others go on.
func TestRejectedForm(t *testing.T) {
	w := full()
	w.launch = func(o Offer, at time.Time) Result {
		switch {
		case o.OCPUs == 1:
			return Result{Outcome: RejectedForm, Reason: "400 memory"}
		case at.Sub(start) > time.Hour:
			return Result{Outcome: Launched}
		}
		return Result{Outcome: NoCapacity, Reason: "full"}
	}
	s := New(launchOnly(), start, slices.Concat(offers(), place("r2", "X-1")))
	steps := tries(live(t, s, w))
	if last := steps[len(steps)-1].try; last.OCPUs != 2 {
		t.Errorf("launched %s", last)
	}
	n := 0
	for _, st := range steps {
		if st.try.OCPUs == 1 {
			n++
		}
	}
	if n != 2 {
		t.Errorf("the refused form was asked for %d times, want once in each region", n)
	}
	table := strings.Join(Table(s.Tried()), "\n")
	if strings.Contains(table, "launched: ") || !strings.Contains(table, "no capacity: full") || !strings.Contains(table, "rejected: 400 memory") {
		t.Errorf("the table:\n%s", table)
	}
	w.launch = func(Offer, time.Time) Result { return Result{Outcome: RejectedForm, Reason: "400"} }
	end := live(t, New(launchOnly(), start, offers()), w)
	if e := end[len(end)-1].end; e != "400" || len(tries(end)) != 2 {
		t.Errorf("%d launches, then %q", len(tries(end)), e)
	}
}

// What was only asked about is not said to have been launched, and what was
// launched keeps its answer when something else closes it.
func TestTableTellsWhatHappened(t *testing.T) {
	s := New(policy(), start, place("r1", "AD-1"))
	q := s.Next(start).Ask
	s.Answer(*q, start, hints(q.Offers, func(o Offer) bool { return o.OCPUs == 2 }))
	table := strings.Join(Table(s.Tried()), "\n")
	for _, want := range []string{"not launched: the last capacity report saw room", "no capacity: by the last capacity report"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
	s.Observe(place("r1", "AD-1")[0], start, Result{Outcome: NoCapacity, Reason: "Out of host capacity."})
	s.Observe(place("r1", "AD-1")[4], start, Result{Outcome: LimitReached, Reason: "LimitExceeded"})
	table = strings.Join(Table(s.Tried()), "\n")
	for _, want := range []string{"no capacity: Out of host capacity.; then limit reached: LimitExceeded", "1         1        limit reached: LimitExceeded"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
}

// While a limit is doubted the outlook says that nothing is launched, also where
// reports go on.
func TestOutlookWhileALimitIsDoubted(t *testing.T) {
	s := New(policy(), start, offers())
	s.Observe(offers()[0], start, Result{Outcome: LimitDoubtful, Reason: "LimitExceeded"})
	if got := s.Outlook(start); !strings.Contains(got, "own use does not explain, so nothing is launched for up to 5m unless a report sees room") {
		t.Errorf("outlook %q", got)
	}
	if got := s.Outlook(start.Add(6 * time.Minute)); strings.Contains(got, "own use") {
		t.Errorf("outlook later %q", got)
	}
}
