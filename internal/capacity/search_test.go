// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	sizes   = [][2]float32{{2, 12}, {1, 6}}
	domains = []string{"", "FD-1", "FD-2", "FD-3"}
)

// place lists the offers of one zone.
func place(region, zone string) (all []Offer) {
	for _, size := range sizes {
		for _, fd := range domains {
			all = append(all, Offer{Cloud: "oci", Region: region, Zone: zone, FaultDomain: fd, Shape: "A1", OCPUs: size[0], MemoryGB: size[1]})
		}
	}
	return all
}

// offers are those of a region with three zones.
func offers() []Offer {
	return slices.Concat(place("r1", "AD-1"), place("r1", "AD-2"), place("r1", "AD-3"))
}

var start = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

func policy() Policy {
	return Policy{Interval: 10 * time.Second, Deadline: start.Add(10 * time.Hour), Retries: 2, Jitter: 0.1, Seed: 7}
}

func launchOnly() Policy {
	p := policy()
	p.NoAsking = true
	return p
}

// step is one request of a search, or its end.
type step struct {
	at  time.Time
	try Offer
	ask []Offer
	end string
}

// world answers a search.
type world struct {
	launch func(Offer, time.Time) Result
	report func([]Offer, time.Time) Reply
}

// full is a world without capacity, whose reports say so.
func full() world {
	return world{
		launch: func(Offer, time.Time) Result { return Result{Outcome: NoCapacity, Reason: "full"} },
		report: func(o []Offer, _ time.Time) Reply { return Reply{Hints: slices.Repeat([]Hint{Full}, len(o))} },
	}
}

// live runs a search in w until it ends.
func live(t testing.TB, s *Search, w world) (steps []step) {
	t.Helper()
	now := start
	for range 100_000 {
		m := s.Next(now)
		switch {
		case m.GiveUp != "":
			return append(steps, step{at: now, end: m.GiveUp})
		case m.Try != nil:
			r := w.launch(*m.Try, now)
			steps = append(steps, step{at: now, try: *m.Try})
			s.Observe(*m.Try, now, r)
			if r.Outcome == Launched {
				return steps
			}
		case m.Ask != nil:
			steps = append(steps, step{at: now, ask: m.Ask.Offers})
			s.Answer(*m.Ask, now, w.report(m.Ask.Offers, now))
		case !m.Until.After(now):
			t.Fatalf("told at %s to wait until %s", now, m.Until)
		default:
			now = m.Until
		}
	}
	t.Fatal("the search does not end")
	return nil
}

// tries are the launches among steps.
func tries(steps []step) (list []step) {
	for _, s := range steps {
		if s.try != (Offer{}) {
			list = append(list, s)
		}
	}
	return list
}

func TestTenHoursOfNothing(t *testing.T) {
	for name, p := range map[string]Policy{"asking": policy(), "launching": launchOnly()} {
		t.Run(name, func(t *testing.T) {
			s := New(p, start, offers())
			steps := live(t, s, full())
			for i := 1; i < len(steps)-1; i++ {
				if steps[i].ask == nil && steps[i-1].ask != nil {
					continue // against the report, at once
				}
				since := i - 1
				if steps[since].ask == nil && since > 0 && steps[since-1].ask != nil {
					since-- // that was not counted
				}
				if d := steps[i].at.Sub(steps[since].at); d < 10*time.Second || d > 11*time.Second {
					t.Fatalf("request %d came %s after the one before", i, d)
				}
			}
			end := steps[len(steps)-1]
			if !end.at.Equal(p.Deadline) || !strings.Contains(end.end, "time allowed") {
				t.Errorf("ended at %s: %s", end.at, end.end)
			}
			for _, tr := range s.Tried() {
				if tr.Attempts == 0 {
					t.Errorf("%s was never launched", tr.Offer)
				}
			}
			if s.Rounds() < 1000 {
				t.Errorf("%d rounds", s.Rounds())
			}
		})
	}
}

// One report covers a zone, so each zone is looked at once a round.
func TestReportsGoRound(t *testing.T) {
	steps := live(t, New(policy(), start, offers()), full())
	for i, s := range steps[:9] {
		if want := []string{"AD-1", "AD-2", "AD-3"}[i%3]; len(s.ask) != 8 || s.ask[0].Zone != want {
			t.Errorf("request %d: %+v, want %s", i, s, want)
		}
	}
	if n, want := len(tries(steps)), len(steps)/(probeEvery+1); n < want-3 || n > want+3 {
		t.Errorf("%d of %d requests are launches against the reports", n, len(steps))
	}
}

