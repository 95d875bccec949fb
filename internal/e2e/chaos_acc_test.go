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

// chaosSample is how many runs there are in each cloud unless all are wanted.
const chaosSample = 18

// chaosCloud is a whole build and copy in one cloud.
type chaosCloud struct {
	name  string
	build func(t *testing.T, s *stage.Stage, p *runpacker.Packer, mark string) (string, error)
	// left is what there is beside what is finished.
	left  func(s *stage.Stage, d *decoys) []string
	sweep func(t *testing.T, s *stage.Stage) string
	ops   func(s *stage.Stage) []string
}

func chaosClouds() []chaosCloud {
	return []chaosCloud{
		{
			name: "oci",
			build: func(t *testing.T, s *stage.Stage, p *runpacker.Packer, mark string) (string, error) {
				return packerBuild(t.Context(), p, append(s.Env(), mark), "pipeline.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()))
			},
			left: func(s *stage.Stage, d *decoys) []string { return d.without(s.Left(finishedImages(s)...)) },
			sweep: func(t *testing.T, s *stage.Stage) (said string) {
				for _, of := range [][]string{nil, {"--env-prefix", "PROD_"}} {
					code, text := sweepCommand(t.Context(), t, s.Env(), append([]string{"--cloud", "oci"}, of...)...)
					said += fmt.Sprintf("exit code %d\n%s", code, text)
				}
				return said
			},
			ops: func(s *stage.Stage) (ops []string) {
				for _, r := range s.Cloud.Requests() {
					if r.Tenancy != "" {
						ops = append(ops, r.Op)
					}
				}
				return ops
			},
		},
		{
			name: "aws",
			build: func(t *testing.T, s *stage.Stage, p *runpacker.Packer, mark string) (string, error) {
				return packerBuild(t.Context(), p, append(s.Env(), "AWS_SUBNET_ID=", mark), "aws.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.AWS.Cloud.SSHPort()))
			},
			left: func(s *stage.Stage, d *decoys) []string { return d.without(leftOnAWS(s, finishedOnAWS(s))) },
			sweep: func(t *testing.T, s *stage.Stage) string {
				code, text := sweepCommand(t.Context(), t, s.Env(), "--cloud", "aws", "--region", "us-east-1,us-west-2,eu-central-1,eu-west-1")
				return fmt.Sprintf("exit code %d\n%s", code, text)
			},
			ops: func(s *stage.Stage) (ops []string) {
				for _, r := range s.AWS.Cloud.Requests() {
					if r.Account != "" {
						ops = append(ops, r.Op)
					}
				}
				return ops
			},
		},
	}
}

// divisor is the greatest that both have.
func divisor(a, b int) int {
	for b > 0 {
		a, b = b, a%b
	}
	return a
}

// finishedOnAWS names the images that this plugin has marked as finished.
func finishedOnAWS(s *stage.Stage) (ids string) {
	for _, a := range s.AWS.Cloud.Inventory().Accounts {
		for _, r := range a.Regions {
			for _, x := range r.Resources {
				if tag := x.Tags["armfree"]; x.Kind == "image" && tag != "" && !strings.Contains(tag, "expires=") {
					ids += " " + x.ID
				}
			}
		}
	}
	return ids
}

// Whatever goes wrong at whatever request of a whole build and copy: nothing is left,
// or it is named; after a death and one sweep past the expiry nothing is left; things
// of others, of builds that go on and finished images are never touched; and there are
// never two machines. This takes some requests; CHAOS=each takes the first and the last of
// each kind, and CHAOS=all takes all.
func TestAccChaos(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	var table matrix
	begun := time.Now()
	t.Run("at", func(t *testing.T) {
		for _, cloud := range chaosClouds() {
			if only := os.Getenv("CHAOS_CLOUD"); only != "" && only != cloud.name {
				continue
			}
			ops := baseline(t, cloud, p)
			runs := 0
			total := len(ops) * len(mishaps())
			step := max(1, total/chaosSample)
			for divisor(step, len(mishaps())) > 1 {
				step++ // all kinds are to have their turn
			}
			if os.Getenv("CHAOS") != "" {
				step = 1
			}
			for i := step / 2; i < total; i += step {
				n, m := i/len(mishaps())+1, mishaps()[i%len(mishaps())]
				op := ops[n-1]
				if os.Getenv("CHAOS") == "each" && slices.Contains(ops[:n-1], op) && slices.Contains(ops[n:], op) {
					continue // neither the first of its kind nor the last
				}
				runs++
				t.Run(fmt.Sprintf("%s/%d-%s/%s", cloud.name, n, op, m.name), func(t *testing.T) {
					t.Parallel()
					table.add(cloud.name, n, op, m.name, chaosRun(t, cloud, *p, n, m))
				})
			}
			table.sizes = append(table.sizes, fmt.Sprintf("%s: %d requests, %d kinds of mishap, %d runs", cloud.name, len(ops), len(mishaps()), runs))
		}
	})
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
	w := &numberedWire{}
	s := stage.ForTest(t, stage.Options{Wrap: w.Wrap, WrapAWS: w.Wrap})
	before := len(cloud.ops(s))
	w.start()
	said, err := cloud.build(t, s, p, "ARMFREE_TEST_RUN=none")
	w.stop()
	ops := cloud.ops(s)[before:]
	if err != nil || w.count < 40 || len(ops) != w.count {
		t.Fatalf("%d requests, of which %d are counted: %v\n%s", len(ops), w.count, err, said)
	}
	return ops
}

// chaosRun is one run. It returns what came of it.
func chaosRun(t *testing.T, cloud chaosCloud, p runpacker.Packer, n int, m mishap) string {
	mark := fmt.Sprintf("ARMFREE_TEST_RUN=%d-chaos-%s-%d-%s.", os.Getpid(), cloud.name, n, strings.ReplaceAll(m.name, " ", ""))
	w := &numberedWire{nth: n, mishap: m, mark: mark}
	clock := &later{}
	wrap := w.Wrap
	s := stage.ForTest(t, stage.Options{Wrap: wrapAll(clock.wrap, wrap), WrapAWS: wrapAll(clock.wrap, wrap), AWSNow: clock.now})
	d := plant(t, s)
	var two sync.Once
	w.every = func() {
		if is := machines(s); len(is) > 1 {
			two.Do(func() { t.Errorf("two machines at once: %q", is) })
		}
	}
	p.Ended = func() { pluginsEnd(t, mark, 4*time.Minute) }
	w.start()
	begun := time.Now()
	said, err := cloud.build(t, s, &p, mark)
	took := time.Since(begun)
	happened := w.stop()
	outcome := "."
	switch {
	case happened == "":
		outcome = "-" // it needed fewer requests this time
	case err != nil || !strings.Contains(said, "Builds finished. The artifacts"): // a Packer whose child was killed ends without an error
		outcome = "x"
	}
	if took > 3*time.Minute {
		t.Errorf("it took %s\n%s", took, said)
	}
	left := settled(func() []string { return cloud.left(s, d) })
	kept := fmt.Sprint(finishedImages(s), finishedOnAWS(s))
	if m.dead && len(left) > 0 {
		outcome = "s"
		clock.by.Store(int64(10 * 24 * time.Hour))
		swept := cloud.sweep(t, s)
		clock.by.Store(0)
		if left = settled(func() []string { return cloud.left(s, d) }); len(left) > 0 {
			outcome = "!"
			t.Errorf("left after the sweep: %q\n%s\n%s", left, said, swept)
		}
		d.check(t, s)
	} else if len(left) > 0 {
		outcome = "n"
		for _, l := range left {
			if !named(l, said) {
				outcome = "!"
				t.Errorf("left and not named: %q\n%s", l, said)
			}
		}
	}
	d.check(t, s)
	if now := fmt.Sprint(finishedImages(s), finishedOnAWS(s)); now != kept {
		t.Errorf("finished images: %s, and then %s", kept, now)
	}
	if t.Failed() {
		outcome = "!"
	}
	return outcome
}

// settled gives what is on its way out the time to go.
func settled(left func() []string) (list []string) {
	for range 40 {
		if list = left(); len(list) == 0 || !slices.ContainsFunc(list, func(l string) bool {
			return strings.Contains(l, "ING)") || strings.Contains(l, "ing)") || strings.Contains(l, "powered") || strings.Contains(l, "pending")
		}) {
			return list
		}
		time.Sleep(50 * time.Millisecond)
	}
	return list
}

// named says whether what is left is named in what was said. What goes with a machine
// is named with it.
func named(left, said string) bool {
	for _, word := range strings.Fields(left) {
		word = strings.Trim(word, `"(),`)
		if len(word) > 8 && strings.Contains(said, word) && !strings.Contains(word, "frankfurt") {
			return true
		}
	}
	return strings.HasPrefix(left, "boot volume") && strings.Contains(said, "its disk") || strings.HasPrefix(left, "running machine") && strings.Contains(said, "may still be there")
}
