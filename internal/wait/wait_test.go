// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package wait

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The budget of requests, and how late a state is noticed at most.
func TestPaces(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pace   Pace
		lasts  time.Duration
		looks  int           // at most
		behind time.Duration // the longest time without a look
	}{
		{"an instance starts", Quick, 35 * time.Second, 40, 1320 * time.Millisecond},
		{"an image in four minutes", Slow, 4 * time.Minute, 110, 2750 * time.Millisecond}, // packer-plugin-oracle looks every five seconds
		{"an image in twelve minutes", Slow, 12 * time.Minute, 240, 6600 * time.Millisecond},
		{"an export of an hour", Slow, time.Hour, 580, 11 * time.Second},
		{"a machine boots", Door, 20 * time.Second, 50, 550 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				looks, last, longest := 0, start, time.Duration(0)
				err := Loop{What: "a thing", Timeout: 2 * time.Hour, Pace: tt.pace}.Until(t.Context(), func(context.Context) (bool, error) {
					looks++
					longest, last = max(longest, time.Since(last)), time.Now()
					return time.Since(start) >= tt.lasts, nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if longest > tt.behind {
					t.Errorf("not looked at for %s", longest)
				}
				if looks > tt.looks {
					t.Errorf("%d looks in %s", looks, tt.lasts)
				}
			})
		})
	}
}

func TestUntilTimeoutNamesItsOption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flaky := errors.New("503")
		var progress []time.Duration
		err := Loop{
			What: "the image", Timeout: 10 * time.Minute, Option: "image_timeout", Pace: Slow,
			Tolerate: func(err error) bool { return errors.Is(err, flaky) },
			Progress: func(d time.Duration) { progress = append(progress, d) },
		}.Until(t.Context(), func(context.Context) (bool, error) { return false, flaky })
		var te *TimeoutError
		if !errors.As(err, &te) || !errors.Is(err, flaky) {
			t.Fatalf("got %v", err)
		}
		for _, want := range []string{"10m0s", "the image", `"image_timeout"`, "503"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
		if len(progress) < 8 || len(progress) > 10 {
			t.Errorf("told %d times in ten minutes", len(progress))
		}
	})
}

func TestUntilStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		time.AfterFunc(100*time.Second, cancel)
		err := Loop{What: "x", Pace: Slow}.Until(ctx, func(context.Context) (bool, error) { return false, nil })
		if !errors.Is(err, context.Canceled) || time.Since(start) != 100*time.Second {
			t.Errorf("ended after %s with %v", time.Since(start), err)
		}
		fatal := errors.New("no")
		if err := (Loop{What: "x", Pace: Slow}).Until(t.Context(), func(context.Context) (bool, error) { return false, fatal }); !errors.Is(err, fatal) {
			t.Error(err)
		}
	})
}

func TestGraceOutlivesItsParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancelParent := context.WithCancel(t.Context())
		g, cancel := Grace(parent, 20*time.Second)
		defer cancel()
		start := time.Now()
		cancelParent()
		if g.Err() != nil {
			t.Fatal("ended with its parent")
		}
		<-g.Done()
		if d := time.Since(start); d != 20*time.Second {
			t.Errorf("ended after %s", d)
		}
		g2, cancel2 := Grace(t.Context(), time.Hour)
		cancel2()
		if g2.Err() == nil {
			t.Error("cannot be cancelled")
		}
	})
}
