// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ebsdirect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// bubble runs a test in virtual time.
func bubble(t *testing.T, test func(t *testing.T)) { t.Helper(); synctest.Test(t, test) }

func TestEveryBlock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newKit(t, kitOptions{})
		r, err := k.read(t, Options{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s := r.Stats(); r.Size() != 8<<30 || s.Retries != 0 || s.Requests != 16 {
			t.Errorf("%d bytes, %+v", r.Size(), s)
		}
	})
}

// requests is how many of an operation a snapshot takes.
func requests(op string) int {
	return map[string]int{"ListSnapshotBlocks": 1, "GetSnapshotBlock": 15}[op]
}

// Each request of a snapshot fails once, in every way there is.
func TestEveryRequestFailsOnce(t *testing.T) {
	faults := map[string]ec2sim.Fault{
		"throttled":      {Kind: ec2sim.FaultStatus, Status: 400, Code: "RequestThrottledException"},
		"too many":       {Kind: ec2sim.FaultStatus, Status: 400, Code: "ConcurrentLimitExceededException"},
		"broken":         {Kind: ec2sim.FaultStatus, Status: 500, Code: "InternalServerException"},
		"a gateway":      {Kind: ec2sim.FaultStatus, Status: 502},
		"no answer":      {Kind: ec2sim.FaultCutAfterEffect},
		"damaged":        {Kind: ec2sim.FaultBadChecksum},
		"short":          {Kind: ec2sim.FaultShortBody},
		"cut":            {Kind: ec2sim.FaultCutBody},
		"token is over":  {Kind: ec2sim.FaultBlockToken},
		"page is empty":  {Kind: ec2sim.FaultEmptyPage},
		"answer is open": {Kind: ec2sim.FaultStatusAfterEffect, Status: 503, Code: "ServiceUnavailable"},
	}
	for name, f := range faults {
		for _, op := range []string{"ListSnapshotBlocks", "GetSnapshotBlock"} {
			if strings.Contains("bad-checksum short-body cut-body block-token", string(f.Kind)) == (op == "ListSnapshotBlocks") &&
				f.Kind != ec2sim.FaultStatus && f.Kind != ec2sim.FaultCutAfterEffect && f.Kind != ec2sim.FaultStatusAfterEffect {
				continue // such a fault is about the other one
			}
			for n := range requests(op) {
				t.Run(fmt.Sprintf("%s %s %d", name, op, n), func(t *testing.T) {
					sample.Case(t)
					bubble(t, func(t *testing.T) {
						k := newKit(t, kitOptions{})
						f := ec2sim.Fault{Kind: f.Kind, Status: f.Status, Code: f.Code, Times: 1, Skip: n}
						if f.Kind == ec2sim.FaultStatus || f.Kind == ec2sim.FaultCutAfterEffect || f.Kind == ec2sim.FaultStatusAfterEffect {
							f.Op = op
						}
						k.fail(t, f)
						r, err := k.read(t, Options{}, nil)
						if err != nil {
							t.Fatal(err)
						}
						// net/http repeats a GET itself whose connection was an old one, and
						// the bytes of zeros are not looked at.
						unseen := f.Kind == ec2sim.FaultCutAfterEffect || f.Kind == ec2sim.FaultBadChecksum
						if s := r.Stats(); s.Requests < 17 && !unseen || k.Faults()[0].Matched == 0 {
							t.Errorf("the fault had no effect: %+v", s)
						}
					})
				})
			}
		}
	}
}

// What will not pass ends it at once, in the service's words.
func TestRefusals(t *testing.T) {
	for name, o := range map[string]struct {
		fault    ec2sim.Fault
		snapshot string
		want     string
	}{
		"no right to list": {fault: ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "ListSnapshotBlocks", Status: 403, Code: "AccessDeniedException"}, want: "AccessDeniedException"},
		"no right to get":  {fault: ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "GetSnapshotBlock", Status: 403, Code: "AccessDeniedException"}, want: "AccessDeniedException"},
		"no snapshot":      {snapshot: "snap-0123456789abcdef0", want: "does not exist"},
		"no id":            {snapshot: "disk", want: "is not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				k := newKit(t, kitOptions{})
				if o.fault.Kind != "" {
					k.fail(t, o.fault)
				}
				if o.snapshot != "" {
					k.snapshot = o.snapshot
				}
				start := time.Now()
				if _, err := k.read(t, Options{}, nil); err == nil || !strings.Contains(err.Error(), o.want) || time.Since(start) > 5*time.Second {
					t.Errorf("%v after %s", err, time.Since(start))
				}
			})
		})
	}
}

