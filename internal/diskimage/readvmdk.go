// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/klauspost/compress/zlib"
)

// What a VMDK in one file looks like, sparse or streamOptimized; see VMware's "Virtual
// Disk Format 5.0". Offsets in it are in sectors.
const (
	sector        = 512
	grainsOfTable = 512
	grainHead     = 12 // bytes before what a grain was compressed to

	vmdkZeroGrains = 1 << 2
	vmdkCompressed = 1 << 16
	vmdkMarkers    = 1 << 17
	directoryAtEnd = 0xffffffffffffffff
	markFooter     = 3

	// maxGrain is more than any writer uses, in bytes.
	maxGrain = 1 << 20
	// maxDescriptor is how much of the descriptor is read, in bytes.
	maxDescriptor = 64 << 10
)

// vmdkFile reads a VMDK. Like a qcow2 file it may be damaged, or meant to harm, and is
// believed no further than it is long.
type vmdkFile struct {
	file       io.ReaderAt
	length     int64
	size       int64 // of the disk
	grain      int64 // bytes
	compressed bool
	zeros      bool     // an entry of 1 is a grain of zeros
	directory  []uint32 // where the tables of grains are
	unpack     spares[grainUnpacker]

	lock   chan struct{} // a mutex; it is held while a table is read, which may take a while
	tables []grainTable  // the last used comes first
}

type grainTable struct {
	number  int64
	entries []uint32
}

