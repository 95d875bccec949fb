// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package helper

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever is asked for of a device that takes whole blocks only is what it holds.
func TestDirectReads(t *testing.T) {
	want := make([]byte, 3<<20+512)
	_, _ = rand.NewChaCha8([32]byte{}).Read(want) // it never fails
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		f, err = os.Open(path) // this file system has no such reads
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := &direct4k{file: f}
	for _, r := range [][2]int{{0, 512}, {512, 512}, {4095, 2}, {1, 1 << 20}, {1 << 20, 1 << 20}, {len(want) - 512, 512}, {len(want) - 5000, 5000}, {0, len(want)}} {
		got := make([]byte, r[1])
		if n, err := d.ReadAt(got, int64(r[0])); err != nil || n != r[1] || !bytes.Equal(got, want[r[0]:r[0]+r[1]]) {
			t.Errorf("%d bytes at %d: %d, %v", r[1], r[0], n, err)
		}
	}
	if n, err := d.ReadAt(make([]byte, 1024), int64(len(want)-512)); n != 512 || !errors.Is(err, io.EOF) {
		t.Errorf("beyond the end: %d, %v", n, err)
	}
}
