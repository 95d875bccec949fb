// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"fmt"
	"time"
)

// Family is one kind of bad day.
type Family struct {
	Name string
	Line string // what is special about it, in one line

	plan plan
}

// plan is what the traces of a family are drawn from.
type plan struct {
	like     string // draw what this family draws for the same seed; "" for its own
	ads      int    // of the home region
	other    int    // of the second region; all windows are there if there is one
	min, max time.Duration
	ocpus    float32 // the largest size that fits into a window
	oneFD    bool    // every window is in one fault domain, and has to be asked for there
	absent   bool    // one of the places does not have the shape
	phantoms bool
	nothing  bool // no windows
	throttle Bucket
	report   Truth
}

// The lengths of windows.
const (
	shortest = 20 * time.Second
	short    = 60 * time.Second // the longest of the short ones
	long     = 70 * time.Second // the shortest of the long ones
	longest  = 10 * time.Minute
)

// Of the limits of real tenancies it is known that a request per second is
// throttled for good and one in ten seconds is not. One in eight is in between.
func usualThrottle() Bucket { return Bucket{Every: 8 * time.Second, Burst: 8} }

// tightThrottle is a tenant with so little that a launch a minute in each of
// three domains is too much.
func tightThrottle() Bucket { return Bucket{Every: 25 * time.Second, Burst: 3} }

// Families lists all families, in the order in which tables show them.
func Families() []Family {
	usual := plan{ads: 3, min: shortest, max: longest, ocpus: 2, throttle: usualThrottle()}
	var all []Family
	family := func(name, line string, change func(*plan)) {
		p := usual
		change(&p)
		all = append(all, Family{Name: name, Line: line, plan: p})
	}
	family("any window", "room for 20 s to 10 min at a time in any of three domains", func(*plan) {})
	family("long windows", "the same, but no window is shorter than 70 s", func(p *plan) { p.min = long })
	family("short windows", "the same, but all windows are of 20 s to 60 s", func(p *plan) { p.max = short })
	family("one domain", "a region with a single availability domain", func(p *plan) { p.ads = 1 })
	family("one fault domain", "each window is in one fault domain and has to be asked for there", func(p *plan) { p.oneFD = true })
	family("smaller size", "only 1 OCPU with 6 GB fits", func(p *plan) { p.ocpus = 1 })
	family("another region", "only the second region has room", func(p *plan) { p.other = 3 })
	family("phantom limits", "LimitExceeded for 20 min to 90 min at a time with nothing in use", func(p *plan) { p.phantoms = true })
	family("throttling tenant", "one request per 25 s, not per 8 s", func(p *plan) { p.like, p.throttle = "any window", tightThrottle() })
	family("a domain without A1", "one of the three domains answers 404", func(p *plan) { p.absent = true })
	family("nothing", "no room for ten hours", func(p *plan) { p.nothing = true })
	reports := func(name, line string, report Truth) {
		family("report "+name, line, func(p *plan) { p.like, p.min, p.report = "long windows", long, report })
	}
	reports("not permitted", "long windows; the report is answered 404", ForbiddenReport)
	reports("always AVAILABLE", "long windows; the report says that there is room when there is none", AlwaysAvailable)
	reports("always OUT", "long windows; the report says that there is no room when there is", AlwaysOut)
	reports("stale", "long windows; the report tells how it was 60 s ago", StaleReport)
	return all
}

// Named is the family of a name. It panics if there is none.
func Named(name string) Family {
	for _, f := range Families() {
		if f.Name == name {
			return f
		}
	}
	panic(fmt.Sprintf("scarcity: there is no family %q", name))
}

// Winnable says whether each of its traces has a moment at which a launch works.
func (f Family) Winnable() bool { return !f.plan.nothing }
