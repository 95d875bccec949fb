// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// world is a cloud with machines, in which every launch may go wrong.
type world struct {
	// answer decides what the nth launch comes to.
	answer func(n int, o capacity.Offer) fate
	n      int
	open   []string
	closed []string
	mute   int           // so many replies are lost, of a launch that the cloud knows as well
	lags   bool          // lists do not show machines yet
	shows  time.Duration // how long after a machine was made they do
	born   map[string]time.Time
	alive  map[string]string // id -> token
	most   int               // machines that were alive at the same time
	tokens []string
}

// fate is what becomes of one launch.
type fate struct {
	verdict cloud.Verdict // of the reply; the zero value is success
	exists  bool          // there is a machine although the reply says otherwise
	dies    *cloud.Verdict
	takes   time.Duration
}

type verdictError struct{ v cloud.Verdict }

func (e verdictError) Error() string { return e.v.Reason }

func (w *world) Launch(ctx context.Context, o capacity.Offer, token string) (string, error) {
	w.n++
	w.tokens = append(w.tokens, token)
	for id, t := range w.alive {
		if t == token && w.n <= w.mute {
			return "", verdictError{w.answer(w.n, o).verdict}
		}
		if t == token {
			return id, nil // the cloud knows the request
		}
	}
	f := w.answer(w.n, o)
	if f.takes > 0 {
		g, cancel := wait.Grace(ctx, requestGrace)
		defer cancel()
		select {
		case <-time.After(f.takes):
		case <-g.Done():
			// The request had reached the cloud: the machine is there.
			w.add(token)
			return "", verdictError{cloud.Verdict{Result: capacity.Result{Outcome: capacity.Transient, Reason: "cut off"}, Ambiguous: true}}
		}
	}
	if f.verdict.Outcome != capacity.Untried {
		if f.exists {
			w.add(token)
		}
		return "", verdictError{f.verdict}
	}
	return w.add(token), nil
}

func (w *world) add(token string) string {
	id := fmt.Sprintf("machine-%d", w.n)
	if w.alive == nil {
		w.alive = map[string]string{}
	}
	w.alive[id] = token
	if w.born == nil {
		w.born = map[string]time.Time{}
	}
	w.born[id] = time.Now()
	w.most = max(w.most, len(w.alive))
	return id
}

func (w *world) Find(_ context.Context, token string) (ids []string, err error) {
	if w.lags {
		return nil, nil
	}
	for id, t := range w.alive {
		if t == token && time.Since(w.born[id]) >= w.shows {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (w *world) AwaitMachine(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d := w.answer(w.n, capacity.Offer{}).dies; d != nil {
		return verdictError{*d}
	}
	return nil
}

func (w *world) AskTermination(context.Context, string) error { return nil }

func (w *world) Terminate(_ context.Context, id string) error {
	delete(w.alive, id)
	return nil
}

func (w *world) Classify(err error) cloud.Verdict {
	var v verdictError
	if errors.As(err, &v) {
		return v.v
	}
	return cloud.Verdict{Result: capacity.Result{Outcome: capacity.Rejected, Reason: err.Error()}}
}

func (w *world) Examine(_ context.Context, _ capacity.Offer, v cloud.Verdict) cloud.Verdict {
	return v
}

// run lets a loop look for a machine in w for at most ten hours.
func run(ctx context.Context, w *world) (id string, said []string, made []string, err error) {
	b := owner.NewBuild(time.Now(), time.Hour)
	l := Loop{
		Cloud: w,
		Policy: capacity.Policy{
			Interval: 16 * time.Second, Round: time.Minute, Deadline: time.Now().Add(10 * time.Hour), Retries: 2,
		},
		Offers: []capacity.Offer{{Zone: "AD-1", Shape: "A1", OCPUs: 2, MemoryGB: 12}, {Zone: "AD-2", Shape: "A1", OCPUs: 2, MemoryGB: 12}},
		Token:  b.Token,
		Say:    func(f string, a ...any) { said = append(said, fmt.Sprintf(f, a...)) },
		Made:   func(id string) { made = append(made, id) },
		Open:   func(token string) { w.open = append(w.open, token) },
		Closed: func(token string) { w.closed = append(w.closed, token) },
		Gone:   func(id string) { made = slices.DeleteFunc(made, func(m string) bool { return m == id }) },
	}
	id, _, err = l.Run(ctx)
	return id, said, made, err
}

var full = cloud.Verdict{Result: capacity.Result{Outcome: capacity.NoCapacity, Reason: "500 InternalError: Out of host capacity."}}

func TestEveryAttemptIsSaidAndHasItsOwnToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(n int, _ capacity.Offer) fate {
			if n < 4 {
				return fate{verdict: full}
			}
			return fate{}
		}}
		id, said, made, err := run(t.Context(), w)
		if err != nil || id != "machine-4" || !slices.Equal(made, []string{"machine-4"}) {
			t.Fatalf("got %q, %v, made %v", id, err, made)
		}
		if len(said) != 4 {
			t.Fatalf("said %d lines: %q", len(said), said)
		}
		for _, want := range []string{"Attempt 1", "AD-1 A1 2 OCPU/12 GB", "Out of host capacity", ". Next: AD-2 A1 2 OCPU/12 GB in 1", "left"} {
			if !strings.Contains(said[0], want) {
				t.Errorf("%q does not say %q", said[0], want)
			}
		}
		slices.Sort(w.tokens)
		if len(slices.Compact(w.tokens)) != 4 {
			t.Error("two attempts share a retry token")
		}
	})
}

