// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// A build that takes longer than it seemed keeps all that it has, and its image is not
// expired when it is begun; once it is dead, all of it goes.
func TestRenew(t *testing.T) {
	for _, market := range []Market{OnDemand, Spot} {
		bubble(t, func(t *testing.T) {
			s := newSim(t, simOptions{})
			b := s.newBuild(t, everything("long", market))
			machine := s.machine(t, b)
			for range 3 {
				time.Sleep(6 * time.Hour)
				if err := sweep.Renew(t.Context(), b.Leftovers(), b.owner.ID, 8*time.Hour); err != nil {
					t.Fatal(err)
				}
				if r := s.sweep(t, nil); len(r.Removed)+len(r.Left) > 0 {
					t.Fatalf("removed %v, left %v", r.Removed, r.Left)
				}
			}
			b.Extend(time.Now().Add(8 * time.Hour))
			if _, err := b.StartImage(t.Context(), machine, b.owner.Token("image", machine)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(7 * time.Hour)
			if r := s.sweep(t, nil); len(r.Removed) > 0 {
				t.Errorf("removed %v", r.Removed)
			}
			time.Sleep(over)
			r := s.sweep(t, nil)
			if got := kinds(r.Removed); len(r.Left) > 0 || !slices.Contains(got, "instance") || !slices.Contains(got, "role") || !slices.Contains(got, "security group") || !slices.Contains(got, "key pair") {
				t.Errorf("removed %q, left %v", got, r.Left)
			}
			s.nothingLeft(t)
		})
	}
}
