// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package wait

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestSettle(t *testing.T) {
	bad := errors.New("no")
	for _, tt := range []struct {
		name  string
		shows time.Duration // after which the list shows it; 0 is never
		late  time.Duration // how long ago the reply was lost
		err   error
		never bool
		takes time.Duration // at most
	}{
		{name: "there at once", shows: 1, takes: 0},
		{name: "there late", shows: 100 * time.Second, takes: 106 * time.Second},
		{name: "never there", never: true, takes: Unseen + 6*time.Second},
		{name: "lost long ago, and there", late: time.Hour, shows: 1},
		{name: "lost long ago, and not there", late: time.Hour, never: true},
		{name: "nobody may look", err: bad},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var o Open
				o.Add("a")
				o.Add("a") // sent twice
				time.Sleep(tt.late)
				start, found := time.Now(), false
				never, err := o.Settle(t.Context(), func(_ context.Context, key string) (bool, error) {
					if key != "a" {
						t.Errorf("asked for %q", key)
					}
					found = tt.shows > 0 && time.Since(start) >= tt.shows-1
					return found, tt.err
				})
				if !errors.Is(err, tt.err) || slices.Contains(never, "a") != tt.never || (len(o.Keys()) > 0) != (tt.err != nil) {
					t.Errorf("%v, never %q, open %q", err, never, o.Keys())
				}
				if d := time.Since(start); d > tt.takes || found != (tt.shows > 0) {
					t.Errorf("found %t after %s", found, d)
				}
			})
		})
	}
}

// Who has no time left keeps what is open.
func TestSettleIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var o Open
		o.Add("seen")
		o.Add("unseen")
		_, err := o.Settle(ctx, func(_ context.Context, key string) (bool, error) { return key == "seen", nil })
		if !errors.Is(err, context.DeadlineExceeded) || !slices.Equal(o.Keys(), []string{"unseen"}) {
			t.Errorf("%v, open %q", err, o.Keys())
		}
		o.Close("unseen")
		if never, err := o.Settle(t.Context(), nil); err != nil || len(never) > 0 {
			t.Error(never, err)
		}
	})
}
