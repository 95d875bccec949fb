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
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// ways are builds that together ask for everything that a build may ask for.
func ways() map[string]set {
	return map[string]set{
		"plain": nil,
		"all": {
			"image_method": "image", "ami_regions": []string{"eu-west-1"}, "ssh_key_delivery": "key_pair", "imds_support": "v2.0", "machine_lifetime": "1h",
			"ami_users": []string{"123456789012"}, "snapshot_users": []string{"123456789012"}, "deprecate_at": "720h", "deregistration_protection": set{"enabled": true},
			"temporary_iam_instance_profile_policy_document": set{"Statement": []set{{"Action": []string{"s3:GetObject"}, "Resource": []string{"*"}}}},
		},
		"disks": {"launch_block_device_mappings": []set{{"device_name": "/dev/sdf", "volume_size": 5, "delete_on_termination": true}}, "source_ami_ssm_parameter": "/aws/service/debian/release/12/latest/arm64", "source_ami": nil},
		"spot":  {"spot_price": "auto", "instance_type": "t4g.micro"},
	}
}

// moments are those at which a build of some way can be disturbed.
func moments(t *testing.T, change set) []tripwire.Moment {
	t.Helper()
	s := stage.ForTest(t, stage.Options{})
	built(t, s, change, nil)
	return tripwire.Moments(s.AWS.Cloud.Requests(), func(r ec2sim.Request) string { return r.Op })
}

// A build that is cancelled at any request ends soon, with nothing left.
func TestCancelAnywhere(t *testing.T) {
	for way, change := range ways() {
		for _, m := range moments(t, change) {
			t.Run(fmt.Sprintf("%s/%s-%d", way, m.Op, m.Nth), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: cancel}
				s := stage.ForTest(t, stage.Options{WrapAWS: w.Wrap})
				w.Watch(s.AWS.Cloud)
				a, said, err := build(ctx, t, s, change, nil)
				if err != nil { // else it was cancelled while it tidied up: too late to matter
					a = nil
				}
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
}

// A reply that is lost after the request took effect never makes two machines or
// two images, and nothing stays that nobody knows of. Whoever only reads asks
// again.
func TestLostReplies(t *testing.T) {
	for way, change := range ways() {
		for _, m := range moments(t, change) {
			for _, f := range []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect}, {Kind: ec2sim.FaultStatusAfterEffect, Status: 503, Code: "Unavailable", Message: "The service is unavailable."}} {
				f.Op, f.Skip, f.Times = m.Op, m.Nth-1, 1
				t.Run(fmt.Sprintf("%s/%s-%d-%s", way, m.Op, m.Nth, f.Kind), func(t *testing.T) {
					t.Parallel()
					s := stage.ForTest(t, stage.Options{})
					addFaults(t, s, f)
					a, said, err := build(t.Context(), t, s, change, nil)
					if err != nil {
						t.Fatalf("%v\n%s", err, said)
					}
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
