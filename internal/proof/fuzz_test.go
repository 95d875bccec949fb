// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package proof

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzTake reads a note: one that cannot be read, or is about something else, is an
// error, and each is gone after that.
func FuzzTake(f *testing.F) {
	k := Key{Run: "r", Instance: "i"}
	f.Add([]byte(`{"key":{"run":"r","instance":"i"},"mark":"armfree-goss.ABCDEFGHIJKLMNOPQRSTUVWXYZ","time":"2026-11-26T12:00:00Z","receipt":"e30="}`))
	f.Add([]byte(`{"key":{"run":"other"}}`))
	f.Add([]byte(`{"time":7}`))
	f.Add([]byte(`[]`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, note []byte) {
		box := Box{filepath.Join(t.TempDir(), "box")}
		if err := os.Mkdir(box.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(box.Dir, k.prefix()+"ABCDEFGHIJKLMNOPQRSTUVWXYZ.json")
		if err := os.WriteFile(name, note, 0o600); err != nil {
			t.Fatal(err)
		}
		notes, err := box.Take(k, time.Now())
		if len(notes)+btoi(err != nil) != 1 {
			t.Errorf("%d notes, %v", len(notes), err)
		}
		for _, n := range notes {
			if n.Key != k {
				t.Errorf("%+v", n)
			}
		}
		if _, err := os.Lstat(name); err == nil {
			t.Error("it is still there")
		}
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