func openVMDK(file io.ReaderAt, length int64) (*vmdkFile, error) {
	v := &vmdkFile{file: file, length: length, lock: make(chan struct{}, 1)}
	h := make([]byte, sector)
	if err := v.readFull(h, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	version, flags, perTable := le.Uint32(h[4:]), le.Uint32(h[8:]), le.Uint32(h[44:])
	capacity, grain, at := le.Uint64(h[12:]), le.Uint64(h[20:]), le.Uint64(h[56:])
	v.compressed, v.zeros = flags&vmdkCompressed != 0, flags&vmdkZeroGrains != 0
	switch {
	case version < 1 || version > 3:
		return nil, fmt.Errorf("version %d of VMDK is not supported", version)
	case v.compressed && (le.Uint16(h[77:]) != 1 || flags&vmdkMarkers == 0):
		return nil, errors.New("the VMDK is compressed by a method that is not supported")
	case grain < 8 || grain > maxGrain/sector || grain&(grain-1) != 0:
		return nil, fmt.Errorf("the VMDK has grains of %d sectors", grain)
	case perTable != grainsOfTable:
		return nil, fmt.Errorf("the VMDK has tables of %d grains", perTable)
	case capacity == 0 || capacity > maxDisk/sector:
		return nil, fmt.Errorf("the VMDK has a disk of %d sectors", capacity)
	}
	v.size, v.grain = int64(capacity)*sector, int64(grain)*sector
	if err := v.alone(le.Uint64(h[28:]), le.Uint64(h[36:])); err != nil {
		return nil, err
	}
	if at == directoryAtEnd {
		var err error
		if at, err = v.footer(h); err != nil {
			return nil, err
		}
	}
	covered := v.grain * grainsOfTable
	table := make([]byte, 4*((v.size+covered-1)/covered))
	if at > uint64(length)/sector || int64(at)*sector+int64(len(table)) > length {
		return nil, errors.New("the VMDK is damaged: its directory of grains lies outside of it")
	}
	if err := v.readFull(table, int64(at)*sector); err != nil {
		return nil, err
	}
	v.directory = littleEndianWords(table)
	return v, nil
}

// alone says why the file is not all of a disk.
func (v *vmdkFile) alone(at, sectors uint64) error {
	if at == 0 || sectors == 0 || at > uint64(v.length)/sector {
		return errors.New("the VMDK is one of several files of a disk; make a single one of them with \"qemu-img convert\"")
	}
	text := make([]byte, min(int64(min(sectors, maxDescriptor/sector))*sector, v.length-int64(at)*sector))
	if err := v.readFull(text, int64(at)*sector); err != nil {
		return err
	}
	kind, parent := "", ""
	for line := range strings.SplitSeq(string(bytes.TrimRight(text, "\x00")), "\n") {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch strings.TrimSpace(key) {
		case "createType":
			kind = strings.Trim(strings.TrimSpace(value), `"`)
		case "parentCID":
			parent = strings.ToLower(strings.TrimSpace(value))
		}
	}
	switch {
	case kind != "streamOptimized" && kind != "monolithicSparse":
		return fmt.Errorf("the VMDK is of the type %q; make one that is streamOptimized or monolithicSparse of it with \"qemu-img convert\"", kind)
	case parent != "" && parent != "ffffffff":
		return errors.New("the VMDK needs another one that it is based on; make one that stands on its own with \"qemu-img convert\"")
	}
	return nil
}

// footer finds the directory where the header leaves that to the end of the file, which
// is a footer with a mark before it and one behind it.
func (v *vmdkFile) footer(header []byte) (directory uint64, err error) {
	end := make([]byte, 3*sector)
	if v.length < int64(len(end)) {
		return 0, errors.New("the VMDK is cut short: it has no footer")
	}
	if err := v.readFull(end, v.length-int64(len(end))); err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	footer := end[sector : 2*sector]
	if le.Uint32(end[8:]) != 0 || le.Uint32(end[12:]) != markFooter || !bytes.Equal(footer[:56], header[:56]) || le.Uint64(footer[56:]) == directoryAtEnd {
		return 0, errors.New("the VMDK is cut short: it does not end with a footer that fits its header")
	}
	return le.Uint64(footer[56:]), nil
}

func (v *vmdkFile) readFull(p []byte, at int64) error {
	if n, err := v.file.ReadAt(p, at); n < len(p) {
		return fmt.Errorf("read the VMDK at %d: %w", at, noEOF(err))
	}
	return nil
}

// Size implements [Source].
func (v *vmdkFile) Size() int64 { return v.size }

// PieceSize implements [Source]: a piece never splits a grain.
func (v *vmdkFile) PieceSize() int { return max(pieceSize, int(v.grain)) }

// Pieces implements [Source].
func (v *vmdkFile) Pieces(ctx context.Context) iter.Seq2[Piece, error] {
	piece, covered := int64(v.PieceSize()), v.grain*grainsOfTable
	return func(yield func(Piece, error) bool) {
		for at := int64(0); at < v.size; at += piece {
			if ctx.Err() != nil {
				yield(Piece{}, ctx.Err())
				return
			}
			if covered >= piece && v.directory[at/covered] == 0 { // what no table is about is passed over
				at = (at/covered+1)*covered - piece
				continue
			}
			grains, err := v.grains(at, min(piece, v.size-at))
			if err != nil {
				yield(Piece{}, err)
				return
			}
			if len(grains) > 0 && !yield(Piece{at, int(min(piece, v.size-at))}, nil) {
				return
			}
		}
	}
}

// entry is where a grain is in the file, in sectors, or 0 if it is not.
func (v *vmdkFile) entry(grain int64) (uint32, error) {
	number := grain / grainsOfTable
	at := int64(v.directory[number]) * sector
	if at == 0 {
		return 0, nil
	}
	v.lock <- struct{}{}
	defer func() { <-v.lock }()
	for n, t := range v.tables {
		if t.number == number {
			copy(v.tables[1:n+1], v.tables[:n])
			v.tables[0] = t
			return t.entries[grain%grainsOfTable], nil
		}
	}
	raw := make([]byte, 4*grainsOfTable)
	if at+int64(len(raw)) > v.length {
		return 0, fmt.Errorf("the VMDK is damaged: a table of grains at %d lies outside of it", at)
	}
	if err := v.readFull(raw, at); err != nil {
		return 0, err
	}
	t := grainTable{number, littleEndianWords(raw)}
	for i, e := range t.entries {
		if e == 1 && v.zeros {
			t.entries[i] = 0
		}
	}
	if len(v.tables) < cachedTables {
		v.tables = append(v.tables, grainTable{})
	}
	copy(v.tables[1:], v.tables)
	v.tables[0] = t
	return t.entries[grain%grainsOfTable], nil
}

// storedGrain is a grain that is in the file, as where it is on the disk and in the
// file, in bytes.
type storedGrain struct{ disk, file int64 }

// grains are those of a part of the disk that are in the file.
func (v *vmdkFile) grains(at, length int64) (list []storedGrain, err error) {
	for disk := at; disk < at+length; disk += v.grain {
		e, err := v.entry(disk / v.grain)
		if err != nil {
			return nil, err
		}
		if e == 0 {
			continue
		}
		file := int64(e) * sector
		if file >= v.length {
			return nil, fmt.Errorf("the VMDK is damaged: the grain at %d of the disk lies outside of it", disk)
		}
		list = append(list, storedGrain{disk, file})
	}
	return list, nil
}

// longest is how many bytes a grain may take in the file.
func (v *vmdkFile) longest() int64 {
	if !v.compressed {
		return v.grain
	}
	return v.grain + v.grain/64 + sector
}

// ReadPiece implements [Source]. Grains that lie beside each other, as a stream has
// them, are read by one request: the file may be far away.
func (v *vmdkFile) ReadPiece(ctx context.Context, p Piece, buf []byte) error {
	clear(buf)
	grains, err := v.grains(p.Offset, int64(len(buf)))
	if err != nil {
		return err
	}
	u := v.unpack.get()
	defer v.unpack.put(u)
	for len(grains) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 1
		for n < len(grains) && grains[n].file > grains[n-1].file && grains[n].file-grains[n-1].file <= v.longest() {
			n++
		}
		first, last := grains[0].file, grains[n-1]
		end := min(v.after(last), v.length)
		if int64(cap(u.in)) < end-first {
			u.in = make([]byte, end-first)
		}
		u.in = u.in[:end-first]
		if err := v.readFull(u.in, first); err != nil {
			return err
		}
		for _, g := range grains[:n] {
			to := g.disk - p.Offset
			if err := v.take(u, u.in[g.file-first:], g, buf[to:min(to+v.grain, int64(len(buf)))]); err != nil {
				return fmt.Errorf("the VMDK is damaged: the grain at %d of the disk: %w", g.disk, err)
			}
		}
		grains = grains[n:]
	}
	return nil
}

