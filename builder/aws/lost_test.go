// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// A reply that is lost, when the lists show only 10 seconds later what was made,
// costs time and nothing else: the build goes on with what was made, and if it is
// cancelled instead, nothing stays.
func TestLostRepliesAndLists(t *testing.T) {
	t.Parallel()
	const lag = 10 * time.Second
	disks := set{"launch_block_device_mappings": []set{{"device_name": "/dev/sdf", "volume_size": 5, "delete_on_termination": true}}}
	for _, tt := range []struct {
		op     string
		nth    int
		change set
		cancel bool
	}{
		{op: "CreateSnapshot"},
		{op: "CreateSnapshot", nth: 1, change: disks},
		{op: "CreateImage", change: set{"image_method": "image"}},
		{op: "RegisterImage"},
		{op: "CreateSecurityGroup"},
		{op: "RunInstances", cancel: true},
		{op: "CreateSecurityGroup", cancel: true},
		{op: "CreateSnapshot", cancel: true},
		{op: "CreateImage", change: set{"image_method": "image"}, cancel: true},
		{op: "RegisterImage", cancel: true},
		{op: "CopyImage", change: set{"ami_regions": []string{"eu-west-1"}}, cancel: true},
	} {
		name := tt.op
		if tt.nth > 0 {
			name += " of another volume"
		}
		if tt.cancel {
			name += ", and a cancel"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{})
			addFaults(t, s,
				ec2sim.Fault{Kind: ec2sim.FaultCutAfterEffect, Op: tt.op, Skip: tt.nth, Times: 1},
				ec2sim.Fault{Kind: ec2sim.FaultInvisible, Op: tt.op, Skip: tt.nth, Times: 1, Delay: lasts(lag)})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.cancel {
				go func() {
					for s.AWS.Cloud.CountRequests(tt.op) <= tt.nth && ctx.Err() == nil {
						time.Sleep(5 * time.Millisecond)
					}
					cancel()
				}()
			}
			a, said, err := build(ctx, t, s, tt.change, nil)
			if (err != nil) != tt.cancel {
				t.Errorf("%v\n%s", err, said)
			}
			if f := s.AWS.Cloud.Faults(); f[0].Matched == 0 || f[1].Matched == 0 {
				t.Error("nothing was lost")
			}
			time.Sleep(time.Second) // the last of what is gone goes
			if l := left(t, s, a); len(l) > 0 {
				t.Errorf("left behind: %q\n%s", l, said)
			}
			if a == nil || tt.cancel {
				return
			}
			if n := machines(s); n != 1 {
				t.Errorf("%d machines were made\n%s", n, said)
			}
		})
	}
}

// What never shows up is named, so that it can be looked for.
func TestLostRepliesAreNamed(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	addFaults(t, s, ec2sim.Fault{Kind: ec2sim.FaultCutAfterEffect, Op: "CreateSnapshot", Times: 1}, ec2sim.Fault{Kind: ec2sim.FaultInvisible, Op: "CreateSnapshot", Delay: lasts(time.Hour)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for s.AWS.Cloud.CountRequests("CreateSnapshot") == 0 && ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	_, said, err := build(ctx, t, s, set{"cleanup_timeout": "3s"}, nil)
	if err == nil || !strings.Contains(said, "Cleanup: a request for a new image was not confirmed and cannot be looked up; should there be something all the same, it is the image or snapshot whose tag \"armfree\" has attempt=") {
		t.Errorf("%v\n%s", err, said)
	}
}
