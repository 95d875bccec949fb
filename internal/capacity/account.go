// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"slices"
	"time"
)

// The search's distrust of reports.
const (
	// probeEvery is at which visit to a zone it is launched in although the
	// report sees no room. That launch does not delay the round, or short windows
	// would be missed for it. Where requests are counted (see counted) it
	// replaces the question of that visit.
	probeEvery = 20
	// oddProbe is which of these launches is not of the zone's first offer but
	// of the next one in turn; where the launch replaces a question about all of
	// them, it is seldom.
	oddProbe        = 4
	oddProbeCounted = 16
	// misleading is how many launches in a row may find no capacity where a
	// report saw some, until the zone is launched in without asking.
	misleading = 4
	// firstSilence is for how many visits; then it is asked again, and if that
	// misleads, too, the silence is twice as long, up to maxSilence.
	firstSilence = 10
	maxSilence   = 80
	// launchesPerReport is how many of the offers that a report calls free are
	// tried before the search goes on; after as many have failed in a row, in
	// whatever zones, it is only one.
	launchesPerReport = 2
)

// account is the search in one cloud: the zones in their order, one pace, and
// what a report has just called free.
type account struct {
	cloud  string
	policy Policy
	zones  []*zone
	pace   pace

	turn     int       // index into zones of the next to visit
	rounds   int       // completed
	roundDue time.Time // before this no new round begins

	found []*offer // to be launched before anything else
	left  int      // how many of found may still be tried
	wrong int      // launches in a row that found nothing where a report saw room
	// SizeFirst: free, but not the first size. They are collected during a round
	// and launched when what is left of the first size has been tried.
	later      []*offer
	second     []*offer
	secondLeft int

	mute map[string]bool // regions in which we may not ask
}

// zone is one place with its offers, in the order of preference.
type zone struct {
	cloud, region, name string
	offers              []*offer

	visits   int
	others   int  // which of the offers behind the first is next in turn
	blind    bool // this visit launches: asking did not work, or it was called missing
	probing  bool // this visit launches against its report
	checked  bool // "missing" has been checked by a launch
	misled   int  // launches in a row for which a report saw room, and there was none
	silence  int  // length of the last silence
	silentTo int  // visits up to this one do not ask
}

func (z *zone) holds(o Offer) bool {
	return z.cloud == o.Cloud && z.region == o.Region && z.name == o.Zone
}

func (a *account) add(f *offer) {
	i := slices.IndexFunc(a.zones, func(z *zone) bool { return z.holds(f.Offer) })
	if i < 0 {
		i = len(a.zones)
		a.zones = append(a.zones, &zone{
			cloud: f.Offer.Cloud, region: f.Offer.Region, name: f.Offer.Zone,
			visits: i * probeEvery / 5, // so that zones do not launch blindly all at once
		})
	}
	f.zone = a.zones[i]
	f.zone.offers = append(f.zone.offers, f)
}

// favour moves zones that gave a machine not long ago to the front, within
// their region: the order of regions is the user's.
func (a *account) favour(worked []Offer) {
	rank := func(z *zone) int {
		for i, o := range worked {
			if z.holds(o) {
				return i
			}
		}
		return len(worked)
	}
	for i := 0; i < len(a.zones); {
		j := i
		for j < len(a.zones) && a.zones[j].region == a.zones[i].region {
			j++
		}
		slices.SortStableFunc(a.zones[i:j], func(x, y *zone) int { return rank(x) - rank(y) })
		i = j
	}
}

// next is the account's next move and when it may be made. A zero move with a
// time means that nothing may be tried before then; two zero values, that
// nothing is open.
func (a *account) next(now time.Time) (Move, time.Time) {
	if f := a.candidate(); f != nil {
		o := f.Offer
		return Move{Try: &o}, a.pace.ready(true)
	}
	var paused time.Time
	for k := range a.zones {
		i := (a.turn + k) % len(a.zones)
		m, until := a.visit(a.zones[i], now)
		if m == (Move{}) {
			paused = sooner(paused, until)
			continue
		}
		at := a.pace.ready(a.zones[i].probing)
		if a.turn == 0 || a.turn+k >= len(a.zones) { // a new round
			at = later(at, a.roundDue)
		}
		return m, at
	}
	return Move{}, paused
}

// paused is until when all open offers are paused, or zero.
func (a *account) paused(now time.Time) (until time.Time) {
	for _, z := range a.zones {
		for _, f := range z.offers {
			switch {
			case f.Closed:
			case !f.paused(now):
				return time.Time{}
			default:
				until = sooner(until, f.pausedUntil)
			}
		}
	}
	return until
}

// candidate is the offer to launch because a report called it free.
func (a *account) candidate() *offer {
	open := func(f *offer) bool { return !f.Closed }
	if i := slices.IndexFunc(a.found, open); i >= 0 && a.left > 0 {
		return a.found[i]
	}
	if i := slices.IndexFunc(a.second, open); i >= 0 && a.secondLeft > 0 {
		return a.second[i]
	}
	return nil
}

