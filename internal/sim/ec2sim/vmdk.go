// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"context"
	"encoding/binary"
	"fmt"
)

// What a streamOptimized VMDK looks like; see VMware's "Virtual Disk Format 5.0".
// Offsets are in sectors.
const (
	sector        = 512
	vmdkMagic     = 0x564d444b // "KDMV"
	grainSectors  = ClusterSize / sector
	grainsOfTable = 512
	tableSectors  = grainsOfTable * 4 / sector
	vmdkOverhead  = grainSectors // of header and descriptor

	flagNewline    = 1 << 0
	flagDeflate    = 1 << 16
	flagMarkers    = 1 << 17
	directoryAtEnd = 0xffffffffffffffff

	markEnd       = 0
	markTable     = 1
	markDirectory = 2
	markFooter    = 3
)

// vmdk writes a streamOptimized VMDK. All that it has to say of a grain comes after
// the grain, so that even its beginning is known when it begins.
type vmdk struct {
	file      *counted
	sectors   uint64
	directory []uint32
	table     []uint32
	number    int64
	used      bool
}

func newVMDK(file *counted, size int64) (*vmdk, error) {
	if size > 1<<40 {
		return nil, fmt.Errorf("a disk of %d bytes does not fit into a streamOptimized VMDK, which ends at 1 TiB", size)
	}
	sectors := uint64(size+sector-1) / sector
	grains := (sectors + grainSectors - 1) / grainSectors
	return &vmdk{
		file: file, sectors: sectors, directory: make([]uint32, (grains+grainsOfTable-1)/grainsOfTable), table: make([]uint32, grainsOfTable),
	}, nil
}

func (v *vmdk) begin(ctx context.Context) error {
	front := make([]byte, vmdkOverhead*sector)
	copy(front, v.header(directoryAtEnd))
	copy(front[sector:], v.descriptor())
	return v.file.Write(ctx, front)
}

// header is the header, or the footer, which differs in where the directory is.
func (v *vmdk) header(directory uint64) []byte {
	h := make([]byte, sector)
	le := binary.LittleEndian
	le.PutUint32(h[0:], vmdkMagic)
	le.PutUint32(h[4:], 3)
	le.PutUint32(h[8:], flagNewline|flagDeflate|flagMarkers)
	le.PutUint64(h[12:], v.sectors)
	le.PutUint64(h[20:], grainSectors)
	le.PutUint64(h[28:], 1)  // the descriptor
	le.PutUint64(h[36:], 20) // and its length
	le.PutUint32(h[44:], grainsOfTable)
	le.PutUint64(h[56:], directory)
	le.PutUint64(h[64:], vmdkOverhead)
	copy(h[73:], "\n \r\n")
	le.PutUint16(h[77:], 1) // deflate
	return h
}

func (v *vmdk) descriptor() string {
	const heads, perTrack = 255, 63
	return fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n"+
		"# Extent description\nRW %d SPARSE \"disk.vmdk\"\n\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n"+
		"ddb.geometry.cylinders = \"%d\"\nddb.geometry.heads = \"%d\"\nddb.geometry.sectors = \"%d\"\nddb.adapterType = \"lsilogic\"\n",
		v.sectors, min(65535, v.sectors/(heads*perTrack)), heads, perTrack)
}

func (v *vmdk) add(ctx context.Context, c cluster) error {
	if t := c.index / grainsOfTable; t != v.number {
		if err := v.endTable(ctx); err != nil {
			return err
		}
		v.number = t
	}
	v.used = true
	v.table[c.index%grainsOfTable] = uint32(v.file.at / sector)
	grain := make([]byte, 12, 12+len(c.data)+sector)
	binary.LittleEndian.PutUint64(grain, uint64(c.index)*grainSectors)
	binary.LittleEndian.PutUint32(grain[8:], uint32(len(c.data)))
	return v.file.Write(ctx, padded(append(grain, c.data...)))
}

// endTable writes the table of the grains, unless it is empty.
func (v *vmdk) endTable(ctx context.Context) error {
	if !v.used {
		return nil
	}
	if err := v.mark(ctx, markTable, tableSectors); err != nil {
		return err
	}
	v.directory[v.number] = uint32(v.file.at / sector)
	err := v.file.Write(ctx, littleWords(v.table))
	clear(v.table)
	v.used = false
	return err
}

func (v *vmdk) end(ctx context.Context) error {
	if err := v.endTable(ctx); err != nil {
		return err
	}
	directory := padded(littleWords(v.directory))
	if err := v.mark(ctx, markDirectory, len(directory)/sector); err != nil {
		return err
	}
	at := v.file.at / sector
	if err := v.file.Write(ctx, directory); err != nil {
		return err
	}
	if err := v.mark(ctx, markFooter, 1); err != nil {
		return err
	}
	if err := v.file.Write(ctx, v.header(uint64(at))); err != nil {
		return err
	}
	if err := v.mark(ctx, markEnd, 0); err != nil {
		return err
	}
	return v.file.Finish(ctx, nil)
}

// mark says what follows, and how many sectors of it.
func (v *vmdk) mark(ctx context.Context, kind uint32, sectors int) error {
	m := make([]byte, sector)
	binary.LittleEndian.PutUint64(m, uint64(sectors))
	binary.LittleEndian.PutUint32(m[12:], kind)
	return v.file.Write(ctx, m)
}

func padded(p []byte) []byte { return append(p, make([]byte, -len(p)&(sector-1))...) }

func littleWords(list []uint32) []byte {
	p := make([]byte, 0, 4*len(list))
	for _, w := range list {
		p = binary.LittleEndian.AppendUint32(p, w)
	}
	return p
}
