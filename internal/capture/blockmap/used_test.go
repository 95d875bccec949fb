// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package blockmap

import (
	"os"
	"strings"
	"testing"
)

// What is free is read only of what the kernel has mounted as such, whatever the first
// bytes of a partition look like.
func TestReadUsed(t *testing.T) {
	const size, first = 96 << 20, 1 << 20
	disk, _ := open(t, makeExt(t, first+64<<20, "-t", "ext4"))
	ext, err := os.ReadFile(makeExt(t, 64<<20, "-t", "ext4"))
	if err != nil {
		t.Fatal(err)
	}
	// The table is one of MBR, of which this knows nothing: partition 1 is ext4, 2 was.
	for _, at := range []int64{first, first + 64<<20} {
		if _, err := disk.WriteAt(ext[:min(int64(len(ext)), size-at)], at); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.Truncate(size); err != nil {
		t.Fatal(err)
	}
	one, two := Span{first, first + 64<<20}, Span{first + 64<<20, size}
	dirty := func(on bool) {
		t.Helper()
		b := []byte{ext[superblock+96]}
		if on {
			b[0] |= incompatRecover
		}
		if _, err := disk.WriteAt(b, first+superblock+96); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name    string
		part    Part
		dirty   bool
		free    bool
		kind    string
		whole   string
		unclean string
	}{
		{"mounted", Part{Span: one, Mounted: "ext4"}, false, true, "ext4", "", ""},
		{"mounted, and not quiet", Part{Span: one, Mounted: "ext4"}, true, true, "ext4", "", "journal has to be replayed"},
		{"not mounted", Part{Span: one}, false, false, "ext4", "nothing is mounted from it", ""},
		{"not mounted, and not clean", Part{Span: one}, true, false, "ext4", "nothing is mounted from it", "journal has to be replayed"},
		{"of another kind now", Part{Span: one, Mounted: "xfs"}, true, false, "xfs", "", ""},
		{"a part of something", Part{Span: one, Holders: []string{"md127"}}, true, false, "ext4", "it is a part of md127", ""},
		{"not what the kernel says", Part{Span: Span{first + 4096, one.End}, Mounted: "ext4"}, false, false, "ext4", "", "not the file system that is mounted"},
		{"longer than its partition", Part{Span: two, Mounted: "ext4"}, false, false, "ext4", "its superblock is damaged", ""},
		{"swap", Part{Span: one, Mounted: "swap"}, true, true, "swap", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dirty(tt.dirty)
			tt.part.Number = 1
			m, err := ReadUsed(disk, size, []Part{tt.part})
			if err != nil || len(m.Areas) != 1 {
				t.Fatalf("%+v, %v", m, err)
			}
			a := m.Areas[0]
			if (a.Free > 0) != tt.free || (m.Used() < size) != tt.free || a.Kind != tt.kind || !strings.Contains(a.Whole, tt.whole) || tt.whole == "" && tt.free && a.Whole != "" {
				t.Errorf("%+v, %d used", a, m.Used())
			}
			if (a.Unclean != "") != (tt.unclean != "") || !strings.Contains(a.Unclean, tt.unclean) {
				t.Errorf("unclean: %q", a.Unclean)
			}
		})
	}
	dirty(false)
	// What was swapped out does not travel; the header of the area does.
	m, err := ReadUsed(disk, size, []Part{{Span: one, Mounted: "swap"}})
	if err != nil || m.Areas[0].Free != 64<<20-64<<10 || len(m.Free(first, first+1)) > 0 {
		t.Errorf("%+v, %v", m, err)
	}
	// Files that are deleted and still open are allowed where it is known by whom.
	if _, err := disk.WriteAt([]byte{12}, first+superblock+232); err != nil {
		t.Fatal(err)
	}
	for _, known := range []bool{false, true} {
		m, err := ReadUsed(disk, size, []Part{{Span: one, Mounted: "ext4", Orphans: known}})
		if err != nil || (m.Unclean() == nil) != known {
			t.Errorf("known %t: %v, %v", known, m.Unclean(), err)
		}
	}
	if _, err := ReadUsed(disk, size, []Part{{Span: Span{0, size + 1}}}); err == nil {
		t.Error("a partition beyond the disk is read")
	}
}
