// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package wait

import (
	"context"
	"time"
)

// Grace returns a context that lives for d longer than ctx does. A request
// that creates something is sent with it: cutting such a request short would
// only leave open whether there is now something to remove.
func Grace(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	g, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(d, cancel)
		context.AfterFunc(g, func() { t.Stop() })
	})
	tied := tie(ctx, cancel)
	return g, func() { stop(); tied(); cancel() }
}

// Cleanup returns a context for undoing: it ignores that ctx was cancelled and
// has a deadline of its own.
func Cleanup(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	c, cancel := context.WithTimeout(context.WithoutCancel(ctx), d)
	tied := tie(ctx, cancel)
	return c, func() { tied(); cancel() }
}

type stopKey struct{}

// WithStop returns ctx with something that ends what ctx itself does not: when stop
// ends, so does every context that [Grace] and [Cleanup] make of it. It is for people
// who do not want to wait until all is tidy.
func WithStop(ctx, stop context.Context) context.Context {
	return context.WithValue(ctx, stopKey{}, stop)
}

// tie cancels when what ctx has by WithStop ends.
func tie(ctx context.Context, cancel context.CancelFunc) (untie func()) {
	stop, ok := ctx.Value(stopKey{}).(context.Context)
	if !ok {
		return func() {}
	}
	free := context.AfterFunc(stop, cancel) //nolint:contextcheck // ending by another context is what it is for
	return func() { free() }
}
