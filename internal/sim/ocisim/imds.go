// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"maps"
	"net/http"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// metadataService is what answers 169.254.169.254 inside an instance. What it
// says is fixed when the machine gets power. The cloud's lock is held.
func (c *Cloud) metadataService(i *instance) http.Handler {
	b, v := i.body, i.vnic.body
	info := machine.InstanceInfo{
		ID: b.ID, DisplayName: b.DisplayName, Hostname: orElse(v.HostnameLabel, ""), TenantID: i.tenancy.ID,
		CompartmentID: b.CompartmentID, ImageID: b.ImageID, Shape: b.Shape, OCPUs: i.size.ocpus, MemoryGB: i.size.memory,
		Region: i.region.name, AvailabilityDomain: b.AvailabilityDomain, FaultDomain: b.FaultDomain,
		TimeCreated: b.TimeCreated.Time, Metadata: maps.Clone(b.Metadata), ExtendedMetadata: maps.Clone(b.ExtendedMetadata),
		FreeformTags: maps.Clone(b.FreeformTags), DefinedTags: maps.Clone(b.DefinedTags),
		AllPluginsDisabled: orElse(b.AgentConfig.AreAllPluginsDisabled, false), ManagementDisabled: orElse(b.AgentConfig.IsManagementDisabled, false),
		MonitoringDisabled: orElse(b.AgentConfig.IsMonitoringDisabled, false),
		LegacyDisabled:     orElse(b.InstanceOptions.LegacyIMDSDisabled, false),
		VNICs: []machine.VNICInfo{{ID: v.ID, PrivateIP: v.PrivateIP, MAC: v.MACAddress, SubnetCIDR: vcnCIDR,
			VirtualRouter: routerIP}},
	}
	return machine.OCIMetadata(info)
}
