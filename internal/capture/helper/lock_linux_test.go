// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package helper

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A machine is held by one helper at a time, also by one whose connection was lost: the
// next one waits until it is let go, and not for ever.
func TestAlone(t *testing.T) {
	const takes = 3 * time.Minute
	for name, tt := range map[string]struct {
		first error         // of the first one's work
		close error         // of letting the machine go
		after time.Duration // when it lets the machine go
		limit time.Duration // of the second one's context
		waits time.Duration
		says  string
	}{
		"it is let go":                 {after: takes, limit: time.Hour, waits: takes},
		"it is let go, with an error":  {after: takes, limit: time.Hour, waits: takes, close: errors.New("it stays frozen")},
		"it could not be held":         {first: errors.New("it is busy"), limit: time.Hour},
		"it is never let go":           {after: time.Hour, limit: time.Hour, waits: lockLimit, says: "the helper of a capture before still holds the machine after 5m0s: try again later, or restart the machine"},
		"the second one is given up":   {after: time.Hour, limit: time.Minute, waits: time.Minute, says: "no time left"},
		"the second one does not wait": {after: 0, limit: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			lock := filepath.Join(t.TempDir(), "lock")
			synctest.Test(t, func(t *testing.T) {
				var said []string
				say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
				var held atomic.Int32
				quiet := func() (*Quiet, error) {
					if held.Add(1) > 1 {
						t.Error("two at a time")
					}
					if tt.first != nil {
						held.Add(-1)
						return nil, tt.first
					}
					return &Quiet{Close: func() error { held.Add(-1); return tt.close }}, nil
				}
				let := func(q *Quiet) {
					if err := q.Close(); !errors.Is(err, tt.close) || (err == nil) != (tt.close == nil) {
						t.Error(err)
					}
				}
				q, err := alone(t.Context(), lock, say, quiet)
				if !errors.Is(err, tt.first) || len(said) > 0 {
					t.Fatal(err, said)
				}
				gone := make(chan struct{})
				if q == nil {
					close(gone)
				} else if tt.after == 0 {
					let(q)
					close(gone)
				} else {
					go func() {
						time.Sleep(tt.after)
						let(q)
						close(gone)
					}()
				}
				begun := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
				defer cancel()
				tt.first = nil
				second, err := alone(ctx, lock, say, quiet)
				if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
					t.Error(err)
				}
				if d := time.Since(begun); d < tt.waits || d > tt.waits+2*time.Second {
					t.Errorf("it waited for %s", d)
				}
				if waited := len(said) == 1 && strings.Contains(said[0], "still holds the machine"); waited != (tt.waits > 0) {
					t.Errorf("%q", said)
				}
				if err == nil {
					let(second)
				}
				<-gone
			})
		})
	}
}
