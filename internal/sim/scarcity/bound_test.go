// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestBoundByHand(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		name  string
		trace func(*Trace)
		want  time.Duration // 0: there is none
	}{
		{"nothing", func(*Trace) {}, 0},
		{"the earlier of two", func(t *Trace) { t.Windows = []Window{window(home, ad1, "", 90, 100), window(away, away1, fd1, 50, 60)} }, 50 * s},
		{"one that is too small", func(t *Trace) { t.Windows = []Window{window(home, ad1, "", 90, 100)}; t.Windows[0].OCPUs = 0.5 }, 0},
		{"where the shape is not", func(t *Trace) {
			t.Windows, t.Absent = []Window{window(home, ad1, "", 90, 100)}, []Place{{home, ad1}}
		}, 0},
		{"covered by a phantom", func(t *Trace) {
			t.Windows, t.Phantoms = []Window{window(home, ad1, "", 90, 100)}, []Interval{{80 * s, 100 * s}}
		}, 0},
		{"after a phantom", func(t *Trace) {
			t.Windows, t.Phantoms = []Window{window(home, ad1, "", 90, 100)}, []Interval{{80 * s, 95 * s}}
		}, 95 * s},
		{"before a phantom", func(t *Trace) {
			t.Windows, t.Phantoms = []Window{window(home, ad1, "", 90, 100)}, []Interval{{91 * s, 95 * s}}
		}, 90 * s},
		{"after two phantoms, told out of order", func(t *Trace) {
			t.Windows, t.Phantoms = []Window{window(home, ad1, "", 90, 100)}, []Interval{{92 * s, 97 * s}, {80 * s, 92 * s}}
		}, 97 * s},
		{"too late", func(t *Trace) { t.Windows = []Window{window(home, ad1, "", 36000, 36100)} }, 0},
	} {
		got, ok := Bound(made(c.trace))
		if ok != (c.want > 0) || ok && got != c.want {
			t.Errorf("%s: %s, %v", c.name, got, ok)
		}
	}
}

// At the bound some launch works, and shortly before it none does. Before it
// nothing works where anything could begin to: when a window opens or a
// phantom ends.
func TestBoundIsTheFirstMoment(t *testing.T) {
	each(t, Families(), func(t *testing.T, tr Trace) {
		works := func(at time.Duration) bool {
			for _, o := range tr.Offers() {
				w := NewWorld(tr)
				w.Sleep(at)
				if w.Launch(o) == Launched {
					return true
				}
			}
			return false
		}
		bound, ok := Bound(tr)
		if ok && (!works(bound) || bound > 0 && works(bound-1)) {
			t.Errorf("%d: at %s: %v, before: %v", tr.Seed, bound, works(bound), works(bound-1))
		}
		var begins []time.Duration
		for _, w := range tr.Windows {
			begins = append(begins, w.From)
		}
		for _, p := range tr.Phantoms {
			begins = append(begins, p.To)
		}
		for _, at := range begins {
			if (!ok || at < bound) && works(at) {
				t.Errorf("%d: a launch at %s works, the bound is %s, %v", tr.Seed, at, bound, ok)
			}
		}
	})
}

// hasty asks for anything anywhere at random, for as long as it may.
func hasty(w *World, r *rand.Rand) {
	offers := w.trace.Offers()
	for !w.Over() {
		w.Launch(offers[r.IntN(len(offers))])
		w.Sleep(time.Duration(r.IntN(20)) * time.Second)
	}
}

// Nobody is earlier than the bound.
func TestNobodyBeatsTheBound(t *testing.T) {
	won := map[string]int{}
	for _, f := range Families() {
		for seed := range uint64(40) {
			tr := f.Trace(seed)
			for _, c := range append(Baselines(), Client{"hasty", hasty}) {
				r := Play(tr, c)
				if r.Won && (!r.Possible || r.At < r.Bound) {
					t.Errorf("%s, %d: %s had a machine at %s; the bound is %s, %v", f.Name, seed, c.Name, r.At, r.Bound, r.Possible)
				}
				if r.Possible != f.Winnable() || r.Ended > Deadline || r.Won && r.Ended < r.At {
					t.Errorf("%s, %d: %s: %+v", f.Name, seed, c.Name, r)
				}
				if r.Won {
					won[c.Name]++
				}
				if seed > 2 {
					continue
				}
				if again := Play(tr, c); again != r {
					t.Errorf("%s, %d: %s, played again: %+v, not %+v", f.Name, seed, c.Name, again, r)
				}
			}
		}
	}
	for _, c := range Baselines() {
		if won[c.Name] == 0 {
			t.Errorf("%s never won", c.Name) // then this test shows nothing
		}
	}
}
