// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// What a build does at its start is bounded: it is there to build.
const (
	startLimit = 30 * time.Second
	startEach  = 8 * time.Second
	startMost  = 50
)

// AtStart removes the expired leftovers of earlier builds where a build is about to
// begin, and says so in a line for each place. It takes at most half a minute and
// never fails: what cannot be done is logged, and is for the next build or for the
// command sweep. build is the id of the one that begins.
func AtStart(ctx context.Context, clouds []Cloud, build string, say func(format string, args ...any)) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	defer wait.Tell(ctx, func(d time.Duration) {
		say("Still looking for leftovers of earlier builds (%s); this takes %s at most", d, startLimit)
	})()
	places := map[string]bool{} // two builds may go to one place
	clouds = slices.DeleteFunc(slices.Clone(clouds), func(c Cloud) bool {
		key := c.Place()
		if p, is := c.(interface{ Part() string }); is { // only a part of it
			key += " " + p.Part()
		}
		again := places[key]
		places[key] = true
		return again
	})
	results := make([]Result, len(clouds))
	var wg sync.WaitGroup
	for i, c := range clouds {
		wg.Go(func() {
			r, err := Sweep{Cloud: c, Rules: Rules{Grace: DefaultGrace, Except: build}, Each: startEach, Most: startMost}.Run(ctx)
			if err != nil {
				log.Printf("[WARN] leftovers in %s cannot be looked for: %v", c.Place(), err)
			}
			results[i] = r
		})
	}
	wg.Wait()
	for _, r := range results {
		for _, b := range r.Blind {
			log.Printf("[INFO] leftovers in %s: no %s could be listed: %v", r.Place, b.Kind, b.Err)
		}
		for _, l := range r.Left {
			log.Printf("[WARN] leftover in %s: %s is left: %v", r.Place, l.Thing, l.Err)
		}
		if line := r.Line(); line != "" {
			say("%s", line)
		}
	}
}

// Line is a result in a line; empty if there is nothing to say.
func (r Result) Line() string {
	gone := slices.Concat(r.Removed, r.UnderWay)
	if len(gone) == 0 && len(r.Left) == 0 {
		return ""
	}
	sort(gone)
	var stuck, next []Thing
	for _, l := range r.Left {
		if l.Waiting || errors.Is(l.Err, errNoTime) || errors.Is(l.Err, errMost) {
			next = append(next, l.Thing)
		} else {
			stuck = append(stuck, l.Thing)
		}
	}
	var parts []string
	for _, p := range []struct {
		what string
		list []Thing
	}{{"removed", gone}, {"left for the next time", next}, {"could not be removed", stuck}} {
		if len(p.list) > 0 {
			parts = append(parts, p.what+": "+names(p.list))
		}
	}
	return fmt.Sprintf("Leftovers of earlier builds in %s, %s", r.Place, strings.Join(parts, "; "))
}

// shown is how many things a line names.
const shown = 5

func names(list []Thing) string {
	var parts []string
	for _, t := range list[:min(len(list), shown)] {
		parts = append(parts, string(t.Kind)+" "+t.ID)
	}
	if n := len(list) - shown; n > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(parts, ", ")
}
