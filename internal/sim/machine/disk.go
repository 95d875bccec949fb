// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Disk reads the bytes that a guest sees on a qcow2 file, for services that
// hand them out.
type Disk struct{ q *qcowReader }

// OpenDisk opens a qcow2 file with all its backing files.
func OpenDisk(path string) (*Disk, error) {
	q, err := openQCOW2(path)
	if err != nil {
		return nil, err
	}
	return &Disk{q}, nil
}

// Size of the disk in bytes.
func (d *Disk) Size() int64 { return d.q.size }

// ReadAt implements io.ReaderAt; beyond the end there is io.EOF.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) { return d.q.ReadAt(p, off) }

// Close closes the file.
func (d *Disk) Close() error { return d.q.close() }

// Blocks lists the numbers of those blocks of a size into which something was
// written, in order. The size must be a multiple of the file's cluster size.
func (d *Disk) Blocks(size int64) ([]int64, error) {
	seen := map[int64]bool{}
	if err := d.q.written(func(off int64) { seen[off/size] = true }); err != nil {
		return nil, err
	}
	var blocks []int64
	for b := int64(0); b*size < d.q.size; b++ {
		if seen[b] {
			blocks = append(blocks, b)
		}
	}
	return blocks, nil
}

// SameDisks says where two qcow2 files are different disks. Two on which nothing was ever
// written are nothing to compare, which is an error as well.
func SameDisks(want, got string) error {
	const block = 512 << 10 // as large as a cluster of either is going to be
	var both [2]*Disk
	written := map[int64]bool{}
	for i, path := range []string{want, got} {
		d, err := OpenDisk(path)
		if err != nil {
			return err
		}
		defer func() { _ = d.Close() }() // it was read only
		list, err := d.Blocks(block)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("nothing is on the disk %s", path)
		}
		for _, b := range list {
			written[b] = true
		}
		both[i] = d
	}
	if a, b := both[0].Size(), both[1].Size(); a != b {
		return fmt.Errorf("the disk has %d bytes, not %d", b, a)
	}
	p, q := make([]byte, block), make([]byte, block)
	for i := range written {
		for n, buf := range [][]byte{p, q} {
			clear(buf)
			if _, err := both[n].ReadAt(buf, i*block); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		if !bytes.Equal(p, q) {
			return fmt.Errorf("the block of %d bytes at %d differs", block, i*block)
		}
	}
	return nil
}
