// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package capacity decides where to ask for a machine next.
//
// Capacity for free ARM machines is scarce and comes in short windows. Looking
// for it is a conversation: there is a list of offers (a place and a form in
// which a machine can be asked for), each attempt on an offer has an outcome,
// and from the outcomes so far follows the next move. That conversation is
// this package, and nothing else is: it knows no cloud, has no clock, sends
// nothing and never sleeps. The current time is an argument, so a test can
// live through a month of scarcity in milliseconds, and the same offers and
// outcomes always give the same moves.
//
// The search goes round the zones, in the order of the offers. Where a cloud
// can be asked what is free (OCI's capacity report), one such question covers
// every size and fault domain of a zone and takes nothing from anybody, so the
// search asks, and launches only what is said to be free. It does not trust the
// answers: now and then it launches against them, and a zone whose reports were
// wrong several times is launched in without asking. Where a cloud cannot be
// asked, each visit to a zone is one launch: every other one of the offer that
// fits most (the first size, any fault domain), between them the others in
// turn.
//
// What an outcome teaches has a scope. No capacity in one fault domain says
// little about the next. A shape that a zone does not have closes that shape
// there for good. A limit closes every offer that is at least as large and
// shares it; one that own use does not explain only pauses them. A refusal
// closes the region, and a throttle slows the whole account.
package capacity

import (
	"cmp"
	"slices"
	"time"
)

// Policy says how patient the search is.
type Policy struct {
	// Interval is the least time between two requests to one account, reports
	// and launches alike. A launch that a report calls for may follow the report
	// at once; the next request then waits twice as long. One launch in twenty
	// visits, which goes against the reports, is not counted.
	Interval time.Duration
	// Jitter is the largest part of Interval by which it is made longer, at
	// random, so that builds that started together do not ask together for ever.
	// It is never made shorter.
	Jitter float64
	// Round is the least time between the beginnings of two rounds through all
	// zones. Zero leaves the pace to Interval.
	Round time.Duration
	// Deadline ends the search; the zero time means that it never ends.
	Deadline time.Time
	// Retries is how often an offer is tried again at once after a Transient
	// outcome.
	Retries int
	// SizeFirst looks for the first size in every zone before it takes the
	// second anywhere. By default the search takes the best that a zone has
	// when it gets there, for it may be gone a minute later.
	SizeFirst bool
	// NoAsking launches without asking first.
	NoAsking bool
	// Worked are offers that are known to have given a machine not long ago,
	// the latest first. Of zones that are equal to the user they come first.
	Worked []Offer
	// Clouds says what is different for one cloud, by the Cloud of its offers.
	Clouds map[string]Terms
	// Seed spreads the jitter of searches that start together.
	Seed uint64
}

// Terms are what is different for the offers of one cloud.
type Terms struct {
	// Interval replaces Policy.Interval, unless it is zero.
	Interval time.Duration
	// NotBefore is until when offers of this cloud wait for those of the others.
	// They do not wait when nothing else is open.
	NotBefore time.Time
}

// in is the policy for one cloud.
func (p Policy) in(cloud string) Policy {
	if i := p.Clouds[cloud].Interval; i > 0 {
		p.Interval = i
	}
	return p
}

// Move is what to do next: exactly one of Try, Ask, Until and GiveUp is set.
type Move struct {
	Try    *Offer    // ask for a machine here, now
	Ask    *Ask      // ask what is free here, now
	Until  time.Time // do nothing until then
	GiveUp string    // there is nothing left to try: why
}

// Tried is what the search knows of one offer.
type Tried struct {
	Offer    Offer
	Attempts int // launches
	Asked    int // reports that covered it
	Last     Outcome
	Reason   string // the cloud's words for Last
	Closed   bool   // will not be tried again
	Why      string // why it is closed
}

// How an unexplained limit is waited out: reports say that it passes after an
// hour or so.
const (
	firstDoubt = 5 * time.Minute
	maxDoubt   = 15 * time.Minute
	// doubtGap is how soon after a launch that a report called for, and that met
	// such a limit, the next one may follow.
	doubtGap = 30 * time.Second
)

// Search is one search for a machine. It is not safe for concurrent use.
type Search struct {
	policy   Policy
	offers   []*offer
	by       map[Offer]*offer
	accounts []*account
	refused  string // why something was rejected, if it was
	limited  string // which limit closed something, if one did
	absent   string // what was said of a shape that is not there
	won      bool
}

// offer is what is known of an offer, and whether it may be tried.
type offer struct {
	Tried
	size    int // which of the sizes it is, 0 is the user's first
	zone    *zone
	worked  bool // it gave a machine not long ago
	hint    Hint
	retries int // left before it is passed over

	// After an unexplained limit.
	pausedUntil time.Time
	pause       time.Duration
	doubtedAt   time.Time
}

