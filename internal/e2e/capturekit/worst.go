// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capturekit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/capture/helper"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// Builder is a builder whose captures are tested.
type Builder struct {
	// Stage is changed before it is built; the driver is the kit's.
	Stage stage.Options
	// Build captures, with more options.
	Build func(ctx context.Context, t *testing.T, s *stage.Stage, change map[string]interface{}, h inpacker.Hook) (packersdk.Artifact, string, error)
	// From is the first request to OCI from which on things go wrong; empty is the first
	// of all.
	From string
}

// Left is what there is beside the object of an artifact. What is on its way out is
// waited for.
func Left(t *testing.T, s *stage.Stage, a packersdk.Artifact) (left []string) {
	t.Helper()
	var keep []string
	if a != nil {
		keep = append(keep, fmt.Sprintf("%v/%v", a.State(ocibuild.StateBucket), a.State(ocibuild.StateObject)))
	}
	for range 100 {
		left = s.Left(keep...)
		if !slices.ContainsFunc(left, func(l string) bool { return strings.HasSuffix(l, " (deleting)") }) {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
			return left
		}
	}
	return left
}

// routes are both ways of the disk into the bucket.
func routes() map[string]map[string]interface{} {
	return map[string]map[string]interface{}{"direct": nil, "relay": {"capture_route": "relay"}}
}

// online is a stage whose machines reach Object Storage. wrap is put around both clouds.
func (b Builder) online(t *testing.T, wrap func(http.Handler) http.Handler) *stage.Stage {
	t.Helper()
	var s *stage.Stage
	o := b.Stage
	o.Driver = Machine{Client: func() *http.Client { return s.Net.Client() }}.Driver()
	o.Wrap, o.WrapAWS = wrap, wrap
	s = stage.ForTest(t, o)
	return s
}

// moments are those of a capture that goes well: each operation of a cloud, first and
// second time.
func (b Builder) moments(t *testing.T, change map[string]interface{}) (atOCI, atAWS []tripwire.Moment) {
	t.Helper()
	s := b.online(t, nil)
	if _, said, err := b.Build(t.Context(), t, s, change, nil); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	log := s.Cloud.Requests()
	if b.From != "" {
		log = log[slices.IndexFunc(log, func(r ocisim.Request) bool { return r.Op == b.From }):]
	}
	return tripwire.Moments(log, func(r ocisim.Request) string { return r.Op }),
		tripwire.Moments(s.AWS.Cloud.Requests(), func(r ec2sim.Request) string { return r.Op })
}

// Cancelled cancels at any request of a capture, to either cloud: that leaves nothing, or
// the finished object, which is said.
func (b Builder) Cancelled(t *testing.T) {
	for route, change := range routes() {
		atOCI, atAWS := b.moments(t, change)
		for i, m := range slices.Concat(atOCI, atAWS) {
			of := func(s *stage.Stage) tripwire.Cloud { return s.Cloud }
			if i >= len(atOCI) {
				of = func(s *stage.Stage) tripwire.Cloud { return s.AWS.Cloud }
			}
			t.Run(fmt.Sprintf("%s/%s-%d", route, m.Op, m.Nth), func(t *testing.T) {
				sample.Case(t)
				t.Parallel()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: cancel}
				s := b.online(t, w.Wrap)
				w.Watch(of(s))
				a, said, err := b.Build(ctx, t, s, change, nil)
				at, pulled := w.Pulled()
				if pulled && time.Since(at) > 30*time.Second {
					t.Errorf("went on for %s", time.Since(at))
				}
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%v\n%s", err, said)
				}
				if left := Left(t, s, a); len(left) > 0 {
					t.Errorf("%v, left behind: %q\n%s", err, left, said)
				}
			})
		}
	}
}

// BadDays has a request of a capture to OCI fail once, or its reply be lost: that makes
// no difference.
func (b Builder) BadDays(t *testing.T) {
	faults := map[string]ocisim.Fault{
		"busy":               {Kind: ocisim.FaultStatus, Status: 503, Code: "ServiceUnavailable", Message: "Try again."},
		"throttled":          {Kind: ocisim.FaultStatus, Status: 429, Code: "TooManyRequests", Message: "Slow down."},
		"the reply is lost":  {Kind: ocisim.FaultCutAfterEffect},
		"the reply is a 502": {Kind: ocisim.FaultStatusAfterEffect, Status: 502},
	}
	for route, change := range routes() {
		var ops []string
		atOCI, _ := b.moments(t, change)
		for _, m := range atOCI {
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
					sample.Case(t)
					t.Parallel()
					s := b.online(t, nil)
					f.Op, f.Times = op, 1
					if err := s.Cloud.AddFaults(f); err != nil {
						t.Fatal(err)
					}
					a, said, err := b.Build(t.Context(), t, s, change, nil)
					if err != nil {
						t.Fatalf("%v\n%s", err, said)
					}
					if left := Left(t, s, a); len(left) > 0 {
						t.Errorf("left behind: %q\n%s", left, said)
					}
				})
			}
		}
	}
}

// NotPermitted never permits a request of a capture: the build fails with what was
// refused.
func (b Builder) NotPermitted(t *testing.T) {
	for _, op := range []string{"PutObject", "CreatePreauthenticatedRequest", "PutObjectByPAR", "CommitMultipartUpload"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			s := b.online(t, nil)
			err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: op, Status: 404, Code: "NotAuthorizedOrNotFound", Message: "Authorization failed or requested resource not found."})
			if err != nil {
				t.Fatal(err)
			}
			_, said, err := b.Build(t.Context(), t, s, nil, nil)
			if err == nil || !strings.Contains(err.Error(), "404 NotAuthorizedOrNotFound") {
				t.Errorf("%v\n%s", err, said)
			}
			if left := Left(t, s, nil); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

// LosesItsMachine takes the machine away at each step of the helper: the build ends with
// an error, and leaves nothing.
func (b Builder) LosesItsMachine(t *testing.T) {
	for _, step := range []string{"while it is brought", "while it waits", "while the disk is quieted", "while the disk is read"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			m := &Mortals{}
			m.Fast = Machine{Change: func(q *helper.Quiet) error {
				switch step {
				case "while the disk is quieted":
					m.Kill()
				case "while the disk is read":
					q.Disk = Failing{ReaderAt: q.Disk, Err: context.Canceled, Do: m.Kill}
				}
				return nil
			}}.Driver()
			if run := m.ELF; step == "while it is brought" {
				m.ELF = func(ctx context.Context, p *machine.Process) int {
					m.Kill()
					<-ctx.Done()
					return run(ctx, p)
				}
			}
			o := b.Stage
			o.Driver = m
			s := stage.ForTest(t, o)
			_, said, err := b.Build(t.Context(), t, s, map[string]interface{}{"image_timeout": "20s"}, func(context.Context, packersdk.Ui, packersdk.Communicator) error {
				if step == "while it waits" {
					m.Kill()
				}
				return nil
			})
			if err == nil {
				t.Errorf("%s", said)
			}
			t.Log(err)
			if left := Left(t, s, nil); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}
