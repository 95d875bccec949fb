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
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

const (
	offsetMask = 0x00fffffffffffe00
	flagZero   = 1 << 0
	// maxL1 is the largest L1 table that QEMU reads, in bytes.
	maxL1 = 32 << 20
	// cachedTables is how many L2 tables are kept.
	cachedTables = 8
)

// qcow2File reads a qcow2 file. Whatever is in it may be wrong, or meant to harm: it
// is believed no further than the file is long.
type qcow2File struct {
	file   io.ReaderAt
	length int64 // of the file
	bits   uint
	size   int64
	v3     bool
	zstd   bool   // it is what clusters are compressed by, and deflate is not
	l1     []byte // as it is in the file: it may be large
	unpack spares[unpacker]

	mu     sync.Mutex
	tables []cachedTable // the last used comes first
}

type cachedTable struct {
	at      int64
	entries []byte
}

func openQCOW2(file io.ReaderAt, length int64) (*qcow2File, error) {
	h := make([]byte, headerLength)
	n, err := file.ReadAt(h, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the qcow2 header: %w", err)
	}
	be := binary.BigEndian
	q := &qcow2File{file: file, length: length, v3: be.Uint32(h[4:]) == 3, bits: uint(be.Uint32(h[20:]))}
	size, l1Entries, l1At := be.Uint64(h[24:]), uint64(be.Uint32(h[36:])), be.Uint64(h[40:])
	var features uint64
	var method byte
	if q.v3 {
		features = be.Uint64(h[72:])
		if be.Uint32(h[100:]) >= headerLength {
			method = h[104]
		}
	}
	const dirty, corrupt, external = 1, 2, 4
	switch {
	case n < 72 || q.v3 && n < 104:
		return nil, errors.New("the qcow2 image is cut short: it has no whole header")
	case !q.v3 && be.Uint32(h[4:]) != 2:
		return nil, fmt.Errorf("version %d of qcow2 is not supported", be.Uint32(h[4:]))
	case be.Uint64(h[8:]) != 0:
		return nil, errors.New("the qcow2 image needs a backing file; make one that stands on its own with \"qemu-img convert\"")
	case be.Uint32(h[32:]) != 0:
		return nil, errors.New("the qcow2 image is encrypted")
	case features&corrupt != 0:
		return nil, errors.New("the qcow2 image is marked as corrupt; try \"qemu-img check\"")
	case features&external != 0:
		return nil, errors.New("the qcow2 image keeps its data in another file; make one that stands on its own with \"qemu-img convert\"")
	case features&^(dirty|incompatibleZstd) != 0:
		return nil, fmt.Errorf("the qcow2 image has features that are not supported (%#x); make one without them with \"qemu-img convert\"", features)
	case features&incompatibleZstd != 0 && method != compressionIsZstd, features&incompatibleZstd == 0 && method != 0:
		return nil, fmt.Errorf("the qcow2 image is compressed by a method that is not supported (%d)", method)
	case q.bits < 9 || q.bits > 21:
		return nil, fmt.Errorf("the qcow2 image has clusters of 2^%d bytes", q.bits)
	case size == 0 || size > maxDisk:
		return nil, fmt.Errorf("the qcow2 image has a disk of %d bytes", size)
	}
	q.size = int64((size + 511) &^ 511)
	perTable := int64(1) << (2*q.bits - 3) // bytes of the disk
	needed := uint64((q.size + perTable - 1) / perTable)
	if l1Entries < needed || needed*8 > maxL1 || l1At%512 != 0 || l1At > uint64(length) || l1At+needed*8 > uint64(length) {
		return nil, errors.New("the qcow2 image is damaged: its L1 table does not fit the disk or the file")
	}
	q.l1 = make([]byte, needed*8)
	if err := q.readFull(q.l1, int64(l1At)); err != nil {
		return nil, err
	}
	q.zstd = features&incompatibleZstd != 0
	return q, nil
}

