// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A disk is waited for until nothing happens to it for a while, and not for ever.
func TestSettle(t *testing.T) {
	broken := errors.New("no such disk")
	for name, tt := range map[string]struct {
		look     func(after time.Duration) (written, pending int64, err error)
		from, to time.Duration // how long it takes
		says     string
	}{
		"nothing happens": {func(time.Duration) (int64, int64, error) { return 7, 0, nil }, calm, calm + 200*time.Millisecond, ""},
		"blocks are given up late": {func(after time.Duration) (int64, int64, error) {
			return min(after, 3*time.Second).Milliseconds(), 0, nil
		}, 3*time.Second + calm, 3*time.Second + calm + 300*time.Millisecond, ""},
		"one write takes long": {func(after time.Duration) (int64, int64, error) {
			if after < 5*time.Second {
				return 7, 1, nil
			}
			return 7, 0, nil
		}, 5*time.Second + calm, 5*time.Second + calm + 300*time.Millisecond, ""},
		"looks are far apart": {func(after time.Duration) (int64, int64, error) {
			time.Sleep(3 * calm) // the computer is busy
			if after < 5*time.Second {
				return 7, 1, nil
			}
			return 7, 0, nil
		}, 15 * calm, 16 * calm, ""},
		"looks take long": {func(time.Duration) (int64, int64, error) {
			time.Sleep(2 * calm)
			return 7, 0, nil
		}, 6 * calm, 7 * calm, ""},
		"it never ends": {func(after time.Duration) (int64, int64, error) { return int64(after), 0, nil }, calmLimit, calmLimit + time.Second, "timed out after 1m0s waiting for the end of what is written"},
		"it is gone":    {func(time.Duration) (int64, int64, error) { return 0, 0, broken }, 0, 0, broken.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				err := settle(t.Context(), func() (int64, int64, error) { return tt.look(time.Since(begun)) })
				if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
					t.Error(err)
				}
				if d := time.Since(begun); d < tt.from || d > tt.to {
					t.Errorf("it took %s", d)
				}
			})
		})
	}
}
