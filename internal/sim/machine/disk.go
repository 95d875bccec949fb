// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

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