func TestALostReplyIsLookedUp(t *testing.T) {
	lost := cloud.Verdict{Result: capacity.Result{Outcome: capacity.Transient, Reason: "502"}, Ambiguous: true}
	for _, exists := range []bool{true, false} {
		t.Run(fmt.Sprintf("machine exists: %v", exists), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{answer: func(n int, _ capacity.Offer) fate {
					if n == 1 {
						return fate{verdict: lost, exists: exists}
					}
					return fate{}
				}}
				id, _, made, err := run(t.Context(), w)
				want := map[bool]string{true: "machine-1", false: "machine-2"}[exists]
				if err != nil || id != want || len(made) != 1 || w.most != 1 {
					t.Errorf("got %q, %v; made %v, %d at once", id, err, made, w.most)
				}
			})
		})
	}
}

func TestALostReplyIsNeverForgotten(t *testing.T) {
	lost := cloud.Verdict{Result: capacity.Result{Outcome: capacity.Transient, Reason: "502"}, Ambiguous: true}
	synctest.Test(t, func(t *testing.T) {
		w := &world{lags: true, answer: func(n int, _ capacity.Offer) fate {
			if n == 1 {
				return fate{verdict: lost, exists: true}
			}
			return fate{}
		}}
		id, _, made, err := run(t.Context(), w)
		if err != nil || id != "machine-1" || len(made) != 1 || w.most != 1 {
			t.Errorf("got %q, %v; made %v, %d at once: the list lags, but the token tells", id, err, made, w.most)
		}
		if !slices.Equal(w.open, w.tokens[:1]) {
			t.Errorf("told of the open tokens %q, of %q", w.open, w.tokens)
		}
		if len(w.tokens) != 2 || w.tokens[0] != w.tokens[1] {
			t.Errorf("tokens %q: the second request must be the first again", w.tokens)
		}
	})
}

// Each reply of a launch is lost, and a list shows its machine late: no other is
// launched as long as there may be one.
func TestLostRepliesAndALateList(t *testing.T) {
	lost := cloud.Verdict{Result: capacity.Result{Outcome: capacity.Transient, Reason: "502"}, Ambiguous: true}
	for _, exists := range []bool{true, false} {
		t.Run(fmt.Sprintf("machine exists: %v", exists), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				w := &world{shows: wait.Unseen - time.Second, mute: 3, answer: func(n int, _ capacity.Offer) fate {
					if n <= 3 {
						return fate{verdict: lost, exists: exists && n == 1}
					}
					return fate{}
				}}
				id, said, made, err := run(t.Context(), w)
				want := map[bool]string{true: "machine-1", false: "machine-4"}[exists]
				if err != nil || id != want || !slices.Equal(made, []string{id}) || w.most != 1 {
					t.Errorf("got %q, %v; made %v, %d at once\n%s", id, err, made, w.most, strings.Join(said, "\n"))
				}
				if !exists && time.Since(begun) < wait.Unseen {
					t.Errorf("another launch after %s", time.Since(begun))
				}
				if len(w.open) == 0 || exists && len(w.closed) == 0 {
					t.Errorf("told of %d open launches and %d closed", len(w.open), len(w.closed))
				}
			})
		})
	}
}

func TestAMachineThatDiesCountsAsItsCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(n int, _ capacity.Offer) fate {
			if n == 1 {
				return fate{dies: &full}
			}
			return fate{}
		}}
		id, said, made, err := run(t.Context(), w)
		if err != nil || id != "machine-2" || len(made) != 1 || w.most != 1 {
			t.Errorf("got %q, %v; made %v, %d at once", id, err, made, w.most)
		}
		if !strings.Contains(said[0], "no capacity") {
			t.Errorf("said %q", said[0])
		}
	})
}

func TestCancelEndsAWaitAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Second, cancel)
		start := time.Now()
		w := &world{answer: func(int, capacity.Offer) fate { return fate{verdict: full} }}
		_, _, made, err := run(ctx, w)
		if !errors.Is(err, context.Canceled) || time.Since(start) != 100*time.Second || len(made) != 0 {
			t.Errorf("ended after %s with %v; made %v", time.Since(start), err, made)
		}
	})
}

func TestCancelDuringALaunchLosesNoMachine(t *testing.T) {
	for _, takes := range []time.Duration{5 * time.Second, time.Hour} {
		t.Run(takes.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				w := &world{answer: func(int, capacity.Offer) fate { return fate{takes: takes} }}
				_, _, made, err := run(ctx, w)
				if !errors.Is(err, context.Canceled) {
					t.Errorf("ended with %v", err)
				}
				if len(made) != 1 || w.alive[made[0]] == "" {
					t.Errorf("there are the machines %v, the caller knows of %v", w.alive, made)
				}
			})
		})
	}
}

