// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package blockmap

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"
)

// What ext2, ext3 and ext4 look like; see the kernel's documentation of ext4.
const (
	extMagic = 0xef53

	compatJournal     = 0x4
	compatSparse2     = 0x200
	incompatFiletype  = 0x2
	incompatRecover   = 0x4
	incompatExtents   = 0x40
	incompat64        = 0x80
	incompatMMP       = 0x100
	incompatFlexBG    = 0x200
	incompatEAInode   = 0x400
	incompatCsumSeed  = 0x2000
	incompatLargeDir  = 0x4000
	incompatInline    = 0x8000
	incompatEncrypt   = 0x10000
	incompatCasefold  = 0x20000
	roSparse          = 0x1
	roBigalloc        = 0x200
	roMetadataCsum    = 0x400
	roGDTCsum         = 0x10
	roOrphanPresent   = 0x10000
	incompatSupported = incompatFiletype | incompatRecover | incompatExtents | incompat64 | incompatMMP | incompatFlexBG |
		incompatEAInode | incompatCsumSeed | incompatLargeDir | incompatInline | incompatEncrypt | incompatCasefold

	stateClean  = 1
	stateErrors = 2

	blockUninit = 2
)

// ext is what is needed of a superblock.
type ext struct {
	blocks        int64 // of the file system
	blockSize     int64
	ratio         int64 // blocks in a cluster
	first         int64 // the block of the first group's superblock
	perGroup      int64 // blocks
	inodesPer     int64 // of a group
	inodeSize     int64
	descSize      int64
	reservedGDT   int64
	compat, ro    uint32
	backups       [2]int64
	lazy          bool // groups may be without a bitmap
	groups        int64
	tableLength   int64 // blocks of the inode table of a group
	gdtBlocks     int64
	desc          []byte
	free          []Span // in blocks
	metadata      []Span
	bitmapTrouble string
}

// examineExt reads what is free of an ext file system, whose superblock is sb.
func (a *Area) examineExt(r io.ReaderAt, sb []byte) ([]Span, error) {
	le := binary.LittleEndian
	compat, incompat, ro := le.Uint32(sb[92:]), le.Uint32(sb[96:]), le.Uint32(sb[100:])
	switch {
	case incompat&(incompatExtents|incompat64|incompatFlexBG) != 0:
		a.Kind = "ext4"
	case compat&compatJournal != 0:
		a.Kind = "ext3"
	default:
		a.Kind = "ext2"
	}
	switch state := le.Uint16(sb[58:]); {
	case incompat&incompatRecover != 0:
		a.Unclean = "its journal has to be replayed"
	case state&stateErrors != 0:
		a.Unclean = "the kernel found errors in it; it needs a check by e2fsck"
	case state&stateClean == 0:
		a.Unclean = "it was not unmounted"
	}
	a.Orphans = le.Uint32(sb[232:]) != 0 || ro&roOrphanPresent != 0
	if unknown := incompat &^ incompatSupported; unknown != 0 {
		a.Whole = fmt.Sprintf("it has features that are not known here (%#x)", unknown)
		return nil, nil
	}
	f, why := newExt(sb, a.End-a.Start)
	if why != "" {
		a.Whole = why
		return nil, nil
	}
	f.compat, f.ro = compat, ro
	f.lazy = ro&(roGDTCsum|roMetadataCsum) != 0
	if err := f.read(r, a.Start); err != nil {
		return nil, err
	}
	if f.bitmapTrouble != "" {
		a.Whole = f.bitmapTrouble
		if a.Unclean == "" {
			a.Unclean = f.bitmapTrouble
		}
		return nil, nil
	}
	free := without(joined(f.free), joined(f.metadata))
	for i, s := range free {
		free[i] = Span{a.Start + s.Start*f.blockSize, a.Start + s.End*f.blockSize}
		a.Free += free[i].End - free[i].Start
	}
	return free, nil
}

// newExt checks the numbers of a superblock, in a partition of so many bytes, before
// anything is made of them.
func newExt(sb []byte, room int64) (f *ext, why string) {
	le := binary.LittleEndian
	incompat, ro := le.Uint32(sb[96:]), le.Uint32(sb[100:])
	blockBits, clusterBits := le.Uint32(sb[24:]), le.Uint32(sb[28:])
	if blockBits > 6 || clusterBits > 20 || clusterBits < blockBits {
		return nil, "its superblock is damaged"
	}
	f = &ext{
		blocks: int64(le.Uint32(sb[4:])), blockSize: 1024 << blockBits, ratio: 1, first: int64(le.Uint32(sb[20:])),
		perGroup: int64(le.Uint32(sb[32:])), inodesPer: int64(le.Uint32(sb[40:])), inodeSize: 128, descSize: 32,
		reservedGDT: int64(le.Uint16(sb[206:])), backups: [2]int64{int64(le.Uint32(sb[0x24c:])), int64(le.Uint32(sb[0x250:]))},
	}
	if le.Uint32(sb[76:]) > 0 { // revision
		f.inodeSize = int64(le.Uint16(sb[88:]))
	}
	if incompat&incompat64 != 0 {
		f.blocks |= int64(le.Uint32(sb[0x150:])) << 32
		f.descSize = int64(le.Uint16(sb[254:]))
	}
	if ro&roBigalloc != 0 {
		f.ratio = 1 << (clusterBits - blockBits)
	} else if clusterBits != blockBits {
		return nil, "its superblock is damaged"
	}
	clusters := int64(le.Uint32(sb[36:]))
	if ro&roBigalloc == 0 {
		clusters = f.perGroup
	}
	switch {
	case f.perGroup <= 0 || clusters*f.ratio != f.perGroup || clusters > 8*f.blockSize || f.inodesPer <= 0 || f.inodesPer > 8*f.blockSize,
		f.inodeSize < 128 || f.inodeSize > f.blockSize || f.descSize < 32 || f.descSize > 1024 || f.descSize&(f.descSize-1) != 0,
		incompat&incompat64 != 0 && f.descSize < 64,
		f.first > 1, f.blocks <= f.first, f.blocks > room/f.blockSize:
		return nil, "its superblock is damaged"
	}
	f.groups = (f.blocks - f.first + f.perGroup - 1) / f.perGroup
	f.tableLength = (f.inodesPer*f.inodeSize + f.blockSize - 1) / f.blockSize
	f.gdtBlocks = (f.groups*f.descSize + f.blockSize - 1) / f.blockSize
	if f.gdtBlocks > f.perGroup || f.gdt()+f.gdtBlocks > f.blocks {
		return nil, "its superblock is damaged"
	}
	return f, ""
}