// A service that always fails is asked until the patience is over.
func TestPatience(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newKit(t, kitOptions{})
		k.fail(t, ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "GetSnapshotBlock", Status: 500, Code: "InternalServerException"})
		start := time.Now()
		_, err := k.read(t, Options{Patience: time.Minute}, nil)
		if d := time.Since(start); err == nil || d < 50*time.Second || d > 80*time.Second || !strings.Contains(err.Error(), "timed out after 1m0s") {
			t.Errorf("%v after %s", err, d)
		}
	})
}

// Tokens that are over are replaced, whenever that is: also while other blocks are on
// their way with the same ones, and after an hour without a request.
func TestTokensExpire(t *testing.T) {
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprintf("old tokens work: %v", old), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				k := newKit(t, kitOptions{config: func(c *ec2sim.Config) { c.Switches.OldBlockTokensWork = old }})
				var n atomic.Int32
				r, err := k.read(t, Options{}, func(diskimage.Piece) {
					switch n.Add(1) {
					case 3: // somebody else lists the snapshot
						if _, err := k.api().ListSnapshotBlocks(t.Context(), &ebs.ListSnapshotBlocksInput{SnapshotId: &k.snapshot}); err != nil {
							t.Error(err)
						}
					case 9:
						time.Sleep(8 * 24 * time.Hour)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				if s := r.Stats(); s.Retries == 0 {
					t.Errorf("no token was over: %+v", s)
				}
			})
		})
	}
}

// A snapshot that is listed all the time by somebody else cannot be read, and the error
// says why.
func TestContested(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newKit(t, kitOptions{})
		k.fail(t, ec2sim.Fault{Kind: ec2sim.FaultBlockToken})
		if _, err := k.read(t, Options{}, nil); !errors.Is(err, errContested) {
			t.Error(err)
		}
	})
}

// pages gets short pages of the list.
type pages struct{ API }

func (p pages) ListSnapshotBlocks(ctx context.Context, in *ebs.ListSnapshotBlocksInput, o ...func(*ebs.Options)) (*ebs.ListSnapshotBlocksOutput, error) {
	in.MaxResults = aws.Int32(100)
	return p.API.ListSnapshotBlocks(ctx, in, o...)
}

// The list is read page by page, and anew from the right place when a page is asked for
// too late.
func TestPages(t *testing.T) {
	for _, late := range []time.Duration{0, 2 * time.Hour} {
		bubble(t, func(t *testing.T) {
			var mu sync.Mutex
			starts := map[string]int{}
			k := newKit(t, kitOptions{wrap: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(r.URL.Path, "/blocks") {
						mu.Lock()
						starts[r.URL.Query().Get("startingBlockIndex")]++
						mu.Unlock()
					}
					next.ServeHTTP(w, r)
				})
			}})
			many(t, k, 350)
			r, err := Open(t.Context(), pages{k.api()}, k.snapshot, Options{})
			if err != nil {
				t.Fatal(err)
			}
			buf, n := make([]byte, blockSize), 0
			last := int64(-1)
			for p, err := range r.Pieces(t.Context()) {
				if err == nil {
					err = r.ReadPiece(t.Context(), p, buf)
				}
				if err != nil || p.Offset <= last {
					t.Fatalf("%+v after %d: %v", p, last, err)
				}
				last = p.Offset
				if n++; n%100 == 0 {
					time.Sleep(late)
				}
			}
			if n != 350 || late == 0 && len(starts) != 1 || late > 0 && (starts["100"] == 0 || starts["300"] == 0) {
				t.Errorf("%d blocks, lists began at %v", n, starts)
			}
		})
	}
}

// A cancel ends everything at once.
func TestCancel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newKit(t, kitOptions{wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/blocks/40") {
					<-r.Context().Done()
					return
				}
				next.ServeHTTP(w, r)
			})
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		r, err := Open(ctx, k.api(), k.snapshot, Options{})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := diskimage.Write(ctx, &file{}, r, diskimage.Options{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 11*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// Requests keep below the limit of a snapshot, and adapt to a lower one.
func TestPace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPacer(100)
		start := time.Now()
		for range 1000 {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d < 9900*time.Millisecond || d > 10*time.Second {
			t.Errorf("1000 requests took %s", d)
		}
		p.slower()
		p.slower() // of the same moment
		if p.interval != 20*time.Millisecond {
			t.Errorf("the interval is %s", p.interval)
		}
		for range 2000 {
			_ = p.wait(t.Context())
		}
		if p.interval != p.full {
			t.Errorf("the interval is %s, not back at %s", p.interval, p.full)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.wait(ctx); err == nil {
			t.Error("a cancel is not obeyed")
		}
	})
	bubble(t, func(t *testing.T) {
		k := newKit(t, kitOptions{config: func(c *ec2sim.Config) { c.Accounts[0].Quotas[ec2sim.QuotaSnapshotRead] = 2 }})
		r, err := k.read(t, Options{Patience: 10 * time.Minute}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s := r.Stats(); s.Retries == 0 {
			t.Errorf("nothing was throttled: %+v", s)
		}
	})
}
