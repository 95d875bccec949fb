// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"slices"
	"time"
)

// Result is what came of one client on one trace.
type Result struct {
	Family string
	Seed   uint64
	Client string

	Possible bool          // somebody who knows the trace gets a machine
	Bound    time.Duration // when, at the earliest
	Won      bool
	At       time.Duration // when the launch that worked arrived
	Ended    time.Duration // when the client stopped, at the latest at the deadline
	Counts
}

// Over is the time over the bound.
func (r Result) Over() time.Duration { return r.At - r.Bound }

// Play runs a client on a trace.
func Play(t Trace, c Client) Result {
	w := NewWorld(t)
	c.Run(w, random(t.Seed, t.Family+"/"+c.Name))
	r := Result{Family: t.Family, Seed: t.Seed, Client: c.Name, Ended: min(w.Now(), Deadline), Counts: w.Counts()}
	r.Bound, r.Possible = Bound(t)
	r.At, r.Won = w.Won()
	return r
}

// Stats sum up the results of one client on one family.
type Stats struct {
	Runs int
	Won  int
	Lost int // could have been won
	// The time over the bound of all that could be won. A run that was lost is
	// longer than any other, so that nobody gets better by giving up on what
	// is difficult; Never stands for its time.
	Median, P95 time.Duration
	// PerHour are requests of every kind per hour that the client ran.
	PerHour   float64
	Throttled int
}

// Never is the time over the bound of a run that was lost.
const Never = time.Duration(1<<63 - 1)

// Sum sums up results.
func Sum(results []Result) Stats {
	s := Stats{Runs: len(results)}
	var over []time.Duration
	var ran time.Duration
	requests := 0
	for _, r := range results {
		requests += r.All()
		ran += r.Ended
		s.Throttled += r.Throttled
		switch {
		case r.Won:
			s.Won++
			over = append(over, r.Over())
		case r.Possible:
			s.Lost++
			over = append(over, Never)
		}
	}
	slices.Sort(over)
	s.Median, s.P95 = rank(over, 50), rank(over, 95)
	if ran > 0 {
		s.PerHour = float64(requests) / ran.Hours()
	}
	return s
}

// rank is a percentile by nearest rank: the smallest of the values that so
// many percent of them do not exceed. Of nothing it is Never.
func rank(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return Never
	}
	return sorted[(len(sorted)*percent+99)/100-1]
}
