// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/capture/helper"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// Both ways of the disk into the bucket.
func routes() map[string]map[string]interface{} {
	return map[string]map[string]interface{}{"direct": nil, "relay": {"capture_route": "relay"}}
}

// requests is what a capture that goes well asks of Object Storage, and of OCI after the
// disk is captured: each operation, first and second time.
func requests(t *testing.T, change map[string]interface{}) []tripwire.Moment {
	t.Helper()
	s := online(t, nil)
	if _, said, err := captureBuild(t.Context(), t, s, change, nil); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	log := s.Cloud.Requests()
	begin := slices.IndexFunc(log, func(r ocisim.Request) bool { return r.Op == "PutObject" })
	return tripwire.Moments(log[begin:], func(r ocisim.Request) string { return r.Op })
}

// online is a stage whose machines reach Object Storage.
func online(t *testing.T, wrap func(http.Handler) http.Handler) *stage.Stage {
	t.Helper()
	var s *stage.Stage
	s = stage.ForTest(t, stage.Options{Driver: withHelperOnline(func() *http.Client { return s.Net.Client() }, nil), Adjust: noImages, Wrap: wrap})
	return s
}

// A cancel at any request of a capture leaves nothing, or the finished object, which is
// said.
func TestCaptureCancelled(t *testing.T) {
	t.Parallel()
	for route, change := range routes() {
		for _, m := range requests(t, change) {
			t.Run(fmt.Sprintf("%s/%s-%d", route, m.Op, m.Nth), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: cancel}
				s := online(t, w.Wrap)
				w.Watch(s.Cloud)
				a, said, err := captureBuild(ctx, t, s, change, nil)
				if at, pulled := w.Pulled(); pulled && time.Since(at) > 30*time.Second {
					t.Errorf("went on for %s", time.Since(at))
				}
				left := s.Left()
				if err == nil {
					left = s.Left(stage.BucketName + "/" + a.(*ocibuild.Captured).Object)
				}
				if len(left) > 0 {
					t.Errorf("%v, left behind: %q\n%s", err, left, said)
				}
			})
		}
	}
}

// A request of a capture that fails once, or whose reply is lost, makes no difference.
func TestCaptureOnBadDays(t *testing.T) {
	t.Parallel()
	faults := map[string]ocisim.Fault{
		"busy":               {Kind: ocisim.FaultStatus, Status: 503, Code: "ServiceUnavailable", Message: "Try again."},
		"the reply is lost":  {Kind: ocisim.FaultCutAfterEffect},
		"the reply is a 502": {Kind: ocisim.FaultStatusAfterEffect, Status: 502},
	}
	for route, change := range routes() {
		var ops []string
		for _, m := range requests(t, change) {
			if !slices.Contains(ops, m.Op) && m.Op != "UnknownRoute" && !strings.HasSuffix(m.Op, "Instance") {
				ops = append(ops, m.Op)
			}
		}
		if len(ops) < 5 {
			t.Fatalf("%q", ops)
		}
		for _, op := range ops {
			for name, f := range faults {
				t.Run(route+"/"+op+"/"+name, func(t *testing.T) {
					t.Parallel()
					s := online(t, nil)
					f.Op, f.Times = op, 1
					if err := s.Cloud.AddFaults(f); err != nil {
						t.Fatal(err)
					}
					a, said, err := captureBuild(t.Context(), t, s, change, nil)
					if err != nil {
						t.Fatalf("%v\n%s", err, said)
					}
					if left := s.Left(stage.BucketName + "/" + a.(*ocibuild.Captured).Object); len(left) > 0 {
						t.Errorf("left behind: %q\n%s", left, said)
					}
				})
			}
		}
	}
}

// A request of a capture that is never permitted fails the build with what was refused.
func TestCaptureIsNotPermitted(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"PutObject", "CreatePreauthenticatedRequest", "PutObjectByPAR", "CommitMultipartUpload"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			s := online(t, nil)
			if err := s.Cloud.AddFaults(unreadable(op)); err != nil {
				t.Fatal(err)
			}
			_, said, err := captureBuild(t.Context(), t, s, nil, nil)
			if err == nil || !strings.Contains(err.Error(), "404 NotAuthorizedOrNotFound") {
				t.Errorf("%v\n%s", err, said)
			}
			if left := s.Left(); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

// mortals are machines that can be lost.
type mortals struct {
	*machine.Fast
	mu   sync.Mutex
	last machine.Machine
}

func (m *mortals) Start(ctx context.Context, spec machine.Spec) (machine.Machine, error) {
	got, err := m.Fast.Start(ctx, spec)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = got
	return got, err
}

// kill cuts the power, from within a program of the machine as well.
func (m *mortals) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	go m.last.Kill() //nolint:errcheck // what comes of it the build will see
}

// The machine is lost at each step of the helper: the build ends with an error, and
// leaves nothing.
func TestCaptureLosesItsMachine(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"while it is brought", "while it waits", "while the disk is quieted", "while the disk is read"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			m := &mortals{}
			m.Fast = withHelper(func(q *helper.Quiet) error {
				switch step {
				case "while the disk is quieted":
					m.kill()
				case "while the disk is read":
					q.Disk = failingBy{failing{q.Disk, context.Canceled}, m.kill}
				}
				return nil
			})
			if run := m.ELF; step == "while it is brought" {
				m.ELF = func(ctx context.Context, p *machine.Process) int {
					m.kill()
					<-ctx.Done()
					return run(ctx, p)
				}
			}
			s := stage.ForTest(t, stage.Options{Driver: m, Adjust: noImages})
			_, said, err := captureBuild(t.Context(), t, s, map[string]interface{}{"image_timeout": "20s"}, func(context.Context, packersdk.Ui, packersdk.Communicator) error {
				if step == "while it waits" {
					m.kill()
				}
				return nil
			})
			if err == nil {
				t.Errorf("%s", said)
			}
			t.Log(err)
			if left := s.Left(); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

// failingBy does something before it fails.
type failingBy struct {
	failing
	do func()
}

func (f failingBy) ReadAt(p []byte, at int64) (int, error) {
	if len(p) >= 1<<20 {
		f.do()
	}
	return f.failing.ReadAt(p, at)
}
