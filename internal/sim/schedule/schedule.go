// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package schedule says when the scripted faults of a simulated cloud are due:
// which of the requests that match are hit, and during which time. It is the
// same for each cloud, so that a test that knows one knows them all.
package schedule

import (
	"context"
	"time"
)

// Duration is a time.Duration that is written as in "1m30s" in JSON.
type Duration time.Duration

// MarshalText writes the duration as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// Schedule is when a fault is due.
type Schedule struct {
	Skip  int      // matches that pass first
	Times int      // matches that are hit; 0: all
	From  Duration // counted from when the fault was added
	Until Duration // 0: no end
}

// Never tells that no match could ever be hit.
func (s Schedule) Never() bool {
	return s.Skip < 0 || s.Times < 0 || s.From < 0 || s.Until < 0 || (s.Until > 0 && s.Until <= s.From)
}

// InTime tells whether the time has come, whatever the count.
func (s Schedule) InTime(added time.Time) bool {
	age := time.Since(added)
	return age >= time.Duration(s.From) && (s.Until == 0 || age < time.Duration(s.Until))
}

// Due tells whether the next match is to be hit, after so many.
func (s Schedule) Due(added time.Time, matched int) bool {
	return s.InTime(added) && matched >= s.Skip && (s.Times == 0 || matched < s.Skip+s.Times)
}

// Buckets are token buckets by owner, all of the same kind: each holds Burst
// tokens at most and gets one more Every so often. One is kept as the time at
// which it will be full again: each token that is taken moves that time away
// by what it takes to make one.
type Buckets map[string]time.Time

// Has tells whether there is a token for an owner.
func (b Buckets) Has(owner string, every Duration, burst int) bool {
	return time.Until(b[owner]) <= time.Duration(burst-1)*time.Duration(every)
}

// Take removes a token.
func (b Buckets) Take(owner string, every Duration) {
	full := time.Now()
	if later := b[owner]; later.After(full) {
		full = later
	}
	b[owner] = full.Add(time.Duration(every))
}

// Pause lets time pass; it returns early with the context's error.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
