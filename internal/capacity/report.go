// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"slices"
	"time"
)

// answered takes the answer to a question about the offers, which are in one
// zone.
func (a *account) answered(asked []*offer, at time.Time, r Reply) {
	z := asked[0].zone
	if r.Hints == nil {
		if r.Outcome == Rejected {
			a.mute[z.region] = true
		}
		a.goOn(z, at)
		return
	}
	var free []*offer
	missing, silent := false, true
	for _, f := range asked {
		switch f.hint {
		case Free:
			if !f.Closed && (!f.paused(at) || at.Sub(f.doubtedAt) >= doubtGap) {
				free = append(free, f)
			}
		case Missing:
			missing = missing || f.Offer.FaultDomain == "" && !z.checked
		case Full, Unknown:
		}
		if f.Attempts == 0 {
			f.Last, f.Reason = f.hint.tells()
		}
		silent = silent && f.hint == Unknown
	}
	if silent { // a report that says nothing is none
		a.goOn(z, at)
		return
	}
	if len(free) == 0 {
		a.wrong = 0 // it does not see room everywhere
	}
	// What is called missing is launched once, to be sure.
	if len(free) == 0 && (missing || !a.counted() && z.probes()) {
		a.goOn(z, at)
		z.probing = z.blind && !missing
		return
	}
	if a.policy.SizeFirst {
		for _, f := range free {
			if f.size > 0 && !slices.Contains(a.later, f) {
				a.later = append(a.later, f)
			}
		}
		free = slices.DeleteFunc(free, func(f *offer) bool { return f.size != 0 })
	}
	a.launch(free)
	a.passed(z, at)
}

// goOn lets a visit that has asked go on with a launch, unless all of the zone is
// paused.
func (a *account) goOn(z *zone, at time.Time) {
	if slices.ContainsFunc(z.offers, func(f *offer) bool { return !f.Closed && !f.paused(at) }) {
		z.blind = true
		return
	}
	a.passed(z, at)
}

// launch makes offers that were called free the next to be tried.
func (a *account) launch(free []*offer) { a.found, a.left = order(free), a.quota() }

// quota is how many of the offers that a report calls free are tried.
func (a *account) quota() int {
	if a.wrong >= launchesPerReport {
		return 1
	}
	return launchesPerReport
}

// order puts offers that were called free in the order in which to try them.
func order(free []*offer) []*offer {
	// If some fault domains are free and some are not, letting the cloud choose
	// may hit the wrong one.
	split := map[*zone]bool{}
	for _, f := range free {
		for _, p := range f.zone.offers {
			if p.size == f.size && p.Offer.FaultDomain != "" && p.hint != Free {
				split[f.zone] = true
			}
		}
	}
	rank := func(f *offer) int {
		r := 4 * f.size
		if (f.Offer.FaultDomain == "") == split[f.zone] {
			r += 2
		}
		if !f.worked {
			r++
		}
		return r
	}
	slices.SortStableFunc(free, func(x, y *offer) int { return rank(x) - rank(y) })
	return free
}

// called takes an offer out of those that a report called free, if it is one of
// them.
func (a *account) called(f *offer) bool {
	if i := slices.Index(a.found, f); i >= 0 && a.left > 0 {
		a.found = slices.Delete(a.found, i, i+1)
		a.left--
		return true
	}
	if i := slices.Index(a.second, f); i >= 0 {
		a.second = slices.Delete(a.second, i, i+1)
		a.secondLeft--
		return true
	}
	return false
}
