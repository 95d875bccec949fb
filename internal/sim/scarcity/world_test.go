// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	home  = "eu-frankfurt-1"
	away  = "uk-london-1"
	ad1   = "Uocm:EU-FRANKFURT-1-AD-1"
	ad2   = "Uocm:EU-FRANKFURT-1-AD-2"
	ad3   = "Uocm:EU-FRANKFURT-1-AD-3"
	away1 = "Uocm:UK-LONDON-1-AD-1"
	fd1   = "FAULT-DOMAIN-1"
	fd2   = "FAULT-DOMAIN-2"
)

// made is a trace by hand: three domains at home and one away.
func made(change func(*Trace)) Trace {
	t := Trace{Family: "by hand", Places: append(places(home, 3), places(away, 1)...)}
	change(&t)
	return t
}

// window is room for two OCPUs, with seconds as its times.
func window(region, ad, fd string, from, to int) Window {
	return Window{Place{region, ad}, fd, 2, Interval{time.Duration(from) * time.Second, time.Duration(to) * time.Second}}
}

func two(region, ad, fd string) Offer { return Offer{region, ad, fd, 2, 12} }
func one(region, ad, fd string) Offer { return Offer{region, ad, fd, 1, 6} }

func TestLaunch(t *testing.T) {
	const s = time.Second
	open := func(fd string) func(*Trace) {
		return func(t *Trace) { t.Windows = []Window{window(home, ad2, fd, 100, 200)} }
	}
	small := func(t *Trace) { open("")(t); t.Windows[0].OCPUs = 1 }
	blind := func(t *Trace) { open(fd1)(t); t.Blind = true }
	phantom := func(t *Trace) { open("")(t); t.Phantoms = []Interval{{90 * s, 150 * s}} }
	absent := func(t *Trace) { t.Absent = []Place{{home, ad1}} }
	for _, c := range []struct {
		name  string
		trace func(*Trace)
		at    time.Duration
		offer Offer
		want  Answer
	}{
		{"before the window", open(""), 100*s - 1, two(home, ad2, ""), NoCapacity},
		{"when it opens", open(""), 100 * s, two(home, ad2, ""), Launched},
		{"at its end", open(""), 200*s - 1, two(home, ad2, ""), Launched},
		{"when it has closed", open(""), 200 * s, two(home, ad2, ""), NoCapacity},
		{"in another domain", open(""), 150 * s, two(home, ad1, ""), NoCapacity},
		{"in another region", open(""), 150 * s, two(away, away1, ""), NoCapacity},
		{"a domain of another region with its name", func(t *Trace) { t.Windows = []Window{window(away, ad2, "", 100, 200)} }, 150 * s, two(home, ad2, ""), NoCapacity},
		{"the smaller size", open(""), 150 * s, one(home, ad2, ""), Launched},
		{"a window for the smaller size", small, 150 * s, one(home, ad2, ""), Launched},
		{"a window for the smaller size, and the larger", small, 150 * s, two(home, ad2, ""), NoCapacity},
		{"any fault domain, one is named", open(""), 150 * s, two(home, ad2, fd2), Launched},
		{"the window's fault domain", open(fd1), 150 * s, two(home, ad2, fd1), Launched},
		{"another fault domain", open(fd1), 150 * s, two(home, ad2, fd2), NoCapacity},
		{"OCI finds the fault domain", open(fd1), 150 * s, two(home, ad2, ""), Launched},
		{"OCI does not find it", blind, 150 * s, two(home, ad2, ""), NoCapacity},
		{"OCI does not have to find it", blind, 150 * s, two(home, ad2, fd1), Launched},
		{"a phantom over the window", phantom, 149 * s, two(home, ad2, ""), LimitExceeded},
		{"a phantom where there is no room", phantom, 95 * s, two(home, ad1, ""), LimitExceeded},
		{"after the phantom", phantom, 150 * s, two(home, ad2, ""), Launched},
		{"no shape", absent, 0, two(home, ad1, fd1), ShapeNotFound},
		{"the shape is elsewhere", absent, 0, two(home, ad2, ""), NoCapacity},
		{"the last moment", func(t *Trace) { t.Windows = []Window{window(home, ad2, "", 100, 40000)} }, Deadline - 1, two(home, ad2, ""), Launched},
		{"too late", func(t *Trace) { t.Windows = []Window{window(home, ad2, "", 100, 40000)} }, Deadline, two(home, ad2, ""), Late},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := NewWorld(made(c.trace))
			w.Sleep(c.at)
			if got := w.Launch(c.offer); got != c.want {
				t.Errorf("%s, not %s", got, c.want)
			}
			if w.Now() != c.at+1500*time.Millisecond {
				t.Errorf("it is %s", w.Now())
			}
			at, won := w.Won()
			if won != (c.want == Launched) || won && at != c.at {
				t.Errorf("won: %v, at %s", won, at)
			}
			if w.Over() != (won || c.want == Late) {
				t.Errorf("over: %v", w.Over())
			}
			counts := Counts{Launches: 1}
			if c.want == Late {
				counts = Counts{}
			}
			if w.Counts() != counts {
				t.Errorf("counts: %+v", w.Counts())
			}
		})
	}
}

