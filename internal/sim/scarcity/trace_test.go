// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
)

// seeds is how many traces of each family are looked at.
const seeds = 200

func TestTracesComeFromTheirSeeds(t *testing.T) {
	for _, f := range Families() {
		if !reflect.DeepEqual(f.Trace(7), f.Trace(7)) {
			t.Errorf("%s: two traces of the same seed differ", f.Name)
		}
		a, b := f.Trace(7), f.Trace(8)
		if f.Winnable() && reflect.DeepEqual(a.Windows, b.Windows) {
			t.Errorf("%s: seeds 7 and 8 have the same windows", f.Name)
		}
		if a.Family != f.Name || a.Seed != 7 {
			t.Errorf("%s: the trace says that it is %q, %d", f.Name, a.Family, a.Seed)
		}
	}
}

// The judge does not change while somebody is being judged. Whoever changes
// the traces on purpose puts the new sum here and measures everybody anew.
func TestTracesAreTheSameEverywhere(t *testing.T) {
	const want = "b48b9b7189a0ffb0"
	h := sha256.New()
	for _, f := range Families() {
		for seed := range uint64(20) {
			text, err := json.Marshal(f.Trace(seed))
			if err != nil {
				t.Fatal(err)
			}
			h.Write(text)
		}
	}
	if got := fmt.Sprintf("%x", h.Sum(nil)[:8]); got != want {
		t.Errorf("the traces are others than before: %s, not %s", got, want)
	}
}

// each calls look for every trace of the seeds.
func each(t *testing.T, families []Family, look func(t *testing.T, tr Trace)) {
	t.Helper()
	for _, f := range families {
		t.Run(f.Name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				if t.Failed() {
					return // one trace is enough to look at
				}
				look(t, f.Trace(seed))
			}
		})
	}
}

func TestEveryTrace(t *testing.T) {
	each(t, Families(), func(t *testing.T, tr Trace) {
		places := 3
		switch tr.Family {
		case "one domain":
			places = 1
		case "another region":
			places = 6
		}
		if len(tr.Places) != places || len(tr.Offers()) != places*8 {
			t.Errorf("%d: %d places, %d offers", tr.Seed, len(tr.Places), len(tr.Offers()))
		}
		for _, o := range tr.Offers() {
			tr.check(o)
		}
		for i, w := range tr.Windows {
			switch {
			case w.From < 0 || w.To > Deadline || i > 0 && w.From < tr.Windows[i-1].From:
				t.Errorf("%d: window %d is out of order: %v", tr.Seed, i, w)
			case !slices.Contains(tr.Places, w.Place) || tr.absent(w.Region, w.AD):
				t.Errorf("%d: window %d is nowhere: %v", tr.Seed, i, w)
			case w.FaultDomain != "" && !slices.Contains(FaultDomains(), w.FaultDomain):
				t.Errorf("%d: window %d is in no fault domain: %v", tr.Seed, i, w)
			}
		}
		if _, ok := Bound(tr); ok == (tr.Family == "nothing") {
			t.Errorf("%d: there is a bound: %v", tr.Seed, ok)
		}
		tight := tr.Family == "throttling tenant"
		if want := map[bool]Bucket{false: {8 * time.Second, 8}, true: {25 * time.Second, 3}}[tight]; tr.Throttle != want {
			t.Errorf("%d: throttle %v", tr.Seed, tr.Throttle)
		}
		if (len(tr.Phantoms) > 0) != (tr.Family == "phantom limits") || (len(tr.Absent) > 0) != (tr.Family == "a domain without A1") ||
			tr.Blind != (tr.Family == "one fault domain") {
			t.Errorf("%d: has what its family does not have: %+v", tr.Seed, tr)
		}
	})
}

func TestWindowsAreAsTheFamilySays(t *testing.T) {
	type lengths struct{ min, max time.Duration }
	usual := lengths{20 * time.Second, 10 * time.Minute}
	want := map[string]lengths{
		"short windows": {20 * time.Second, 60 * time.Second}, "long windows": {70 * time.Second, 10 * time.Minute},
	}
	for _, f := range Families() {
		if f.plan.report != TrueReport {
			want[f.Name] = want["long windows"]
		}
	}
	each(t, Families(), func(t *testing.T, tr Trace) {
		l, ok := want[tr.Family]
		if !ok {
			l = usual
		}
		ocpus := float32(2)
		if tr.Family == "smaller size" {
			ocpus = 1
		}
		for _, w := range tr.Windows {
			switch d := w.To - w.From; {
			case d < l.min || d > l.max:
				t.Errorf("%d: a window of %s", tr.Seed, d)
			case w.OCPUs != ocpus:
				t.Errorf("%d: a window for %g OCPUs", tr.Seed, w.OCPUs)
			case tr.Family == "one fault domain" && w.FaultDomain == "":
				t.Errorf("%d: a window in all fault domains", tr.Seed)
			case (tr.Family == "another region") != (w.Region != tr.Places[0].Region):
				t.Errorf("%d: a window in %s", tr.Seed, w.Region)
			}
		}
	})
}