// visit is what to do in a zone; nothing, until a time, while all of it is
// paused.
func (a *account) visit(z *zone, now time.Time) (Move, time.Time) {
	open := slices.DeleteFunc(slices.Clone(z.offers), func(f *offer) bool { return f.Closed })
	if len(open) == 0 {
		return Move{}, time.Time{}
	}
	var until time.Time
	free := slices.DeleteFunc(slices.Clone(open), func(f *offer) bool {
		if f.paused(now) {
			until = sooner(until, f.pausedUntil)
		}
		return f.paused(now)
	})
	switch {
	case a.asks(z, len(open), len(free)):
		q := &Ask{Cloud: z.cloud, Region: z.region, Zone: z.name}
		for _, f := range open {
			q.Offers = append(q.Offers, f.Offer)
		}
		return Move{Ask: q}, time.Time{}
	case len(free) == 0:
		return Move{}, until
	}
	o := free[0].Offer
	switch n := len(free); {
	case a.inOrder(z):
		o = free[z.others%n].Offer
	case n > 1 && a.turnsAside(z):
		o = free[1+z.others%(n-1)].Offer
	}
	return Move{Try: &o}, time.Time{}
}

// probes says whether it is a zone's turn to be launched in against its
// reports.
func (z *zone) probes() bool { return z.visits%probeEvery == probeEvery-1 }

// asks says whether a visit asks; open is how many offers the zone has, and
// free how many of them are not paused. For a single offer a launch tells as
// much as a report and may win at once.
func (a *account) asks(z *zone, open, free int) bool {
	if a.policy.NoAsking || a.mute[z.region] || open < 2 {
		return false
	}
	if free == 0 {
		return true
	}
	replaced := a.counted() && z.probes()
	return !z.blind && !z.probing && z.visits >= z.silentTo && !replaced
}

// counted says whether the number of requests is what limits the search: by the
// user's wish, or because the cloud throttles the account.
func (a *account) counted() bool { return a.policy.Round > 0 || a.pace.slow > 1 }

// inOrder says whether a launch without asking takes one offer after the other, as
// SizeFirst wants it: as the zones take turns, none is asked for a second size
// before all have been asked for the first.
func (a *account) inOrder(z *zone) bool { return a.policy.SizeFirst && !z.probing && !z.probes() }

// turnsAside says whether a launch without asking goes to another offer than
// the zone's first.
func (a *account) turnsAside(z *zone) bool {
	switch {
	case z.blind && !z.checked && z.offers[0].hint == Missing:
		return false
	case z.probes():
		odd := oddProbe
		if a.counted() {
			odd = oddProbeCounted
		}
		return (z.visits/probeEvery)%odd == odd-1
	}
	return z.visits%2 == 1
}

// done goes on after a launch that did not lead to a machine.
func (a *account) done(f *offer, at time.Time, out Outcome) {
	z := f.zone
	if a.called(f) {
		if out == NoCapacity {
			a.wrong++
			z.wrongAgain()
		}
		if a.policy.Round > 0 { // what goes beyond the round is taken from the next
			a.roundDue = a.roundDue.Add(a.policy.Round / time.Duration(len(a.zones)+1))
		}
		return
	}
	if z.blind && z.offers[0].hint == Missing {
		z.checked = true
	}
	if a.inOrder(z) || a.turnsAside(z) {
		z.others++
	}
	a.passed(z, at)
}

// wrongAgain counts a launch that found nothing where a report saw room.
func (z *zone) wrongAgain() {
	if z.misled++; z.misled < misleading {
		return
	}
	z.misled = misleading - 1 // once more is enough the next time
	z.silence = min(max(2*z.silence, firstSilence), maxSilence)
	z.silentTo = z.visits + z.silence
}

// passed ends the visit to a zone.
func (a *account) passed(z *zone, at time.Time) {
	z.visits++
	z.blind, z.probing = false, false
	i := slices.Index(a.zones, z)
	if i < 0 {
		return // its last offer was closed by this visit
	}
	if i < a.turn { // the zones behind turn are paused and were passed over
		a.round(at)
	}
	if a.turn = i + 1; a.turn >= len(a.zones) {
		a.round(at)
	}
}

// round begins a new round. One that took longer than Round is not made up for.
func (a *account) round(at time.Time) {
	a.turn = 0
	a.rounds++
	if a.policy.Round > 0 {
		a.roundDue = later(a.roundDue.Add(time.Duration(float64(a.policy.Round)*a.pace.slow)), at)
	}
	if len(a.later) > 0 {
		a.second, a.secondLeft = order(a.later), a.quota()
		a.later = nil
	}
}

// prune forgets zones in which nothing is open any more.
func (a *account) prune() {
	for i := len(a.zones) - 1; i >= 0; i-- {
		if slices.ContainsFunc(a.zones[i].offers, func(f *offer) bool { return !f.Closed }) {
			continue
		}
		a.zones = slices.Delete(a.zones, i, i+1)
		if i < a.turn {
			a.turn--
		}
	}
	if a.turn >= len(a.zones) {
		a.turn = 0
	}
}
