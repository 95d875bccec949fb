// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// What a streamOptimized VMDK looks like; see VMware's "Virtual Disk Format 5.0".
// Offsets are in sectors.
const (
	sector         = 512
	grainSize      = 64 << 10
	grainsOfTable  = 512
	vmdkFront      = 128 // sectors before the first grain
	vmdkFlags      = 1 | 1<<16 | 1<<17
	directoryAtEnd = 1<<64 - 1

	markTable, markDirectory, markFooter = 1, 2, 3
)

// vmdk writes a streamOptimized VMDK, which is how EC2 exports images.
type vmdk struct {
	out       *bufio.Writer
	at        int64 // bytes so far
	size      int64
	directory []uint32
	table     []uint32
	used      bool
}

// writeVMDK writes a disk as one of so many bytes.
func writeVMDK(to *os.File, disk *machine.Disk, size int64) error {
	tables := (size + grainSize*grainsOfTable - 1) / (grainSize * grainsOfTable)
	v := &vmdk{out: bufio.NewWriter(to), size: size, directory: make([]uint32, tables), table: make([]uint32, grainsOfTable)}
	v.write(v.header(directoryAtEnd))
	v.write([]byte(v.descriptor()))
	v.pad(vmdkFront * sector)
	blocks, err := disk.Blocks(blockSize)
	if err != nil {
		return err
	}
	last := int64(0)
	buf, zero := make([]byte, grainSize), make([]byte, grainSize)
	for _, b := range blocks {
		for g := b * blockSize / grainSize; g < (b+1)*blockSize/grainSize && g*grainSize < v.size; g++ {
			clear(buf)
			if _, err := disk.ReadAt(buf, g*grainSize); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			if bytes.Equal(buf, zero) {
				continue
			}
			if n := g / grainsOfTable; n != last {
				v.endTable(last)
				last = n
			}
			if err := v.grain(g, buf); err != nil {
				return err
			}
		}
	}
	v.endTable(last)
	v.end()
	return v.out.Flush()
}

// write keeps the first error for Flush.
func (v *vmdk) write(p []byte) {
	_, _ = v.out.Write(p)
	v.at += int64(len(p))
}

func (v *vmdk) pad(to int64) { v.write(make([]byte, -v.at&(to-1))) }

func (v *vmdk) grain(n int64, data []byte) error {
	v.used = true
	v.table[n%grainsOfTable] = uint32(v.at / sector)
	var packed bytes.Buffer
	w := zlib.NewWriter(&packed)
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	head := binary.LittleEndian.AppendUint64(nil, uint64(n)*grainSize/sector)
	v.write(binary.LittleEndian.AppendUint32(head, uint32(packed.Len())))
	v.write(packed.Bytes())
	v.pad(sector)
	return nil
}

func (v *vmdk) endTable(n int64) {
	if !v.used {
		return
	}
	v.mark(markTable, grainsOfTable*4/sector)
	v.directory[n] = uint32(v.at / sector)
	v.words(v.table)
	clear(v.table)
	v.used = false
}

func (v *vmdk) end() {
	v.mark(markDirectory, (len(v.directory)*4+sector-1)/sector)
	at := v.at / sector
	v.words(v.directory)
	v.mark(markFooter, 1)
	v.write(v.header(uint64(at)))
	v.mark(0, 0)
}

// mark says what follows, and how many sectors of it.
func (v *vmdk) mark(kind uint32, sectors int) {
	m := make([]byte, sector)
	binary.LittleEndian.PutUint64(m, uint64(sectors))
	binary.LittleEndian.PutUint32(m[12:], kind)
	v.write(m)
}

func (v *vmdk) words(list []uint32) {
	p := make([]byte, 0, 4*len(list))
	for _, w := range list {
		p = binary.LittleEndian.AppendUint32(p, w)
	}
	v.write(p)
	v.pad(sector)
}

// header is the header, or the footer, which differs in where the directory is.
func (v *vmdk) header(directory uint64) []byte {
	h := make([]byte, sector)
	copy(h, "KDMV")
	le := binary.LittleEndian
	le.PutUint32(h[4:], 3)
	le.PutUint32(h[8:], vmdkFlags)
	le.PutUint64(h[12:], uint64(v.size)/sector)
	le.PutUint64(h[20:], grainSize/sector)
	le.PutUint64(h[28:], 1) // the descriptor
	le.PutUint64(h[36:], 20)
	le.PutUint32(h[44:], grainsOfTable)
	le.PutUint64(h[56:], directory)
	le.PutUint64(h[64:], vmdkFront)
	copy(h[73:], "\n \r\n")
	le.PutUint16(h[77:], 1) // deflate
	return h
}

func (v *vmdk) descriptor() string {
	const heads, perTrack = 255, 63
	sectors := v.size / sector
	return fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n"+
		"# Extent description\nRW %d SPARSE \"disk.vmdk\"\n\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\n"+
		"ddb.geometry.cylinders = \"%d\"\nddb.geometry.heads = \"%d\"\nddb.geometry.sectors = \"%d\"\nddb.adapterType = \"lsilogic\"\n",
		sectors, min(65535, sectors/(heads*perTrack)), heads, perTrack)
}
