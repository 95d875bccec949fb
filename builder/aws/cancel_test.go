// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// way is a build that asks for something that those before it do not.
type way struct {
	name   string
	change set
}

// ways together ask for everything that a build may ask for.
func ways() []way {
	return []way{
		{"plain", nil},
		{"all", set{
			"image_method": "image", "ami_regions": []string{"eu-west-1"}, "ssh_key_delivery": "key_pair", "imds_support": "v2.0", "machine_lifetime": "1h",
			"ami_users": []string{"123456789012"}, "snapshot_users": []string{"123456789012"}, "deprecate_at": "720h", "deregistration_protection": set{"enabled": true},
			"temporary_iam_instance_profile_policy_document": set{"Statement": []set{{"Action": []string{"s3:GetObject"}, "Resource": []string{"*"}}}},
		}},
		{"disks", set{
			"launch_block_device_mappings": []set{{"device_name": "/dev/sdf", "volume_size": 5, "delete_on_termination": true}},
			"source_ami_ssm_parameter":     "/aws/service/debian/release/12/latest/arm64", "source_ami": nil,
		}},
		{"spot", set{"spot_price": "auto", "instance_type": "t4g.micro"}},
	}
}

// disturbed is a moment at which a build can be disturbed.
type disturbed struct {
	way
	tripwire.Moment
}

func (d disturbed) String() string { return fmt.Sprintf("%s/%s-%d", d.name, d.Op, d.Nth) }

// moments are those of all ways; what two ways have in common is tried in the first.
func moments(t *testing.T) (all []disturbed) {
	t.Helper()
	seen := map[tripwire.Moment]bool{}
	for _, w := range ways() {
		s := stage.ForTest(t, stage.Options{})
		built(t, s, w.change, nil)
		for _, m := range tripwire.Moments(s.AWS.Cloud.Requests(), func(r ec2sim.Request) string { return r.Op }) {
			if !seen[m] {
				seen[m] = true
				all = append(all, disturbed{w, m})
			}
		}
	}
	if len(all) < 40 {
		t.Errorf("only %d moments: %q", len(all), all)
	}
	return all
}

// slowly makes sure that a build comes to the second look at something that it
// waits for: on a busy computer the first one may come when it is over.
func (d disturbed) slowly(t *testing.T, s *stage.Stage, lasts time.Duration) {
	t.Helper()
	if d.Op == "DescribeSnapshots" {
		addFaults(t, s, ec2sim.Fault{Kind: ec2sim.FaultSlow, Op: "CreateSnapshot", State: "pending", Delay: ec2sim.Duration(lasts)})
	}
}

// A build that is cancelled at any request ends soon, with nothing left.
func TestCancelAnywhere(t *testing.T) {
	t.Parallel()
	for _, d := range moments(t) {
		t.Run(d.String(), func(t *testing.T) {
			sample.Case(t)
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := &tripwire.Wire{Op: d.Op, Nth: d.Nth, Pull: cancel}
			s := stage.ForTest(t, stage.Options{WrapAWS: w.Wrap})
			d.slowly(t, s, time.Hour)
			w.Watch(s.AWS.Cloud)
			a, said, err := build(ctx, t, s, d.change, nil) // a is there if it was too late to matter
			if l := left(t, s, a); len(l) > 0 {
				t.Errorf("left behind: %q\n%v\n%s", l, err, said)
			}
			at, ok := w.Pulled()
			if !ok {
				t.Fatal("the build did not come so far")
			}
			if d := time.Since(at); d > 30*time.Second {
				t.Errorf("went on for %s\n%s", d, said)
			}
		})
	}
}

// A reply that is lost after the request took effect never makes two machines or
// two images, and nothing stays that nobody knows of. Whoever only reads asks
// again.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	for _, d := range moments(t) {
		faults := []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect}}
		if !strings.HasPrefix(d.Op, "Describe") && !strings.HasPrefix(d.Op, "Get") {
			faults = append(faults, ec2sim.Fault{Kind: ec2sim.FaultStatusAfterEffect, Status: 503, Code: "Unavailable", Message: "The service is unavailable."})
		}
		for _, f := range faults {
			f = ec2sim.Fault{Kind: f.Kind, Op: d.Op, Skip: d.Nth - 1, Times: 1, Status: f.Status, Code: f.Code, Message: f.Message}
			t.Run(d.String()+"-"+string(f.Kind), func(t *testing.T) {
				sample.Case(t)
				t.Parallel()
				s := stage.ForTest(t, stage.Options{})
				addFaults(t, s, f)
				d.slowly(t, s, 5*time.Second)
				a, said := built(t, s, d.change, nil)
				if l := left(t, s, a); len(l) > 0 {
					t.Errorf("left behind: %q\n%s", l, said)
				}
				if n := machines(s); n != 1 {
					t.Errorf("%d machines were made\n%s", n, said)
				}
				if s.AWS.Cloud.Faults()[0].Matched == 0 {
					t.Error("no reply was lost")
				}
			})
		}
	}
}

// machines counts those that were ever made: launches by another token each.
func machines(s *stage.Stage) int {
	var tokens []string
	for _, r := range s.AWS.Cloud.Requests() {
		if r.Op == "RunInstances" && (r.Status == 200 || r.Fault != "") && !slices.Contains(tokens, r.ClientToken) {
			tokens = append(tokens, r.ClientToken)
		}
	}
	return len(tokens)
}

// Who cancels while a snapshot is being made does not wait for it, and the machine
// ends at once.
func TestCancelDuringASlowImage(t *testing.T) {
	t.Parallel()
	for _, way := range []set{{"image_method": "snapshot"}, {"image_method": "image"}} {
		t.Run(way["image_method"].(string), func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{})
			op := map[string]string{"snapshot": "CreateSnapshot", "image": "CreateImage"}[way["image_method"].(string)]
			addFaults(t, s, ec2sim.Fault{Kind: ec2sim.FaultSlow, Op: op, State: "pending", Delay: ec2sim.Duration(time.Hour)})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for s.AWS.Cloud.CountRequests(op) == 0 {
					time.Sleep(5 * time.Millisecond)
				}
				time.Sleep(100 * time.Millisecond)
				cancel()
			}()
			_, said, err := build(ctx, t, s, way, nil)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v\n%s", err, said)
			}
			nothingLeft(t, s)
			if !strings.Contains(said, "is being terminated") && t.Failed() {
				t.Log(said)
			}
		})
	}
}
