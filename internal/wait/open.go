// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package wait

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// Unseen is how long a cloud's lists may not show what was just made. Neither
// cloud says how far its lists lag behind; unverified against the real services.
const Unseen = 2 * time.Minute

// Open are requests to make something whose replies were lost: what they made, if
// anything, is not known yet, and a list may show it late. Each is known by a key by
// which that is found, such as its token. The zero value is ready to use.
type Open struct {
	mu    sync.Mutex
	asked []asked
}

type asked struct {
	key string
	at  time.Time
}

// Add remembers a request whose reply was lost now.
func (o *Open) Add(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, asked{key, time.Now()})
}

// Close forgets a request: it is clear what came of it.
func (o *Open) Close(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = slices.DeleteFunc(o.asked, func(a asked) bool { return a.key == key })
}

// Keys are those of all requests that are open, without repetitions.
func (o *Open) Keys() []string { return slices.Sorted(maps.Keys(o.last())) }

// last is when each request was last sent.
func (o *Open) last() map[string]time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := map[string]time.Time{}
	for _, a := range o.asked {
		at[a.key] = a.at
	}
	return at
}

// Settle looks for what each request made, until it is found or a list would show
// it by now, which is Unseen after the reply was lost; each is looked for at least
// once. Both close it; never are the keys of those of which nothing was found. What
// find fails for stays open, and so does the rest if ctx ends; the error says why.
func (o *Open) Settle(ctx context.Context, find func(ctx context.Context, key string) (found bool, err error)) (never []string, err error) {
	failed := map[string]error{}
	err = Loop{What: "what was made by a request whose reply was lost", Pace: Slow}.Until(ctx, func(ctx context.Context) (bool, error) {
		at := o.last()
		left := 0
		for _, key := range o.Keys() {
			if failed[key] != nil {
				continue
			}
			if ctx.Err() != nil {
				left++ // the loop says why
				continue
			}
			begun := time.Now()
			found, err := find(ctx, key)
			switch {
			case found:
				o.Close(key)
			case ctx.Err() != nil:
				left++
			case err != nil:
				failed[key] = err
			case begun.Sub(at[key]) >= Unseen:
				never = append(never, key)
				o.Close(key)
			default:
				left++
			}
		}
		return left == 0, nil
	})
	errs := []error{err}
	for _, key := range slices.Sorted(maps.Keys(failed)) {
		errs = append(errs, failed[key])
	}
	return never, errors.Join(errs...)
}
