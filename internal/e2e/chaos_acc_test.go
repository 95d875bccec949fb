// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// unreached is how many of a hundred runs may not come so far that anything goes wrong: a
// build waits, and asks more or less often meanwhile.
const unreached = 3

// slice is which requests are taken, as CHAOS_REQUESTS=10-40; all by default.
func slice(t *testing.T, all int) (from, to int) {
	t.Helper()
	of := os.Getenv("CHAOS_REQUESTS")
	if of == "" {
		return 1, all
	}
	if n, err := fmt.Sscanf(of, "%d-%d", &from, &to); n != 2 || err != nil {
		t.Fatalf("CHAOS_REQUESTS is %q, and not like 10-40", of)
	}
	return from, to
}

// divisor is the greatest that both have.
func divisor(a, b int) int {
	for b > 0 {
		a, b = b, a%b
	}
	return a
}

// Whatever goes wrong at whatever request of a whole build and copy: nothing is left,
// or it is named; after a death and one sweep past the expiry nothing is left; things
// of others, of builds that go on and finished images are never touched; and there are
// never two machines. So it is with a capture in place of an image, at its requests and at
// its steps on the machine. This takes some requests; CHAOS=each takes the first and the last of
// each kind, CHAOS=rest the others, and CHAOS=all takes all.
func TestAccChaos(t *testing.T) {
	alone(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	var table matrix
	begun := time.Now()
	t.Run("at", func(t *testing.T) {
		for _, cloud := range chaosClouds() {
			if only := os.Getenv("CHAOS_CLOUD"); only != "" && only != cloud.name {
				continue
			}
			ops, mishaps := baseline(t, cloud, p), cloud.mishaps()
			runs := 0
			total := len(ops) * len(mishaps)
			step := max(1, total/cloud.sample)
			for divisor(step, len(mishaps)) > 1 {
				step++ // all kinds are to have their turn
			}
			if os.Getenv("CHAOS") != "" {
				step = 1
			}
			from, to := slice(t, len(ops))
			for i := step / 2; i < total; i += step {
				n, m := i/len(mishaps)+1, mishaps[i%len(mishaps)]
				op := ops[n-1]
				if n < from || n > to {
					continue
				}
				inner := slices.Contains(ops[:n-1], op) && slices.Contains(ops[n:], op) // neither the first of its kind nor the last
				if of := os.Getenv("CHAOS"); of == "each" && inner || of == "rest" && !inner {
					continue
				}
				runs++
				t.Run(fmt.Sprintf("%s/%d-%s/%s", cloud.name, n, op, m.name), func(t *testing.T) {
					t.Parallel()
					outcome := chaosRun(t, cloud, *p, n, m)
					for again := 0; outcome == "-" && again < 2; again++ {
						outcome = chaosRun(t, cloud, *p, n, m)
					}
					table.add(cloud.name, n, op, m.name, outcome)
				})
			}
			table.sizes = append(table.sizes, fmt.Sprintf("%s: %d %s, %d kinds of mishap, %d runs", cloud.name, len(ops), cloud.moments(), len(mishaps), runs))
		}
	})
	runs := 0
	for _, n := range table.count {
		runs += n
	}
	if n := table.count["-"]; n*100 > unreached*runs {
		t.Errorf("in %d of %d runs nothing went wrong: these prove nothing", n, runs)
	}
	text := table.String() + fmt.Sprintf("\nmeasured: %s\n", time.Since(begun).Round(time.Second))
	t.Log("\n" + text)
	if file := os.Getenv("CHAOS_TABLE"); file != "" {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}
}

// baseline is a run in which nothing goes wrong: its requests.
func baseline(t *testing.T, cloud chaosCloud, p *runpacker.Packer) []string {
	t.Helper()
	w := &numberedWire{links: cloud.captures, inside: cloud.inside}
	s := cloud.stage(t, stage.Options{Wrap: w.Wrap, WrapAWS: w.Wrap, PlatformImages: true}, w.step)
	d := plantAll(t, s, cloud.name)
	before := len(cloud.ops(s))
	w.start()
	said, err := cloud.build(t, s, p, "ARMFREE_TEST_RUN=none")
	_, _ = w.stop()
	ops := cloud.ops(s)[before:]
	if err != nil || !cloud.inside && (w.count < 40 || len(ops) != w.count) || cloud.captures && len(w.steps) < 8 {
		t.Fatalf("%d requests, of which %d are counted, steps %q: %v\n%s", len(ops), w.count, w.steps, err, said)
	}
	if cloud.inside {
		ops = w.steps
	}
	left, images := split(d.settled(s))
	if len(left) > 0 || len(images) != cloud.images || len(unnamed(images, said)) > 0 {
		t.Fatalf("left %v, images %v\n%s", left, images, said)
	}
	d.check(t, s)
	return ops
}

// split tells the images that are finished, and what they use, from the rest. So is a
// captured disk beside which there is no note.
func split(things []chaosThing) (left, images []chaosThing) {
	var snapshots []chaosThing
	for _, x := range things {
		switch {
		case x.kind == "image" && x.finished(), x.capturedWithout(things):
			images = append(images, x)
		case x.kind == "snapshot" && x.finished():
			snapshots = append(snapshots, x)
		default:
			left = append(left, x)
		}
	}
	// An image has one snapshot: of more than that nobody makes use.
	if n := len(images); len(snapshots) > n {
		left = append(left, snapshots[n:]...)
	}
	return left, images
}

// unnamed are those that a text does not name.
func unnamed(things []chaosThing, said string) (list []chaosThing) {
	for _, x := range things {
		if !x.named(said) {
			list = append(list, x)
		}
	}
	return list
}

// chaosRun is one run. It returns what came of it; "-" if it needed fewer requests.
func chaosRun(t *testing.T, cloud chaosCloud, p runpacker.Packer, n int, m mishap) string {
	mark := fmt.Sprintf("ARMFREE_TEST_RUN=%d-chaos-%s-%d-%s.", os.Getpid(), cloud.name, n, strings.ReplaceAll(m.name, " ", ""))
	w := &numberedWire{nth: n, mishap: m, mark: mark, links: cloud.captures, inside: cloud.inside}
	clock := &later{}
	s := cloud.stage(t, stage.Options{Wrap: wrapAll(clock.wrap, w.Wrap), WrapAWS: wrapAll(clock.wrap, w.Wrap), AWSNow: clock.now, PlatformImages: true}, w.step)
	d := plantAll(t, s, cloud.name)
	var mu sync.Mutex
	asked := launchesIn(s)
	w.every = func() { // another one comes by another request only
		mu.Lock()
		defer mu.Unlock()
		if n := launchesIn(s); n > asked {
			asked = n
			if is := d.machines(s); len(is) > 1 {
				t.Errorf("two machines at once: %q", is)
			}
		}
	}
	over := false
	w.before = func() {
		_, made := split(d.more(s))
		over = len(made) == cloud.images
	}
	p.Ended = func() { pluginsEnd(t, mark, 4*time.Minute) }
	w.start()
	begun := time.Now()
	said, err := cloud.build(t, s, &p, mark)
	took := time.Since(begun)
	happened, unsent := w.stop()
	if took > 4*time.Minute {
		t.Errorf("it took %s\n%s", took, said)
	}
	whole := err == nil && strings.Contains(said, "Builds finished. The artifacts") // a Packer whose child was killed ends without an error
	left, images := split(d.settled(s))
	outcome := "x"
	bad := func(format string, args ...any) {
		t.Errorf(format+"\n%s", append(args, said)...)
	}
	switch {
	case happened == "" && whole:
		outcome = "-"
	case happened == "":
		bad("nothing went wrong, and it came to nothing: %v", err)
	case unsent != nil:
		bad("the signal was not sent: %v", unsent)
	case m.late && over && whole:
		outcome = "l"
	case m.got != nil && !m.got(said, err):
		bad("Packer has not ended by the signal: %v", err)
	case m.answer != nil && !whole:
		bad("it did not go on: %v", err)
	case whole:
		outcome = "."
	case len(images) > 0:
		outcome = "i"
	}
	switch more := unnamed(images, said); {
	case whole && (len(images) != cloud.images || len(left) > 0):
		bad("made %v, left %v", images, left)
	case !m.dead && len(more) > 0:
		bad("finished and not named: %v", more)
	}
	if m.dead && len(left) > 0 {
		outcome = "s"
		clock.by.Store(int64(10 * 24 * time.Hour))
		swept := cloud.sweep(t, s)
		clock.by.Store(0)
		var after []chaosThing
		if left, after = split(d.settled(s)); len(left) > 0 {
			bad("left after the sweep: %v\n%s", left, swept)
		}
		if fmt.Sprint(after) != fmt.Sprint(images) {
			bad("finished images: %v, and then %v", images, after)
		}
	} else if len(left) > 0 {
		outcome = "n"
		if more := unnamed(left, said); len(more) > 0 {
			bad("left and not named: %v", more)
		}
	}
	d.check(t, s)
	if t.Failed() {
		outcome = "!"
	}
	return outcome
}
