// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// What is written of VMware's "Virtual Disk Format 1.1": one file that is
// streamOptimized. Offsets in it are in sectors, of 32 bits where they lie in tables.
const (
	vmdkVersion  = 3
	vmdkNewlines = 1 << 0 // the bytes that tell whether line ends were changed on the way

	grainSectors      = ClusterSize / sector
	tableSectors      = grainsOfTable * 4 / sector
	descriptorAt      = 1
	descriptorSectors = 20
	// frontSectors is where the first grain lies: at a multiple of a grain, as VMware's
	// own files have it.
	frontSectors = 128

	markTable     = 1
	markDirectory = 2

	vmdkDeflate = 1

	// maxVMDK is how many bytes a file can have, since tables point into it by sectors
	// in 32 bits. A disk must be smaller.
	maxVMDK = 1 << 32 * sector
)

// vmdk writes a streamOptimized VMDK: grains as they come, each table of grains behind
// those that it is about, and the directory of tables at the end. The header says so, and
// what it could not know is in the footer, which is a second header. Nothing is left open
// in front.
type vmdk struct {
	file *counted
	size int64 // of the disk, whole sectors

	directory []uint32
	entries   []uint32 // of the table being filled
	table     int64    // its number
	used      bool     // it has an entry
	buf       []byte
}

func newVMDK(file *counted, size int64) *vmdk {
	const covered = ClusterSize * grainsOfTable
	size = (size + sector - 1) &^ (sector - 1)
	return &vmdk{
		file: file, size: size, directory: make([]uint32, (size+covered-1)/covered), entries: make([]uint32, grainsOfTable),
		buf: make([]byte, 0, ClusterSize+2*sector),
	}
}

// errTooLarge says that a disk of so many bytes does not fit into a VMDK.
func errTooLarge(size int64) error {
	return fmt.Errorf("the disk has %d GiB; what fits into a VMDK is smaller than %d", (size+1<<30-1)>>30, int64(maxVMDK)>>30)
}

func (v *vmdk) begin(ctx context.Context) error {
	front := make([]byte, frontSectors*sector)
	copy(front, v.header(directoryAtEnd))
	copy(front[descriptorAt*sector:(descriptorAt+descriptorSectors)*sector], v.descriptor())
	return v.file.Write(ctx, front)
}

// add writes a grain: where it is on the disk, how long it has become, and its stream.
func (v *vmdk) add(ctx context.Context, c cluster) error {
	if t := c.index / grainsOfTable; t != v.table {
		if err := v.endTable(ctx); err != nil {
			return err
		}
		v.table = t
	}
	at, err := v.here()
	if err != nil {
		return err
	}
	v.used = true
	v.entries[c.index%grainsOfTable] = at
	le := binary.LittleEndian
	v.buf = le.AppendUint64(v.buf[:0], uint64(c.index)*grainSectors)
	v.buf = le.AppendUint32(v.buf, uint32(len(c.data)))
	v.buf = append(v.buf, c.data...)
	return v.put(ctx, v.buf)
}

// here is the sector that is written next.
func (v *vmdk) here() (uint32, error) {
	// Data that does not get smaller takes more than it has on the disk.
	if v.file.at >= maxVMDK {
		return 0, fmt.Errorf("the image has come to %d GiB, and nothing in a VMDK may lie beyond: the disk does not fit into one", int64(maxVMDK)>>30)
	}
	return uint32(v.file.at / sector), nil
}

// put writes, up to a whole sector.
func (v *vmdk) put(ctx context.Context, p []byte) error {
	return v.file.Write(ctx, append(p, make([]byte, -len(p)&(sector-1))...))
}

// mark writes what says what follows, and how many sectors of it.
func (v *vmdk) mark(ctx context.Context, kind uint32, sectors int) error {
	m := make([]byte, sector)
	binary.LittleEndian.PutUint64(m, uint64(sectors))
	binary.LittleEndian.PutUint32(m[12:], kind) // behind a length of 0, by which it is no grain
	return v.file.Write(ctx, m)
}

// endTable writes the table of grains, unless it is empty: what no table is about is
// zeros.
func (v *vmdk) endTable(ctx context.Context) error {
	if !v.used {
		return nil
	}
	if err := v.mark(ctx, markTable, tableSectors); err != nil {
		return err
	}
	at, err := v.here()
	if err != nil {
		return err
	}
	v.directory[v.table] = at
	if err := v.put(ctx, littleEndianBytes(v.entries)); err != nil {
		return err
	}
	clear(v.entries)
	v.used = false
	return nil
}

func (v *vmdk) end(ctx context.Context) error {
	if err := v.endTable(ctx); err != nil {
		return err
	}
	directory := littleEndianBytes(v.directory)
	if err := v.mark(ctx, markDirectory, (len(directory)+sector-1)/sector); err != nil {
		return err
	}
	at := v.file.at / sector // in the footer it has 64 bits
	if err := v.put(ctx, directory); err != nil {
		return err
	}
	if err := v.mark(ctx, markFooter, 1); err != nil {
		return err
	}
	if err := v.file.Write(ctx, v.header(uint64(at))); err != nil {
		return err
	}
	if err := v.file.Write(ctx, make([]byte, sector)); err != nil { // the end of the stream
		return err
	}
	return v.file.Finish(ctx, nil)
}

// header is the header, or the footer: they differ in where the directory is.
func (v *vmdk) header(directory uint64) []byte {
	h := make([]byte, sector)
	copy(h, "KDMV")
	le := binary.LittleEndian
	le.PutUint32(h[4:], vmdkVersion)
	le.PutUint32(h[8:], vmdkNewlines|vmdkCompressed|vmdkMarkers)
	// The disk as it is, also where it does not end with a whole grain: VMware's and
	// QEMU's tools write that, and read it.
	le.PutUint64(h[12:], uint64(v.size/sector))
	le.PutUint64(h[20:], grainSectors)
	le.PutUint64(h[28:], descriptorAt)
	le.PutUint64(h[36:], descriptorSectors)
	le.PutUint32(h[44:], grainsOfTable)
	le.PutUint64(h[56:], directory) // the redundant one, before it, is not there
	le.PutUint64(h[64:], frontSectors)
	copy(h[73:], "\n \r\n")
	le.PutUint16(h[77:], vmdkDeflate)
	return h
}

// descriptor is the text that says what kind of VMDK it is. The content's id is to change
// with the content, for disks that are based on this one: of which there are none, so
// that it only must be the same each time.
func (v *vmdk) descriptor() string {
	// What is good for all disks beyond 4 GB; the processors that this is for have no BIOS
	// to ask for it.
	const heads, perTrack = 255, 63
	sectors := v.size / sector
	// The largest two numbers mean something else.
	id := crc32.ChecksumIEEE(binary.LittleEndian.AppendUint64(nil, uint64(sectors))) &^ (1 << 31)
	return fmt.Sprintf(`# Disk DescriptorFile
version=1
CID=%08x
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW %d SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.adapterType = "lsilogic"
`, id, sectors, min(65535, (sectors+heads*perTrack-1)/(heads*perTrack)), heads, perTrack)
}

func littleEndianBytes(list []uint32) []byte {
	p := make([]byte, 0, (4*len(list)+sector-1)&^(sector-1))
	for _, w := range list {
		p = binary.LittleEndian.AppendUint32(p, w)
	}
	return p
}
