// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// A Fast machine's disk is a qcow2 image like any other, so that it passes
// through capture, export, import and qemu-img unharmed. What it holds, from
// its first byte on, is a tar archive instead of a partition table.

const (
	qcowMagic      = 0x514649fb
	clusterBits    = 16
	clusterSize    = 1 << clusterBits
	qcowHeaderSize = 104
	offsetMask     = 0x00fffffffffffe00
	flagCopied     = 1 << 63
	flagCompressed = 1 << 62
	flagZero       = 1
)

// qcowWriter writes a version 3 image of what is put into it in ascending order. Layout:
// header, L1 (one cluster: 4 TiB), data and L2 tables as they come, refcount table and
// blocks at the end. Clusters of zeros take no space.
type qcowWriter struct {
	w       io.WriterAt
	next    int64 // cluster of the file
	l1, l2  []uint64
	group   int64 // that l2 is for
	cluster int64 // of the disk, in buf
	buf     []byte
	zero    []byte
}

const (
	l1At     = clusterSize
	perTable = clusterSize / 8
)

func newQCOWWriter(w io.WriterAt) *qcowWriter {
	return &qcowWriter{
		w: w, next: 2, l1: make([]uint64, perTable), l2: make([]uint64, perTable),
		buf: make([]byte, clusterSize), zero: make([]byte, clusterSize),
	}
}

// put takes bytes of the disk.
func (q *qcowWriter) put(p []byte, off int64) error {
	for len(p) > 0 {
		if c := off >> clusterBits; c != q.cluster {
			if err := q.flush(); err != nil {
				return err
			}
			q.cluster = c
		}
		n := copy(q.buf[off&(clusterSize-1):], p)
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// flush writes the cluster, unless it is of zeros.
func (q *qcowWriter) flush() error {
	if bytes.Equal(q.buf, q.zero) {
		return nil
	}
	if g := q.cluster / perTable; g != q.group {
		if err := q.flushTable(); err != nil {
			return err
		}
		q.group = g
	}
	if _, err := q.w.WriteAt(q.buf, q.next<<clusterBits); err != nil {
		return err
	}
	q.l2[q.cluster%perTable] = uint64(q.next<<clusterBits) | flagCopied
	q.next++
	clear(q.buf)
	return nil
}

func (q *qcowWriter) flushTable() error {
	if !slices.ContainsFunc(q.l2, func(e uint64) bool { return e != 0 }) {
		return nil
	}
	q.l1[q.group] = uint64(q.next<<clusterBits) | flagCopied
	if err := putTable(q.w, q.l2, q.next<<clusterBits); err != nil {
		return err
	}
	q.next++
	clear(q.l2)
	return nil
}

// end completes the image of a disk of so many bytes.
func (q *qcowWriter) end(size int64) error {
	if err := errors.Join(q.flush(), q.flushTable()); err != nil {
		return err
	}
	size = (size + 511) &^ 511
	if err := putTable(q.w, q.l1, l1At); err != nil {
		return err
	}

	// Refcounts: 16 bits each, 32768 to a block; the blocks and the table
	// count themselves.
	const perBlock = clusterSize / 2
	blocks := int64(1)
	for (q.next+1+blocks+perBlock-1)/perBlock > blocks {
		blocks++
	}
	tableAt, blockAt := q.next, q.next+1
	total := q.next + 1 + blocks
	var table [perTable]uint64
	for b := range blocks {
		table[b] = uint64(blockAt+b) << clusterBits
		block := make([]byte, clusterSize)
		for i := int64(0); i < perBlock && b*perBlock+i < total; i++ {
			binary.BigEndian.PutUint16(block[2*i:], 1)
		}
		if _, err := q.w.WriteAt(block, (blockAt+b)<<clusterBits); err != nil {
			return err
		}
	}
	if err := putTable(q.w, table[:], tableAt<<clusterBits); err != nil {
		return err
	}

	h := make([]byte, qcowHeaderSize+8) // and an empty extension: the list's end
	be := binary.BigEndian
	be.PutUint32(h[0:], qcowMagic)
	be.PutUint32(h[4:], 3)
	be.PutUint32(h[20:], clusterBits)
	be.PutUint64(h[24:], uint64(size))
	perL1 := int64(clusterSize) * perTable
	be.PutUint32(h[36:], uint32((size+perL1-1)/perL1))
	be.PutUint64(h[40:], l1At)
	be.PutUint64(h[48:], uint64(tableAt)<<clusterBits)
	be.PutUint32(h[56:], 1)
	be.PutUint32(h[96:], 4) // refcounts of 16 bits
	be.PutUint32(h[100:], qcowHeaderSize)
	_, err := q.w.WriteAt(h, 0)
	return err
}

// writeQCOW2 writes what r yields as a version 3 image of at least size bytes to w.
func writeQCOW2(w io.WriterAt, r io.Reader, size int64) error {
	q := newQCOWWriter(w)
	buf := make([]byte, clusterSize)
	for at := int64(0); ; {
		n, err := io.ReadFull(r, buf)
		if perr := q.put(buf[:n], at); perr != nil {
			return perr
		}
		at += int64(n)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return q.end(max(size, at))
		case err != nil:
			return err
		}
	}
}

// DiskPart is some bytes of a disk.
type DiskPart struct {
	Offset int64
	Data   []byte
}

// WriteDisk writes a disk of so many bytes to path, of the parts of it that are not
// zeros, in ascending order.
func WriteDisk(path string, size int64, parts iter.Seq2[DiskPart, error]) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	q, end := newQCOWWriter(f), int64(0)
	for p, err := range parts {
		switch {
		case err != nil:
			return err
		case p.Offset < end || p.Offset+int64(len(p.Data)) > size:
			return fmt.Errorf("write the disk: there is no place for %d bytes at %d", len(p.Data), p.Offset)
		}
		if err := q.put(p.Data, p.Offset); err != nil {
			return fmt.Errorf("write the disk: %w", err)
		}
		end = p.Offset + int64(len(p.Data))
	}
	if err := q.end(size); err != nil {
		return fmt.Errorf("write the disk: %w", err)
	}
	return nil
}