// paused says whether the offer waits for an unexplained limit to pass.
func (f *offer) paused(now time.Time) bool { return f.pausedUntil.After(now) }

// sooner is the earlier of two times, of which a zero one does not count.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// New starts a search at the time now. The order of the offers is the order of
// preference: of zones by their first offer, of sizes by the first offer that
// has it.
func New(policy Policy, now time.Time, offers []Offer) *Search {
	if policy.Interval <= 0 && policy.Round <= 0 {
		policy.Interval = leastPace
	}
	s := &Search{policy: policy, by: make(map[Offer]*offer, len(offers))}
	var sizes []Offer
	for _, o := range offers {
		if s.by[o] != nil {
			continue
		}
		size := o.form()
		n := slices.Index(sizes, size)
		if n < 0 {
			n = len(sizes)
			sizes = append(sizes, size)
		}
		f := &offer{Tried: Tried{Offer: o}, size: n, worked: slices.Contains(policy.Worked, o), retries: policy.Retries}
		s.offers = append(s.offers, f)
		s.by[o] = f
		i := slices.IndexFunc(s.accounts, func(a *account) bool { return a.cloud == o.Cloud })
		if i < 0 {
			i = len(s.accounts)
			s.accounts = append(s.accounts, &account{cloud: o.Cloud, policy: policy.in(o.Cloud), mute: map[string]bool{}})
		}
		s.accounts[i].add(f)
	}
	for _, a := range s.accounts {
		a.pace = newPace(a.policy, a.cloud, len(a.zones))
		a.roundDue = now
		a.favour(policy.Worked)
	}
	return s
}

// Next is the move to make at the time now. It changes nothing.
func (s *Search) Next(now time.Time) Move {
	if s.won {
		return Move{GiveUp: "a machine was launched"}
	}
	if !s.policy.Deadline.IsZero() && !now.Before(s.policy.Deadline) {
		return Move{GiveUp: "the time allowed for the search is over"}
	}
	best := s.soonest(now, func(a *account) bool { return !s.policy.Clouds[a.cloud].NotBefore.After(now) })
	if best == (Move{}) { // nobody is there to wait for
		best = s.soonest(now, func(*account) bool { return true })
	} else if best.Until.After(now) {
		for _, t := range s.policy.Clouds {
			if t.NotBefore.After(now) && t.NotBefore.Before(best.Until) {
				best.Until = t.NotBefore
			}
		}
	}
	switch {
	case best == (Move{}):
		return Move{GiveUp: s.exhausted()}
	case best.Until.IsZero():
		return best
	}
	if d := s.policy.Deadline; !d.IsZero() && best.Until.After(d) {
		best.Until = d
	}
	return best
}

// soonest is the move of some accounts that may be made first: now, or not before
// a time. It is zero if none of them has anything open.
func (s *Search) soonest(now time.Time, of func(*account) bool) (best Move) {
	for _, a := range s.accounts {
		if !of(a) {
			continue
		}
		m, at := a.next(now)
		switch {
		case m == (Move{}) && at.IsZero():
			continue // nothing is open
		case m != (Move{}) && !at.After(now):
			return m
		}
		best.Until = sooner(best.Until, at)
	}
	return best
}

// Observe tells the search what the attempt on o, which ended at the time at,
// came to.
func (s *Search) Observe(o Offer, at time.Time, r Result) {
	f := s.by[o]
	if f == nil {
		return // not an offer of ours: nothing to learn
	}
	a := s.account(o.Cloud)
	f.Attempts++
	f.Last, f.Reason = r.Outcome, r.Reason
	if r.Outcome == Throttled {
		a.pace.throttled(at) // the offer itself was not tried: it stays the next one
		return
	}
	if f.zone.probing && a.candidate() != f {
		a.pace.taken++
	} else {
		a.pace.spent(at)
	}
	if r.Outcome == Transient && f.retries > 0 {
		f.retries--
		return
	}
	switch r.Outcome {
	case Launched:
		s.won = true
		return
	case Rejected:
		s.refused = cmp.Or(s.refused, r.Reason)
		s.close(r, func(p Offer) bool { return p.Cloud == o.Cloud && p.Region == o.Region })
	case RejectedForm:
		s.refused = cmp.Or(s.refused, r.Reason)
		s.close(r, func(p Offer) bool { return p.Cloud == o.Cloud && p.Region == o.Region && p.form() == o.form() })
	case Unavailable:
		s.absent = cmp.Or(s.absent, r.Reason)
		s.close(r, func(p Offer) bool { return f.zone.holds(p) && p.Shape == o.Shape })
	case LimitReached:
		s.limited = cmp.Or(s.limited, r.Reason)
		s.close(r, func(p Offer) bool { return shares(p, o, r) && p.asLarge(o, r.AnyShape) })
	case LimitDoubtful:
		s.doubt(f, at, r)
	default:
		if r.Outcome == NoCapacity {
			f.hint = Full
			s.trust(f, r)
		}
	}
	f.retries = s.policy.Retries
	// One hint does not follow another, or two zones could point at each other for
	// ever while nothing else is tried.
	follow := r.Outcome == NoCapacity && len(r.Elsewhere) > 0 && a.candidate() != f
	a.done(f, at, r.Outcome)
	if follow {
		s.follow(f, at, r.Elsewhere)
	}
}

