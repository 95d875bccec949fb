// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// RelayWay is the route relay: the object is read from the link and written into
// a bucket of the destination's tenancy, through this computer. It implements
// imagecopy.Way.
//
// A few parts are on their way at a time, and no more of the object is in memory.
// What Object Storage has got of a part must have the checksum of what was read. A
// part that an earlier run uploaded is read again, and uploaded only if it is
// another.
type RelayWay struct {
	*Bucket
	Timeout time.Duration // of one relay
}

// The parts of a relay. Object Storage takes at most 10000.
const (
	relayPart    = 16 << 20
	relayParts   = 10000
	relayWorkers = 3
	// maxObject is the largest that Object Storage has, in bytes.
	maxObject = 10 << 40
)

// Route implements imagecopy.Way.
func (*RelayWay) Route() string { return "relay" }

// relay is one object on its way.
type relay struct {
	plain    *http.Client // for the link
	from     cloud.Link
	source   objectInfo
	partSize int64
	to       *Upload

	mu       sync.Mutex // progress is told by one worker at a time
	done     int64      // bytes
	progress func(float64)
}

// Bring implements imagecopy.Way.
func (w *RelayWay) Bring(ctx context.Context, _ string, from cloud.Link, as string, progress func(float64)) error {
	limited, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	err := w.bring(limited, from, as, progress)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return fmt.Errorf("the object could not be relayed within %s (the limit is the option \"import_timeout\"): %w", w.Timeout, err)
	}
	return err
}

func (w *RelayWay) bring(ctx context.Context, from cloud.Link, as string, progress func(float64)) error {
	r := &relay{plain: w.plain, from: from, progress: progress}
	var err error
	if r.source, err = r.probe(ctx); err != nil {
		return err
	}
	old, there, err := w.head(ctx, as)
	switch {
	case err != nil || there && old.copyOf(r.source):
		return err
	case there:
		if err := w.Delete(ctx, as); err != nil {
			return err
		}
	}
	r.partSize = max(relayPart, (r.source.size+relayParts-1)/relayParts)
	if r.to, err = w.Upload(ctx, as); err != nil {
		return err
	}
	if err := r.move(ctx); err != nil {
		return err
	}
	return r.to.Commit(ctx)
}

// get asks for a range of the object behind the link.
func (r *relay) get(ctx context.Context, first, length int64) (*http.Response, error) {
	const op = "read the object through its link"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.from.URL, nil)
	if err != nil {
		return nil, errors.New(op + ": the link is not a URL") // which is a secret
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, first+length-1))
	if r.source.etag != "" {
		req.Header.Set("If-Match", r.source.etag)
	}
	resp, err := r.plain.Do(req)
	if err != nil {
		return nil, wrap(op, "", err)
	}
	if resp.StatusCode != http.StatusPartialContent {
		_ = resp.Body.Close()
		return nil, &Error{Op: op, Status: resp.StatusCode, Message: cmp.Or(http.StatusText(resp.StatusCode), "no part of it is given")}
	}
	return resp, nil
}

// probe finds out what is behind the link.
func (r *relay) probe(ctx context.Context) (i objectInfo, err error) {
	err = repeat(ctx, "look at the object", "", func(ctx context.Context) error {
		resp, err := r.get(ctx, 0, 1)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		_, whole, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
		i.size, err = strconv.ParseInt(whole, 10, 64)
		if err != nil || i.size <= 0 || i.size > maxObject {
			return fmt.Errorf("its size cannot be told from the range %q", resp.Header.Get("Content-Range"))
		}
		i.etag = resp.Header.Get("Etag")
		i.modified, _ = http.ParseTime(resp.Header.Get("Last-Modified")) // none: nothing of an earlier run is used
		return nil
	})
	return i, err
}

// length is how many bytes a part has.
func (r *relay) length(n int) int64 { return min(r.partSize, r.source.size-int64(n)*r.partSize) }

// move moves the parts, a few at a time.
func (r *relay) move(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	todo := make(chan int)
	for range relayWorkers {
		wg.Go(func() {
			buffer := make([]byte, min(r.partSize, r.source.size))
			for n := range todo {
				if err := r.part(ctx, n, buffer); err != nil {
					cancel(err) // the first counts
				}
			}
		})
	}
	for n := range int((r.source.size + r.partSize - 1) / r.partSize) {
		select {
		case todo <- n:
		case <-ctx.Done():
		}
	}
	close(todo)
	wg.Wait()
	return context.Cause(ctx)
}

// part moves one part.
func (r *relay) part(ctx context.Context, n int, buffer []byte) error {
	data := buffer[:r.length(n)]
	err := repeatIf(ctx, "read part "+strconv.Itoa(n+1)+" of the object", "", damaged, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, partLimit)
		defer cancel()
		resp, err := r.get(ctx, int64(n)*r.partSize, int64(len(data)))
		if err != nil {
			return err
		}
		_, err = io.ReadFull(resp.Body, data)
		return errors.Join(err, resp.Body.Close())
	})
	if err != nil {
		return err
	}
	if err := r.to.Part(ctx, n+1, data); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done += int64(len(data))
	r.progress(100 * float64(r.done) / float64(r.source.size))
	return nil
}
