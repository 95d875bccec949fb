// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"context"
	"iter"
)

// A Source is a disk that can be read in pieces.
type Source interface {
	// Size of the disk in bytes; more than 0.
	Size() int64
	// PieceSize is the largest length of a piece in bytes: a multiple of
	// [ClusterSize].
	PieceSize() int
	// Pieces yields, in ascending order, where on the disk there may be something
	// other than zeros. Each piece begins at a multiple of ClusterSize, and ends at
	// one or where the disk ends.
	Pieces(ctx context.Context) iter.Seq2[Piece, error]
	// ReadPiece fills buf, which has the length of the piece. It is called by many
	// goroutines, in any order.
	ReadPiece(ctx context.Context, p Piece, buf []byte) error
}

// Piece is a part of a disk, in bytes.
type Piece struct {
	Offset int64
	Length int
}

// ClusterSize is the unit of the files that are made: what is written, and what is
// left out where there are only zeros.
const ClusterSize = 64 << 10

// An Output takes a file that is written forward, and then its beginning once more.
type Output interface {
	// Write takes the next bytes of the file, and keeps no reference to them.
	Write(ctx context.Context, p []byte) error
	// Finish ends the file. Its first bytes are not those that were written but
	// front, which is no longer than [MaxFront].
	Finish(ctx context.Context, front []byte) error
}

// MaxFront is how many bytes at the beginning of a file may be known at its end
// only.
const MaxFront = 128 << 10

// MaxImage is the largest disk that can be imported into OCI, in bytes.
const MaxImage = 400 << 30
