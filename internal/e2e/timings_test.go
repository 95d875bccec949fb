// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// moment is something that each build comes to, in the order of the constants.
// When it came there is taken from what the simulated cloud and its machines
// saw, and never from what a plugin says: it is one measure for every plugin.
type moment int

const (
	started     moment = iota // Packer was
	asked                     // for the machine: the LaunchInstance that was accepted arrives
	runs                      // the machine is RUNNING
	seen                      // the client has been told that it is
	loggedIn                  // the first login by SSH
	provisioned               // the last program of a session has ended
	imageAsked                // CreateImage arrives
	available                 // the image is AVAILABLE
	imageSeen                 // the client has been told that it is
	dismissed                 // TerminateInstance arrives
	ended                     // the process of Packer has
	moments
)

func (m moment) String() string {
	return [moments]string{
		"the start", "the launch", "RUNNING", "RUNNING seen", "the login", "the end of provisioning", "CreateImage", "AVAILABLE", "AVAILABLE seen",
		"TerminateInstance", "the end",
	}[m]
}

// stretch is the way from one moment to the next.
type stretch struct {
	name     string
	from, to moment
	own      string // the part of the cloud in it, in timings.own; empty: it has none
}

func stretches() []stretch {
	return []stretch{
		{"start of Packer to launch request", started, asked, ""},
		{"launch request to RUNNING", asked, runs, "PROVISIONING"},
		{"RUNNING to noticed", runs, seen, ""},
		{"noticed to SSH login", seen, loggedIn, "boot"},
		{"provisioning", loggedIn, provisioned, ""},
		{"provisioned to image request", provisioned, imageAsked, ""},
		{"image request to AVAILABLE", imageAsked, available, "CAPTURE"},
		{"AVAILABLE to noticed", available, imageSeen, ""},
		{"noticed to terminate request", imageSeen, dismissed, ""},
		{"terminate request to end of Packer", dismissed, ended, "TERMINATING"},
		{"whole", started, ended, "whole"},
	}
}

// timings are those of one build.
type timings struct {
	at       [moments]time.Time
	own      map[string]time.Duration // how long the cloud took by itself
	requests int
}

// stopwatch takes the times of builds on one stage.
type stopwatch struct {
	s *stage.Stage

	mu     sync.Mutex
	events []machine.Event

	requests, changes, events0 int // how many there were when the build began
	begin                      time.Time
}

// watch is told by machines what comes to pass in them.
func (w *stopwatch) watch(e machine.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

// start begins to take the times of a build.
func (w *stopwatch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests, w.changes, w.events0, w.begin = len(w.s.Cloud.Requests()), len(w.s.Cloud.Changes()), len(w.events), time.Now()
}

// stop is for when the build has ended, with one machine and one image.
func (w *stopwatch) stop() *timings {
	end := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	requests, changes, events := w.s.Cloud.Requests()[w.requests:], w.s.Cloud.Changes()[w.changes:], w.events[w.events0:]

	request := func(op, of string, answeredFrom time.Time) time.Time {
		for _, r := range requests {
			if r.Op == op && r.Status < 300 && strings.HasSuffix(r.Path, of) && !r.Answered.Before(answeredFrom) {
				return r.Time
			}
		}
		return time.Time{}
	}
	became := func(kind, state string) (id string, at time.Time) {
		for _, c := range changes {
			if strings.HasPrefix(c.ID, "ocid1."+kind+".") && c.State == state {
				return c.ID, c.Time
			}
		}
		return "", time.Time{}
	}
	event := func(what machine.EventKind) (first, last time.Time) {
		for _, e := range events {
			if e.What == what {
				last = e.Time
				if first.IsZero() {
					first = e.Time
				}
			}
		}
		return first, last
	}

	t := &timings{requests: len(requests), own: map[string]time.Duration{}}
	t.at[started], t.at[ended] = w.begin, end
	t.at[asked] = request("LaunchInstance", "", time.Time{})
	var vm, image string
	vm, t.at[runs] = became("instance", "RUNNING")
	image, t.at[available] = became("image", "AVAILABLE")
	t.at[seen], t.at[imageSeen] = request("GetInstance", vm, t.at[runs]), request("GetImage", image, t.at[available])
	t.at[loggedIn], _ = event(machine.EventLogin)
	_, t.at[provisioned] = event(machine.EventEnd)
	t.at[imageAsked] = request("CreateImage", "", time.Time{})
	t.at[dismissed] = request("TerminateInstance", vm, time.Time{})

	own := func(name string, from, to time.Time) {
		t.own[name] = to.Sub(from)
		t.own["whole"] += to.Sub(from)
	}
	_, provisioning := became("instance", "PROVISIONING")
	_, capturing := became("image", "PROVISIONING")
	_, terminating := became("instance", "TERMINATING")
	_, terminated := became("instance", "TERMINATED")
	listens, _ := event(machine.EventListens)
	own("PROVISIONING", provisioning, t.at[runs])
	own("boot", t.at[runs], listens)
	own("CAPTURE", capturing, t.at[available])
	own("TERMINATING", terminating, terminated)
	return t
}

// problems are moments that were not there or not in order.
func (t *timings) problems() (list []string) {
	for m := started; m < moments; m++ {
		if t.at[m].IsZero() {
			list = append(list, fmt.Sprintf("%s was not seen", m))
		} else if m > started && t.at[m].Before(t.at[m-1]) {
			list = append(list, fmt.Sprintf("%s was %s before %s", m, t.at[m-1].Sub(t.at[m]), m-1))
		}
	}
	for name, d := range t.own {
		if d < 0 {
			list = append(list, fmt.Sprintf("the cloud took %s for %s", d, name))
		}
	}
	return list
}

// timingsTable compares two builds, for people. Without a peer it is ours alone.
// What the cloud takes by itself is from our run; it is the same delays for both.
func timingsTable(peer, ours *timings) string {
	rows := [][]string{{"phase", "peer", "ours", "peer / ours", "the cloud's own"}, {"---", "--:", "--:", "--:", "--:"}}
	short := func(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
	for _, p := range stretches() {
		our := ours.at[p.to].Sub(ours.at[p.from])
		row := []string{p.name, "-", short(our), "-", "-"}
		if peer != nil {
			their := peer.at[p.to].Sub(peer.at[p.from])
			row[1] = short(their)
			if our >= 5*time.Millisecond { // else it is chance
				row[3] = fmt.Sprintf("%.1f", their.Seconds()/our.Seconds())
			}
		}
		if p.own != "" {
			row[4] = short(ours.own[p.own])
		}
		rows = append(rows, row)
	}
	counted := []string{"requests", "-", fmt.Sprint(ours.requests), "-", "-"}
	if peer != nil {
		counted[1], counted[3] = fmt.Sprint(peer.requests), fmt.Sprintf("%.1f", float64(peer.requests)/float64(ours.requests))
	}
	return aligned(append(rows, counted))
}

// aligned is a table for people; its first column is text, the others are numbers.
func aligned(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			if i == 0 {
				fmt.Fprintf(&out, "| %-*s |", widths[i], cell)
			} else {
				fmt.Fprintf(&out, " %*s |", widths[i], cell)
			}
		}
		out.WriteString("\n")
	}
	return out.String()
}