func TestWhatIsFreeIsLaunchedAtOnce(t *testing.T) {
	tests := []struct {
		name string
		free func(Offer) bool
		want string // the first launch
	}{
		{"everything: let the cloud choose, the first size", func(Offer) bool { return true }, "AD-1 A1 2 OCPU/12 GB"},
		{"one fault domain: name it", func(o Offer) bool { return o.FaultDomain == "FD-2" || o.FaultDomain == "" }, "AD-1 FD-2 A1 2 OCPU/12 GB"},
		{"the smaller size only", func(o Offer) bool { return o.OCPUs == 1 }, "AD-1 A1 1 OCPU/6 GB"},
		{"a later zone", func(o Offer) bool { return o.Zone == "AD-3" && o.FaultDomain == "FD-3" && o.OCPUs == 1 }, "AD-3 FD-3 A1 1 OCPU/6 GB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := full()
			w.launch = func(Offer, time.Time) Result { return Result{Outcome: Launched} }
			w.report = func(o []Offer, _ time.Time) Reply { return hints(o, tt.free) }
			steps := live(t, New(policy(), start, offers()), w)
			last, before := steps[len(steps)-1], steps[len(steps)-2]
			if last.try.String() != tt.want || !last.at.Equal(before.at) || before.ask == nil {
				t.Errorf("launched %s, %s after its report", last.try, last.at.Sub(before.at))
			}
		})
	}
}

func hints(o []Offer, free func(Offer) bool) (r Reply) {
	for _, p := range o {
		h := Full
		if free(p) {
			h = Free
		}
		r.Hints = append(r.Hints, h)
	}
	return r
}

// With SizeFirst a smaller machine is taken only when no zone has a larger one.
func TestSizeFirst(t *testing.T) {
	for _, larger := range []bool{true, false} {
		p := policy()
		p.SizeFirst = true
		w := full()
		w.report = func(o []Offer, _ time.Time) Reply {
			return hints(o, func(o Offer) bool { return o.Zone == "AD-1" && o.OCPUs == 1 || larger && o.Zone == "AD-3" })
		}
		w.launch = func(Offer, time.Time) Result { return Result{Outcome: Launched} }
		steps := live(t, New(p, start, offers()), w)
		got := steps[len(steps)-1].try.String()
		want := map[bool]string{true: "AD-3 A1 2 OCPU/12 GB", false: "AD-1 A1 1 OCPU/6 GB"}[larger]
		if got != want || len(steps) != 4 {
			t.Errorf("after %d requests: %s, want %s", len(steps), got, want)
		}
	}
}

