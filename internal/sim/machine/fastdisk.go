// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

// writeQCOW2 writes what r yields as a version 3 image of at least size bytes
// to w. Clusters of zeros take no space.
func writeQCOW2(w io.WriterAt, r io.Reader, size int64) error {
	// Layout: header, L1 (one cluster: 512 GiB), data and L2 tables as they
	// come, refcount table and blocks at the end.
	const l1At = clusterSize
	next := int64(2)
	var l1 [clusterSize / 8]uint64
	var l2 [clusterSize / 8]uint64
	zero := make([]byte, clusterSize)
	buf := make([]byte, clusterSize)
	flush := func(group int64) error {
		if l2 == [clusterSize / 8]uint64{} {
			return nil
		}
		l1[group] = uint64(next<<clusterBits) | flagCopied
		if err := putTable(w, l2[:], next<<clusterBits); err != nil {
			return err
		}
		next++
		clear(l2[:])
		return nil
	}
	cluster := int64(0)
	for eof := false; !eof; cluster++ {
		n, err := io.ReadFull(r, buf)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			eof = true
			clear(buf[n:])
		case err != nil:
			return err
		}
		size = max(size, cluster<<clusterBits+int64(n))
		if !bytes.Equal(buf, zero) {
			if _, err := w.WriteAt(buf, next<<clusterBits); err != nil {
				return err
			}
			l2[cluster%int64(len(l2))] = uint64(next<<clusterBits) | flagCopied
			next++
		}
		if (cluster+1)%int64(len(l2)) == 0 || eof {
			if err := flush(cluster / int64(len(l2))); err != nil {
				return err
			}
		}
	}
	size = (size + 511) &^ 511
	if err := putTable(w, l1[:], l1At); err != nil {
		return err
	}

	// Refcounts: 16 bits each, 32768 to a block; the blocks and the table
	// count themselves.
	const perBlock = clusterSize / 2
	blocks := int64(1)
	for (next+1+blocks+perBlock-1)/perBlock > blocks {
		blocks++
	}
	tableAt, blockAt := next, next+1
	total := next + 1 + blocks
	var table [clusterSize / 8]uint64
	for b := range blocks {
		table[b] = uint64(blockAt+b) << clusterBits
		block := make([]byte, clusterSize)
		for i := int64(0); i < perBlock && b*perBlock+i < total; i++ {
			binary.BigEndian.PutUint16(block[2*i:], 1)
		}
		if _, err := w.WriteAt(block, (blockAt+b)<<clusterBits); err != nil {
			return err
		}
	}
	if err := putTable(w, table[:], tableAt<<clusterBits); err != nil {
		return err
	}

	h := make([]byte, qcowHeaderSize+8) // and an empty extension: the list's end
	be := binary.BigEndian
	be.PutUint32(h[0:], qcowMagic)
	be.PutUint32(h[4:], 3)
	be.PutUint32(h[20:], clusterBits)
	be.PutUint64(h[24:], uint64(size))
	perL1 := int64(clusterSize) * int64(len(l2))
	be.PutUint32(h[36:], uint32((size+perL1-1)/perL1))
	be.PutUint64(h[40:], l1At)
	be.PutUint64(h[48:], uint64(tableAt)<<clusterBits)
	be.PutUint32(h[56:], 1)
	be.PutUint32(h[96:], 4) // refcounts of 16 bits
	be.PutUint32(h[100:], qcowHeaderSize)
	_, err := w.WriteAt(h, 0)
	return err
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
