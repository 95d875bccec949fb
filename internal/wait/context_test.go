// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package wait

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// What goes on after a cancel ends by what it was tied to, and by its own limit.
func TestWithStop(t *testing.T) {
	for name, after := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"Cleanup": func(ctx context.Context) (context.Context, context.CancelFunc) { return Cleanup(ctx, time.Hour) },
		"Grace":   func(ctx context.Context) (context.Context, context.CancelFunc) { return Grace(ctx, time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				stop, cut := context.WithCancel(t.Context())
				tied, free := after(WithStop(ctx, stop))
				defer free()
				own, done := after(ctx)
				defer done()
				begun := time.Now()
				cancel()
				time.Sleep(time.Minute)
				if tied.Err() != nil || own.Err() != nil {
					t.Fatal("a cancel ends it")
				}
				cut()
				synctest.Wait()
				if tied.Err() == nil || own.Err() != nil {
					t.Errorf("after the stop: %v and %v", tied.Err(), own.Err())
				}
				<-own.Done()
				if d := time.Since(begun); d != time.Hour {
					t.Errorf("it went on for %s", d)
				}
			})
		})
	}
}