// Of zones that are equal to the user, the one that gave a machine comes first;
// regions stay in the user's order.
func TestWhatWorkedComesFirst(t *testing.T) {
	p := policy()
	p.Worked = []Offer{place("r2", "X-2")[1], place("r1", "AD-3")[2]}
	all := slices.Concat(offers(), place("r2", "X-1"), place("r2", "X-2"))
	steps := live(t, New(p, start, all), full())
	var order []string
	for _, s := range steps[:5] {
		order = append(order, s.ask[0].Zone)
	}
	if want := []string{"AD-3", "AD-1", "AD-2", "X-2", "X-1"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
}

// Where nobody may ask, every other launch in a zone is the one that fits most.
func TestLaunchingWithoutReports(t *testing.T) {
	s := New(policy(), start, offers())
	w := full()
	w.report = func([]Offer, time.Time) Reply { return Reply{Outcome: Rejected, Reason: "404"} }
	steps := live(t, s, w)
	if asked := len(steps) - len(tries(steps)) - 1; asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	first := 0
	for _, tr := range s.Tried() {
		if tr.Offer.FaultDomain == "" && tr.Offer.OCPUs == 2 {
			first += tr.Attempts
		} else if tr.Attempts < 50 {
			t.Errorf("%s was launched %d times", tr.Offer, tr.Attempts)
		}
	}
	if n := len(tries(steps)); first < n*45/100 || first > n*60/100 {
		t.Errorf("%d of %d launches were of the first offers", first, n)
	}
}

// A report that says that everything is free, and never is, costs little.
func TestReportsThatLie(t *testing.T) {
	w := full()
	w.report = func(o []Offer, _ time.Time) Reply { return hints(o, func(Offer) bool { return true }) }
	steps := live(t, New(policy(), start, offers()), w)
	asked := len(steps) - len(tries(steps))
	if asked > len(steps)/20 {
		t.Errorf("asked %d times in %d requests", asked, len(steps))
	}

	w.report = func(o []Offer, _ time.Time) Reply { return Reply{Hints: make([]Hint, len(o))} } // a word that we do not know
	for _, tr := range func() []Tried { s := New(policy(), start, offers()); live(t, s, w); return s.Tried() }() {
		if tr.Attempts == 0 {
			t.Errorf("%s was never launched", tr.Offer)
		}
	}
}

// "The hardware is not there" is checked by one launch, and that decides.
func TestMissingHardwareIsChecked(t *testing.T) {
	w := full()
	w.report = func(o []Offer, _ time.Time) Reply {
		if o[0].Zone == "AD-2" {
			return Reply{Hints: slices.Repeat([]Hint{Missing}, len(o))}
		}
		return hints(o, func(Offer) bool { return false })
	}
	w.launch = func(o Offer, _ time.Time) Result {
		if o.Zone == "AD-2" {
			return Result{Outcome: Unavailable, Reason: "404 shape not found"}
		}
		return Result{Outcome: NoCapacity}
	}
	steps := live(t, New(policy(), start, offers()), w)
	if s := steps[2]; s.try.String() != "AD-2 A1 2 OCPU/12 GB" {
		t.Errorf("the third request is %+v", s)
	}
	for _, s := range steps[3:] {
		if s.try.Zone == "AD-2" || len(s.ask) > 0 && s.ask[0].Zone == "AD-2" {
			t.Fatal("AD-2 was tried again")
		}
	}
}

func TestScopes(t *testing.T) {
	o := offers()
	tests := []struct {
		name   string
		first  Result
		closed func(Offer) bool
	}{
		{"no capacity in one fault domain closes nothing", Result{Outcome: NoCapacity}, func(Offer) bool { return false }},
		{"a missing shape closes it in its zone", Result{Outcome: Unavailable}, func(p Offer) bool { return p.Zone == "AD-1" && p.Region == "r1" }},
		{"a region's limit closes all that is as large", Result{Outcome: LimitReached}, func(p Offer) bool { return p.OCPUs >= 2 && p.Region == "r1" }},
		{"a zone's limit closes it there", Result{Outcome: LimitReached, ZoneOnly: true}, func(p Offer) bool { return p.OCPUs >= 2 && p.Zone == "AD-1" }},
		{"a limit that own use does not explain closes nothing", Result{Outcome: LimitDoubtful}, func(Offer) bool { return false }},
		{"a transient failure closes nothing", Result{Outcome: Transient}, func(Offer) bool { return false }},
		{"a throttle closes nothing", Result{Outcome: Throttled}, func(Offer) bool { return false }},
		{"a refusal closes the region", Result{Outcome: Rejected}, func(p Offer) bool { return p.Region == "r1" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(policy(), start, slices.Concat(o, place("r2", "X-1")))
			s.Observe(o[0], start, tt.first)
			for _, tr := range s.Tried() {
				if tr.Closed != tt.closed(tr.Offer) {
					t.Errorf("%s: closed %v", tr.Offer, tr.Closed)
				}
			}
		})
	}
}

func TestGivingUp(t *testing.T) {
	tests := []struct {
		name   string
		result Result
		tries  int
		why    string
	}{
		{"limits everywhere", Result{Outcome: LimitReached, Reason: "because"}, 2, "the account's limits allow none of the sizes: because"},
		{"a refusal", Result{Outcome: Rejected, Reason: "401"}, 1, "401"},
		{"no shape anywhere", Result{Outcome: Unavailable, Reason: "404"}, 3, "none of the places has the shape: 404"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := full()
			w.launch = func(Offer, time.Time) Result { return tt.result }
			steps := live(t, New(launchOnly(), start, offers()), w)
			if n := len(tries(steps)); n != tt.tries || steps[len(steps)-1].end != tt.why {
				t.Errorf("%d launches, then %q", n, steps[len(steps)-1].end)
			}
		})
	}
	if m := New(policy(), start, nil).Next(start); m.GiveUp != "there is no place to try" {
		t.Errorf("without offers: %+v", m)
	}
}

// An unexplained limit is waited out; a report that says that there is room
// shortens the wait, but not to less than a minute.
func TestDoubtfulLimit(t *testing.T) {
	w := full()
	w.launch = func(_ Offer, at time.Time) Result {
		if at.Sub(start) < 70*time.Minute {
			return Result{Outcome: LimitDoubtful, Reason: "LimitExceeded"}
		}
		return Result{Outcome: Launched}
	}
	steps := tries(live(t, New(launchOnly(), start, offers()), w))
	for i := 1; i < len(steps); i++ {
		if d, want := steps[i].at.Sub(steps[i-1].at), min(time.Duration(i)*firstDoubt, maxDoubt); d < want || d > want+time.Minute {
			t.Errorf("pause %d is %s, want %s", i, d, want)
		}
	}
	if last := steps[len(steps)-1].at.Sub(start); last < 70*time.Minute || last > 86*time.Minute {
		t.Errorf("launched after %s", last)
	}

	w.report = func(o []Offer, at time.Time) Reply {
		return hints(o, func(Offer) bool { return at.Sub(start) > 60*time.Minute })
	}
	steps = tries(live(t, New(policy(), start, offers()), w))
	for i := 1; i < len(steps); i++ {
		if d := steps[i].at.Sub(steps[i-1].at); d < doubtGap {
			t.Errorf("tried again after %s", d)
		}
	}
	if last := steps[len(steps)-1].at.Sub(start); last < 70*time.Minute || last > 72*time.Minute {
		t.Errorf("launched after %s", last)
	}
}

