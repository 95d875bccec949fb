// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocibuild

import (
	"fmt"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
)

// GeneratedNames are what provisioners and post-processors find in build.*
// beside what Packer puts there.
func GeneratedNames() []string {
	return []string{"BuildID", "Region", "AvailabilityDomain", "FaultDomain", "Shape", "Ocpus", "MemoryInGBs", "SourceImage"}
}

// Generated are their values, once there is a machine that started from an image.
func Generated(machine, build string, o capacity.Offer, image string) map[string]interface{} {
	return map[string]interface{}{
		"ID": machine, "BuildID": build, "Region": o.Region, "AvailabilityDomain": o.Zone, "FaultDomain": o.FaultDomain,
		"Shape": o.Shape, "Ocpus": fmt.Sprint(o.OCPUs), "MemoryInGBs": fmt.Sprint(o.MemoryGB),
		"SourceImage": image,
	}
}
