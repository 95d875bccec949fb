// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package blockmap

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
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

// Part is a partition as the kernel has it, and what the kernel does with it.
type Part struct {
	Span
	Number int // from 1; 0 for a whole disk
	// Mounted is the kind of file system that is mounted from it: "ext4"; "swap" if it was
	// swapped to; empty if it is neither.
	Mounted string
	// Holders are devices that are made of it, such as volumes of LVM.
	Holders []string
	// Orphans says that it may have files that are deleted and still open.
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

// Read reads the map of a disk of so many bytes that nobody uses, such as a file: what a
// partition holds is guessed by its first bytes. What is damaged is no error: it is taken
// for used, or unclean. An error is one of r.
func Read(r io.ReaderAt, size int64) (*Map, error) {
	areas, err := readGPT(r, size)
	if err != nil {
		return nil, err
	}
	if len(areas) == 0 {
		areas = []Area{{Span: Span{0, size}}}
	}
	return read(r, size, areas, (*Area).examine)
}

// ReadUsed reads the map of a disk of the machine that this runs on, whose partitions are
// known. Bytes alone would deceive: of an earlier file system, whose blocks are others'
// since, superblock and bitmaps may be there still. So what is free is read only of what
// the kernel has mounted as such.
func ReadUsed(r io.ReaderAt, size int64, parts []Part) (*Map, error) {
	var areas []Area
	for _, p := range parts {
		if p.Start < 0 || p.Start >= p.End || p.End > size {
			return nil, fmt.Errorf("partition %d is from %d to %d on a disk of %d bytes", p.Number, p.Start, p.End, size)
		}
		areas = append(areas, Area{Span: p.Span, Number: p.Number})
	}
	i := -1
	return read(r, size, areas, func(a *Area, r io.ReaderAt) ([]Span, error) {
		i++
		return a.examineUsed(r, parts[i])
	})
}

func read(r io.ReaderAt, size int64, areas []Area, examine func(*Area, io.ReaderAt) ([]Span, error)) (*Map, error) {
	m := &Map{Size: size}
	for _, a := range areas {
		free, err := examine(&a, r)
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

// examineUsed is examine for what the kernel knows.
func (a *Area) examineUsed(r io.ReaderAt, p Part) (free []Span, err error) {
	free, err = a.examine(r)
	if err != nil {
		return nil, err
	}
	found := a.Kind
	is := func(kinds ...string) bool { return slices.Contains(kinds, p.Mounted) && slices.Contains(kinds, found) }
	whole := func(kind, why string) {
		a.Kind, a.Whole, a.Free, free = kind, why, 0, nil
	}
	switch {
	case p.Mounted == "swap":
		// What was swapped out is nobody's, and may be secret. The header stays, whatever
		// the size of pages is.
		*a = Area{Span: a.Span, Number: a.Number, Kind: "swap"}
		if free = nil; a.End-a.Start > swapHead {
			free = []Span{{a.Start + swapHead, a.End}}
			a.Free = free[0].End - free[0].Start
		}
	case len(p.Holders) > 0:
		// It belongs to whoever made a device of it, whatever its first bytes look like.
		whole(cmp.Or(p.Mounted, found), "it is a part of "+strings.Join(p.Holders, ", "))
		a.Unclean, a.Orphans = "", false
	case is("ext2", "ext3", "ext4"), is("vfat"):
	case slices.Contains([]string{"ext2", "ext3", "ext4"}, p.Mounted):
		whole(p.Mounted, "")
		a.Unclean = "what is on the disk is not the file system that is mounted from it"
	case p.Mounted != "":
		whole(p.Mounted, "")
		a.Unclean, a.Orphans = "", false
	case a.Free > 0:
		whole(found, "nothing is mounted from it")
	}
	if a.Orphans && !p.Orphans && a.Unclean == "" {
		a.Unclean = "it has files that are deleted and still in use, and it is not known by whom"
	}
	return free, nil
}

// swapHead is how much of a swap area is read, in bytes: the first page, of the largest
// size that pages have.
const swapHead = 64 << 10

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
