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
// The search goes through the offers in the order given, round after round.
// Within a round it leaves Policy.Interval between attempts; between rounds it
// rests for Policy.Round. What an outcome teaches has a scope: no capacity in
// one fault domain says little about the next, a shape that an availability
// domain does not have closes that shape there for good, a limit closes every
// offer that is at least as large in the same region, and a throttle slows the
// whole account.
package capacity

import (
	"fmt"
	"time"
)

// Offer is one place and form in which a machine can be asked for. The zero
// value of FaultDomain lets the cloud choose.
type Offer struct {
	Cloud       string  // "oci", "aws"
	Region      string  // "eu-frankfurt-1"
	Zone        string  // availability domain or zone
	FaultDomain string  // OCI only; "" lets OCI choose
	Shape       string  // shape or instance type
	OCPUs       float32 // 0 where the shape fixes it
	MemoryGB    float32 // 0 where the shape fixes it
}

// String is the offer as people read it: "Uocm:PHX-AD-1 FAULT-DOMAIN-2
// VM.Standard.A1.Flex 2 OCPU/12 GB".
func (o Offer) String() string {
	s := o.Zone
	if o.FaultDomain != "" {
		s += " " + o.FaultDomain
	}
	s += " " + o.Shape
	if o.OCPUs > 0 {
		s += fmt.Sprintf(" %g OCPU/%g GB", o.OCPUs, o.MemoryGB)
	}
	return s
}

// Outcome is what an attempt on an offer came to. The set is closed: every
// error of a cloud is translated into one of these, once, by its adapter.
type Outcome int

// The outcomes.
const (
	// Launched: there is a machine; the search is over.
	Launched Outcome = iota
	// NoCapacity: the place has no room at the moment.
	NoCapacity
	// LimitReached: the account may not have as much as this offer asks for.
	LimitReached
	// Throttled: too many requests; everything has to slow down.
	Throttled
	// Unavailable: this shape does not exist in this zone, now or later.
	Unavailable
	// Transient: the service failed in a way that says nothing about capacity.
	Transient
	// Rejected: the request can never succeed, on any offer (credentials,
	// permissions, a parameter); the search is over.
	Rejected
)

// String is the outcome in words.
func (o Outcome) String() string {
	switch o {
	case Launched:
		return "launched"
	case NoCapacity:
		return "no capacity"
	case LimitReached:
		return "limit reached"
	case Throttled:
		return "throttled"
	case Unavailable:
		return "not offered there"
	case Transient:
		return "failed for the moment"
	case Rejected:
		return "rejected"
	}
	return fmt.Sprintf("outcome %d", int(o))
}

// Policy says how patient the search is.
type Policy struct {
	// Interval is the least time between two attempts.
	Interval time.Duration
	// Round is the rest after every open offer has been tried.
	Round time.Duration
	// Deadline ends the search; the zero time means that it never ends.
	Deadline time.Time
	// Retries is how often an offer is tried again within a round after a
	// Transient outcome.
	Retries int
}

// maxThrottle bounds how far repeated throttling stretches the pace.
const maxThrottle = 10 * time.Minute

// Move is what to do next: exactly one of Try, Until and GiveUp is set.
type Move struct {
	Try    *Offer    // ask for a machine here, now
	Until  time.Time // do nothing until then
	GiveUp string    // there is nothing left to try: why
}

// Tried is what the search knows of one offer.
type Tried struct {
	Offer    Offer
	Attempts int
	Last     Outcome
	Reason   string // the cloud's words for Last
	Closed   bool   // will not be tried again
}

// Search is one search for a machine. It is not safe for concurrent use.
type Search struct {
	policy   Policy
	offers   []state
	next     int // index into offers of the next to try in this round
	round    int // rounds completed
	notUntil time.Time
	throttle time.Duration // current extra pace, 0 when not throttled
	over     string        // why the search is over; "" while it goes on
	won      bool
}

type state struct {
	Tried
	retries int // transient retries left in this round
}

// New starts a search over offers, in their order.
func New(policy Policy, offers []Offer) *Search {
	s := &Search{policy: policy, offers: make([]state, len(offers))}
	for i, o := range offers {
		s.offers[i] = state{Tried: Tried{Offer: o}, retries: policy.Retries}
	}
	return s
}