// What the stopwatch does is seen without a peer, on the components of this
// process.
func TestStopwatch(t *testing.T) {
	w := new(stopwatch)
	w.s = stage.ForTest(t, stage.Options{Driver: &machine.Fast{Watch: w.watch}})
	p := &play{s: w.s}
	upload := func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		return comm.Upload("/home/debian/made", strings.NewReader("by the stopwatch"), nil)
	}
	var one, two *timings
	for _, image := range []string{"one", "two"} { // the second is not about the first
		w.start()
		if _, err := p.build(t, w.s.Build, w.s.BaseImage, map[string]interface{}{"image_name": image}, upload); err != nil {
			t.Fatalf("%v\n%s", err, p.out.String())
		}
		one, two = two, w.stop()
		for _, problem := range two.problems() {
			t.Error(problem)
		}
	}
	if !two.at[started].After(one.at[ended]) || two.at[asked].Before(two.at[started]) {
		t.Errorf("the second build: %v", two.at)
	}
	delays := ocisim.QuickDelays()
	for name, least := range map[string]time.Duration{"PROVISIONING": delays.Provision, "CAPTURE": delays.Capture, "TERMINATING": delays.Terminate} {
		if two.own[name] < least {
			t.Errorf("%s lasted %s", name, two.own[name])
		}
	}
	lines := strings.Split(strings.TrimSpace(timingsTable(one, two)), "\n")
	if len(lines) != 2+len(stretches())+1 {
		t.Errorf("%d lines", len(lines))
	}
	alone := timingsTable(nil, two)
	if slices.ContainsFunc(lines, func(l string) bool { return len(l) != len(lines[0]) }) || !strings.Contains(alone, "| whole ") {
		t.Errorf("a table that is none:\n%s\n%s", strings.Join(lines, "\n"), alone)
	}
	// The moments of a build follow one another without a gap.
	for i, p := range stretches()[:moments-1] {
		if p.from != moment(i) || p.to != p.from+1 {
			t.Errorf("%s is from %s to %s", p.name, p.from, p.to)
		}
	}
	// Without a moment the check fails.
	two.at[seen] = time.Time{}
	if p := two.problems(); len(p) != 1 || p[0] != "RUNNING seen was not seen" {
		t.Errorf("a missing moment: %q", p)
	}
	two.at[seen] = two.at[asked].Add(-time.Second)
	if p := two.problems(); len(p) != 1 || !strings.HasPrefix(p[0], "RUNNING seen was ") {
		t.Errorf("moments in the wrong order: %q", p)
	}
}
