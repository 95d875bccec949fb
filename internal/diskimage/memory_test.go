// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"context"
	"encoding/binary"
	"iter"
	"runtime"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// far is a disk of which every so many bytes one cluster has something in it.
type far struct{ size, every int64 }

func (f far) Size() int64  { return f.size }
func (far) PieceSize() int { return ClusterSize }

func (f far) Pieces(context.Context) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		for at := int64(0); at < f.size; at += f.every {
			if !yield(Piece{at, ClusterSize}, nil) {
				return
			}
		}
	}
}

func (far) ReadPiece(_ context.Context, p Piece, buf []byte) error {
	clear(buf)
	buf[0] = byte(1 + p.Offset>>30)
	return nil
}

// discard is an Output that only counts.
type discard struct{ n int64 }

func (d *discard) Write(_ context.Context, p []byte) error { d.n += int64(len(p)); return nil }
func (*discard) Finish(context.Context, []byte) error      { return nil }

// inUse is how much memory is in use.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The tables of the largest disk that OCI imports, 400 GiB, of which nothing gets much
// smaller, take two bytes for each cluster, and those of 16 TiB, or as much as fits into a
// VMDK, of which nearly nothing is written take next to nothing.
func TestMemoryOfTables(t *testing.T) {
	sample.Not(t)
	const mib = 1 << 20
	for _, o := range []Options{{}, {Format: VMDK}} {
		o = o.withDefaults()
		t.Run("full "+o.name(), func(t *testing.T) {
			before := inUse()
			l := o.newLayout(&counted{Output: &discard{}}, 400<<30)
			data := make([]byte, 60<<10)
			for i := range int64(400 << 30 / ClusterSize) {
				if err := l.add(t.Context(), cluster{index: i, data: data}); err != nil {
					t.Fatal(err)
				}
			}
			var s, e runtime.MemStats
			runtime.ReadMemStats(&s)
			if err := l.end(t.Context()); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&e)
			if now := inUse() - before; now > 16*mib || e.TotalAlloc-s.TotalAlloc > 4*mib {
				t.Errorf("the tables take %.1f MiB, and writing them %.1f more", float64(now)/mib, float64(e.TotalAlloc-s.TotalAlloc)/mib)
			}
			runtime.KeepAlive(l)
		})
		t.Run("sparse "+o.name(), func(t *testing.T) {
			size := int64(16 << 40)
			if o.Format == VMDK {
				size = maxVMDK - sector
			}
			var peak int64
			before := inUse()
			o.Readers, o.Progress = 8, func(s Stats) {
				if s.Pieces%256 == 0 {
					peak = max(peak, inUse())
				}
			}
			s, err := Write(t.Context(), &discard{}, far{size, (size + 2047) / 2048 &^ (ClusterSize - 1)}, o)
			if err != nil || s.Packed+s.Zeros != 2048 {
				t.Fatalf("%+v, %v", s, err)
			}
			if peak -= before; peak > 32*mib {
				t.Errorf("%.1f MiB", float64(peak)/mib)
			}
		})
	}
}

// zeroFile is a file of zeros, save its beginning.
type zeroFile []byte

func (z zeroFile) ReadAt(p []byte, at int64) (int, error) {
	clear(p)
	if at < int64(len(z)) {
		copy(p, z[at:])
	}
	return len(p), nil
}

// The longest table of tables that a qcow2 file may have is in memory once.
func TestMemoryOfL1(t *testing.T) {
	const begin, disk = 512, maxL1 / 8 * (512 / 8 * 512)
	h := make([]byte, headerLength)
	copy(h, "QFI\xfb")
	be := binary.BigEndian
	be.PutUint32(h[4:], 2)
	be.PutUint32(h[20:], 9)
	be.PutUint64(h[24:], disk)
	be.PutUint32(h[36:], maxL1/8)
	be.PutUint64(h[40:], begin)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	src, err := Open(zeroFile(h), begin+maxL1)
	runtime.ReadMemStats(&after)
	if err != nil || src.Size() != disk {
		t.Fatal(src, err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > maxL1+1<<20 {
		t.Errorf("%d bytes were allocated for a table of %d", took, maxL1)
	}
}
