//go:build unix

// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package lifeline

import "testing"

func TestStatParent(t *testing.T) {
	for text, want := range map[string]int{
		"12 (packer) S 7 12 12 0": 7, "12 (a) b) (c) R 99 1": 99, "": -1, "12 (x": -1, "12 (x) ": -1, "12 (x) S y": -1, ")": -1, "no name S 3": -1,
	} {
		got, ok := statParent([]byte(text))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func FuzzStatParent(f *testing.F) {
	f.Add([]byte("12 (a) b) (c) R 99 1"))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		if parent, ok := statParent(stat); !ok && parent != 0 {
			t.Errorf("%q: %d", stat, parent)
		}
	})
}
