// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ebsdirect

import (
	"context"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// pacer spaces requests evenly. It goes slower when the service says so, at most once
// within a short time, since many requests hear of the same thing; and gets back to its
// full pace little by little.
type pacer struct {
	mu       sync.Mutex
	full     time.Duration // between two requests at the full pace
	interval time.Duration
	next     time.Time
	slowed   time.Time
}

const (
	slowest   = 64                     // times the full interval
	slowEvery = 250 * time.Millisecond // between two slowings
	// burst is how much of the past may be made up for.
	burst = 50 * time.Millisecond
)

func newPacer(perSecond float64) *pacer {
	d := time.Duration(float64(time.Second) / perSecond)
	return &pacer{full: d, interval: d}
}

// wait returns when it is time for the next request.
func (p *pacer) wait(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	if early := now.Add(-burst); p.next.Before(early) {
		p.next = early
	}
	d := p.next.Sub(now)
	p.next = p.next.Add(p.interval)
	// A thousandth each time: the pace doubles within 700 requests.
	p.interval = max(p.full, p.interval-p.interval/1000)
	p.mu.Unlock()
	return wait.Sleep(ctx, d)
}

// slower halves the pace.
func (p *pacer) slower() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.slowed) >= slowEvery {
		p.slowed = now
		p.interval = min(2*p.interval, slowest*p.full)
	}
}
