// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// copying is a way on which a copy of an object takes ten minutes.
func copying(t *testing.T, outlives bool) (*sim, *CopyWay) {
	t.Helper()
	s := newSim(t, simOptions{wide: true, config: func(c *ocisim.Config) {
		c.Delays = ocisim.QuickDelays()
		c.Delays.Copy, c.Switches.CopiesOutliveSource = 10*time.Minute, outlives
	}})
	from := makeBucket(t, s.client(t, s.build), s.build, "images")
	from.put(t, "o", "data")
	return s, &CopyWay{Bucket: makeBucket(t, s.clientIn(t, s.build, farRegion), s.build, "images"), From: from, Timeout: time.Hour}
}

// A copy that is given up is cancelled, and its end awaited, before what it may have
// written is deleted: it would write that later.
func TestCopyObjectIsGivenUp(t *testing.T) {
	const op = "CancelObjectStorageWorkRequest"
	for name, tt := range map[string]struct {
		after  time.Duration // the copy was asked for
		limit  time.Duration // of the copy; 0 is Ctrl-C after that time
		faults []ocisim.Fault
		takes  time.Duration // until it is gone, at most
	}{
		"accepted":                   {after: time.Minute, takes: 30 * time.Second},
		"in progress":                {after: 7 * time.Minute, takes: 30 * time.Second},
		"it takes too long":          {limit: 7 * time.Minute, takes: 30 * time.Second},
		"the cancel's reply is lost": {after: 7 * time.Minute, faults: []ocisim.Fault{{Kind: ocisim.FaultCutAfterEffect, Op: op, Times: 1}}, takes: 30 * time.Second},
		"throttled":                  {after: 7 * time.Minute, faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: op, Status: 429, Code: "TooManyRequests", Times: 2}}, takes: 30 * time.Second},
		"it may not be cancelled":    {after: 7 * time.Minute, faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: op, Status: 404, Code: "NotAuthorizedOrNotFound"}}, takes: 5 * time.Minute},
		"it cannot be any more":      {after: 7 * time.Minute, faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: op, Status: 409, Code: "IncorrectState"}}, takes: 5 * time.Minute},
	} {
		for _, outlives := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, outlives its source %t", name, outlives), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s, w := copying(t, outlives)
					if err := s.AddFaults(tt.faults...); err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if w.Timeout = tt.limit; tt.limit == 0 {
						w.Timeout = time.Hour
						time.AfterFunc(tt.after, cancel)
					}
					err := w.Bring(ctx, "o", cloud.Link{}, "copy", func(float64) {})
					if err == nil || tt.limit == 0 != errors.Is(err, context.Canceled) {
						t.Fatalf("%v", err)
					}
					if err := w.From.Remove(t.Context(), "o"); err != nil {
						t.Error(err)
					}
					begun := time.Now()
					if err := w.Remove(t.Context(), "copy"); err != nil {
						t.Error(err)
					}
					if d := time.Since(begun); d > tt.takes {
						t.Errorf("it took %s", d)
					}
					time.Sleep(time.Hour)
					if _, there, err := w.Size(t.Context(), "copy"); there || err != nil {
						t.Errorf("an hour later there is %t, %v", there, err)
					}
				})
			})
		}
	}
}

// One that goes on when there is no time left is named.
func TestCopyObjectGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := copying(t, true)
		if err := s.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CancelObjectStorageWorkRequest", Status: 404, Code: "NotAuthorizedOrNotFound"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.Bring(ctx, "o", cloud.Link{}, "copy", func(float64) {}); err == nil {
			t.Fatal("no error")
		}
		g, done := context.WithTimeout(t.Context(), time.Minute)
		defer done()
		err := w.Remove(g, "copy")
		if err == nil || !strings.Contains(err.Error(), "may go on and write the object") || !strings.Contains(err.Error(), "objectstorageworkrequest") || !strings.Contains(err.Error(), "NotAuthorizedOrNotFound") {
			t.Errorf("%v", err)
		}
	})
}
