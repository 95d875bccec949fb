// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// Before there is an image it is known what else keeps a machine from starting.
func TestCheckWithoutAnImage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		sim    simOptions
		change func(*BuildConfig, *sim)
		says   []string // nothing: it would work
	}{
		{name: "good"},
		{name: "no subnet and no such domain", change: func(c *BuildConfig, s *sim) {
			c.Subnet, c.AvailabilityDomain = s.neighbour.SubnetID(simRegion), "x:AD-9"
		}, says: []string{"subnet_ocid: there is no subnet", "availability_domain"}},
		{name: "no limit", sim: simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultLimitValue, Limit: "standard-a1-core-count", Value: 0}}}, says: []string{"standard-a1-core-count"}},
		{name: "no shape", sim: simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultShapeAbsent}}}, says: []string{"does not exist in"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, tt.sim)
				b := s.newBuild(t, func(c *BuildConfig) {
					c.BaseImage, c.ImageFilter, c.Image.Skip = "", nil, true
					if tt.change != nil {
						tt.change(c, s)
					}
				})
				err := b.Check(t.Context())
				if len(tt.says) == 0 && err != nil {
					t.Error(err)
				}
				for _, want := range tt.says {
					if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "this build cannot work") || strings.Contains(err.Error(), "base_image") {
						t.Errorf("%q is not said, or too much: %v", want, err)
					}
				}
			})
		})
	}
}
