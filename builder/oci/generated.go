// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"fmt"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/phase"
)

// generatedNames are what provisioners and post-processors find in build.*
// beside what Packer puts there.
func generatedNames() []string {
	return []string{"BuildID", "Region", "AvailabilityDomain", "FaultDomain", "Shape", "Ocpus", "MemoryInGBs", "SourceImage"}
}

// generated are their values, once there is a machine that started from an image.
func (c *Config) generated(id owner.Build, m *phase.FindMachine, image string) map[string]interface{} {
	o := m.Offer
	return map[string]interface{}{
		"ID": m.ID, "BuildID": id.ID, "Region": o.Region, "AvailabilityDomain": o.Zone, "FaultDomain": o.FaultDomain,
		"Shape": o.Shape, "Ocpus": fmt.Sprint(o.OCPUs), "MemoryInGBs": fmt.Sprint(o.MemoryGB),
		"SourceImage": image,
	}
}
