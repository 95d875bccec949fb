// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package helper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/armfree/packer-plugin-armfree/internal/capture/blockmap"
	"github.com/armfree/packer-plugin-armfree/internal/capture/quiesce"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
)

// QuietMachine quiets the machine that this process runs on and opens its disk. It waits
// until no other helper holds the machine, for five minutes at most.
func QuietMachine(ctx context.Context, job wire.Job, say func(string, ...any)) (*Quiet, error) {
	return alone(ctx, lockPath, say, func() (*Quiet, error) { return quietMachine(ctx, job, say) })
}

func quietMachine(ctx context.Context, job wire.Job, say func(string, ...any)) (*Quiet, error) {
	m := &quiesce.Machine{Say: say}
	d, err := m.Prepare(ctx, job.Clean, job.Key, job.PublicKey)
	if err != nil {
		return nil, err
	}
	parts := make([]blockmap.Part, 0, len(d.Parts))
	for _, p := range d.Parts {
		parts = append(parts, blockmap.Part{Span: blockmap.Span{Start: p.Start, End: p.End}, Number: p.Number, Mounted: p.Mounted, Holders: p.Holders, Orphans: p.Orphans})
	}
	f, err := os.OpenFile(d.Path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, errors.Join(err, m.Release())
	}
	return &Quiet{
		Path: d.Path, Size: d.Size, Disk: &direct4k{file: f}, Parts: parts, Written: d.Written,
		Close: func() error { return errors.Join(f.Close(), m.Release()) },
	}, nil
}

// alignment is what reading past the caches asks of offsets, lengths and memory. No disk
// has larger sectors.
const alignment = 4096

// direct4k reads a device that was opened by O_DIRECT, whatever the caller's alignment.
type direct4k struct {
	file *os.File
	pool sync.Pool
}

// ReadAt implements io.ReaderAt.
func (d *direct4k) ReadAt(p []byte, at int64) (int, error) {
	start := at / alignment * alignment
	length := (int(at-start) + len(p) + alignment - 1) / alignment * alignment
	b, ok := d.pool.Get().(*[]byte)
	if !ok || len(*b) < length {
		fresh := aligned(max(length, 1<<20+2*alignment))
		b = &fresh
	}
	defer d.pool.Put(b)
	// The end of a disk need not be aligned; fewer bytes are read there.
	n, err := d.file.ReadAt((*b)[:length], start)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	skip := int(at - start)
	if n < skip {
		n = skip
	}
	copied := copy(p, (*b)[skip:n])
	switch {
	case err != nil:
		return copied, fmt.Errorf("read %d bytes at %d: %w", length, start, err)
	case copied < len(p):
		return copied, io.EOF
	}
	return copied, nil
}

// aligned makes a slice that begins at a multiple of alignment.
func aligned(n int) []byte {
	b := make([]byte, n+alignment)
	off := int(uintptr(unsafe.Pointer(&b[0])) % alignment) //nolint:gosec // an address, and no access by it
	return b[(alignment-off)%alignment:][:n:n]
}