// A launch that hangs when the build is cancelled, and the look-up after it, end
// within the grace of both.
func TestCancelOfAHangingLaunch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var at time.Time
		time.AfterFunc(time.Second, func() { at = time.Now(); cancel() })
		w := &world{lags: true, answer: func(int, capacity.Offer) fate { return fate{takes: time.Hour} }}
		_, _, _, err := run(ctx, w)
		if d := time.Since(at); !errors.Is(err, context.Canceled) || d > requestGrace {
			t.Errorf("after %s: %v", d, err)
		}
		if len(w.open) != 1 {
			t.Errorf("nobody knows of the machine: %q", w.open)
		}
	})
}

func TestGivingUpSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(int, capacity.Offer) fate {
			return fate{verdict: cloud.Verdict{Result: capacity.Result{Outcome: capacity.Rejected, Reason: "401 NotAuthenticated"}, Page: help.SignIn}}
		}}
		_, _, _, err := run(t.Context(), w)
		var none *NoMachineError
		if !errors.As(err, &none) || none.Why != "401 NotAuthenticated" || w.n != 1 || none.HelpPage() != help.SignIn {
			t.Errorf("after %d launches: %v", w.n, err)
		}
		w = &world{answer: func(int, capacity.Offer) fate { return fate{verdict: full} }}
		start := time.Now()
		_, _, _, err = run(t.Context(), w)
		if !errors.As(err, &none) || time.Since(start) != 10*time.Hour || none.HelpPage() != help.Capacity {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

// asked is a world that also answers reports.
type asked struct {
	world
	reply func(n int, q capacity.Ask) capacity.Reply
	asks  int
}

func (a *asked) Report(_ context.Context, q capacity.Ask) capacity.Reply {
	a.asks++
	return a.reply(a.asks, q)
}

// Reports are said when they are news, and summed up now and then.
func TestReportsAreSaidWhenTheyChange(t *testing.T) {
	hints := func(h ...capacity.Hint) capacity.Reply { return capacity.Reply{Hints: h} }
	synctest.Test(t, func(t *testing.T) {
		a := &asked{}
		a.answer = func(int, capacity.Offer) fate {
			if a.asks < 300 {
				return fate{verdict: full}
			}
			return fate{}
		}
		a.reply = func(n int, q capacity.Ask) capacity.Reply {
			switch {
			case n == 1:
				return hints(capacity.Full, capacity.Full, capacity.Full)
			case n == 100:
				return capacity.Reply{Outcome: capacity.Throttled, Reason: "Too many requests (429)"}
			case n == 200:
				return capacity.Reply{Outcome: capacity.Transient, Reason: "Bad Gateway (502)"}
			case n >= 300:
				return hints(capacity.Full, capacity.Free, capacity.Full)
			}
			return hints(capacity.Full, capacity.Full, capacity.Full)
		}
		var said []string
		l := Loop{
			Cloud:  a,
			Policy: capacity.Policy{Interval: 10 * time.Second, Deadline: time.Now().Add(10 * time.Hour)},
			Offers: []capacity.Offer{
				{Zone: "AD-1", Shape: "A1", OCPUs: 2, MemoryGB: 12}, {Zone: "AD-1", FaultDomain: "FD-2", Shape: "A1", OCPUs: 2, MemoryGB: 12},
				{Zone: "AD-1", Shape: "A1", OCPUs: 1, MemoryGB: 6},
			},
			Token: owner.NewBuild(time.Now(), time.Hour).Token,
			Say:   func(f string, a ...any) { said = append(said, fmt.Sprintf(f, a...)) },
			Made:  func(string) {}, Gone: func(string) {},
		}
		id, offer, err := l.Run(t.Context())
		if err != nil || id == "" || offer.FaultDomain != "FD-2" {
			t.Fatalf("%q on %s, %v\n%s", id, offer, err, strings.Join(said, "\n"))
		}
		text := strings.Join(said, "\n")
		for _, want := range []string{
			"AD-1: no capacity for A1 2 OCPU/12 GB or 1 OCPU/6 GB, says the capacity report. Next: AD-1 in 10s, 10h left",
			"AD-1: throttled: Too many requests (429). Next: AD-1 ", "because the cloud throttled this account",
			"AD-1: failed for the moment: Bad Gateway (502). Next: ",
			"Nothing new after 1m", " reports since the last line). Next: AD-1 in ",
			"AD-1: A1 2 OCPU/12 GB has room in FD-2; no capacity for A1 1 OCPU/6 GB, says the capacity report. Next: AD-1 FD-2 A1 2 OCPU/12 GB, ",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not said", want)
			}
		}
		if n := len(said); n > 80 {
			t.Errorf("%d lines:\n%s", n, text)
		}
	})
}