func TestReport(t *testing.T) {
	const s = time.Second
	asks := []Ask{{"", 2, 12}, {fd1, 2, 12}, {fd2, 2, 12}, {"", 1, 6}}
	all := func(s Status) []Status { return []Status{s, s, s, s} }
	none, some := all(OutOfHostCapacity), []Status{Available, Available, OutOfHostCapacity, Available}
	inFD1 := func(truth Truth) func(*Trace) {
		return func(t *Trace) {
			t.Report, t.Windows = truth, []Window{window(home, ad2, fd1, 100, 200)}
		}
	}
	for _, c := range []struct {
		name  string
		trace func(*Trace)
		at    time.Duration
		ad    string
		want  []Status
	}{
		{"before the window", inFD1(TrueReport), 100*s - 1, ad2, none},
		{"in the window", inFD1(TrueReport), 100 * s, ad2, some},
		{"after the window", inFD1(TrueReport), 200 * s, ad2, none},
		{"in another domain", inFD1(TrueReport), 150 * s, ad1, none},
		{"room that a launch without fault domain does not find", func(t *Trace) { inFD1(TrueReport)(t); t.Blind = true }, 150 * s, ad2, some},
		{"a phantom is not its business", func(t *Trace) { inFD1(TrueReport)(t); t.Phantoms = []Interval{{0, 300 * s}} }, 150 * s, ad2, some},
		{"room for the smaller size", func(t *Trace) { inFD1(TrueReport)(t); t.Windows[0].OCPUs = 1 }, 150 * s, ad2,
			[]Status{OutOfHostCapacity, OutOfHostCapacity, OutOfHostCapacity, Available}},
		{"no shape", func(t *Trace) { inFD1(TrueReport)(t); t.Absent = []Place{{home, ad1}} }, 0, ad1, all(HardwareNotSupported)},
		{"no shape, always available", func(t *Trace) { inFD1(AlwaysAvailable)(t); t.Absent = []Place{{home, ad1}} }, 0, ad1, all(HardwareNotSupported)},
		{"always available", inFD1(AlwaysAvailable), 0, ad1, all(Available)},
		{"always out", inFD1(AlwaysOut), 150 * s, ad2, none},
		{"stale, not yet", inFD1(StaleReport), 160*s - 1, ad2, none},
		{"stale, seen", inFD1(StaleReport), 160 * s, ad2, some},
		{"stale, still", inFD1(StaleReport), 259 * s, ad2, some},
		{"stale, gone", inFD1(StaleReport), 260 * s, ad2, none},
		{"stale at the beginning", func(t *Trace) { inFD1(StaleReport)(t); t.Windows[0].From = 0 }, 0, ad2, none},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := NewWorld(made(c.trace))
			w.Sleep(c.at)
			got, answer := w.Report(home, c.ad, asks)
			if answer != Reported || !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, not %q", answer, got, c.want)
			}
			if w.Now() != c.at+400*time.Millisecond || w.Over() || w.Counts() != (Counts{Reports: 1}) {
				t.Errorf("it is %s, over: %v, counts: %+v", w.Now(), w.Over(), w.Counts())
			}
		})
	}

	w := NewWorld(made(inFD1(ForbiddenReport)))
	if got, answer := w.Report(home, ad2, asks); answer != Forbidden || len(got) != 0 || w.Counts().Reports != 1 {
		t.Errorf("%s: %q", answer, got)
	}
	w.Sleep(Deadline)
	if got, answer := w.Report(home, ad2, asks); answer != Late || len(got) != 0 || w.Counts().Reports != 1 {
		t.Errorf("%s: %q", answer, got)
	}
}

