// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

const (
	// meanGap is the time from the beginning of a window to that of the next,
	// on average.
	meanGap = 2 * time.Hour

	// Phantoms were seen to last for more than an hour; the time between them
	// is a guess that leaves a good part of the day to them.
	shortestPhantom = 20 * time.Minute
	longestPhantom  = 90 * time.Minute
	longestBreak    = 90 * time.Minute

	// leftByPhantoms is how much of one window, at least, no phantom covers.
	leftByPhantoms = 2 * time.Minute
)

// Trace draws the trace of a seed. Times are whole milliseconds.
func (f Family) Trace(seed uint64) Trace {
	like := f.plan.like
	if like == "" {
		like = f.Name
	}
	r := random(seed, like)
	// A day without a chance says nothing about a client: it is drawn again.
	for n := 0; ; n++ {
		if n == 10000 {
			panic(fmt.Sprintf("scarcity: the family %q has no trace that can be won", f.Name))
		}
		if t := f.plan.draw(r); t.chance() >= f.plan.chance() {
			t.Family, t.Seed = f.Name, seed
			return t
		}
	}
}

// random is a source of its own for each purpose.
func random(seed uint64, purpose string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(purpose)) // never fails
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// chance is the longest time without a break at which a launch works that has
// to be in a trace.
func (p plan) chance() time.Duration {
	switch {
	case p.nothing:
		return 0
	case p.phantoms:
		return leftByPhantoms
	}
	return p.min
}

func (p plan) draw(r *rand.Rand) Trace {
	t := Trace{Throttle: p.throttle, Report: p.report, Blind: p.oneFD}
	home := "eu-frankfurt-1"
	if p.ads == 1 {
		home = "sa-saopaulo-1" // as so many
	}
	t.Places = places(home, p.ads)
	with := t.Places // where windows are
	if p.other > 0 {
		with = places("uk-london-1", p.other)
		t.Places = append(t.Places, with...)
	}
	if p.absent {
		i := r.IntN(len(with))
		t.Absent = []Place{with[i]}
		with = append(append([]Place{}, with[:i]...), with[i+1:]...)
	}
	if !p.nothing {
		t.Windows = p.windows(r, with)
	}
	if p.phantoms {
		for at := between(r, 0, longestBreak); at < Deadline; at += between(r, 0, longestBreak) {
			i := Interval{at, at + between(r, shortestPhantom, longestPhantom)}
			t.Phantoms = append(t.Phantoms, i)
			at = i.To
		}
	}
	return t
}

// windows begin at random and independently of each other. One that would not
// end before the search does is left out, so that none is cut short.
func (p plan) windows(r *rand.Rand, with []Place) []Window {
	var all []Window
	for at := time.Duration(0); ; {
		at += time.Duration(r.ExpFloat64() * float64(meanGap)).Round(time.Millisecond)
		if at >= Deadline {
			return all
		}
		w := Window{Place: with[r.IntN(len(with))], OCPUs: p.ocpus}
		w.From, w.To = at, at+logarithmic(r, p.min, p.max)
		fd := FaultDomains()[r.IntN(3)]
		if half := r.IntN(2) == 0; half || p.oneFD {
			w.FaultDomain = fd
		}
		if w.To <= Deadline {
			all = append(all, w)
		}
	}
}

// places are the domains of a region, named as OCI names them.
func places(region string, n int) []Place {
	var all []Place
	for i := range n {
		all = append(all, Place{region, fmt.Sprintf("Uocm:%s-AD-%d", strings.ToUpper(region), i+1)})
	}
	return all
}

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Float64()*float64(high-low)).Round(time.Millisecond)
}

// logarithmic is as often between one and two minutes as between two and four.
func logarithmic(r *rand.Rand, low, high time.Duration) time.Duration {
	return time.Duration(float64(low) * math.Pow(float64(high)/float64(low), r.Float64())).Round(time.Millisecond)
}
