// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"cmp"
	"slices"
	"time"
)

// Bound is the earliest moment at which any launch that the template allows
// works: what a client would reach that knows the trace and is never
// throttled. It is false if there is none.
func Bound(t Trace) (time.Duration, bool) {
	best, found := Deadline, false
	for _, i := range chances(t) {
		if i.From < best {
			best, found = i.From, true
		}
	}
	return best, found
}

// chances are the times at which some launch works, window by window.
func chances(t Trace) []Interval {
	phantoms := slices.Clone(t.Phantoms)
	slices.SortFunc(phantoms, func(a, b Interval) int { return cmp.Compare(a.From, b.From) })
	var all []Interval
	for _, w := range t.Windows {
		fits := slices.ContainsFunc(Sizes(), func(s Size) bool { return s.OCPUs <= w.OCPUs })
		if !fits || t.absent(w.Region, w.AD) {
			continue
		}
		rest := w.Interval
		for _, p := range phantoms {
			if before := (Interval{rest.From, min(rest.To, p.From)}); before.From < before.To {
				all = append(all, before)
			}
			rest.From = max(rest.From, p.To)
		}
		if rest.From < rest.To {
			all = append(all, rest)
		}
	}
	return all
}

// chance is the longest of them.
func (t Trace) chance() time.Duration {
	var most time.Duration
	for _, i := range chances(t) {
		most = max(most, i.To-i.From)
	}
	return most
}
