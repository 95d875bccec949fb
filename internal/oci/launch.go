// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"encoding/base64"
	"maps"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// launchDetails is the request for a machine on an offer.
func (b *Build) launchDetails(o capacity.Offer, token string) core.LaunchInstanceDetails {
	cfg := &b.cfg
	tag := b.current().Tag(owner.RoleInstance)
	tag.Attempt = token
	image := b.BaseImage()
	secure, quiet := !cfg.LegacyIMDS, !cfg.AgentPlugins
	d := core.LaunchInstanceDetails{
		AvailabilityDomain:    &o.Zone,
		CompartmentId:         &cfg.Compartment,
		Shape:                 &o.Shape,
		FaultDomain:           optional(o.FaultDomain),
		DisplayName:           optional(cfg.InstanceName),
		CapacityReservationId: optional(cfg.Reservation),
		FreeformTags:          tag.With(cfg.InstanceTags),
		DefinedTags:           cfg.InstanceDefinedTags,
		SourceDetails: core.InstanceSourceViaImageDetails{
			ImageId: &image, BootVolumeSizeInGBs: positive(cfg.DiskGB), BootVolumeVpusPerGB: positive(cfg.DiskVPUs), KmsKeyId: optional(cfg.KMSKey),
		},
		CreateVnicDetails: &core.CreateVnicDetails{
			SubnetId: &cfg.Subnet, AssignPublicIp: cfg.AssignPublicIP, DisplayName: optional(cfg.VNICName), HostnameLabel: optional(cfg.Hostname),
			NsgIds: cfg.NSGs, PrivateIp: optional(cfg.PrivateIP), SkipSourceDestCheck: cfg.SkipSourceDestCheck,
			FreeformTags: cfg.VNICTags, DefinedTags: cfg.VNICDefinedTags,
		},
		InstanceOptions: &core.InstanceOptions{AreLegacyImdsEndpointsDisabled: &secure},
		AgentConfig:     &core.LaunchInstanceAgentConfigDetails{AreAllPluginsDisabled: &quiet},
		Metadata:        b.metadata(),
	}
	if cfg.Preemptible {
		drop := false
		d.PreemptibleInstanceConfig = &core.PreemptibleInstanceConfigDetails{
			PreemptionAction: core.TerminatePreemptionAction{PreserveBootVolume: &drop},
		}
	}
	if o.OCPUs > 0 {
		d.ShapeConfig = &core.LaunchInstanceShapeConfigDetails{Ocpus: &o.OCPUs, MemoryInGBs: &o.MemoryGB}
		for _, s := range cfg.Sizes {
			if s.same(sizeOf(o)) {
				d.ShapeConfig.BaselineOcpuUtilization = core.LaunchInstanceShapeConfigDetailsBaselineOcpuUtilizationEnum(s.Baseline)
			}
		}
	}
	return d
}

// metadata is the user's, with the key that the build needs added to it.
func (b *Build) metadata() map[string]string {
	const keys = "ssh_authorized_keys"
	m := maps.Clone(b.cfg.Metadata)
	if m == nil {
		m = map[string]string{}
	}
	switch own := b.cfg.SSHPublicKey; {
	case own != "" && m[keys] != "":
		m[keys] += "\n" + own
	case own != "":
		m[keys] = own
	}
	if len(b.cfg.UserData) > 0 {
		m["user_data"] = base64.StdEncoding.EncodeToString(b.cfg.UserData)
	}
	return m
}

// optional is nil for what is left to OCI.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func positive(n int64) *int64 {
	if n <= 0 {
		return nil
	}
	return &n
}
