// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

func offers() []Offer {
	var all []Offer
	for _, size := range [][2]float32{{2, 12}, {1, 6}} {
		for _, ad := range []string{"AD-1", "AD-2"} {
			for _, fd := range []string{"", "FD-1", "FD-2"} {
				all = append(all, Offer{Cloud: "oci", Region: "r1", Zone: ad, FaultDomain: fd, Shape: "A1", OCPUs: size[0], MemoryGB: size[1]})
			}
		}
	}
	return all
}

var start = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func policy() Policy {
	return Policy{Interval: 16 * time.Second, Round: time.Minute, Deadline: start.Add(10 * time.Hour), Retries: 2}
}

// live runs a search against answer until it ends and returns every attempt.
func live(t *testing.T, s *Search, answer func(Offer, time.Time) Outcome) (tries []Offer, at []time.Time, end Move) {
	t.Helper()
	now := start
	for range 100_000 {
		m := s.Next(now)
		switch {
		case m.GiveUp != "":
			return tries, at, m
		case m.Try != nil:
			tries, at = append(tries, *m.Try), append(at, now)
			s.Observe(*m.Try, now, answer(*m.Try, now), "because")
			if s.won {
				return tries, at, Move{}
			}
		case !m.Until.After(now):
			t.Fatalf("told at %s to wait until %s", now, m.Until)
		default:
			now = m.Until
		}
	}
	t.Fatal("the search does not end")
	return nil, nil, Move{}
}

func TestTenHoursOfNothing(t *testing.T) {
	s := New(policy(), offers())
	tries, at, end := live(t, s, func(Offer, time.Time) Outcome { return NoCapacity })
	if end.GiveUp == "" {
		t.Fatal("no reason given")
	}
	for i := 1; i < len(at); i++ {
		if d := at[i].Sub(at[i-1]); d < 16*time.Second {
			t.Fatalf("attempt %d came %s after the one before", i, d)
		}
	}
	if last := at[len(at)-1]; last.After(start.Add(10 * time.Hour)) {
		t.Errorf("tried at %s, past the deadline", last)
	}
	count := map[Offer]int{}
	for _, o := range tries {
		count[o]++
	}
	for _, o := range offers() {
		if n := count[o]; n < s.Rounds() || n > s.Rounds()+1 {
			t.Errorf("%s was tried %d times in %d rounds", o, n, s.Rounds())
		}
	}
}

func TestScopes(t *testing.T) {
	o := offers()
	tests := []struct {
		name   string
		first  Outcome
		closed func(Offer) bool
	}{
		{"no capacity in one fault domain closes nothing", NoCapacity, func(Offer) bool { return false }},
		{"a missing shape closes it in its zone", Unavailable, func(p Offer) bool { return p.Zone == "AD-1" }},
		{"a limit closes all that is as large", LimitReached, func(p Offer) bool { return p.OCPUs >= 2 }},
		{"a transient failure closes nothing", Transient, func(Offer) bool { return false }},
		{"a throttle closes nothing", Throttled, func(Offer) bool { return false }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(policy(), o)
			s.Observe(o[0], start, tt.first, "why")
			for _, tr := range s.Tried() {
				if tr.Closed != tt.closed(tr.Offer) {
					t.Errorf("%s: closed %v", tr.Offer, tr.Closed)
				}
			}
		})
	}
}

func TestLimitEverywhereGivesUpAtOnce(t *testing.T) {
	tries, _, end := live(t, New(policy(), offers()), func(Offer, time.Time) Outcome { return LimitReached })
	if len(tries) != 2 || end.GiveUp != "the account's limits allow none of the sizes: because" {
		t.Errorf("%d attempts, then %q", len(tries), end.GiveUp)
	}
}

func TestRejectedEndsTheSearch(t *testing.T) {
	tries, _, end := live(t, New(policy(), offers()), func(Offer, time.Time) Outcome { return Rejected })
	if len(tries) != 1 || end.GiveUp != "because" {
		t.Errorf("%d attempts, then %q", len(tries), end.GiveUp)
	}
}

func TestThrottleSlowsDownAndRecovers(t *testing.T) {
	n := 0
	_, at, _ := live(t, New(policy(), offers()), func(Offer, time.Time) Outcome {
		if n++; n <= 8 {
			return Throttled
		}
		if n < 12 {
			return NoCapacity
		}
		return Launched
	})
	for i := 2; i < 8; i++ {
		if d, before := at[i].Sub(at[i-1]), at[i-1].Sub(at[i-2]); d < before || d > maxThrottle {
			t.Errorf("pause %d is %s after %s", i, d, before)
		}
	}
	if d := at[10].Sub(at[9]); d != 16*time.Second {
		t.Errorf("still pausing %s after the throttle ended", d)
	}
}

func TestTransientIsTriedAgainWithinTheRound(t *testing.T) {
	tries, _, _ := live(t, New(policy(), offers()), func(o Offer, now time.Time) Outcome {
		if o == offers()[0] {
			return Transient
		}
		return Launched
	})
	if len(tries) != 4 {
		t.Errorf("%d attempts: want the first, two retries, then the next offer", len(tries))
	}
}

// Whatever the clouds answer, a search never waits for the past, never tries a
// closed offer, and the same answers give the same moves.
func FuzzSearch(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		run := func() []Offer {
			r := rand.New(rand.NewPCG(a, b))
			s := New(policy(), offers())
			closed := map[Offer]bool{}
			tries, _, _ := live(t, s, func(o Offer, _ time.Time) Outcome {
				if closed[o] {
					t.Fatalf("%s was tried after it was closed", o)
				}
				out := Outcome(1 + r.IntN(int(Transient)))
				if r.IntN(200) == 0 {
					out = Launched
				}
				if out == Unavailable || out == LimitReached {
					closed[o] = true
				}
				return out
			})
			return tries
		}
		if x, y := run(), run(); !reflect.DeepEqual(x, y) {
			t.Error("the same answers gave other moves")
		}
	})
}