func (q *qcow2File) readFull(p []byte, at int64) error {
	if n, err := q.file.ReadAt(p, at); n < len(p) {
		return fmt.Errorf("read the qcow2 image at %d: %w", at, noEOF(err))
	}
	return nil
}

// Size implements [Source].
func (q *qcow2File) Size() int64 { return q.size }

// PieceSize implements [Source]: a piece never splits a cluster, so that none is
// uncompressed twice.
func (q *qcow2File) PieceSize() int { return max(pieceSize, 1<<q.bits) }

// Pieces implements [Source].
func (q *qcow2File) Pieces(ctx context.Context) iter.Seq2[Piece, error] {
	piece := int64(q.PieceSize())
	perTable := int64(1) << (2*q.bits - 3)
	return func(yield func(Piece, error) bool) {
		for at := int64(0); at < q.size; {
			if ctx.Err() != nil {
				yield(Piece{}, ctx.Err())
				return
			}
			// What no table is about is passed over.
			if skip := q.absent(at, perTable); skip >= piece {
				at += skip / piece * piece
				continue
			}
			used, err := q.used(at, min(at+piece, q.size))
			if err != nil {
				yield(Piece{}, err)
				return
			}
			if used && !yield(Piece{at, int(min(piece, q.size-at))}, nil) {
				return
			}
			at += piece
		}
	}
}

// absent is for how many bytes from at on there is no table.
func (q *qcow2File) absent(at, perTable int64) int64 {
	i := at / perTable
	for 8*i < int64(len(q.l1)) && q.table(i) == 0 {
		i++
	}
	return i*perTable - at
}

// table is where an L2 table is in the file; 0 if there is none.
func (q *qcow2File) table(number int64) int64 {
	return int64(binary.BigEndian.Uint64(q.l1[8*number:]) & offsetMask)
}

// used says whether something was written between two places on the disk.
func (q *qcow2File) used(from, to int64) (bool, error) {
	for at := from; at < to; at += 1 << q.bits {
		e, err := q.entry(at >> q.bits)
		if err != nil || e&(flagCompressed|offsetMask) != 0 && (e&flagCompressed != 0 || !q.v3 || e&flagZero == 0) {
			return err == nil, err
		}
	}
	return false, nil
}

// entry is the L2 entry of a cluster, or 0.
func (q *qcow2File) entry(cluster int64) (uint64, error) {
	perTable := int64(1) << (q.bits - 3)
	at := q.table(cluster / perTable)
	if at == 0 {
		return 0, nil
	}
	i := 8 * (cluster % perTable)
	q.mu.Lock()
	defer q.mu.Unlock()
	for n, t := range q.tables {
		if t.at == at {
			copy(q.tables[1:n+1], q.tables[:n])
			q.tables[0] = t
			return binary.BigEndian.Uint64(t.entries[i:]), nil
		}
	}
	if at%(1<<q.bits) != 0 || at+1<<q.bits > q.length {
		return 0, fmt.Errorf("the qcow2 image is damaged: an L2 table at %d lies outside of it or between clusters", at)
	}
	t := cachedTable{at: at, entries: make([]byte, 1<<q.bits)}
	if err := q.readFull(t.entries, at); err != nil {
		return 0, err
	}
	if len(q.tables) < cachedTables {
		q.tables = append(q.tables, cachedTable{})
	}
	copy(q.tables[1:], q.tables)
	q.tables[0] = t
	return binary.BigEndian.Uint64(t.entries[i:]), nil
}

// ReadPiece implements [Source].
func (q *qcow2File) ReadPiece(ctx context.Context, p Piece, buf []byte) error {
	for done := 0; done < len(buf); done += 1 << q.bits {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := q.readCluster((p.Offset+int64(done))>>q.bits, buf[done:min(done+1<<q.bits, len(buf))]); err != nil {
			return err
		}
	}
	return nil
}

