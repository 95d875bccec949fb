// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// A whole build: a machine, its image by the fast path, and nothing else left.
func TestWholeBuild(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		c, err := SignIn(t.Context(), s.credentials(), Options{HTTP: s.http})
		if err != nil || c.Account != s.account.ID || !strings.HasSuffix(c.ARN, ":user/packer") {
			t.Fatalf("%+v %v", c, err)
		}
		b := s.newBuild(t, nil)
		start := time.Now()
		machine, o, made, err := s.find(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		if o.Zone != simRegion+"a" || o.Shape != micro || o.OCPUs != 2 || o.MemoryGB != 1 || len(made) != 1 {
			t.Errorf("%+v, made %q", o, made)
		}
		if late := time.Since(start) - 12*time.Second; late > 3*time.Second {
			t.Errorf("seen %s after it ran", late)
		}
		addr, err := b.Address(t.Context(), machine)
		if err != nil || addr == "" {
			t.Errorf("address %q, %v", addr, err)
		}
		i, _ := s.resource(machine)
		if tag, err := owner.ParseTag(i.Tags[owner.Key]); err != nil || tag.Build != b.owner.ID || tag.Role != owner.RoleInstance || i.Tags[buildKey] != b.owner.ID || i.Tags["Name"] != "run" {
			t.Errorf("tags %v", i.Tags)
		}
		image := s.image(t, b, machine)
		if !strings.HasPrefix(image, "ami-") {
			t.Fatal(image)
		}
		s.tidy(t, b, machine)
		x, _ := s.resource(image)
		if tag, err := owner.ParseTag(x.Tags[owner.Key]); err != nil || tag.Unfinished || !tag.Expires.IsZero() || x.Tags["Name"] != "image" || x.Name != "built" {
			t.Errorf("%+v", x)
		}
		kept := s.kept()
		if len(kept) != 2 {
			t.Errorf("kept %q", kept)
		}
		s.nothingLeft(t, kept...)
		if got := b.Images(image); len(got) != 1 || got[simRegion] != image {
			t.Errorf("images %v", got)
		}
		if err := b.DeleteImage(t.Context(), image); err != nil {
			t.Error(err)
		}
		s.nothingLeft(t)
	})
}