// follow makes offers in other zones, which the cloud says have room for what o
// was, the next to be tried.
func (s *Search) follow(o *offer, at time.Time, zones []string) {
	var free []*offer
	for _, f := range s.offers {
		if f.Offer.Region == o.Offer.Region && f.Offer.form() == o.Offer.form() && f.zone != o.zone && slices.Contains(zones, f.Offer.Zone) && !f.Closed && !f.paused(at) {
			free = append(free, f)
		}
	}
	s.account(o.Offer.Cloud).launch(free)
}

// Answer tells the search what came, at the time at, of asking q.
func (s *Search) Answer(q Ask, at time.Time, r Reply) {
	a := s.account(q.Cloud)
	if a == nil {
		return
	}
	if r.Hints == nil && r.Outcome == Throttled {
		a.pace.throttled(at)
		return
	}
	if r.Hints != nil || r.Outcome != Rejected { // what may not be asked is not asked again
		a.pace.spent(at)
	}
	var asked []*offer
	for i, o := range q.Offers {
		f := s.by[o]
		if f == nil {
			continue
		}
		f.hint = Unknown
		if r.Hints != nil {
			f.Asked++
			if i < len(r.Hints) {
				f.hint = r.Hints[i]
			}
		}
		asked = append(asked, f)
	}
	if len(asked) > 0 {
		a.answered(asked, at, r)
	}
}

// exhausted is the reason for giving up when no offer is open.
func (s *Search) exhausted() string {
	if len(s.offers) == 0 {
		return "there is no place to try"
	}
	switch {
	case s.refused != "":
		return s.refused
	case s.limited != "":
		return "the account's limits allow none of the sizes: " + s.limited
	}
	return "none of the places has the shape: " + s.absent
}

func (s *Search) account(cloud string) *account {
	for _, a := range s.accounts {
		if a.cloud == cloud {
			return a
		}
	}
	return nil
}

// close ends every offer that is alike.
func (s *Search) close(r Result, alike func(Offer) bool) {
	for _, f := range s.offers {
		if alike(f.Offer) && !f.Closed {
			f.Closed, f.Why = true, r.Outcome.String()+": "+r.Reason
		}
	}
	for _, a := range s.accounts {
		a.prune()
	}
}

// shares says whether two offers count against the same limits.
func shares(p, o Offer, r Result) bool {
	return p.Cloud == o.Cloud && p.Region == o.Region && (r.AnyShape || p.Shape == o.Shape) && (!r.ZoneOnly || p.Zone == o.Zone)
}

// doubt pauses whatever shares a limit that cannot be true.
func (s *Search) doubt(f *offer, at time.Time, r Result) {
	called := s.account(f.Offer.Cloud).candidate() == f // by a report
	f.pause = min(max(f.pause+firstDoubt, firstDoubt), maxDoubt)
	for _, p := range s.offers {
		if shares(p.Offer, f.Offer, r) {
			p.pause, p.pausedUntil, p.hint = f.pause, at.Add(f.pause), Unknown
			if called {
				p.doubtedAt = at
			}
			if a := s.account(p.Offer.Cloud); p != f {
				a.found = slices.DeleteFunc(a.found, func(x *offer) bool { return x == p })
				a.second = slices.DeleteFunc(a.second, func(x *offer) bool { return x == p })
			}
		}
	}
}

// trust ends such a pause: limits are looked at before capacity, so a launch
// that found no capacity has passed them.
func (s *Search) trust(f *offer, r Result) {
	if f.pause == 0 {
		return
	}
	for _, p := range s.offers {
		if shares(p.Offer, f.Offer, r) {
			p.pause, p.pausedUntil = 0, time.Time{}
		}
	}
}

// Rounds is how many times every zone has been visited.
func (s *Search) Rounds() int {
	if len(s.accounts) == 0 {
		return 0
	}
	n := s.accounts[0].rounds
	for _, a := range s.accounts {
		n = min(n, a.rounds)
	}
	return n
}

// Tried lists what is known of every offer, in the order of preference.
func (s *Search) Tried() []Tried {
	t := make([]Tried, len(s.offers))
	for i, f := range s.offers {
		t[i] = f.Tried
	}
	return t
}
