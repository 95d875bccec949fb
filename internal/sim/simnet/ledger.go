// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package simnet

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// ledger remembers who was asked for.
type ledger struct {
	mu      sync.Mutex
	visited map[string]struct{}
	refused []Refusal
}

func newLedger() *ledger { return &ledger{visited: make(map[string]struct{})} }

func (l *ledger) visit(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.visited[strings.ToLower(host)] = struct{}{}
}

func (l *ledger) refuse(r Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = append(l.refused, r)
}

func (l *ledger) hosts() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.visited))
}

func (l *ledger) refusals() []Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.refused)
}
