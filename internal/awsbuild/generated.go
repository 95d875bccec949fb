// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awsbuild

import (
	"fmt"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
)

// GeneratedNames are what provisioners and post-processors find in build.* beside
// what Packer puts there: those of amazon-ebs, and those of every builder here.
func GeneratedNames() []string {
	return []string{
		"BuildRegion", "SourceAMI", "SourceAMIName", "SourceAMICreationDate", "SourceAMIOwner", "SourceAMIOwnerName",
		"BuildID", "Region", "AvailabilityZone", "InstanceType", "Market", "Vcpus", "MemoryInGiBs",
	}
}

// Generated are their values, once there is a machine.
func Generated(machine, build string, o capacity.Offer, s ec2.SourceImage) map[string]interface{} {
	market := ec2.OnDemand
	if o.Market != "" {
		market = ec2.Market(o.Market)
	}
	return map[string]interface{}{
		"ID": machine, "BuildRegion": o.Region, "SourceAMI": s.ID, "SourceAMIName": s.Name, "SourceAMICreationDate": s.CreationDate,
		"SourceAMIOwner": s.Owner, "SourceAMIOwnerName": s.OwnerName,
		"BuildID": build, "Region": o.Region, "AvailabilityZone": o.Zone, "InstanceType": o.Shape, "Market": string(market),
		"Vcpus": fmt.Sprint(o.OCPUs), "MemoryInGiBs": fmt.Sprint(o.MemoryGB),
	}
}
