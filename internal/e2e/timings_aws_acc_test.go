// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// awsWatch takes the times of builds on one stage, from what the simulated cloud and
// its machines saw: it is one measure for every plugin.
type awsWatch struct {
	s *stage.Stage

	mu     sync.Mutex
	events []machine.Event

	requests, seen int // how many there were when the build began
	begin          time.Time
}

// watch is told by machines what comes to pass in them.
func (w *awsWatch) watch(e machine.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
}

func (w *awsWatch) start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests, w.seen, w.begin = len(w.s.AWS.Cloud.Requests()), len(w.events), time.Now()
}

// awsStretches are the ways from one moment of a build to the next.
func awsStretches() []string {
	return []string{"start of Packer to launch request", "launch request to SSH login", "provisioning", "provisioned to image request", "image request to terminate request", "terminate request to end of Packer", "whole"}
}

// stop is for when the build has ended, with one machine: how long each stretch
// took, and how many requests there were.
func (w *awsWatch) stop(t *testing.T) (took []time.Duration, requests int) {
	t.Helper()
	end := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.s.AWS.Cloud.Requests()[w.requests:]
	first := func(ops ...string) time.Time {
		for _, r := range log {
			if slices.Contains(ops, r.Op) && r.Status == 200 {
				return r.Time
			}
		}
		return time.Time{}
	}
	var login, provisioned time.Time
	for _, e := range w.events[w.seen:] {
		switch {
		case e.What == machine.EventLogin && login.IsZero():
			login = e.Time
		case e.What == machine.EventEnd:
			provisioned = e.Time
		}
	}
	at := []time.Time{w.begin, first("RunInstances"), login, provisioned, first("CreateImage", "CreateSnapshot"), first("TerminateInstances"), end}
	for i := 1; i < len(at); i++ {
		if at[i].Before(at[i-1]) {
			t.Errorf("%s: %s", awsStretches()[i-1], at[i].Sub(at[i-1]))
		}
		took = append(took, at[i].Sub(at[i-1]))
	}
	return append(took, end.Sub(w.begin)), len(log)
}

// The template with which the unmodified packer-plugin-amazon completes a build
// completes one with ours, by the one line of a drop-in, in the same simulated cloud;
// and how long each took for each phase is printed. PEER_AMAZON_PLUGIN is the path of
// the peer's binary; without it ours runs alone. Nothing is asserted of times but
// their order.
func TestAccAWSTimings(t *testing.T) {
	alone(t)
	const template = "amazon-ebs.pkr.hcl"
	plugin := os.Getenv("PEER_AMAZON_PLUGIN")
	ours := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	changed := t.TempDir()
	if err := os.WriteFile(filepath.Join(changed, template), ok[[]byte](t)(os.ReadFile(filepath.Join("testdata", template))), 0o600); err != nil {
		t.Fatal(err)
	}
	changeTheAWSLine(t, filepath.Join(changed, template))
	for _, tt := range []struct {
		name   string
		delays *ec2sim.Delays
		boot   time.Duration // running until the machine lets somebody in
	}{
		{"quick", ec2sim.QuickDelays(), 0},
		{"realistic", ec2sim.RealisticDelays(), 2500 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := new(awsWatch)
			w.s = stage.ForTest(t, stage.Options{AWSDelays: tt.delays, Driver: &machine.Fast{BootDelay: tt.boot, Watch: w.watch}})
			said := ""
			measure := func(p *runpacker.Packer, dir, image string) ([]time.Duration, int) {
				t.Helper()
				var out inpacker.Output
				w.start()
				err := p.Run(t.Context(), dir, append(w.s.Env(), "AWS_SUBNET_ID="), &out, "build", "-var", fmt.Sprintf("ssh_port=%d", w.s.AWS.Cloud.SSHPort()), "-var", "name="+image, template)
				took, requests := w.stop(t)
				if err != nil {
					t.Fatalf("%s: %v\n%s", image, err, out.String())
				}
				said += out.String()
				return took, requests
			}
			var peer []time.Duration
			peerRequests := 0
			if plugin != "" {
				peer, peerRequests = measure(packer(t, plugin, "github.com/hashicorp/amazon"), "testdata", "by-the-peer")
			}
			us, requests := measure(ours, changed, "by-us")
			d := tt.delays
			own := []time.Duration{0, d.Pending + tt.boot, 0, d.Stop, d.Snapshot + d.Image + d.Copy, d.Terminate, d.Pending + tt.boot + d.Stop + d.Snapshot + d.Image + d.Copy + d.Terminate}
			rows := [][]string{{"phase", "peer", "ours", "peer / ours", "the cloud's own"}, {"---", "--:", "--:", "--:", "--:"}}
			short := func(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }
			for i, name := range awsStretches() {
				row := []string{name, "-", short(us[i]), "-", "-"}
				if peer != nil {
					row[1] = short(peer[i])
					if us[i] >= 5*time.Millisecond { // else it is chance
						row[3] = fmt.Sprintf("%.1f", peer[i].Seconds()/us[i].Seconds())
					}
				}
				if own[i] > 0 {
					row[4] = short(own[i])
				}
				rows = append(rows, row)
			}
			counted := []string{"requests", "-", fmt.Sprint(requests), "-", "-"}
			if peer != nil {
				counted[1], counted[3] = fmt.Sprint(peerRequests), fmt.Sprintf("%.1f", float64(peerRequests)/float64(requests))
			} else {
				t.Log("the peer is missing: PEER_AMAZON_PLUGIN does not name a binary of packer-plugin-amazon")
			}
			t.Logf("%s delays, boot %s:\n%s", tt.name, tt.boot, aligned(append(rows, counted)))
			images := 0
			for _, r := range w.s.AWS.Cloud.Inventory().Accounts[0].Regions {
				for _, x := range r.Resources {
					if x.Kind == "image" {
						images++
					}
				}
			}
			if want := map[bool]int{true: 4, false: 2}[plugin != ""]; images != want {
				t.Errorf("%d images, want %d\n%s", images, want, said)
			}
		})
	}
}
