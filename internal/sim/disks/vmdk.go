// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package disks

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
)

// What a VMDK in one file looks like; see VMware's "Virtual Disk Format 5.0". Offsets in
// it are in sectors.
const (
	sector         = 512
	grainsOfTable  = 512
	directoryAtEnd = 1<<64 - 1
	markFooter     = 3

	vmdkNewlines   = 1 << 0
	vmdkZeroGrains = 1 << 2
	vmdkCompressed = 1 << 16
	vmdkMarkers    = 1 << 17
)

// VMDK is a disk in a file of one of the two kinds that services import: monolithicSparse
// ("single growable") and streamOptimized. [OpenVMDK] makes it.
type VMDK struct {
	f           *os.File
	length      int64
	size, grain int64 // bytes
	compressed  bool
	zeros       bool // an entry of 1 is a grain of zeros
	directory   []uint32
}

// Grain is a part of the disk that is in the file.
type Grain struct {
	Offset int64 // on the disk
	Data   []byte
}

// OpenVMDK opens a file that stands on its own and is all there. Close it when done.
func OpenVMDK(path string) (_ *VMDK, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the disk: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the disk: %w", err)
	}
	v := &VMDK{f: f, length: info.Size()}
	h, err := v.sectors(0, 1)
	if err != nil {
		return nil, fmt.Errorf("the disk is not a VMDK: %w", err)
	}
	if err := v.header(h); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if err := v.descriptor(le.Uint64(h[28:]), le.Uint64(h[36:])); err != nil {
		return nil, err
	}
	at := le.Uint64(h[56:])
	if at == directoryAtEnd {
		if at, err = v.footer(h); err != nil {
			return nil, err
		}
	}
	tables := (v.size + v.grain*grainsOfTable - 1) / (v.grain * grainsOfTable)
	v.directory, err = v.words(at, tables)
	if err != nil {
		return nil, fmt.Errorf("the VMDK's directory of grains: %w", err)
	}
	return v, nil
}

func (v *VMDK) header(h []byte) error {
	le := binary.LittleEndian
	version, flags, perTable := le.Uint32(h[4:]), le.Uint32(h[8:]), le.Uint32(h[44:])
	capacity, grain := le.Uint64(h[12:]), le.Uint64(h[20:])
	v.compressed, v.zeros = flags&vmdkCompressed != 0, flags&vmdkZeroGrains != 0
	switch {
	case !bytes.HasPrefix(h, []byte("KDMV")):
		return fmt.Errorf("the disk is not a VMDK: it begins with %q", h[:4])
	case version < 1 || version > 3:
		return fmt.Errorf("VMDK version %d is not supported", version)
	case flags&vmdkNewlines != 0 && string(h[73:77]) != "\n \r\n":
		return errors.New("the VMDK was changed on its way as if it were a text")
	case h[72] != 0:
		return errors.New("the VMDK was not closed properly")
	case v.compressed != (flags&vmdkMarkers != 0) || v.compressed != (le.Uint16(h[77:]) == 1):
		return errors.New("the VMDK does not say clearly how it is compressed")
	case grain < 8 || grain > 2048 || grain&(grain-1) != 0:
		return fmt.Errorf("the VMDK has grains of %d sectors", grain)
	case perTable != grainsOfTable:
		return fmt.Errorf("the VMDK has tables of %d grains", perTable)
	case capacity == 0 || capacity >= 1<<32:
		return fmt.Errorf("the VMDK has a disk of %d sectors", capacity)
	}
	v.size, v.grain = int64(capacity)*sector, int64(grain)*sector
	return nil
}

// descriptor reads the text that says what kind of VMDK it is.
func (v *VMDK) descriptor(at, n uint64) error {
	if at == 0 || n == 0 || n > 128 {
		return errors.New("the VMDK has no descriptor: it is one of several files")
	}
	text, err := v.sectors(at, int64(n))
	if err != nil {
		return fmt.Errorf("the VMDK's descriptor: %w", err)
	}
	is := map[string]string{}
	var extents []string
	for line := range strings.Lines(string(bytes.TrimRight(text, "\x00"))) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok {
			is[strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), `"`)
		} else if strings.Contains(line, " SPARSE ") {
			extents = append(extents, line)
		}
	}
	kind := is["createType"]
	switch {
	case kind != "monolithicSparse" && kind != "streamOptimized":
		return fmt.Errorf("the VMDK is of the type %q; only monolithicSparse and streamOptimized are supported", kind)
	case kind == "streamOptimized" && !v.compressed:
		return errors.New("the VMDK says that it is streamOptimized, and is not compressed")
	case !strings.EqualFold(is["parentCID"], "ffffffff"):
		return errors.New("the VMDK needs another one that it is based on")
	case len(extents) != 1:
		return fmt.Errorf("the VMDK consists of %d extents", len(extents))
	}
	var access string
	var sectors int64
	if _, err := fmt.Sscanf(extents[0], "%s %d SPARSE", &access, &sectors); err != nil || sectors*sector != v.size {
		return fmt.Errorf("the VMDK's extent is %q, and its disk has %d sectors", extents[0], v.size/sector)
	}
	return nil
}

