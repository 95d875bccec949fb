// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// board knows how far each part of a copy is, and shows all of them in one line.
type board struct {
	mu    sync.Mutex
	order []string
	state map[string]string
	ways  map[string]bool
}

func (b *board) set(what, state string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil {
		b.state = map[string]string{}
	}
	if _, known := b.state[what]; !known {
		b.order = append(b.order, what)
	}
	b.state[what] = state
}

// drop takes what has ended off the board.
func (b *board) drop(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.state[what]; known {
		b.state[what] = ""
	}
}

// gone notes that a destination used a route.
func (b *board) gone(i int, route string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ways == nil {
		b.ways = map[string]bool{}
	}
	b.ways[fmt.Sprint(i, route)] = true
}

func (b *board) went(i int, route string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ways[fmt.Sprint(i, route)]
}

// line is the board in one line; empty if nothing is under way.
func (b *board) line() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var parts []string
	for _, what := range b.order {
		if s := b.state[what]; s != "" {
			parts = append(parts, what+": "+s)
		}
	}
	return strings.Join(parts, "; ")
}

// show says from time to time how far everything is.
func (b *board) show(ctx context.Context, say func(string, ...any)) (stop func()) {
	return wait.Tell(ctx, func(d time.Duration) {
		if line := b.line(); line != "" {
			say("Copying for %s: %s", d, line)
		}
	})
}

// percent is how far something is, in words.
func percent(p float64) string {
	if p < 0 {
		return "under way"
	}
	return fmt.Sprintf("%.0f %%", p)
}
