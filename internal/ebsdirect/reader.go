// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ebsdirect

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// blockSize is the size of a block in bytes. There is no other; the service says it
// with each list all the same.
const blockSize = 512 << 10

// API is what is needed of the SDK's client. It must make each request once: retries
// are this package's.
type API interface {
	ListSnapshotBlocks(context.Context, *ebs.ListSnapshotBlocksInput, ...func(*ebs.Options)) (*ebs.ListSnapshotBlocksOutput, error)
	GetSnapshotBlock(context.Context, *ebs.GetSnapshotBlockInput, ...func(*ebs.Options)) (*ebs.GetSnapshotBlockOutput, error)
}

// Options change how a snapshot is read. The zero value of a field stands for its
// default.
type Options struct {
	// BlocksPerSecond is how many blocks are asked for at most; default 950, of the
	// 1000 that a snapshot gives.
	BlocksPerSecond float64
	// Patience is how long one block, or one page of the list, is asked for again
	// while the service fails or refuses; default 5 minutes.
	Patience time.Duration
	// RequestTimeout limits one request; default 1 minute.
	RequestTimeout time.Duration
}

// Reader reads one snapshot; it implements [diskimage.Source]. Its blocks are listed
// once at a time.
type Reader struct {
	api      API
	id       string
	options  Options
	size     int64
	zeroSum  string
	pace     *pacer
	list     *list
	reads    atomic.Int64
	retries  atomic.Int64
	zeros    atomic.Int64
	requests atomic.Int64
}

var _ diskimage.Source = (*Reader)(nil)

// Stats is what it took to read.
type Stats struct {
	Blocks   int64 // that were read, those of zeros included
	Zeros    int64 // blocks that were known to be zeros by their checksum
	Requests int64 // of both kinds
	Retries  int64 // requests that had to be made again
}

// Stats is how far it is.
func (r *Reader) Stats() Stats {
	return Stats{r.reads.Load(), r.zeros.Load(), r.requests.Load(), r.retries.Load()}
}

