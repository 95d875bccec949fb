// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"math/rand/v2"
	"time"
)

// How an account that was throttled is treated.
const (
	// leastPace is the pace of an account for which none is set.
	leastPace = time.Second
	// maxPause bounds how long repeated throttling stops an account.
	maxPause = 10 * time.Minute
	// backOff is by what the first throttle stretches the pace, before anything
	// has been measured.
	backOff = 1.25
	// sure is how many requests make a measurement exact enough to stay with.
	sure = 10
	// margin is how much slower than measured the pace is then.
	margin = 1.01
	// easeEvery is after how many requests without a throttle the pace is made
	// faster again, by ease.
	easeEvery = 4
	ease      = 0.9
	// firstHold is for how long a measured pace stays before anything faster is
	// tried; after each further throttle it is twice as long, up to maxHold.
	firstHold = time.Hour
	maxHold   = 4 * time.Hour
)

// pace spaces the requests of one account. An ordinary request waits until the
// one before it is an interval ago. A launch that a report has just called for
// does not wait, because what is free now may not be in ten seconds; the
// request after it waits for both. So over any time there are no more requests
// than one per interval, and one.
//
// How many requests a cloud takes is not documented, and differs between
// accounts. What it does is: it keeps tokens that come one by one, and refuses
// what finds none. After a refusal there are none; if the next one comes after n
// requests in a time t, then t/n is at least as long as a token takes, and is
// slow enough. So two or three refusals tell the pace, and there is no need to
// double blindly, or to be refused again and again.
type pace struct {
	interval time.Duration
	jitter   float64
	base     time.Duration // the average time between requests while nothing is throttled
	slow     float64       // by what base is stretched, at least 1
	rng      *rand.Rand

	due   time.Time     // when the next ordinary request may be sent
	step  time.Duration // by how much the last request moved due
	floor time.Time     // before this nothing is sent, however urgent

	empty    time.Time // when there were no tokens, which is when counting began
	taken    int       // requests since then
	refused  int       // refusals in a row
	quiet    int       // requests since the pace was last changed
	hold     time.Duration
	holdTill time.Time // until then the pace is not made faster
}

func newPace(p Policy, cloud string, zones int) pace {
	seed := p.Seed
	for _, c := range []byte(cloud) {
		seed = seed*31 + uint64(c)
	}
	return pace{
		interval: p.Interval, jitter: p.Jitter, base: max(p.Interval, p.Round/time.Duration(max(1, zones)), leastPace),
		slow: 1, rng: rand.New(rand.NewPCG(seed, 0)),
	}
}

// ready is when the next request may be sent.
func (p *pace) ready(urgent bool) time.Time {
	if !urgent {
		return later(p.due, p.floor)
	}
	return later(p.due.Add(-p.step), p.floor)
}

// slowed is the time between requests of an account that is throttled.
func (p *pace) slowed() time.Duration { return time.Duration(float64(p.base) * p.slow) }

// spent counts a request that ended at the time at and was not throttled.
func (p *pace) spent(at time.Time) {
	p.taken++
	p.refused = 0
	if p.quiet++; p.slow > 1 && p.quiet >= easeEvery && !at.Before(p.holdTill) {
		p.slow, p.quiet = max(1, p.slow*ease), 0
	}
	step := float64(p.interval)
	if p.slow > 1 {
		step = float64(p.slowed())
	}
	p.step = time.Duration(step * (1 + p.jitter*p.rng.Float64()))
	p.due = later(p.due, at).Add(p.step)
}

// throttled counts a request that was refused because there were too many.
func (p *pace) throttled(at time.Time) {
	slowest := max(1, float64(maxPause)/float64(p.base))
	slow := p.slow * backOff
	if !p.empty.IsZero() && p.taken > 0 {
		slow = float64(at.Sub(p.empty)) / float64(p.taken) / float64(p.base)
	}
	if p.taken >= sure && !p.empty.IsZero() {
		slow *= margin
		p.hold = min(max(2*p.hold, firstHold), maxHold)
		p.holdTill = at.Add(p.hold)
	}
	// Evenly spaced requests pass where bursts of as many do not: whoever was
	// refused once stays a little above 1.
	p.slow = min(max(slow, margin), 4*p.slow, slowest)
	if p.empty.IsZero() || p.taken >= sure {
		p.empty, p.taken = at, 0
	}
	p.quiet = 0
	p.step = 0
	pause := min(p.slowed()<<min(p.refused, 10), maxPause)
	p.floor = at.Add(pause)
	p.due = p.floor.Add(p.slowed()) // one token is kept for a launch that a report calls for
	p.refused++
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