func putTable(w io.WriterAt, t []uint64, at int64) error {
	b := make([]byte, 0, 8*len(t))
	for _, e := range t {
		b = binary.BigEndian.AppendUint64(b, e)
	}
	_, err := w.WriteAt(b, at)
	return err
}

// replaceDisk writes a new disk beside path and puts it in its place.
func replaceDisk(path string, size int64, fill func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".disk-*")
	if err != nil {
		return fmt.Errorf("write the disk: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	pr, pw := io.Pipe()
	filled := make(chan error, 1)
	go func() {
		err := fill(pw)
		pw.CloseWithError(err)
		filled <- err
	}()
	werr := writeQCOW2(f, pr, size)
	pr.CloseWithError(werr)
	if err := errors.Join(<-filled, werr, f.Close()); err != nil {
		return fmt.Errorf("write the disk: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write the disk: %w", err)
	}
	return nil
}

// diskSize is what a disk written by this package says of itself at least: the
// size OCI gives its smallest images, 47694 MB. It is sparse.
const diskSize = 47694 << 20

// FastDisk writes a boot disk for the Fast driver to path: a minimal Debian
// 12 for ARM64 with the given files (absolute names) laid over it. A name that
// ends in "/" is an empty folder; a file under a bin folder is executable.
func FastDisk(path string, files map[string]string) error {
	if len(files) > 0 {
		return makeFastDisk(path, files)
	}
	data, err := plainDisk()
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write the disk: %w", err)
	}
	return nil
}

// plainDisk is the disk without files of the caller's. It is made once: tests
// that begin with it are many, and half of their time went into its folders.
var plainDisk = sync.OnceValues(func() (_ []byte, err error) {
	dir, err := os.MkdirTemp("", "fast-disk-*")
	if err != nil {
		return nil, fmt.Errorf("make a fast disk: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "disk")
	if err := makeFastDisk(path, nil); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func makeFastDisk(path string, files map[string]string) error {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".tree-*")
	if err != nil {
		return fmt.Errorf("make a fast disk: %w", err)
	}
	t, err := newTree(dir)
	if err != nil {
		os.RemoveAll(dir)
		return err
	}
	err = errors.Join(populate(t, files), replaceDisk(path, diskSize, t.pack))
	return errors.Join(err, t.close())
}

// BlankDisk writes a disk to path on which nothing was ever written.
func BlankDisk(path string, size int64) error {
	return replaceDisk(path, size, func(io.Writer) error { return nil })
}