// Open asks for the first blocks of a snapshot, which must be completed.
func Open(ctx context.Context, api API, snapshot string, o Options) (*Reader, error) {
	o.BlocksPerSecond = cmp.Or(o.BlocksPerSecond, 950)
	o.Patience = cmp.Or(o.Patience, 5*time.Minute)
	o.RequestTimeout = cmp.Or(o.RequestTimeout, time.Minute)
	zero := sha256.Sum256(make([]byte, blockSize))
	r := &Reader{
		api: api, id: snapshot, options: o, pace: newPacer(o.BlocksPerSecond), zeroSum: base64.StdEncoding.EncodeToString(zero[:]),
	}
	r.list = newList(r)
	if err := r.list.begin(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Try reads one block, if there is one, and throws it away: who may list the blocks may
// not be the one who may read them, or use the key that they are encrypted with. It is
// called before Pieces.
func (r *Reader) Try(ctx context.Context) error {
	e, there, err := r.list.peek(ctx)
	if err != nil || !there {
		return err
	}
	buf := make([]byte, blockSize)
	return r.repeat(ctx, "get snapshot block", fmt.Sprintf("%d of %s", e.index, r.id), func(ctx context.Context) error {
		_, err := r.get(ctx, e.index, e.token, buf)
		if reason(err, "INVALID_BLOCK_TOKEN") {
			return nil // it was allowed, and the token is got anew when it is needed
		}
		return err
	}, func(_ context.Context, err error) (bool, error) { return passing(err), nil })
}

// Size implements [diskimage.Source]: the size of the volume, whatever is written.
func (r *Reader) Size() int64 { return r.size }

// PieceSize implements [diskimage.Source].
func (*Reader) PieceSize() int { return blockSize }

// Pieces implements [diskimage.Source]: the blocks that were ever written. It may be
// called once.
func (r *Reader) Pieces(ctx context.Context) iter.Seq2[diskimage.Piece, error] {
	return func(yield func(diskimage.Piece, error) bool) {
		for {
			index, more, err := r.list.next(ctx)
			if err != nil {
				yield(diskimage.Piece{}, err)
				return
			}
			// Volumes have whole GiB, so that no block is cut short.
			if !more || !yield(diskimage.Piece{Offset: int64(index) * blockSize, Length: blockSize}, nil) {
				return
			}
		}
	}
}

// ReadPiece implements [diskimage.Source].
func (r *Reader) ReadPiece(ctx context.Context, p diskimage.Piece, buf []byte) (err error) {
	index := int32(p.Offset / blockSize)
	defer func() { r.list.done(index, err == nil) }()
	subject := fmt.Sprintf("%d of %s", index, r.id)
	var used token
	return r.repeat(ctx, "get snapshot block", subject, func(ctx context.Context) error {
		t, err := r.list.token(ctx, index)
		if err != nil {
			return err
		}
		used = t
		if err := r.pace.wait(ctx); err != nil {
			return err
		}
		zero, err := r.get(ctx, index, used.text, buf)
		if zero {
			r.zeros.Add(1)
		}
		if err == nil {
			r.reads.Add(1)
		}
		return err
	}, func(ctx context.Context, err error) (bool, error) {
		switch {
		case throttled(err):
			r.pace.slower()
		case reason(err, "INVALID_BLOCK_TOKEN"):
			return true, r.list.renew(ctx, used)
		}
		return passing(err), nil
	})
}

// errNotWhole says that a block is not what its checksum says.
var errNotWhole = errors.New("the block arrived damaged")

// get reads one block into buf; zero says that it is known to hold nothing else.
func (r *Reader) get(ctx context.Context, index int32, token string, buf []byte) (zero bool, err error) {
	out, err := r.api.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{SnapshotId: &r.id, BlockIndex: &index, BlockToken: &token})
	if err != nil {
		return false, err
	}
	defer out.BlockData.Close()
	if n := aws.ToInt32(out.DataLength); int(n) != blockSize || out.ChecksumAlgorithm != "SHA256" {
		return false, fmt.Errorf("%w: it has %d bytes and a checksum by %q", errNotWhole, n, out.ChecksumAlgorithm)
	}
	if aws.ToString(out.Checksum) == r.zeroSum {
		// Read to the end, so that the connection can be used again.
		n, err := io.Copy(io.Discard, out.BlockData)
		if err == nil && n != blockSize {
			err = fmt.Errorf("%w: it has %d bytes", errNotWhole, n)
		}
		if err != nil {
			return false, err
		}
		clear(buf)
		return true, nil
	}
	if _, err := io.ReadFull(out.BlockData, buf); err != nil {
		return false, fmt.Errorf("%w: %w", errNotWhole, err)
	}
	if n, err := io.Copy(io.Discard, out.BlockData); err != nil || n > 0 {
		return false, fmt.Errorf("%w: it goes on for %d bytes: %w", errNotWhole, n, cmp.Or(err, io.ErrShortBuffer))
	}
	want, err := base64.StdEncoding.DecodeString(aws.ToString(out.Checksum))
	if got := sha256.Sum256(buf); err != nil || !bytes.Equal(got[:], want) {
		return false, fmt.Errorf("%w: its checksum is not %q", errNotWhole, aws.ToString(out.Checksum))
	}
	return false, nil
}

// repeat makes a request, and again while after says so; after may also say that there
// is no point in it.
func (r *Reader) repeat(ctx context.Context, op, subject string, call func(context.Context) error, after func(context.Context, error) (bool, error)) error {
	var again bool
	l := wait.Loop{
		What: fmt.Sprintf("an answer to %q", op), Timeout: r.options.Patience,
		Pace: wait.Pace{First: 100 * time.Millisecond, Max: 10 * time.Second, Factor: 2}, Tolerate: func(error) bool { return again },
	}
	return l.Until(ctx, func(ctx context.Context) (bool, error) {
		limited, cancel := context.WithTimeout(ctx, r.options.RequestTimeout)
		defer cancel()
		r.requests.Add(1)
		err := call(limited)
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil {
			again = false
			return false, fmt.Errorf("%s %s: %w", op, subject, err)
		}
		var final error
		if again, final = after(ctx, err); final != nil {
			again, err = false, final
		}
		if again {
			r.retries.Add(1)
		}
		return false, fmt.Errorf("%s %s: %w", op, subject, err)
	})
}

// entry is a block of the list.
type entry struct {
	index int32
	token string
}

// find is where the entry of an index is, or would be.
func find(entries []entry, index int32) (int, bool) {
	return slices.BinarySearchFunc(entries, index, func(e entry, i int32) int { return cmp.Compare(e.index, i) })
}
