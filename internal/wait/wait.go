// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package wait is the one place where the product sleeps.
//
// Everything that takes a while in a cloud is waited for here, so that three
// promises hold everywhere: a cancelled context ends a wait at once, each wait
// has one limit that the message names when it is hit, and polling is fast
// where a change is near and slow where it is not.
package wait

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Sleep returns after d, or earlier with ctx's error. A d of zero or less only
// checks ctx.
func Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Pace says how often something is looked at: First after the start, then
// Factor times longer after each look, never longer than Max, or, where that is more,
// than Share of the time that has passed, up to Late.
type Pace struct {
	First  time.Duration
	Max    time.Duration
	Factor float64 // 1 keeps the pace; less than 1 counts as 1
	Share  float64
	Late   time.Duration
}

// The paces of the product, which are its budget of requests. A quick state (VNIC
// attached, instance running) is a matter of seconds to a minute, and is noticed within
// 1.2 seconds: at most 50 looks a minute. A slow one (image made, exported, imported) is
// one of minutes, and is noticed within 2.5 seconds in the first five of them and within
// a hundredth and a bit of the time after that: 24 looks a minute, and ever fewer down to
// 6, so that an hour costs about 530. Something that took long may be seen later.
var (
	Quick = Pace{First: 250 * time.Millisecond, Max: 1200 * time.Millisecond, Factor: 1.4}
	Slow  = Pace{First: 500 * time.Millisecond, Max: 2500 * time.Millisecond, Factor: 1.3, Share: 1.0 / 120, Late: 10 * time.Second}
	// Door is for the SSH server of a machine that boots, which asks nothing of the
	// cloud's services.
	Door = Pace{First: 250 * time.Millisecond, Max: 500 * time.Millisecond, Factor: 1.4}
	// Backoff is for calls that the service refused for the moment.
	Backoff = Pace{First: 500 * time.Millisecond, Max: 20 * time.Second, Factor: 2}
)

// next is the pause after one of length d.
func (p Pace) next(d time.Duration) time.Duration {
	if p.Factor > 1 {
		d = time.Duration(float64(d) * p.Factor)
	}
	return min(d, p.Max)
}

// Loop describes one wait.
type Loop struct {
	// What is awaited, as the end of "timed out after 5m waiting for ...".
	What string
	// Timeout limits the whole wait; 0 means that only ctx does.
	Timeout time.Duration
	// Option is the setting that raises Timeout; the message names it.
	Option string
	Pace   Pace
	// Tolerate says which errors of a look are no reason to stop waiting. A
	// nil Tolerate stops at every error.
	Tolerate func(error) bool
	// Progress, if set, is called about every ProgressEvery (one minute by
	// default) with the time passed.
	Progress      func(elapsed time.Duration)
	ProgressEvery time.Duration
}

// TimeoutError says that a wait took longer than it was allowed to.
type TimeoutError struct {
	What   string
	After  time.Duration
	Option string
	Last   error // the last tolerated error, if any
}

func (e *TimeoutError) Error() string {
	s := fmt.Sprintf("timed out after %s waiting for %s", e.After, e.What)
	if e.Option != "" {
		s += fmt.Sprintf(" (the limit is the option %q)", e.Option)
	}
	if e.Last != nil {
		s += fmt.Sprintf("; the last answer was: %v", e.Last)
	}
	return s
}

func (e *TimeoutError) Unwrap() error { return e.Last }

// interrupted is the error of a wait whose context ended. What the last look
// came to is kept for errors.As, and of no interest to people.
type interrupted struct{ ctx, last error }

func (e *interrupted) Error() string {
	if errors.Is(e.ctx, context.DeadlineExceeded) {
		return "no time left"
	}
	return "interrupted"
}

func (e *interrupted) Unwrap() []error {
	if e.last == nil {
		return []error{e.ctx}
	}
	return []error{e.ctx, e.last}
}

// lateLook is how long a look may go on after the limit: one that has begun often
// has the answer.
const lateLook = 10 * time.Second

// Until looks until look says that it is done. It returns look's first error
// that is not tolerated, ctx's error, or a *TimeoutError.
func (l Loop) Until(ctx context.Context, look func(context.Context) (done bool, err error)) error {
	start := time.Now()
	every := l.ProgressEvery
	if every <= 0 {
		every = time.Minute
	}
	told := start
	pause := l.Pace.First
	limited := ctx // a look may wait itself, and must not outlast the limit
	if l.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithDeadline(ctx, start.Add(l.Timeout+lateLook))
		defer cancel()
	}
	var last error
	for {
		done, err := look(limited)
		if ctx.Err() != nil && !done {
			return &interrupted{ctx.Err(), err}
		}
		switch {
		case limited.Err() != nil && !done:
			var i *interrupted
			if errors.As(err, &i) {
				err = i.last
			}
			return &TimeoutError{What: l.What, After: l.Timeout, Option: l.Option, Last: cmp.Or(err, last)}
		case err == nil && done:
			return nil
		case err == nil:
			last = nil
		case l.Tolerate == nil || !l.Tolerate(err):
			return err
		default:
			last = err
		}
		elapsed := time.Since(start)
		if l.Timeout > 0 && elapsed >= l.Timeout {
			return &TimeoutError{What: l.What, After: l.Timeout, Option: l.Option, Last: last}
		}
		if l.Progress != nil && time.Since(told) >= every {
			told = time.Now()
			l.Progress(elapsed.Round(time.Second))
		}
		d := jitter(max(pause, min(time.Duration(float64(elapsed)*l.Pace.Share), l.Pace.Late)))
		if l.Timeout > 0 {
			d = min(d, l.Timeout-elapsed)
		}
		if err := Sleep(ctx, d); err != nil {
			return &interrupted{err, last}
		}
		pause = l.Pace.next(pause)
	}
}

// jitter spreads d by a tenth, so that builds started together do not ask
// together for ever.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d - d/10 + time.Duration(rand.Int64N(int64(d/5)+1))
}