// Three tokens are there, and one comes every ten seconds. Launches take 1.5 s
// and reports 0.4 s.
func TestThrottle(t *testing.T) {
	w := NewWorld(made(func(t *Trace) {
		t.Throttle = Bucket{Every: 10 * time.Second, Burst: 3}
		t.Windows = []Window{window(home, ad1, "", 5, 7)}
	}))
	var got []string
	w.Watch = func(e Event) { got = append(got, e.At.String()+" "+e.Answer.String()) }
	ask := []Ask{{"", 2, 12}}
	w.Launch(two(home, ad1, ""))
	w.Report(home, ad1, ask)
	w.OwnUse() // takes none
	w.Launch(two(home, ad2, ""))
	w.Report(home, ad1, ask)
	w.Sleep(800 * time.Millisecond)
	w.Launch(two(home, ad1, "")) // there is room, but no token
	for w.Now() < 10*time.Second {
		w.Report(home, ad1, ask) // each finds none, and takes none
	}
	w.Launch(two(home, ad1, "")) // the first that came
	w.Launch(two(home, ad1, ""))
	w.Sleep(time.Hour) // no more than three are kept
	for range 4 {
		w.Launch(two(home, ad1, ""))
	}
	want := "0s no capacity, 1.5s reported, 1.9s reported, 2.3s no capacity, 3.8s throttled, 5s throttled, " +
		"6.5s throttled, 6.9s throttled, 7.3s throttled, 7.7s throttled, 8.1s throttled, 8.5s throttled, 8.9s throttled, 9.3s throttled, 9.7s throttled, " +
		"10.1s no capacity, 11.6s throttled, 1h0m13.1s no capacity, 1h0m14.6s no capacity, 1h0m16.1s no capacity, 1h0m17.6s throttled"
	if g := strings.Join(got, ", "); g != want {
		t.Errorf("got\n%s\nnot\n%s", g, want)
	}
	if c := (Counts{Launches: 9, Reports: 11, Reads: 1, Throttled: 13}); w.Counts() != c || c.All() != 21 {
		t.Errorf("counts: %+v", w.Counts())
	}
}

// The usual throttle is what is known of the real one: a request per second is
// throttled for as long as it goes on, and one in ten seconds is not.
func TestUsualThrottle(t *testing.T) {
	for every, throttled := range map[time.Duration]bool{time.Second: true, 10 * time.Second: false} {
		w := NewWorld(made(func(t *Trace) { t.Throttle = usualThrottle() }))
		last := Answer(0)
		for w.Now() < time.Hour {
			next := w.Now() + every
			last = w.Launch(two(home, ad1, ""))
			w.Sleep(max(0, next-w.Now()))
		}
		if n := w.Counts().Throttled; (n > 1000) != throttled || (n > 0) != throttled {
			t.Errorf("every %s: %d of %d were throttled, the last was %s", every, n, w.Counts().Launches, last)
		}
	}
}

func TestMisuse(t *testing.T) {
	world := func() *World {
		return NewWorld(made(func(t *Trace) { t.Windows = []Window{window(home, ad1, "", 0, 10)} }))
	}
	for name, do := range map[string]func(){
		"an unknown domain":      func() { world().Launch(two(home, "AD-1", "")) },
		"a domain elsewhere":     func() { world().Launch(two(away, ad1, "")) },
		"an unknown fault":       func() { world().Launch(two(home, ad1, "FD-1")) },
		"a size of no template":  func() { world().Launch(Offer{home, ad1, "", 4, 24}) },
		"no size":                func() { world().Launch(Offer{Region: home, AD: ad1}) },
		"a report about nothing": func() { world().Report(home, ad1, nil) },
		"a report of nowhere":    func() { world().Report(home, away1, []Ask{{"", 1, 6}}) },
		"a report of a fault":    func() { world().Report(home, ad1, []Ask{{"", 1, 6}, {"1", 1, 6}}) },
		"sleep backwards":        func() { world().Sleep(-1) },
		"a second machine":       func() { w := world(); w.Launch(two(home, ad1, "")); w.Launch(two(home, ad1, "")) },
		"a report afterwards":    func() { w := world(); w.Launch(two(home, ad1, "")); w.Report(home, ad1, []Ask{{"", 1, 6}}) },
		"a trace of nowhere":     func() { NewWorld(Trace{}) },
		"a shut bucket":          func() { NewWorld(made(func(t *Trace) { t.Throttle.Every = 1 })) },
	} {
		if !panics(do) {
			t.Errorf("%s: nothing is said", name)
		}
	}
	if w := world(); w.OwnUse() != 0 || w.Now() != ReadTime || w.Counts() != (Counts{Reads: 1}) {
		t.Error("a read of what is in use")
	}
	if w := world(); len(w.Places()) != 4 || len(w.Home()) != 3 || w.Places()[3].Region != away {
		t.Error("the places of a world")
	}
	if Answer(99).String() != "answer 99" {
		t.Error("an answer that does not exist has a name")
	}
	for a := Launched; a <= Late; a++ {
		if strings.HasPrefix(a.String(), "answer") {
			t.Errorf("answer %d has no name", int(a))
		}
	}
}
