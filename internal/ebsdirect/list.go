// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ebsdirect

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
)

// token is a block's token, and the list that it comes from.
type token struct {
	text string
	list int
}

// list is the list of a snapshot's blocks, as much of it as is needed: from the first
// block that is not read yet to the end of the last page.
type list struct {
	reader *Reader
	lock   chan struct{} // a mutex that can be given up; guards what follows

	number  int     // of this list; there is a new one when tokens have become invalid
	entries []entry // ascending
	page    string  // the token of the next page
	end     bool    // there is none
	given   int32   // the last index that next has handed out; -1 before
	open    map[int32]bool
	renewed int // lists in a row without a block read from them
}

func newList(r *Reader) *list {
	return &list{reader: r, lock: make(chan struct{}, 1), given: -1, open: map[int32]bool{}}
}

func (l *list) acquire(ctx context.Context) error {
	select {
	case l.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *list) release() { <-l.lock }

// begin asks for the first page, to see whether the snapshot can be read.
func (l *list) begin(ctx context.Context) error {
	if err := l.acquire(ctx); err != nil {
		return err
	}
	defer l.release()
	return l.anew(ctx, 0)
}

// next is the next block, if there is one.
func (l *list) next(ctx context.Context) (index int32, more bool, err error) {
	if err := l.acquire(ctx); err != nil {
		return 0, false, err
	}
	defer l.release()
	for {
		at, found := find(l.entries, l.given)
		if found {
			at++
		}
		if at < len(l.entries) {
			l.given = l.entries[at].index
			l.open[l.given] = true
			return l.given, true, nil
		}
		if l.end {
			return 0, false, nil
		}
		if err := l.more(ctx); err != nil {
			return 0, false, err
		}
	}
}

// peek is the first block, if there is one, which next is still to hand out.
func (l *list) peek(ctx context.Context) (first entry, there bool, err error) {
	if err := l.acquire(ctx); err != nil {
		return entry{}, false, err
	}
	defer l.release()
	for len(l.entries) == 0 && !l.end {
		if err := l.more(ctx); err != nil {
			return entry{}, false, err
		}
	}
	if len(l.entries) == 0 {
		return entry{}, false, nil
	}
	return l.entries[0], true, nil
}

// done says that a block needs no token any more.
func (l *list) done(index int32, read bool) {
	l.lock <- struct{}{} // whoever holds it has the same context as we
	defer l.release()
	delete(l.open, index)
	if read {
		l.renewed = 0
	}
}

// token is the token of a block that was handed out.
func (l *list) token(ctx context.Context, index int32) (token, error) {
	if err := l.acquire(ctx); err != nil {
		return token{}, err
	}
	defer l.release()
	at, found := find(l.entries, index)
	if !found {
		return token{}, fmt.Errorf("the snapshot's list does not have the block any more")
	}
	return token{l.entries[at].token, l.number}, nil
}

// maxRenewals is how many new lists may be needed for one and the same block.
const maxRenewals = 10

// errContested is one explanation of tokens that are never good.
var errContested = errors.New("the tokens of its blocks become invalid as soon as they are there; is something else listing the blocks of the same snapshot?")

// renew gets new tokens for the blocks that are still to be read, unless somebody else
// has done it since.
func (l *list) renew(ctx context.Context, old token) error {
	if err := l.acquire(ctx); err != nil {
		return err
	}
	defer l.release()
	if old.list != l.number {
		return nil
	}
	if l.renewed++; l.renewed > maxRenewals {
		return fmt.Errorf("snapshot %s: %w", l.reader.id, errContested)
	}
	return l.anew(ctx, l.first())
}

// first is the first block that a token is needed for.
func (l *list) first() int32 {
	first := l.given + 1
	for i := range l.open {
		first = min(first, i)
	}
	return first
}

// anew begins a new list at a block. All tokens there were become invalid.
func (l *list) anew(ctx context.Context, from int32) error {
	l.entries, l.page, l.end = nil, "", false
	l.number++
	in := &ebs.ListSnapshotBlocksInput{}
	if from > 0 {
		in.StartingBlockIndex = &from
	}
	for {
		if err := l.fetch(ctx, in); err != nil {
			return err
		}
		// Far enough for what is being read.
		if l.end || len(l.entries) > 0 && l.entries[len(l.entries)-1].index >= l.given {
			return nil
		}
		in = &ebs.ListSnapshotBlocksInput{NextToken: &l.page}
	}
}

// more gets the next page. One that is asked for too late is replaced by a new list.
func (l *list) more(ctx context.Context) error {
	first := l.first()
	at, _ := find(l.entries, first)
	l.entries = append([]entry(nil), l.entries[at:]...)
	err := l.fetch(ctx, &ebs.ListSnapshotBlocksInput{NextToken: &l.page})
	if reason(err, "INVALID_PAGE_TOKEN") {
		return l.anew(ctx, first)
	}
	return err
}

// fetch gets a page and appends what it has.
func (l *list) fetch(ctx context.Context, in *ebs.ListSnapshotBlocksInput) error {
	r := l.reader
	in.SnapshotId, in.MaxResults = &r.id, aws.Int32(10000)
	var out *ebs.ListSnapshotBlocksOutput
	err := r.repeat(ctx, "list snapshot blocks of", r.id, func(ctx context.Context) (err error) {
		out, err = r.api.ListSnapshotBlocks(ctx, in)
		return err
	}, func(_ context.Context, err error) (bool, error) { return passing(err), nil })
	if err != nil {
		return err
	}
	if n := aws.ToInt32(out.BlockSize); n != blockSize {
		return fmt.Errorf("snapshot %s has blocks of %d bytes, not of %d", r.id, n, blockSize)
	}
	gib := aws.ToInt64(out.VolumeSize)
	size := gib << 30
	if gib <= 0 || gib > 64<<10 || r.size > 0 && r.size != size {
		return fmt.Errorf("snapshot %s is said to be of a volume of %d GiB", r.id, gib)
	}
	if r.size == 0 { // of the first list: nobody reads it yet
		r.size = size
	}
	last := int32(-1)
	if n := len(l.entries); n > 0 {
		last = l.entries[n-1].index
	}
	for _, b := range out.Blocks {
		i := aws.ToInt32(b.BlockIndex)
		if i <= last || int64(i)*blockSize >= size || aws.ToString(b.BlockToken) == "" {
			return fmt.Errorf("the list of the blocks of snapshot %s is out of order at block %d", r.id, i)
		}
		l.entries, last = append(l.entries, entry{i, *b.BlockToken}), i
	}
	l.page = aws.ToString(out.NextToken)
	l.end = l.page == ""
	return nil
}