// gdt is the block at which the descriptors begin: behind the superblock, which is 1024
// bytes from the beginning. With bigalloc the first group begins before it, whatever the
// size of a block.
func (f *ext) gdt() int64 { return 1024/f.blockSize + 1 }

// read reads the descriptors and bitmaps of all groups of the file system that begins
// at an offset of the disk.
func (f *ext) read(r io.ReaderAt, start int64) error {
	f.desc = make([]byte, f.gdtBlocks*f.blockSize)
	if err := fill(r, f.desc, start+f.gdt()*f.blockSize); err != nil {
		return err
	}
	bitmap := make([]byte, f.blockSize)
	for g := range f.groups {
		d := f.desc[g*f.descSize:]
		le := binary.LittleEndian
		blockMap, inodeMap, table := int64(le.Uint32(d[0:])), int64(le.Uint32(d[4:])), int64(le.Uint32(d[8:]))
		want, flags := int64(le.Uint16(d[12:])), le.Uint16(d[18:])
		if f.descSize >= 64 {
			blockMap |= int64(le.Uint32(d[32:])) << 32
			inodeMap |= int64(le.Uint32(d[36:])) << 32
			table |= int64(le.Uint32(d[40:])) << 32
			want |= int64(le.Uint16(d[44:])) << 16
		}
		if blockMap < f.first || inodeMap < f.first || table < f.first || blockMap >= f.blocks || inodeMap >= f.blocks || table > f.blocks-f.tableLength {
			f.bitmapTrouble = fmt.Sprintf("group %d of it is damaged", g)
			return nil
		}
		f.metadata = append(f.metadata, Span{blockMap, blockMap + 1}, Span{inodeMap, inodeMap + 1}, Span{table, table + f.tableLength})
		from := f.first + g*f.perGroup
		length := min(f.perGroup, f.blocks-from)
		if f.lazy && flags&blockUninit != 0 {
			if f.ratio == 1 { // else all of it counts as used
				f.addEmptyGroup(g, from, length)
			}
			continue
		}
		if err := fill(r, bitmap, start+blockMap*f.blockSize); err != nil {
			return err
		}
		if got := f.addGroup(bitmap, from, length); got != want {
			f.bitmapTrouble = fmt.Sprintf("the bitmap of its group %d has %d free blocks, and %d are said to be free", g, got, want)
			return nil
		}
	}
	return nil
}

// addGroup adds what a bitmap says is free of a group, and returns how many clusters
// that are.
func (f *ext) addGroup(bitmap []byte, from, length int64) (free int64) {
	clusters := (length + f.ratio - 1) / f.ratio
	for c := int64(0); c < clusters; {
		b := bitmap[c/8]
		if c%8 == 0 && b == 0xff {
			c += 8
			continue
		}
		if b>>(c%8)&1 != 0 {
			c++
			continue
		}
		begin := c
		for c < clusters {
			// As many zeros as follow in this byte.
			n := min(8-c%8, int64(bits.TrailingZeros16(uint16(bitmap[c/8])>>(c%8)|0x100)))
			if n == 0 {
				break
			}
			c += n
		}
		c = min(c, clusters)
		free += c - begin
		f.free = append(f.free, Span{from + begin*f.ratio, from + min(c*f.ratio, length)})
	}
	return free
}

// addEmptyGroup adds a group that has no bitmap: all of it is free but the metadata,
// which is taken out later, and the copies of the superblock and the descriptors.
func (f *ext) addEmptyGroup(g, from, length int64) {
	used := int64(0)
	if f.hasSuper(g) {
		used = 1 + f.gdtBlocks + f.reservedGDT
	}
	if used < length {
		f.free = append(f.free, Span{from + used, from + length})
	}
}

// hasSuper says whether a group begins with a copy of the superblock.
func (f *ext) hasSuper(g int64) bool {
	if f.compat&compatSparse2 != 0 {
		return g == 0 || slices.Contains(f.backups[:], g)
	}
	if g <= 1 || f.ro&roSparse == 0 {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		p := base
		for p < g {
			p *= base
		}
		if p == g {
			return true
		}
	}
	return false
}