// footer finds the directory of a stream, which ends with a mark, the header once more,
// and another mark.
func (v *VMDK) footer(h []byte) (directory uint64, err error) {
	end, err := v.sectors(uint64(max(v.length/sector-3, 0)), 3)
	if err != nil || v.length%sector != 0 {
		return 0, errors.New("the VMDK is cut short")
	}
	mark, footer, last := end[:sector], end[sector:2*sector], end[2*sector:]
	le := binary.LittleEndian
	switch {
	case le.Uint64(mark) != 1 || le.Uint32(mark[8:]) != 0 || le.Uint32(mark[12:]) != markFooter || !bytes.Equal(last, make([]byte, sector)):
		return 0, errors.New("the VMDK is cut short: it has no footer")
	case !bytes.Equal(footer[:56], h[:56]) || !bytes.Equal(footer[64:], h[64:]):
		return 0, errors.New("the VMDK's footer is that of another file")
	}
	return le.Uint64(footer[56:]), nil
}

// Size of the disk in bytes.
func (v *VMDK) Size() int64 { return v.size }

// Close closes the file.
func (v *VMDK) Close() error { return v.f.Close() }

// Grains yields all grains that are in the file, in their order on the disk. Data is used
// again for the next one. What is damaged ends it with an error.
func (v *VMDK) Grains() iter.Seq2[Grain, error] {
	return func(yield func(Grain, error) bool) {
		buf := make([]byte, v.grain)
		for t, at := range v.directory {
			if at == 0 {
				continue
			}
			entries, err := v.words(uint64(at), grainsOfTable)
			if err != nil {
				yield(Grain{}, fmt.Errorf("the VMDK's table %d: %w", t, err))
				return
			}
			for i, e := range entries {
				g := Grain{Offset: (int64(t)*grainsOfTable + int64(i)) * v.grain}
				if e == 0 || e == 1 && v.zeros {
					continue
				}
				if g.Offset >= v.size {
					yield(Grain{}, fmt.Errorf("the VMDK has a grain at %d, behind the end of its disk", g.Offset))
					return
				}
				g.Data = buf[:min(v.grain, v.size-g.Offset)]
				if err := v.read(g, e); err != nil {
					yield(Grain{}, fmt.Errorf("the VMDK's grain at %d: %w", g.Offset, err))
					return
				}
				if !yield(g, nil) {
					return
				}
			}
		}
	}
}

// read reads a grain that begins at a sector.
func (v *VMDK) read(g Grain, at uint32) error {
	if !v.compressed {
		n, err := v.f.ReadAt(g.Data, int64(at)*sector)
		if clear(g.Data[n:]); n > 0 && errors.Is(err, io.EOF) {
			return nil // a file may end within its last grain
		}
		return noEOF(err)
	}
	head, err := v.sectors(uint64(at), 1)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	lba, n := le.Uint64(head), int64(le.Uint32(head[8:]))
	if lba != uint64(g.Offset/sector) || n == 0 || n > 2*v.grain {
		return fmt.Errorf("it says that it is sector %d, of %d bytes", lba, n)
	}
	whole, err := v.sectors(uint64(at), (12+n+sector-1)/sector)
	if err != nil {
		return err
	}
	z, err := zlib.NewReader(bytes.NewReader(whole[12 : 12+n]))
	if err != nil {
		return fmt.Errorf("unpack it: %w", noEOF(err))
	}
	if _, err := io.ReadFull(z, g.Data); err != nil {
		return fmt.Errorf("unpack it: %w", noEOF(err))
	}
	// Behind the end of the disk a grain may go on, up to its size. The checksum comes last.
	switch more, err := io.Copy(io.Discard, io.LimitReader(z, v.grain)); {
	case err != nil:
		return fmt.Errorf("unpack it: %w", err)
	case more > v.grain-int64(len(g.Data)):
		return errors.New("unpack it: it is longer than a grain")
	}
	return z.Close()
}

// words are numbers of 32 bits that begin at a sector.
func (v *VMDK) words(at uint64, n int64) ([]uint32, error) {
	raw, err := v.sectors(at, (4*n+sector-1)/sector)
	if err != nil {
		return nil, err
	}
	list := make([]uint32, n)
	for i := range list {
		list[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	return list, nil
}

// sectors reads sectors of the file.
func (v *VMDK) sectors(at uint64, n int64) ([]byte, error) {
	if at > uint64(v.length)/sector || (int64(at)+n)*sector > v.length {
		return nil, errors.New("the file is cut short")
	}
	p := make([]byte, n*sector)
	if _, err := v.f.ReadAt(p, int64(at)*sector); err != nil {
		return nil, fmt.Errorf("read the disk: %w", noEOF(err))
	}
	return p, nil
}
