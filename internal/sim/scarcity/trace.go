// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"fmt"
	"slices"
	"time"
)

// Deadline is how long a search may take. All times of this package count from
// the beginning of the search.
const Deadline = 10 * time.Hour

// Place is where a launch can be asked for.
type Place struct {
	Region string
	AD     string // availability domain
}

// Size is what a launch asks for.
type Size struct {
	OCPUs    float32
	MemoryGB float32
}

// Sizes are what the template accepts, the better first.
func Sizes() []Size { return []Size{{OCPUs: 2, MemoryGB: 12}, {OCPUs: 1, MemoryGB: 6}} }

// FaultDomains are those of every availability domain.
func FaultDomains() []string { return []string{"FAULT-DOMAIN-1", "FAULT-DOMAIN-2", "FAULT-DOMAIN-3"} }

// Offer is one launch that can be asked for. Without a fault domain OCI
// chooses one.
type Offer struct {
	Region      string
	AD          string
	FaultDomain string
	OCPUs       float32
	MemoryGB    float32
}

// Interval is from the moment From until before the moment To.
type Interval struct {
	From, To time.Duration
}

func (i Interval) has(t time.Duration) bool { return i.From <= t && t < i.To }

// Window is a time of room in one place.
type Window struct {
	Place
	FaultDomain string  // "" for any
	OCPUs       float32 // the largest size that fits
	Interval
}

// Bucket is how many requests the cloud takes of a user: one token comes every
// so often, and at most Burst are kept. The zero bucket takes all.
type Bucket struct {
	Every time.Duration
	Burst int
}

// Truth says what the capacity report is worth.
type Truth int

// What a report may be worth.
const (
	// TrueReport tells what is so.
	TrueReport Truth = iota
	// ForbiddenReport is answered 404: the account may not ask.
	ForbiddenReport
	// AlwaysAvailable says AVAILABLE wherever the shape exists.
	AlwaysAvailable
	// AlwaysOut says OUT_OF_HOST_CAPACITY wherever the shape exists.
	AlwaysOut
	// StaleReport tells what was so a minute ago.
	StaleReport
)

// Trace is ten hours of one account. It is a value: a world does not change it.
type Trace struct {
	Family string
	Seed   uint64

	// Places are the template's, in its order: those of the home region first.
	Places  []Place
	Windows []Window // by the time of their beginning
	// Absent are the places that do not have the shape.
	Absent []Place
	// Phantoms are the times at which every launch is answered LimitExceeded,
	// although nothing is in use.
	Phantoms []Interval
	Throttle Bucket
	Report   Truth
	// Blind says that a launch without a fault domain does not find a window
	// that is in one fault domain only: OCI chooses one, and another.
	Blind bool
}

// Home are the places of the home region.
func (t Trace) Home() []Place {
	return slices.DeleteFunc(slices.Clone(t.Places), func(p Place) bool { return p.Region != t.Places[0].Region })
}

// Offers are all launches that the template allows: every place, with any and
// with each fault domain, in both sizes.
func (t Trace) Offers() []Offer {
	var all []Offer
	for _, p := range t.Places {
		for _, fd := range append([]string{""}, FaultDomains()...) {
			for _, s := range Sizes() {
				all = append(all, Offer{p.Region, p.AD, fd, s.OCPUs, s.MemoryGB})
			}
		}
	}
	return all
}

// room says whether a place had room at a time. Without a fault domain the
// room is that of all of them, as a report sees it.
func (t Trace) room(o Offer, at time.Duration) bool {
	return slices.ContainsFunc(t.Windows, func(w Window) bool {
		return w.has(at) && w.Region == o.Region && w.AD == o.AD && o.OCPUs <= w.OCPUs &&
			(w.FaultDomain == "" || o.FaultDomain == "" || w.FaultDomain == o.FaultDomain)
	})
}

// found says whether a launch would find room at a time.
func (t Trace) found(o Offer, at time.Duration) bool {
	if o.FaultDomain == "" && t.Blind {
		t.Windows = slices.DeleteFunc(slices.Clone(t.Windows), func(w Window) bool { return w.FaultDomain != "" })
	}
	return t.room(o, at)
}

func (t Trace) absent(region, ad string) bool { return slices.Contains(t.Absent, Place{region, ad}) }

func (t Trace) phantom(at time.Duration) bool {
	return slices.ContainsFunc(t.Phantoms, func(i Interval) bool { return i.has(at) })
}

// check panics if something is asked for that the template does not have. A
// client that does so is not worth measuring.
func (t Trace) check(o Offer) {
	if !slices.Contains(t.Places, Place{o.Region, o.AD}) {
		panic(fmt.Sprintf("scarcity: %q in %q is not a place of this trace", o.AD, o.Region))
	}
	if o.FaultDomain != "" && !slices.Contains(FaultDomains(), o.FaultDomain) {
		panic(fmt.Sprintf("scarcity: there is no fault domain %q", o.FaultDomain))
	}
	if !slices.Contains(Sizes(), Size{o.OCPUs, o.MemoryGB}) {
		panic(fmt.Sprintf("scarcity: %g OCPUs with %g GB is not a size of the template", o.OCPUs, o.MemoryGB))
	}
}
