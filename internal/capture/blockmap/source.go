// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package blockmap

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
)

// pieceSize is how much is read at once, in bytes.
const pieceSize = 1 << 20

// Source is the disk of a map as one that an image can be made of: what is free is
// zero in it, whatever the disk has there.
type Source struct {
	Disk io.ReaderAt
	Map  *Map
}

// Size implements diskimage.Source.
func (s Source) Size() int64 { return s.Map.Size }

// PieceSize implements diskimage.Source.
func (s Source) PieceSize() int { return pieceSize }

// Pieces implements diskimage.Source.
func (s Source) Pieces(ctx context.Context) iter.Seq2[diskimage.Piece, error] {
	return func(yield func(diskimage.Piece, error) bool) {
		for span := range s.Map.used() {
			for at := span.Start; at < span.End; at += pieceSize {
				if err := ctx.Err(); err != nil {
					yield(diskimage.Piece{}, err)
					return
				}
				if !yield(diskimage.Piece{Offset: at, Length: int(min(pieceSize, span.End-at))}, nil) {
					return
				}
			}
		}
	}
}

// used are the spans, in whole clusters, that have something in them.
func (m *Map) used() iter.Seq[Span] {
	return func(yield func(Span) bool) {
		at := int64(0)
		for _, f := range m.free {
			// Only clusters that are free as a whole are left out.
			from := (f.Start + diskimage.ClusterSize - 1) / diskimage.ClusterSize * diskimage.ClusterSize
			to := f.End / diskimage.ClusterSize * diskimage.ClusterSize
			if from >= to {
				continue
			}
			if at < from && !yield(Span{at, from}) {
				return
			}
			at = to
		}
		if at < m.Size {
			yield(Span{at, m.Size})
		}
	}
}

// Stored is how many bytes of the disk Pieces covers.
func (m *Map) Stored() (n int64) {
	for s := range m.used() {
		n += s.End - s.Start
	}
	return n
}

// ReadPiece implements diskimage.Source.
func (s Source) ReadPiece(_ context.Context, p diskimage.Piece, buf []byte) error {
	if err := fill(s.Disk, buf, p.Offset); err != nil {
		return fmt.Errorf("read the disk at %d: %w", p.Offset, err)
	}
	end := p.Offset + int64(len(buf))
	for _, f := range s.Map.Free(p.Offset, end) {
		clear(buf[max(f.Start, p.Offset)-p.Offset : min(f.End, end)-p.Offset])
	}
	return nil
}
