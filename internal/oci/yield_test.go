// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
)

// Ten builds of one tenancy begin at once. Each plan finds the free allowance unused,
// and the account may have more: together they keep no more than what is free, and
// somebody gets it.
func TestTenBuildsStayFree(t *testing.T) {
	for _, tt := range []struct {
		name  string
		tier  FreeTier
		apart bool // half a minute from launch to launch
		stay  int
	}{
		{"at the same moment", FreeRequire, false, 2},
		{"one after the other", FreeRequire, true, 2},
		{"nobody minds", FreeIgnore, false, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, simOptions{})
				size := Size{Shape: a1, OCPUs: 1, MemoryGB: 6}
				builds := make([]*Build, 10)
				for i := range builds {
					builds[i] = s.newBuild(t, func(c *BuildConfig) { c.Sizes, c.FreeTier = []Size{size}, tt.tier })
					if _, err := builds[i].Plan(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				var mu sync.Mutex
				var stay []string
				one := func(b *Build) {
					o := capacity.Offer{Zone: s.ad("AD-2"), Shape: size.Shape, OCPUs: size.OCPUs, MemoryGB: size.MemoryGB}
					id, err := b.Launch(t.Context(), o, b.owner.Token("launch"))
					if err != nil {
						t.Error(err)
						return
					}
					if err = b.AwaitMachine(t.Context(), id); err == nil {
						mu.Lock()
						defer mu.Unlock()
						stay = append(stay, id)
						return
					}
					if v := b.Examine(t.Context(), o, b.Classify(err)); v.Outcome != capacity.LimitReached || !strings.Contains(v.Reason, "makes room for it") || v.Ambiguous {
						t.Errorf("%+v", v)
					}
					if err := b.Terminate(t.Context(), id); err != nil {
						t.Error(err)
					}
				}
				var wg sync.WaitGroup
				for _, b := range builds {
					wg.Go(func() { one(b) })
					if tt.apart {
						wg.Wait()
					}
				}
				wg.Wait()
				if len(stay) != tt.stay {
					t.Errorf("%d machines stay, want %d", len(stay), tt.stay)
				}
			})
		})
	}
}
