// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package wait

import (
	"context"
	"time"
)

// The first line about something that does not answer comes when people begin to
// wonder, and the others once a minute.
const (
	tellFirst = 20 * time.Second
	tellEvery = time.Minute
)

// Tell tells, until it is stopped, how long something has taken: first after 20
// seconds, then each minute. A look that hangs is told of as well, which a Loop's
// Progress is not. stop returns when nothing more will be told.
func Tell(ctx context.Context, tell func(elapsed time.Duration)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		start := time.Now()
		for pause := tellFirst; Sleep(ctx, pause) == nil; pause = tellEvery {
			tell(time.Since(start).Round(time.Second))
		}
	}()
	return func() { cancel(); <-done }
}
