// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// Whoever ends a build, and in whatever way, ends what the build has started. What
// only the plugin survives, the plugin cleans up.
func TestAccSignals(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source) // here, since the path of a socket is at most 107 bytes long
	tests := []struct {
		name string
		send func(packerRun)
	}{
		{"SIGKILL of Packer", func(r packerRun) { _ = signal(r.outer, syscall.SIGKILL) }},
		{"SIGKILL of its child", func(r packerRun) { _ = signal(r.inner, syscall.SIGKILL) }},
		{"SIGHUP to all", func(r packerRun) { _ = signalGroup(r.outer, syscall.SIGHUP) }},
		{"SIGHUP to Packer", func(r packerRun) { _ = signal(r.outer, syscall.SIGHUP) }},
		{"SIGTERM to Packer", func(r packerRun) { _ = signal(r.outer, syscall.SIGTERM) }},
		{"SIGTERM to all", func(r packerRun) { _ = signalGroup(r.outer, syscall.SIGTERM) }},
	}
	for _, m := range []tripwire.Moment{{Op: reports, Nth: 1}, {Op: "GetVnic", Nth: 1}, {Op: "GetImage", Nth: 3}, {Op: "ExportImage", Nth: 1}} {
		for n, tt := range tests {
			t.Run(fmt.Sprintf("%s-%d/%s", m.Op, m.Nth, tt.name), func(t *testing.T) {
				mark := fmt.Sprintf("ARMFREE_TEST_RUN=%d-signal-%s-%d", os.Getpid(), m.Op, n)
				p.Ended = func() { pluginsEnd(t, mark, 20*time.Second) }
				w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: func() { tt.send(packerProcesses(mark)) }}
				s := stage.ForTest(t, stage.Options{Wrap: w.Wrap})
				w.Watch(s.Cloud)
				said, err := packerBuild(t.Context(), p, append(s.Env(), mark), "pipeline.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()))
				at, pulled := w.Pulled()
				if !pulled { // a Packer whose child was killed ends without an error
					t.Fatalf("the build did not come so far: %v\n%s", err, said)
				}
				if d := time.Since(at); d > 15*time.Second {
					t.Errorf("the plugins went on for %s", d)
				}
				if left := s.Left(append(finished(said), finishedImages(s)...)...); len(left) > 0 {
					t.Errorf("left behind: %q\n%s", left, said)
				}
				for _, r := range s.Cloud.Requests() {
					if r.Op == "LaunchInstance" && r.Time.After(at.Add(time.Second)) {
						t.Errorf("a machine was asked for %s after the signal", r.Time.Sub(at))
					}
				}
			})
		}
	}
}

// Ctrl-C, and Ctrl-C again: it ends, and says how to remove the rest. That works.
func TestAccSecondInterrupt(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	mark := fmt.Sprintf("ARMFREE_TEST_RUN=%d-second", os.Getpid())
	var s *stage.Stage
	var second time.Time
	w := &tripwire.Wire{Op: "GetVnic", Nth: 1, Pull: func() {
		r := packerProcesses(mark)
		_ = signalGroup(r.outer, syscall.SIGINT)
		go func() {
			time.Sleep(700 * time.Millisecond)
			second = time.Now()
			_ = signalGroup(r.outer, syscall.SIGINT)
		}()
	}}
	slow := ocisim.QuickDelays()
	slow.Terminate = 20 * time.Second
	s = stage.ForTest(t, stage.Options{Wrap: w.Wrap, Delays: slow})
	w.Watch(s.Cloud)
	said, err := packerBuild(t.Context(), p, append(s.Env(), mark), "pipeline.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()))
	took := time.Since(second)
	t.Log(said)
	if _, pulled := w.Pulled(); !pulled || err == nil {
		t.Fatalf("the build did not come so far: %v", err)
	}
	if took > 6*time.Second {
		t.Errorf("it went on for %s", took)
	}
	if s.Cloud.CountRequests("TerminateInstance") == 0 {
		t.Error("nobody asked for the end of the machine")
	}
	var command string
	for line := range strings.Lines(said) {
		if _, after, ok := strings.Cut(line, "/packer-plugin-armfree"); ok {
			command = strings.TrimSpace(after)
			command = command[strings.Index(command, " ")+1:]
		}
	}
	if !strings.HasPrefix(command, "sweep --build ") {
		t.Fatalf("no command is said: %q", command)
	}
	if len(s.Left()) == 0 {
		t.Error("nothing was left: this test proves nothing")
	}
	code, text := sweepCommand(t.Context(), t, s.Env(), strings.Fields(command)[1:]...)
	t.Log(text)
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	for end := time.Now().Add(30 * time.Second); len(s.Left()) > 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("left behind: %q", s.Left())
		}
	}
}
