// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A Sink takes the parts of one object, numbered from 1, in any order and several
// at a time. It does not use data after it has returned.
type Sink interface {
	Part(ctx context.Context, number int, data []byte) error
}

// What a multipart upload to Object Storage allows.
const (
	MinPart  = 10 << 20 // bytes of every part but the last
	MaxParts = 10_000
)

// PartSize is a size of parts, in bytes, with which an image of a disk of so many
// bytes fits into one upload, whatever its content. It is as small as that allows,
// because parts wait in memory.
func PartSize(disk int64) int {
	// Data that does not get smaller, tables, and what is lost between them.
	most := disk + disk/64 + 64<<20
	size := (most + MaxParts - 2) / (MaxParts - 1)
	return int(max(MinPart, (size+(1<<20)-1)&^(1<<20-1)))
}

// Parts is an [Output] that cuts the file into parts of one size. The first stays in
// memory and is handed to the sink last, when all the others have arrived; of the
// others, Uploads are on their way at the same time, and one is being filled.
type Parts struct {
	sink    Sink
	size    int
	free    chan []byte   // buffers; nil where none has been made yet
	slots   chan struct{} // of uploads
	first   []byte
	current []byte
	number  int // of current
	sent    int64

	uploads sync.WaitGroup
	failed  chan struct{} // closed by the first failure
	once    sync.Once
	err     error
}

// NewParts makes an Output for parts of so many bytes, of which uploads are on their
// way at the same time.
func NewParts(sink Sink, size, uploads int) (*Parts, error) {
	if size < MaxFront || uploads < 1 {
		return nil, fmt.Errorf("parts of %d bytes, %d at a time, cannot be uploaded", size, uploads)
	}
	p := &Parts{sink: sink, size: size, free: make(chan []byte, uploads+1), slots: make(chan struct{}, uploads), number: 1, failed: make(chan struct{})}
	for range uploads + 1 {
		p.free <- nil
	}
	p.current = make([]byte, 0, size)
	return p, nil
}

// Write implements [Output]. It waits while too many parts are on their way.
func (p *Parts) Write(ctx context.Context, data []byte) error {
	for len(data) > 0 {
		if len(p.current) == p.size {
			if err := p.next(ctx); err != nil {
				return err
			}
		}
		n := min(len(data), p.size-len(p.current))
		p.current = append(p.current, data[:n]...)
		data = data[n:]
	}
	return ctx.Err()
}

// next sends the part that is full and begins another one.
func (p *Parts) next(ctx context.Context) error {
	if p.number == MaxParts {
		return fmt.Errorf("the image does not fit into %d parts of %d bytes", MaxParts, p.size)
	}
	if p.number == 1 {
		p.first = p.current
	} else if err := p.send(ctx); err != nil {
		return err
	}
	// There is one for each upload and one to be filled.
	if p.current = <-p.free; p.current == nil {
		p.current = make([]byte, 0, p.size)
	}
	p.current = p.current[:0]
	p.number++
	return nil
}

// send uploads the current part. It waits for others to arrive, not for this one.
func (p *Parts) send(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
	case <-p.failed:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
	number, data := p.number, p.current
	p.uploads.Go(func() {
		if err := p.sink.Part(ctx, number, data); err != nil {
			p.once.Do(func() {
				p.err = err
				close(p.failed)
			})
			return // the slot stays taken
		}
		p.free <- data
		<-p.slots
	})
	return nil
}

// Finish implements [Output].
func (p *Parts) Finish(ctx context.Context, front []byte) error {
	if p.number == 1 {
		p.first = p.current
	} else if err := p.send(ctx); err != nil {
		return err
	}
	p.uploads.Wait()
	select {
	case <-p.failed:
		return p.err
	default:
	}
	if len(front) > len(p.first) {
		return errors.New("the beginning of the image is longer than its first part")
	}
	copy(p.first, front)
	return p.sink.Part(ctx, 1, p.first)
}

// Wait returns when nothing is on its way any more. It must be called before the sink
// is ended, also after a failure; whether things end early is up to their contexts.
func (p *Parts) Wait() { p.uploads.Wait() }