// readCluster reads a cluster, or as much of it as the disk has.
func (q *qcow2File) readCluster(cluster int64, buf []byte) error {
	e, err := q.entry(cluster)
	if err != nil {
		return err
	}
	at := int64(e & offsetMask)
	switch {
	case e&flagCompressed != 0:
		return q.readCompressed(e, buf)
	case q.v3 && e&flagZero != 0, at == 0:
		clear(buf)
		return nil
	case at%(1<<q.bits) != 0 || at >= q.length:
		return fmt.Errorf("the qcow2 image is damaged: cluster %d of the disk lies outside of it or between clusters", cluster)
	}
	// The file may end within its last cluster.
	n := min(int64(len(buf)), q.length-at)
	clear(buf[n:])
	return q.readFull(buf[:n], at)
}

func (q *qcow2File) readCompressed(e uint64, buf []byte) error {
	shift := 62 - (q.bits - 8)
	at := int64(e & (1<<shift - 1))
	sectors := int64(e>>shift&(1<<(q.bits-8)-1)) + 1
	if at >= q.length {
		return fmt.Errorf("the qcow2 image is damaged: a compressed cluster at %d lies outside of it", at)
	}
	u := q.unpack.get()
	defer q.unpack.put(u)
	n := min(sectors*sector-at%sector, q.length-at)
	if int64(cap(u.in)) < n { // append would make it twice where the compiler does not see that
		u.in = make([]byte, n)
	}
	u.in = u.in[:n]
	if err := q.readFull(u.in, at); err != nil {
		return err
	}
	out := buf
	if len(out) < 1<<q.bits { // the end of the disk
		out = make([]byte, 1<<q.bits)
	}
	if err := u.run(out, q.zstd); err != nil {
		return fmt.Errorf("the qcow2 image is damaged: a compressed cluster at %d: %w", at, err)
	}
	if len(out) > len(buf) {
		copy(buf, out)
	}
	return nil
}

// unpacker makes clusters of what they were compressed to.
type unpacker struct {
	in      []byte
	decoder *zstd.Decoder
	inflate io.ReadCloser
}

// run fills out, and nothing beyond it, from in, which may be followed by something else.
func (u *unpacker) run(out []byte, isZstd bool) (err error) {
	if !isZstd {
		if u.inflate == nil {
			u.inflate = flate.NewReader(bytes.NewReader(u.in))
		} else if err := u.inflate.(flate.Resetter).Reset(bytes.NewReader(u.in), nil); err != nil { //nolint:forcetypeassert // documented
			return err
		}
		_, err := io.ReadFull(u.inflate, out)
		return err
	}
	if u.decoder == nil {
		// What comes out is never longer than there is room for.
		if u.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(8<<20)); err != nil {
			return err
		}
	}
	frame, err := zstdFrame(u.in)
	if err != nil {
		return err
	}
	got, err := u.decoder.DecodeAll(frame, out[:0:len(out)])
	if err == nil && len(got) != len(out) {
		err = fmt.Errorf("it has %d bytes", len(got))
	}
	if err == nil && &got[0] != &out[0] { // it needed more room on its way
		copy(out, got)
	}
	return err
}

// zstdFrame is the frame at the beginning of data, without what follows it.
func zstdFrame(data []byte) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(data); err != nil {
		return nil, err
	}
	if h.Skippable {
		return nil, errors.New("it has no data")
	}
	at := h.HeaderSize
	for {
		if at+3 > len(data) {
			return nil, io.ErrUnexpectedEOF
		}
		block := int(data[at]) | int(data[at+1])<<8 | int(data[at+2])<<16
		at += 3
		if block>>1&3 == 1 { // one byte, many times
			at++
		} else {
			at += block >> 3
		}
		if block&1 != 0 {
			break
		}
	}
	if h.HasCheckSum {
		at += 4
	}
	if at > len(data) {
		return nil, io.ErrUnexpectedEOF
	}
	return data[:at], nil
}
