// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagestream_test

import (
	"context"
	"iter"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/imagestream"
)

// large is a disk of so many bytes, of which every so many blocks one has something in
// it that does not get smaller.
type large struct{ size, every int64 }

func (l large) Size() int64  { return l.size }
func (large) PieceSize() int { return block }

func (l large) Pieces(context.Context) iter.Seq2[diskimage.Piece, error] {
	return func(yield func(diskimage.Piece, error) bool) {
		for at := int64(0); at < l.size; at += l.every * block {
			if !yield(diskimage.Piece{Offset: at, Length: block}, nil) {
				return
			}
		}
	}
}

func (large) ReadPiece(_ context.Context, p diskimage.Piece, buf []byte) error {
	x := uint64(p.Offset)*0x9e3779b97f4a7c15 + 1
	for i := 0; i < len(buf); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		for j := range 8 {
			buf[i+j] = byte(x >> (8 * j))
		}
	}
	return nil
}

// nowhere is an object store that forgets, and looks at the memory with each part.
type nowhere struct {
	mu    sync.Mutex
	parts int
	peak  uint64
}

func (n *nowhere) Part(context.Context, int, []byte) error {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.parts++
	n.peak = max(n.peak, s[0].Value.Uint64()-s[1].Value.Uint64())
	return nil
}

func (*nowhere) Kept() int                    { return 0 }
func (*nowhere) Commit(context.Context) error { return nil }
func (*nowhere) Abort(context.Context) error  { return nil }

// Memory has a bound, whatever the size of the disk and whatever is on it: also of the
// largest disk that can be imported, whose parts are large and whose tables are long.
func TestMemory(t *testing.T) {
	for _, l := range []large{{1 << 30, 1}, {diskimage.MaxImage, 600}} {
		debug.FreeOSMemory() // what was before does not count
		var to nowhere
		r, err := imagestream.Run(t.Context(), imagestream.Job{
			Source: l, Begin: func(context.Context) (imagestream.Object, error) { return &to, nil },
			Archive: &diskimage.Metadata{OperatingSystem: "Debian", OperatingSystemVersion: "12"},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d bytes in %d parts, at most %d MiB", r.Written, to.parts, to.peak>>20)
		if to.peak > 256<<20 || r.Written < 600<<20 || to.parts < 15 {
			t.Errorf("%d bytes in %d parts took %d MiB of memory", r.Written, to.parts, to.peak>>20)
		}
	}
}