func TestTransientIsTriedAgainAtOnce(t *testing.T) {
	w := full()
	w.launch = func(o Offer, _ time.Time) Result {
		if o == offers()[0] {
			return Result{Outcome: Transient}
		}
		return Result{Outcome: Launched}
	}
	steps := live(t, New(launchOnly(), start, offers()), w)
	if len(steps) != 4 || steps[3].try.Zone != "AD-2" {
		t.Errorf("%+v: want the first, two retries, then the next zone", steps)
	}
}

func TestTwoClouds(t *testing.T) {
	aws := Offer{Cloud: "aws", Region: "us-east-1", Zone: "us-east-1a", Shape: "t4g.micro"}
	s := New(policy(), start, append(offers(), aws))
	w := full()
	w.launch = func(o Offer, _ time.Time) Result {
		if o.Cloud == "aws" {
			return Result{Outcome: Throttled}
		}
		return Result{Outcome: NoCapacity}
	}
	steps := live(t, s, w)
	n := 0
	for _, s := range steps {
		if s.try.Cloud == "aws" {
			n++
		}
	}
	if asks := len(steps) - n; n == 0 || n > 100 || asks < 3000 {
		t.Errorf("a throttle in one cloud: %d requests there, %d in the other", n, asks)
	}
}

func TestWords(t *testing.T) {
	s := New(policy(), start, offers())
	q := s.Next(start).Ask
	s.Answer(*q, start, hints(q.Offers, func(Offer) bool { return false }))
	if got := s.Outlook(start); !strings.HasPrefix(got, "Next: AD-2 in 1") || !strings.HasSuffix(got, ", 10h left") {
		t.Errorf("outlook: %q", got)
	}
	s.Answer(*q, start, Reply{Outcome: Throttled})
	if got := s.Outlook(start); !strings.Contains(got, "because the cloud throttled this account") {
		t.Errorf("outlook: %q", got)
	}
	s = New(launchOnly(), start, offers())
	s.Observe(offers()[0], start, Result{Outcome: LimitDoubtful, Reason: "LimitExceeded"})
	if got := s.Outlook(start); !strings.Contains(got, "own use does not explain") || !strings.Contains(got, "in 5m") {
		t.Errorf("outlook: %q", got)
	}
	s.Observe(offers()[9], start, Result{Outcome: NoCapacity, Reason: "Out of host capacity."})
	got := strings.Join(Table(s.Tried()), "\n")
	for _, want := range []string{"place", "AD-1", "LimitExceeded", "AD-2 (also FD-1)", "no capacity: Out of host capacity."} {
		if !strings.Contains(got, want) {
			t.Errorf("the table does not say %q:\n%s", want, got)
		}
	}
	s.Observe(offers()[8], start, Result{Outcome: NoCapacity, Reason: "Out of host capacity. (500 InternalError, request r-1)"})
	s.Observe(offers()[10], start, Result{Outcome: NoCapacity, Reason: "Out of host capacity. (500 InternalError, request r-2)"})
	got = strings.Join(Table(s.Tried()), "\n")
	if want := "AD-2 (also FD-1, FD-2)  A1 2 OCPU/12 GB  3         0        no capacity: Out of host capacity."; !strings.Contains(got, want) {
		t.Errorf("the table does not say %q:\n%s", want, got)
	}
	if got := Sizes(append(offers(), Offer{Shape: "A2", OCPUs: 1, MemoryGB: 6}, Offer{Shape: "BM"})); !slices.Equal(got, []string{"A1 2 OCPU/12 GB", "1 OCPU/6 GB", "A2 1 OCPU/6 GB", "BM"}) {
		t.Errorf("sizes: %q", got)
	}
	if len(Table(New(policy(), start, offers()).Tried())) != 0 {
		t.Error("a table of nothing")
	}
	for d, want := range map[time.Duration]string{9 * time.Second: "9s", 10 * time.Minute: "10m", 90 * time.Second: "1m30s", 10 * time.Hour: "10h", 5*time.Hour + 48*time.Minute + 4*time.Second: "5h48m", 20 * time.Millisecond: "20ms"} {
		if got := Short(d); got != want {
			t.Errorf("%s is written %q, want %q", d, got, want)
		}
	}
}