// Taken together, the windows are as many and as long as they are said to be.
func TestWindowsOnAverage(t *testing.T) {
	var n, short, oneFD int
	domains := map[string]int{}
	for seed := range uint64(seeds) {
		tr := Named("any window").Trace(seed)
		for _, w := range tr.Windows {
			n++
			domains[w.AD]++
			if w.To-w.From < 110*time.Second { // the middle, by logarithm
				short++
			}
			if w.FaultDomain != "" {
				oneFD++
			}
		}
	}
	if n < 4*seeds || n > 6*seeds {
		t.Errorf("%d windows in %d traces of ten hours", n, seeds)
	}
	near := func(what string, got, want int) {
		if got < want*85/100 || got > want*115/100 {
			t.Errorf("%s: %d of %d, about %d are expected", what, got, n, want)
		}
	}
	near("windows shorter than 110 s", short, n/2)
	near("windows in one fault domain", oneFD, n/2)
	for ad, got := range domains {
		near(ad, got, n/3)
	}
	if len(domains) != 3 {
		t.Errorf("windows in %v", domains)
	}
}

// Where only the throttle or the report is worse, the rest is as good as it
// was: what a client loses there it loses by that.
func TestFamiliesThatShareTheirWindows(t *testing.T) {
	each(t, Families(), func(t *testing.T, tr Trace) {
		like := Named(tr.Family).plan.like
		if like == "" {
			return
		}
		same := Named(like).Trace(tr.Seed)
		if !reflect.DeepEqual(tr.Windows, same.Windows) {
			t.Errorf("%d: the windows are not those of %q", tr.Seed, like)
		}
	})
	reports := map[Truth]int{}
	for _, f := range Families() {
		reports[f.Trace(1).Report]++
	}
	if want := (map[Truth]int{TrueReport: 11, ForbiddenReport: 1, AlwaysAvailable: 1, AlwaysOut: 1, StaleReport: 1}); !reflect.DeepEqual(reports, want) {
		t.Errorf("families by what their report is worth: %v", reports)
	}
}

func TestPhantoms(t *testing.T) {
	var covered time.Duration
	each(t, []Family{Named("phantom limits")}, func(t *testing.T, tr Trace) {
		var end time.Duration
		for _, p := range tr.Phantoms {
			if d := p.To - p.From; d < 20*time.Minute || d > 90*time.Minute || p.From < end {
				t.Errorf("%d: a phantom from %s to %s", tr.Seed, p.From, p.To)
			}
			end = p.To
			covered += min(p.To, Deadline) - p.From
		}
		if left := tr.chance(); left < 2*time.Minute {
			t.Errorf("%d: only %s of a window are left", tr.Seed, left)
		}
	})
	if share := float64(covered) / float64(seeds*Deadline); share < 0.35 || share > 0.65 {
		t.Errorf("%.0f %% of the time is covered by phantoms", 100*share)
	}
}

// Each of the three domains is the one without the shape about as often.
func TestTheDomainWithoutA1(t *testing.T) {
	n := map[string]int{}
	for seed := range uint64(seeds) {
		tr := Named("a domain without A1").Trace(seed)
		if len(tr.Absent) != 1 {
			t.Fatalf("%d: %v", seed, tr.Absent)
		}
		n[tr.Absent[0].AD]++
	}
	for _, p := range Named("a domain without A1").Trace(0).Places {
		if n[p.AD] < seeds/5 {
			t.Errorf("%s is without it in %d of %d traces", p.AD, n[p.AD], seeds)
		}
	}
}

func TestFamiliesHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Families() {
		if f.Name == "" || f.Line == "" || seen[f.Name] {
			t.Errorf("%q: %q", f.Name, f.Line)
		}
		seen[f.Name] = true
		if Named(f.Name).Line != f.Line {
			t.Errorf("%q is another family", f.Name)
		}
	}
	if !panics(func() { Named("good weather") }) {
		t.Error("a family that does not exist is found")
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}
