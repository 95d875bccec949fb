// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"fmt"
	"slices"
	"strings"
)

// Offer is one place and form in which a machine can be asked for. The zero
// value of FaultDomain lets the cloud choose.
type Offer struct {
	Cloud       string  // "oci", "aws"
	Region      string  // "eu-frankfurt-1"
	Zone        string  // availability domain or zone
	FaultDomain string  // OCI only; "" lets OCI choose
	Shape       string  // shape or instance type
	OCPUs       float32 // OCI: 0 where the shape fixes it; AWS: vCPUs, fixed by the type
	MemoryGB    float32 // likewise
	Market      string  // "" is on demand; "preemptible", "reserved", "spot"
}

// Size is the offer's shape and size as people read it: "VM.Standard.A1.Flex 2
// OCPU/12 GB".
func (o Offer) Size() string {
	return strings.TrimSpace(o.Shape + " " + o.much())
}

// much is how much of the shape it is: "2 OCPU/12 GB".
func (o Offer) much() string {
	s := ""
	switch {
	case o.OCPUs > 0 && o.Cloud == "aws":
		s = fmt.Sprintf("%g vCPU/%g GiB", o.OCPUs, o.MemoryGB)
	case o.OCPUs > 0:
		s = fmt.Sprintf("%g OCPU/%g GB", o.OCPUs, o.MemoryGB)
	}
	return strings.TrimSpace(s + " " + o.Market)
}

// Sizes are the sizes of offers, each once, as people read them one after the
// other: a shape that is that of the one before is not said again.
func Sizes(offers []Offer) []string {
	var list []string
	var seen []Offer
	for _, o := range offers {
		size := o.form()
		if slices.Contains(seen, size) {
			continue
		}
		text := o.Size()
		if n := len(seen); n > 0 && seen[n-1].Shape == o.Shape && o.much() != "" {
			text = o.much()
		}
		seen, list = append(seen, size), append(list, text)
	}
	return list
}

// form is the offer without its place.
func (o Offer) form() Offer {
	return Offer{Cloud: o.Cloud, Shape: o.Shape, OCPUs: o.OCPUs, MemoryGB: o.MemoryGB, Market: o.Market}
}

// String is the offer as people read it: "Uocm:PHX-AD-1 FAULT-DOMAIN-2
// VM.Standard.A1.Flex 2 OCPU/12 GB".
func (o Offer) String() string {
	s := o.Zone
	if o.FaultDomain != "" {
		s += " " + o.FaultDomain
	}
	return s + " " + o.Size()
}

// asLarge says whether o asks for at least as much of the same thing as p: of its
// shape, or, for a limit that counts the processors of any shape, of those.
func (o Offer) asLarge(p Offer, anyShape bool) bool {
	if o.Market != p.Market || o.OCPUs < p.OCPUs {
		return false
	}
	return anyShape || o.Shape == p.Shape && o.MemoryGB >= p.MemoryGB
}

// Outcome is what an attempt on an offer came to. The set is closed: every
// error of a cloud is translated into one of these, once, by its adapter.
type Outcome int

// The outcomes.
const (
	// Untried: nothing has been asked for yet.
	Untried Outcome = iota
	// Launched: there is a machine; the search is over.
	Launched
	// NoCapacity: the place has no room at the moment.
	NoCapacity
	// LimitReached: the account may not have as much as this offer asks for.
	LimitReached
	// LimitDoubtful: the cloud says LimitReached, and what the account uses does
	// not explain it. It is known to pass after an hour or so.
	LimitDoubtful
	// Throttled: too many requests; everything has to slow down.
	Throttled
	// Unavailable: this shape does not exist in this zone, now or later.
	Unavailable
	// Transient: the service failed in a way that says nothing about capacity.
	Transient
	// Rejected: the request can never succeed in this region (credentials,
	// permissions, a parameter).
	Rejected
	// RejectedForm: the request can never succeed in this form, of this shape and
	// size in this region.
	RejectedForm
)

// String is the outcome in words.
func (o Outcome) String() string {
	switch o {
	case Untried:
		return "not launched"
	case Launched:
		return "launched"
	case NoCapacity:
		return "no capacity"
	case LimitReached:
		return "limit reached"
	case LimitDoubtful:
		return "limit reported that own use does not explain"
	case Throttled:
		return "throttled"
	case Unavailable:
		return "not offered there"
	case Transient:
		return "failed for the moment"
	case Rejected, RejectedForm:
		return "rejected"
	}
	return fmt.Sprintf("outcome %d", int(o))
}

// Result is an attempt's outcome and what the cloud said.
type Result struct {
	Outcome Outcome
	// Reason is the cloud's wording, for people.
	Reason string
	// ZoneOnly narrows LimitReached and LimitDoubtful to the offer's zone: only
	// a limit of the zone is named. Otherwise the limit is the region's.
	ZoneOnly bool
	// Elsewhere are zones of the region of which the cloud says, with NoCapacity,
	// that they have room for the same. They are tried next.
	Elsewhere []string
	// AnyShape widens LimitReached and LimitDoubtful to all shapes of the offer's
	// market: the limit counts processors, whatever they are in.
	AnyShape bool
}

// Hint is what a capacity report says of an offer. It is advice, and never
// closes an offer: a launch may fail where a report sees room, and the other
// way round.
type Hint int

// The hints. The zero value is for what a report says that nobody knows.
const (
	Unknown Hint = iota
	Free
	Full
	Missing // the hardware is not there at all
)

// tells is what a hint says of an offer that was never launched.
func (h Hint) tells() (Outcome, string) {
	switch h {
	case Free:
		return Untried, "the last capacity report saw room"
	case Full:
		return NoCapacity, "by the last capacity report"
	case Missing:
		return NoCapacity, "the capacity report says that the hardware is not there"
	case Unknown:
	}
	return Untried, "the capacity report does not say"
}

// Ask is a question: what does the cloud say of these offers, which are all in
// one zone. One request answers it.
type Ask struct {
	Cloud, Region, Zone string
	Offers              []Offer
}

// Reply is what asking came to.
type Reply struct {
	// Hints has one for each offer that was asked about; nil if there was no
	// answer.
	Hints []Hint
	// Outcome and Reason say why there was no answer: Throttled, Transient, or
	// Rejected for an account that may not ask.
	Outcome Outcome
	Reason  string
}
