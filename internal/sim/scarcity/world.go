// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"fmt"
	"time"
)

// How long the cloud takes. These are assumptions, the same for every client
// and every answer: nobody published measurements. A report looks something
// up; a launch also creates something.
const (
	ReportTime = 400 * time.Millisecond
	LaunchTime = 1500 * time.Millisecond
	ReadTime   = 400 * time.Millisecond
)

// staleness is how old a stale report is.
const staleness = 60 * time.Second

// Answer is what the cloud says to a request.
type Answer int

// The answers.
const (
	// Launched: 200, there is a machine. The run is over.
	Launched Answer = iota + 1
	// Reported: 200, here is the report.
	Reported
	// NoCapacity: 500 "Out of host capacity."
	NoCapacity
	// LimitExceeded: 400. As nothing is in use, it is a phantom.
	LimitExceeded
	// Throttled: 429.
	Throttled
	// ShapeNotFound: 404, this domain does not have the shape.
	ShapeNotFound
	// Forbidden: 404, the account may not ask for reports.
	Forbidden
	// Late: the search is over, and nobody hears the answer.
	Late
)

// String is the answer in words.
func (a Answer) String() string {
	switch a {
	case Launched:
		return "launched"
	case Reported:
		return "reported"
	case NoCapacity:
		return "no capacity"
	case LimitExceeded:
		return "limit exceeded"
	case Throttled:
		return "throttled"
	case ShapeNotFound:
		return "shape not found"
	case Forbidden:
		return "forbidden"
	case Late:
		return "late"
	}
	return fmt.Sprintf("answer %d", int(a))
}

// Status is what a report says of a row, in OCI's words.
type Status string

// What a report may say.
const (
	Available            Status = "AVAILABLE"
	OutOfHostCapacity    Status = "OUT_OF_HOST_CAPACITY"
	HardwareNotSupported Status = "HARDWARE_NOT_SUPPORTED"
)

// Ask is one row of a report that is asked for. Without a fault domain it is
// about all of them in one: it says AVAILABLE if any has room, also where a
// launch without a fault domain would not find that.
type Ask struct {
	FaultDomain string
	OCPUs       float32
	MemoryGB    float32
}

// Counts are the requests of a run that arrived in time.
type Counts struct {
	Launches  int
	Reports   int
	Reads     int // of what is in use
	Throttled int // launches and reports among them that were answered 429
}

// All is the number of requests.
func (c Counts) All() int { return c.Launches + c.Reports + c.Reads }

// Event is one request of a run.
type Event struct {
	At     time.Duration // when it arrived
	Offer  Offer         // of a report only the place; of a read nothing
	Answer Answer
}

// World is the cloud of one run in virtual time. It is no place for goroutines:
// a client calls it, and the clock goes on by what the call takes.
type World struct {
	// Watch, if set, hears of every request.
	Watch func(Event)

	trace  Trace
	now    time.Duration
	full   time.Duration // when the bucket of tokens will be full again
	counts Counts
	won    bool
	at     time.Duration // when the launch that worked arrived
}

// NewWorld is the world at the beginning of a trace.
func NewWorld(t Trace) *World {
	if len(t.Places) == 0 {
		panic("scarcity: a trace without a place")
	}
	if b := t.Throttle; b != (Bucket{}) && (b.Every <= 0 || b.Burst < 1) {
		panic("scarcity: a throttle that lets nothing through")
	}
	return &World{trace: t}
}

// Places are those of the template, in its order; those of the home region are
// first.
func (w *World) Places() []Place { return append([]Place{}, w.trace.Places...) }

// Home are the places of the home region.
func (w *World) Home() []Place { return w.trace.Home() }

// Now is the time since the beginning.
func (w *World) Now() time.Duration { return w.now }

// Sleep waits.
func (w *World) Sleep(d time.Duration) {
	if d < 0 {
		panic("scarcity: nobody sleeps backwards")
	}
	w.now += d
}

// Over says that the run has ended: a launch has worked, or the time is up.
func (w *World) Over() bool { return w.won || w.now >= Deadline }

// Won is when the launch that worked arrived, and whether there was one.
func (w *World) Won() (time.Duration, bool) { return w.at, w.won }

// Counts are the requests so far.
func (w *World) Counts() Counts { return w.counts }

// Launch asks for a machine.
func (w *World) Launch(o Offer) Answer {
	w.trace.check(o)
	return w.request(LaunchTime, o, &w.counts.Launches, func() Answer {
		switch {
		case !w.token():
			return Throttled
		case w.trace.phantom(w.now):
			return LimitExceeded
		case w.trace.absent(o.Region, o.AD):
			return ShapeNotFound
		case !w.trace.found(o, w.now):
			return NoCapacity
		}
		w.won, w.at = true, w.now
		return Launched
	})
}

// Report asks where there is room. The report knows nothing of limits.
func (w *World) Report(region, ad string, asks []Ask) ([]Status, Answer) {
	if len(asks) == 0 {
		panic("scarcity: a report about nothing")
	}
	for _, a := range asks {
		w.trace.check(Offer{region, ad, a.FaultDomain, a.OCPUs, a.MemoryGB})
	}
	var rows []Status
	answer := w.request(ReportTime, Offer{Region: region, AD: ad}, &w.counts.Reports, func() Answer {
		switch {
		case !w.token():
			return Throttled
		case w.trace.Report == ForbiddenReport:
			return Forbidden
		}
		for _, a := range asks {
			rows = append(rows, w.status(Offer{region, ad, a.FaultDomain, a.OCPUs, a.MemoryGB}))
		}
		return Reported
	})
	return rows, answer
}

// status is a row of a report. That a domain does not have the shape is never
// hidden: it is written in a list, not looked up among the hosts.
func (w *World) status(o Offer) Status {
	at := w.now
	if w.trace.Report == StaleReport {
		at -= staleness
	}
	switch {
	case w.trace.absent(o.Region, o.AD):
		return HardwareNotSupported
	case w.trace.Report == AlwaysAvailable:
		return Available
	case w.trace.Report == AlwaysOut, !w.trace.room(o, at):
		return OutOfHostCapacity
	}
	return Available
}

// OwnUse reads how many OCPUs are in use, as a client does that doubts a limit.
// A run begins with none and ends with the first, so it is always none. Reads
// go to another service, which does not throttle here.
func (w *World) OwnUse() float32 {
	w.request(ReadTime, Offer{}, &w.counts.Reads, func() Answer { return Reported })
	return 0
}

// request counts a request, has it answered as of its arrival, and lets the
// clock go on by what it takes.
func (w *World) request(takes time.Duration, o Offer, count *int, decide func() Answer) Answer {
	if w.won {
		panic("scarcity: there is a machine already")
	}
	answer := Late
	if !w.Over() {
		*count++
		if answer = decide(); answer == Throttled {
			w.counts.Throttled++
		}
	}
	if w.Watch != nil {
		w.Watch(Event{At: w.now, Offer: o, Answer: answer})
	}
	w.now += takes
	return answer
}

// token takes a token out of the bucket if there is one. A bucket that will be
// full in n intervals lacks n tokens.
func (w *World) token() bool {
	b := w.trace.Throttle
	full := max(w.full, w.now)
	if full-w.now > time.Duration(b.Burst-1)*b.Every {
		return false
	}
	w.full = full + b.Every
	return true
}
