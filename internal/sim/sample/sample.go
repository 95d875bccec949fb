// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package sample takes a part of tests with hundreds of cases, for runs in which each
// case costs many times as much: with the race detector.
package sample

import (
	"hash/fnv"
	"testing"
)

// one of this many cases is run with -short.
const one = 8

// Case is called first by each case of a long table. With -short (as `make race` has it)
// it skips most of them, always the same ones: a case's name decides. Without -short it
// does nothing.
func Case(t testing.TB) {
	t.Helper()
	if testing.Short() && !in(t.Name()) {
		t.Skip("not in the sample of -short")
	}
}

// Not is called by tests that say nothing more with the race detector: of memory, of one
// goroutine, or of programs that are not this one. With -short it skips them.
func Not(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short")
	}
}

func in(name string) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return h.Sum32()%one == 0
}