// Next is the move to make at the time now.
func (s *Search) Next(now time.Time) Move {
	if s.won {
		return Move{GiveUp: "a machine was launched"}
	}
	if s.over != "" {
		return Move{GiveUp: s.over}
	}
	if !s.policy.Deadline.IsZero() && !now.Before(s.policy.Deadline) {
		return Move{GiveUp: "the time allowed for the search is over"}
	}
	i := s.open(s.next)
	if i < 0 {
		if i = s.open(0); i < 0 {
			return Move{GiveUp: s.exhausted()}
		}
	}
	if now.Before(s.notUntil) {
		until := s.notUntil
		if d := s.policy.Deadline; !d.IsZero() && until.After(d) {
			until = d
		}
		return Move{Until: until}
	}
	o := s.offers[i].Offer
	return Move{Try: &o}
}

// open is the index of the first offer from i on that is not closed, or -1.
func (s *Search) open(i int) int {
	for ; i < len(s.offers); i++ {
		if !s.offers[i].Closed {
			return i
		}
	}
	return -1
}

// exhausted is the reason for giving up when no offer is open.
func (s *Search) exhausted() string {
	if len(s.offers) == 0 {
		return "there is no place to try"
	}
	last := s.offers[0]
	for _, o := range s.offers {
		if o.Last == LimitReached {
			last = o
		}
	}
	if last.Last == LimitReached {
		return "the account's limits allow none of the sizes: " + last.Reason
	}
	return "none of the places has the shape: " + last.Reason
}

// Observe tells the search what the attempt on o, which ended at the time at,
// came to. reason is the cloud's own wording.
func (s *Search) Observe(o Offer, at time.Time, out Outcome, reason string) {
	i := s.find(o)
	if i < 0 {
		return // not an offer of ours: nothing to learn
	}
	t := &s.offers[i]
	t.Attempts++
	t.Last, t.Reason = out, reason
	pace := s.policy.Interval
	if out != Throttled {
		s.throttle = 0
	}
	switch out {
	case Launched:
		s.won = true
		return
	case Rejected:
		s.over = reason
		return
	case Unavailable:
		s.close(out, reason, func(p Offer) bool {
			return p.Cloud == o.Cloud && p.Region == o.Region && p.Zone == o.Zone && p.Shape == o.Shape
		})
	case LimitReached:
		s.close(out, reason, func(p Offer) bool {
			return p.Cloud == o.Cloud && p.Region == o.Region && p.Shape == o.Shape &&
				p.OCPUs >= o.OCPUs && p.MemoryGB >= o.MemoryGB
		})
	case Throttled:
		s.throttle = min(maxThrottle, max(2*s.throttle, 2*s.policy.Interval, time.Second))
		s.notUntil = at.Add(s.throttle)
		return // the offer itself was not tried: it stays the next one
	case Transient:
		if t.retries > 0 {
			t.retries--
			s.next = i
			s.notUntil = at.Add(pace)
			return
		}
	case NoCapacity:
	}
	s.next = i + 1
	if s.open(s.next) < 0 {
		s.next = 0
		s.round++
		pace = max(pace, s.policy.Round)
		for j := range s.offers {
			s.offers[j].retries = s.policy.Retries
		}
	}
	s.notUntil = at.Add(pace)
}

func (s *Search) find(o Offer) int {
	for i := range s.offers {
		if s.offers[i].Offer == o {
			return i
		}
	}
	return -1
}

// close ends every offer that is alike.
func (s *Search) close(out Outcome, reason string, alike func(Offer) bool) {
	for i := range s.offers {
		t := &s.offers[i]
		if alike(t.Offer) && !t.Closed {
			t.Closed, t.Last, t.Reason = true, out, reason
		}
	}
}

// Rounds is how many times every open offer has been tried.
func (s *Search) Rounds() int { return s.round }

// Tried lists what is known of every offer, in the order of the search.
func (s *Search) Tried() []Tried {
	t := make([]Tried, len(s.offers))
	for i := range s.offers {
		t[i] = s.offers[i].Tried
	}
	return t
}
