// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package blockmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Span is a range of a disk in bytes: from Start up to, and not including, End.
type Span struct{ Start, End int64 }

// Area is a partition, or a whole disk without a table.
type Area struct {
	Span
	Number int    // of the partition, from 1; 0 for a whole disk
	Kind   string // of what it holds: "ext4", "vfat", "xfs"; empty if that is not known
	// Free is how many bytes of it are free, of a file system whose bitmaps are read.
	Free int64
	// Whole says why all of it is taken for used, though it is one of those; empty
	// otherwise.
	Whole string
	// Unclean says why it is not consistent; empty if nothing speaks against that.
	Unclean string
	// Orphans says that it has files that are deleted and were still open. Nobody sees
	// them, and the next mount removes them.
	Orphans bool
}

// Map is what is known of a disk.
type Map struct {
	Size  int64
	Areas []Area
	free  []Span // in ascending order, none next to another
}

// Used is how many bytes are not free.
func (m *Map) Used() int64 {
	used := m.Size
	for _, f := range m.free {
		used -= f.End - f.Start
	}
	return used
}

// Unclean are the reasons why the disk is not consistent, one for each area that has
// any.
func (m *Map) Unclean() error {
	var errs []error
	for _, a := range m.Areas {
		if a.Unclean != "" {
			errs = append(errs, fmt.Errorf("%s: %s", a.Name(), a.Unclean))
		}
	}
	return errors.Join(errs...)
}

// Name is how people call the area: "partition 1 (ext4)".
func (a Area) Name() string {
	name := "the disk"
	if a.Number > 0 {
		name = fmt.Sprintf("partition %d", a.Number)
	}
	if a.Kind != "" {
		name += " (" + a.Kind + ")"
	}
	return name
}

// Read reads the map of a disk of so many bytes. What is damaged is no error: it is
// taken for used, or unclean. An error is one of r.
func Read(r io.ReaderAt, size int64) (*Map, error) {
	m := &Map{Size: size}
	parts, err := readGPT(r, size)
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		parts = []Area{{Span: Span{0, size}}}
	}
	for _, a := range parts {
		free, err := a.examine(r)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", a.Name(), err)
		}
		m.Areas = append(m.Areas, a)
		m.free = append(m.free, free...)
	}
	m.free = joined(m.free)
	return m, nil
}

// joined sorts spans and joins those that touch.
func joined(spans []Span) []Span {
	slices.SortFunc(spans, func(a, b Span) int {
		switch {
		case a.Start < b.Start:
			return -1
		case a.Start > b.Start:
			return 1
		}
		return 0
	})
	var out []Span
	for _, s := range spans {
		if n := len(out); n > 0 && s.Start <= out[n-1].End {
			out[n-1].End = max(out[n-1].End, s.End)
		} else if s.End > s.Start {
			out = append(out, s)
		}
	}
	return out
}

// without removes some spans from others; both are in ascending order and joined.
func without(spans, taken []Span) (out []Span) {
	at := 0
	for _, s := range spans {
		for at < len(taken) && taken[at].End <= s.Start {
			at++
		}
		for i := at; i < len(taken) && taken[i].Start < s.End; i++ {
			if taken[i].Start > s.Start {
				out = append(out, Span{s.Start, taken[i].Start})
			}
			s.Start = max(s.Start, taken[i].End)
		}
		if s.Start < s.End {
			out = append(out, s)
		}
	}
	return out
}

// Free returns the free spans that touch a range, in ascending order.
func (m *Map) Free(start, end int64) []Span {
	i, _ := slices.BinarySearchFunc(m.free, start, func(s Span, at int64) int {
		if s.End <= at {
			return -1
		}
		return 1
	})
	j := i
	for j < len(m.free) && m.free[j].Start < end {
		j++
	}
	return m.free[i:j]
}

// fill reads p at an offset, all of it.
func fill(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// examine finds out what an area holds, and what of it is free.
func (a *Area) examine(r io.ReaderAt) (free []Span, err error) {
	head := make([]byte, min(headSize, a.End-a.Start))
	if err := fill(r, head, a.Start); err != nil {
		return nil, err
	}
	if len(head) < headSize {
		return nil, nil
	}
	if a.Kind = kind(head); a.Kind == "ext" {
		return a.examineExt(r, head[1024:2048])
	}
	if a.Kind == "vfat" && fatDirty(head) {
		a.Unclean = "it is still written to, or was not unmounted"
	}
	return nil, nil
}

// headSize is how much of an area tells what it holds.
const headSize = 68 << 10

// kind names what an area holds by its first bytes; "ext" is refined later.
func kind(head []byte) string {
	le := binary.LittleEndian
	is := func(at int, magic string) bool { return string(head[at:at+len(magic)]) == magic }
	switch {
	case le.Uint16(head[1024+56:]) == extMagic:
		return "ext"
	case is(0, "XFSB"):
		return "xfs"
	case is(0x10040, "_BHRfS_M"):
		return "btrfs"
	case is(4086, "SWAPSPACE2"):
		return "swap"
	case is(512, "LABELONE"):
		return "lvm"
	case is(0, "LUKS\xba\xbe"):
		return "luks"
	case head[510] == 0x55 && head[511] == 0xaa && (is(54, "FAT") || is(82, "FAT32")):
		return "vfat"
	}
	return ""
}

// fatDirty says whether a FAT file system is marked as being in use.
func fatDirty(head []byte) bool {
	if string(head[82:87]) == "FAT32" {
		return head[65]&1 != 0
	}
	return head[37]&1 != 0
}
