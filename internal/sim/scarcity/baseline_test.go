// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// play runs a client and tells when it asked where and what it was told. What
// is alike and once a minute is told once.
func play(c Client, tr Trace) (Result, []Event) {
	var events []Event
	watched := Client{c.Name, func(w *World, r *rand.Rand) {
		w.Watch = func(e Event) { events = append(events, e) }
		c.Run(w, r)
	}}
	return Play(tr, watched), events
}

func tell(events []Event) string {
	var lines []string
	for _, e := range events {
		lines = append(lines, fmt.Sprintf("%s %s %s", e.At, e.Offer.AD[len(e.Offer.AD)-4:], e.Answer))
	}
	return strings.Join(lines, ", ")
}

func TestLoopsByHand(t *testing.T) {
	oneDomain, allDomains := Baselines()[1], Baselines()[2]
	minute := func(t *Trace) { t.Windows = []Window{window(home, ad2, "", 61, 125), window(home, ad1, fd2, 130, 190)} }
	for _, c := range []struct {
		name   string
		client Client
		trace  func(*Trace)
		want   string
		ended  time.Duration
	}{
		{"one domain waits for its own", oneDomain, minute,
			"0s AD-1 no capacity, 1m0s AD-1 no capacity, 2m0s AD-1 no capacity, 3m0s AD-1 launched", 181500 * time.Millisecond},
		{"all domains find the first", allDomains, minute,
			"0s AD-1 no capacity, 1.5s AD-2 no capacity, 3s AD-3 no capacity, 1m0s AD-1 no capacity, 1m1.5s AD-2 launched", 63 * time.Second},
		{"a phantom ends the build", allDomains, func(t *Trace) { minute(t); t.Phantoms = []Interval{{2 * time.Second, time.Hour}} },
			"0s AD-1 no capacity, 1.5s AD-2 no capacity, 3s AD-3 limit exceeded", 4500 * time.Millisecond},
		{"a domain without the shape ends the build", allDomains, func(t *Trace) { minute(t); t.Absent = []Place{{home, ad2}} },
			"0s AD-1 no capacity, 1.5s AD-2 shape not found", 3 * time.Second},
		{"which is not asked does not", oneDomain, func(t *Trace) { minute(t); t.Absent = []Place{{home, ad2}} },
			"0s AD-1 no capacity, 1m0s AD-1 no capacity, 2m0s AD-1 no capacity, 3m0s AD-1 launched", 181500 * time.Millisecond},
		{"throttled, and goes on", allDomains, func(t *Trace) { minute(t); t.Throttle = Bucket{40 * time.Second, 1} },
			"0s AD-1 no capacity, 1.5s AD-2 throttled, 3s AD-3 throttled, 1m0s AD-1 no capacity, 1m1.5s AD-2 throttled, 1m3s AD-3 throttled, " +
				"2m0s AD-1 no capacity, 2m1.5s AD-2 throttled, 2m3s AD-3 throttled, 3m0s AD-1 launched", 181500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, events := play(c.client, made(c.trace))
			if got := tell(events); got != c.want {
				t.Errorf("got\n%s\nnot\n%s", got, c.want)
			}
			if r.Ended != c.ended {
				t.Errorf("ended after %s", r.Ended)
			}
		})
	}

	// Ten hours are 600 minutes, and the last pass is in the last of them.
	nothing := made(func(*Trace) {})
	for client, want := range map[*Client]int{&oneDomain: 600, &allDomains: 1800} {
		r, events := play(*client, nothing)
		if r.Launches != want || r.Ended != Deadline || r.Won || r.Possible {
			t.Errorf("%s: %+v", client.Name, r)
		}
		if last := events[len(events)-1]; last.At < Deadline-time.Minute || last.Answer != NoCapacity {
			t.Errorf("%s: the last launch was at %s: %s", client.Name, last.At, last.Answer)
		}
	}
}

// A pass over many places can take longer than a minute. The next one then
// begins at once.
func TestLoopThatTakesLong(t *testing.T) {
	tr := Trace{Places: places(home, 50)}
	_, events := play(Baselines()[2], tr)
	var begins []string
	for _, e := range events {
		if e.Offer.AD == ad1 {
			begins = append(begins, e.At.String())
		}
	}
	if got := begins[:3]; !slices.Equal(got, []string{"0s", "1m15s", "2m30s"}) {
		t.Errorf("passes began at %q", got)
	}

	// Who comes in the middle of a minute asks, and then at whole minutes.
	late := Client{"late", func(w *World, r *rand.Rand) { w.Sleep(30 * time.Second); LoopOneDomain(w, r) }}
	_, events = play(late, made(func(*Trace) {}))
	if got := tell(events[:3]); got != "30s AD-1 no capacity, 1m0s AD-1 no capacity, 2m0s AD-1 no capacity" {
		t.Errorf("got %s", got)
	}
}

func TestOracleByHand(t *testing.T) {
	oracle := Baselines()[0]

	// Nobody answers: ten attempts, and a sleep after each.
	r, events := play(oracle, made(func(t *Trace) { t.Windows = []Window{window(home, ad2, "", 0, 36000)} }))
	if len(events) != 10 || r.Launches != 10 || r.Won {
		t.Fatalf("%+v: %s", r, tell(events))
	}
	for n := 1; n < 10; n++ {
		gap := events[n].At - events[n-1].At - LaunchTime
		if low := time.Duration(1<<n) * time.Second; gap < low || gap > low+2*time.Second {
			t.Errorf("gap %d is %s", n, gap)
		}
	}
	// 2+4+...+1024 s asleep and ten launches, and up to 2 s more for each.
	if low := 2046*time.Second + 15*time.Second; r.Ended < low || r.Ended > low+20*time.Second {
		t.Errorf("it failed after %s", r.Ended)
	}
	for _, e := range events {
		if e.Offer != two(home, ad1, "") || e.Answer != NoCapacity {
			t.Errorf("it asked for %v: %s", e.Offer, e.Answer)
		}
	}

	// The fourth attempt is at 18.5 s to 24.5 s, and finds room.
	r, events = play(oracle, made(func(t *Trace) { t.Windows = []Window{window(home, ad1, "", 15, 25)} }))
	if !r.Won || len(events) != 4 || r.At < 18500*time.Millisecond || r.Ended != r.At+LaunchTime || r.Over() != r.At-15*time.Second {
		t.Errorf("%+v: %s", r, tell(events))
	}

	// 429 is waited for as well; what is not 429, 500 or 503 is not.
	for want, change := range map[string]func(*Trace){
		"0s AD-1 limit exceeded":  func(t *Trace) { t.Phantoms = []Interval{{0, 1}} },
		"0s AD-1 shape not found": func(t *Trace) { t.Absent = []Place{{home, ad1}} },
	} {
		r, events := play(oracle, made(change))
		if tell(events) != want || r.Ended != LaunchTime {
			t.Errorf("%s after %s, not %s", tell(events), r.Ended, want)
		}
	}
	r, _ = play(oracle, made(func(t *Trace) { t.Throttle = Bucket{10 * time.Hour, 1} }))
	if r.Launches != 10 || r.Throttled != 9 {
		t.Errorf("throttled: %+v", r)
	}
}
