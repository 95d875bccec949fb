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

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		looks, last, longest := 0, start, time.Duration(0)
		err := Loop{What: "a thing", Timeout: time.Hour, Pace: Slow}.Until(t.Context(), func(context.Context) (bool, error) {
			looks++
			longest, last = max(longest, time.Since(last)), time.Now()
			return time.Since(start) > 4*time.Minute, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if longest > 5500*time.Millisecond { // packer-plugin-oracle looks every five seconds
			t.Errorf("not looked at for %s", longest)
		}
		if looks > 60 {
			t.Errorf("%d looks in four minutes", looks)
		}
	})
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
