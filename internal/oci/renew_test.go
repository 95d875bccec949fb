// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// A build that takes longer than it seemed keeps its machine, and its image is not
// expired when it is begun; once it is dead, all of it goes.
func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		b := s.newBuild(t, func(c *BuildConfig) { c.InstanceTags = map[string]string{"team": "infra"} })
		empty := s.there()
		token := b.owner.Token("launch")
		machine, err := b.Launch(t.Context(), capacity.Offer{Zone: s.ad("AD-1"), Shape: a1, OCPUs: 1, MemoryGB: 6}, token)
		if err == nil {
			err = b.AwaitMachine(t.Context(), machine)
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(6 * time.Hour)
			if err := sweep.Renew(t.Context(), b.Leftovers(), b.owner.ID, 8*time.Hour); err != nil {
				t.Fatal(err)
			}
			if r := s.sweep(t, nil); len(r.Removed)+len(r.Left) > 0 {
				t.Fatalf("removed %v, left %v", r.Removed, r.Left)
			}
		}
		i, err := b.instance(t.Context(), machine)
		if err != nil {
			t.Fatal(err)
		}
		tag, err := owner.ParseTag(i.FreeformTags[owner.Key])
		if err != nil || tag.Attempt != token || i.FreeformTags["team"] != "infra" || time.Until(tag.Expires).Round(time.Minute) != 8*time.Hour {
			t.Errorf("%v: %v", i.FreeformTags, err)
		}
		b.Extend(time.Now().Add(8 * time.Hour))
		image, err := b.StartImage(t.Context(), machine, b.owner.Token("image"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(7 * time.Hour)
		if r := s.sweep(t, nil); len(r.Removed) > 0 {
			t.Errorf("removed %v", r.Removed)
		}
		if img, err := b.image(t.Context(), image); err != nil || img.state != "AVAILABLE" {
			t.Errorf("%+v %v", img, err)
		}
		time.Sleep(2 * time.Hour)
		if r := s.sweep(t, nil); len(r.Removed) != 2 || len(s.there()) != len(empty) {
			t.Errorf("removed %v, there is %q", r.Removed, s.there())
		}
	})
}

// A capture that is begun late in a long build is no leftover as long as that goes on.
func TestRenewCapture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		bucket := s.newBucket(t)
		b := s.newBuild(t, func(c *BuildConfig) { c.Image.Capture = CaptureConfig{Method: CaptureDisk, Bucket: bucket.Bucket} })
		b.bucket = bucket
		empty := s.there()
		time.Sleep(20 * time.Hour) // its expiry is long over
		b.Extend(time.Now().Add(8 * time.Hour))
		c, err := b.BeginCapture(t.Context(), "armfree-capture-x-"+b.owner.ID+".oci", true, 4*time.Hour, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		if r := s.sweep(t, nil); len(r.Removed) > 0 {
			t.Errorf("removed %v", r.Removed)
		}
		if _, err := (sweep.Sweep{Cloud: b.Leftovers()[0]}).Run(t.Context()); err != nil || len(s.there()) != len(empty)+3 {
			t.Errorf("%v, there is %q", err, s.there())
		}
		if err := c.Discard(t.Context()); err != nil || len(s.there()) != len(empty) {
			t.Errorf("%v, there is %q", err, s.there())
		}
	})
}