// after is where the next grain begins, if that is known to come soon, or where this
// one must have ended.
func (v *vmdkFile) after(g storedGrain) int64 {
	end := g.file + v.longest()
	if next := g.disk + v.grain; next < v.size {
		if e, err := v.entry(next / v.grain); err == nil && int64(e)*sector > g.file {
			end = min(end, int64(e)*sector)
		}
	}
	return end
}

// take makes a grain of what is in the file from its first byte on.
func (v *vmdkFile) take(u *grainUnpacker, in []byte, g storedGrain, out []byte) error {
	if !v.compressed {
		copy(out, in) // the file may end within its last grain
		return nil
	}
	if len(in) < grainHead {
		return io.ErrUnexpectedEOF
	}
	le := binary.LittleEndian
	if at := le.Uint64(in); at != uint64(g.disk/sector) {
		return fmt.Errorf("it says that it is sector %d", at)
	}
	n := int64(le.Uint32(in[8:]))
	if n == 0 || n > int64(len(in))-grainHead {
		return fmt.Errorf("it says that it has %d bytes", n)
	}
	return u.run(in[grainHead:grainHead+n], out)
}

// grainUnpacker makes grains of what they were compressed to.
type grainUnpacker struct {
	in      []byte
	from    bytes.Reader
	inflate io.ReadCloser
}

// run fills out. What is behind it is read too, so that the checksum is compared.
func (u *grainUnpacker) run(in, out []byte) (err error) {
	u.from.Reset(in)
	if u.inflate == nil {
		u.inflate, err = zlib.NewReader(&u.from)
	} else {
		err = u.inflate.(zlib.Resetter).Reset(&u.from, nil) //nolint:forcetypeassert // documented
	}
	if err != nil {
		return noEOF(err)
	}
	if _, err := io.ReadFull(u.inflate, out); err != nil {
		return noEOF(err)
	}
	_, err = io.CopyN(io.Discard, u.inflate, maxGrain+1)
	if err == nil {
		return errors.New("it does not end")
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func littleEndianWords(p []byte) []uint32 {
	list := make([]uint32, len(p)/4)
	for i := range list {
		list[i] = binary.LittleEndian.Uint32(p[4*i:])
	}
	return list
}
