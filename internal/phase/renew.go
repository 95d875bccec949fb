// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"log"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sweep"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

const (
	// renewals is how often in its life what a build has is renewed: two of them may
	// fail.
	renewals = 3
	// renewAgain is when a renewal that failed is tried again.
	renewAgain = 10 * time.Minute
	// renewLimit is how long one may take.
	renewLimit = 5 * time.Minute
)

// keep renews the expiry of what the build has, for as long as it goes on: how long
// provisioning takes nobody knows, and other builds sweep. stop returns when that has
// ended.
func (b *Build) keep(ctx context.Context) (stop func()) {
	if b.Life <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		every := b.Life / renewals
		next, needed := every, time.Now().Add(b.Life)
		said := false
		for wait.Sleep(ctx, next) == nil {
			c, end := context.WithTimeout(ctx, renewLimit)
			begun := time.Now()
			err := sweep.Renew(c, b.Site.Leftovers(), b.ID, b.Life)
			end()
			if err == nil {
				next, needed, said = every, begun.Add(b.Life), false
				continue
			}
			if ctx.Err() != nil {
				return
			}
			next = min(every, renewAgain)
			log.Printf("[WARN] what this build has cannot be marked as needed for longer: %v", err)
			if !said {
				said = true
				b.UI.Sayf("Not all that this build has could be marked as needed for longer; from %s on a sweep may take it for a leftover. This is tried again every %s: %v",
					needed.UTC().Format(time.RFC3339), next, err)
			}
		}
	}()
	return func() { cancel(); <-done }
}

// extend says that what is made from now on is needed for as long again.
func (b *Build) extend() {
	if b.Life > 0 {
		b.Site.Extend(time.Now().Add(b.Life))
	}
}
