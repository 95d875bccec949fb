// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// qcowOtherCompression is the incompatible feature that clusters are not compressed by
// zlib, but by the method that the header names.
const qcowOtherCompression = 1 << 3

// qcowReader reads the bytes a guest sees: clusters may be plain, zero,
// compressed by zlib or zstd, or missing and thus in a backing file.
type qcowReader struct {
	f       *os.File
	bits    uint
	size    int64
	l1      []uint64
	zstd    bool // how clusters are compressed, if any is
	backing io.ReaderAt
	closers []io.Closer
}

// openQCOW2 opens an image with all its backing files.
func openQCOW2(path string) (*qcowReader, error) { return openQCOW2Depth(path, 0) }

func openQCOW2Depth(path string, depth int) (_ *qcowReader, err error) {
	if depth > 16 {
		return nil, fmt.Errorf("%s: backing files go too deep", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	q := &qcowReader{f: f, closers: []io.Closer{f}}
	defer func() {
		if err != nil {
			q.close()
			err = fmt.Errorf("qcow2 %s: %w", filepath.Base(path), err)
		}
	}()
	h := make([]byte, qcowHeaderSize+8) // with the method of compression, where there is one
	if _, err := f.ReadAt(h, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	be := binary.BigEndian
	version := be.Uint32(h[4:])
	if be.Uint32(h) != qcowMagic || version != 2 && version != 3 {
		return nil, errors.New("not a qcow2 image")
	}
	q.bits = uint(be.Uint32(h[20:]))
	q.size = int64(be.Uint64(h[24:]))
	l1n := be.Uint32(h[36:])
	switch {
	case q.bits < 9 || q.bits > 21 || q.size <= 0 || l1n > 1<<22:
		return nil, errors.New("damaged header")
	case be.Uint32(h[32:]) != 0:
		return nil, errors.New("encrypted")
	case version == 3 && be.Uint64(h[72:])&^(1|qcowOtherCompression) != 0: // bit 0 only says: not closed properly
		return nil, fmt.Errorf("incompatible features %#x", be.Uint64(h[72:]))
	}
	if q.zstd = version == 3 && be.Uint64(h[72:])&qcowOtherCompression != 0; q.zstd && h[qcowHeaderSize] != 1 {
		return nil, fmt.Errorf("compressed by method %d", h[qcowHeaderSize])
	}
	table := make([]byte, 8*int(l1n))
	if _, err := f.ReadAt(table, int64(be.Uint64(h[40:]))); err != nil {
		return nil, fmt.Errorf("read the first table: %w", err)
	}
	for i := range int(l1n) {
		q.l1 = append(q.l1, be.Uint64(table[8*i:]))
	}
	return q, q.openBacking(path, h, depth)
}

func (q *qcowReader) openBacking(path string, h []byte, depth int) error {
	at, n := binary.BigEndian.Uint64(h[8:]), binary.BigEndian.Uint32(h[16:])
	if at == 0 {
		return nil
	}
	name := make([]byte, min(n, 1023))
	if _, err := q.f.ReadAt(name, int64(at)); err != nil {
		return fmt.Errorf("read the backing file's name: %w", err)
	}
	base := string(name)
	if !filepath.IsAbs(base) {
		base = filepath.Join(filepath.Dir(path), base)
	}
	b, err := openQCOW2Depth(base, depth+1)
	if err != nil {
		return err
	}
	q.backing = b
	q.closers = append(q.closers, closerFunc(b.close))
	return nil
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

func (q *qcowReader) close() error {
	var errs []error
	for _, c := range q.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// ReadAt implements io.ReaderAt; beyond the end there is io.EOF.
func (q *qcowReader) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at >= q.size {
			return done, io.EOF
		}
		in := at & (1<<q.bits - 1)
		n := min(int64(len(p)-done), 1<<q.bits-in, q.size-at)
		if err := q.readInCluster(p[done:done+int(n)], at>>q.bits, in); err != nil {
			return done, err
		}
		done += int(n)
	}
	return done, nil
}

func (q *qcowReader) readInCluster(p []byte, cluster, in int64) error {
	perL2 := int64(1) << (q.bits - 3)
	entry := uint64(0)
	if i := cluster / perL2; i < int64(len(q.l1)) && q.l1[i]&offsetMask != 0 {
		var b [8]byte
		if _, err := q.f.ReadAt(b[:], int64(q.l1[i]&offsetMask)+8*(cluster%perL2)); err != nil {
			return fmt.Errorf("read a second table: %w", err)
		}
		entry = binary.BigEndian.Uint64(b[:])
	}
	switch {
	case entry&flagCompressed != 0:
		data, err := q.inflate(entry)
		if err != nil {
			return err
		}
		copy(p, data[in:])
		return nil
	case entry&flagZero != 0:
		clear(p)
		return nil
	case entry&offsetMask != 0:
		n, err := q.f.ReadAt(p, int64(entry&offsetMask)+in)
		if errors.Is(err, io.EOF) { // the last cluster of a file may be cut short
			clear(p[n:])
			err = nil
		}
		return err
	case q.backing != nil:
		n, err := q.backing.ReadAt(p, cluster<<q.bits+in)
		if errors.Is(err, io.EOF) { // the backing file may be shorter
			clear(p[n:])
			err = nil
		}
		return err
	}
	clear(p)
	return nil
}

func (q *qcowReader) inflate(entry uint64) ([]byte, error) {
	x := 62 - (q.bits - 8)
	at := int64(entry & (1<<x - 1))
	sectors := int64(entry>>x&(1<<(q.bits-8)-1)) + 1
	src := io.NewSectionReader(q.f, at, sectors*512-at&511)
	out := make([]byte, 1<<q.bits)
	if q.zstd {
		// What follows the cluster's own bytes is none of its business.
		packed, err := io.ReadAll(src)
		if err != nil {
			return nil, fmt.Errorf("read a cluster: %w", err)
		}
		z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("unpack a cluster: %w", err)
		}
		defer z.Close()
		if _, err := io.ReadFull(z, out); err != nil {
			return nil, fmt.Errorf("unpack a cluster: %w", err)
		}
		return out, nil
	}
	z := flate.NewReader(src)
	defer z.Close()
	if _, err := io.ReadFull(z, out); err != nil {
		return nil, fmt.Errorf("inflate a cluster: %w", err)
	}
	return out, nil
}

// written calls note with the offset of each cluster that holds something.
func (q *qcowReader) written(note func(off int64)) error {
	perL2 := int64(1) << (q.bits - 3)
	table := make([]byte, 8*perL2)
	for i, e := range q.l1 {
		if e&offsetMask == 0 {
			continue
		}
		if _, err := q.f.ReadAt(table, int64(e&offsetMask)); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read a second table: %w", err)
		}
		for j := range perL2 {
			entry := binary.BigEndian.Uint64(table[8*j:])
			if entry&flagZero == 0 && entry&(offsetMask|flagCompressed) != 0 {
				note((int64(i)*perL2 + j) << q.bits)
			}
		}
	}
	if below, is := q.backing.(*qcowReader); is {
		return below.written(note)
	}
	return nil
}
