// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awsbuild

import (
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
)

// FastLaunch prepares Windows images.
type FastLaunch struct {
	Enable              bool                 `mapstructure:"enable_fast_launch" undocumented:"true"`
	TemplateName        string               `mapstructure:"template_name" undocumented:"true"`
	TemplateID          string               `mapstructure:"template_id" undocumented:"true"`
	TemplateVersion     int                  `mapstructure:"template_version" undocumented:"true"`
	RegionTemplates     []FastLaunchTemplate `mapstructure:"region_launch_templates" undocumented:"true"`
	MaxParallelLaunches int                  `mapstructure:"max_parallel_launches" undocumented:"true"`
	TargetResourceCount int                  `mapstructure:"target_resource_count" undocumented:"true"`
}

// FastLaunchTemplate is that of one region.
type FastLaunchTemplate struct {
	Region          string `mapstructure:"region" undocumented:"true"`
	Enable          bool   `mapstructure:"enable_fast_launch" undocumented:"true"`
	TemplateName    string `mapstructure:"template_name" undocumented:"true"`
	TemplateID      string `mapstructure:"template_id" undocumented:"true"`
	TemplateVersion int    `mapstructure:"template_version" undocumented:"true"`
}

// Ignored are options of amazon-ebs that mean nothing for a Graviton machine. A
// template that has them is not wrong, so there is a line that says so.
type Ignored struct {
	ENASupport             config.Trilean    `mapstructure:"ena_support" undocumented:"true"`
	SriovSupport           bool              `mapstructure:"sriov_support" undocumented:"true"`
	EBSOptimized           bool              `mapstructure:"ebs_optimized" undocumented:"true"`
	VirtualizationType     string            `mapstructure:"ami_virtualization_type" undocumented:"true"`
	EnableT2Unlimited      bool              `mapstructure:"enable_t2_unlimited" undocumented:"true"`
	BlockDurationMinutes   int64             `mapstructure:"block_duration_minutes" undocumented:"true"`
	SpotPriceAutoProduct   string            `mapstructure:"spot_price_auto_product" undocumented:"true"`
	NoEphemeral            bool              `mapstructure:"no_ephemeral" undocumented:"true"`
	FastLaunch             *FastLaunch       `mapstructure:"fast_launch" undocumented:"true"`
	WindowsPasswordTimeout string            `mapstructure:"windows_password_timeout" undocumented:"true"`
	FleetTags              map[string]string `mapstructure:"fleet_tags" undocumented:"true"`
	FleetTag               []Tag             `mapstructure:"fleet_tag" undocumented:"true"`
}

// say names those that are there, one line for each reason.
func (i Ignored) say(n *notes) {
	for _, group := range []struct {
		why   string
		names []named
	}{
		{"every Graviton machine is like that", []named{
			{i.ENASupport.True(), "ena_support"}, {i.SriovSupport, "sriov_support"}, {i.EBSOptimized, "ebs_optimized"}, {i.VirtualizationType != "", "ami_virtualization_type"},
		}},
		{"it is for T2 machines", []named{{i.EnableT2Unlimited, "enable_t2_unlimited"}}},
		{"there is no Windows for Graviton", []named{
			{i.NoEphemeral, "no_ephemeral"}, {i.FastLaunch != nil, "fast_launch"}, {i.WindowsPasswordTimeout != "", "windows_password_timeout"},
		}},
		{"AWS does not have it any more", []named{{i.BlockDurationMinutes != 0, "block_duration_minutes"}, {i.SpotPriceAutoProduct != "", "spot_price_auto_product"}}},
		{"machines are asked for one by one, without a fleet", []named{{len(i.FleetTags) > 0, "fleet_tags"}, {len(i.FleetTag) > 0, "fleet_tag"}}},
	} {
		var names []string
		for _, o := range group.names {
			if o.is {
				names = append(names, o.name)
			}
		}
		switch len(names) {
		case 0:
		case 1:
			n.warn("%s has no effect: %s", names[0], group.why)
		default:
			n.warn("%s have no effect: %s", strings.Join(names, ", "), group.why)
		}
	}
}

// named is an option that may be there.
type named struct {
	is   bool
	name string
}

// LicenseSpecification names a licence configuration.
type LicenseSpecification struct {
	Request LicenseConfiguration `mapstructure:"license_configuration_request" undocumented:"true"`
}

// LicenseConfiguration is what it names.
type LicenseConfiguration struct {
	ARN string `mapstructure:"license_configuration_arn" undocumented:"true"`
}

// Refused are options of amazon-ebs that cannot be honoured, and that a build must
// not go on without.
type Refused struct {
	ProductCodes  []string               `mapstructure:"ami_product_codes" undocumented:"true"`
	Licenses      []LicenseSpecification `mapstructure:"license_specifications" undocumented:"true"`
	NitroEnclave  bool                   `mapstructure:"enable_nitro_enclave" undocumented:"true"`
	ElasticIPID   string                 `mapstructure:"elastic_ip_allocation_id" undocumented:"true"`
	BootMode      string                 `mapstructure:"boot_mode" undocumented:"true"`
	Architecture  string                 `mapstructure:"ami_architecture" undocumented:"true"`
	Architecture2 string                 `mapstructure:"architecture" undocumented:"true"`
}

// problems says what to use in place of them.
func (r Refused) problems(n *notes, c *communicator.Config) {
	if len(set(r.ProductCodes)) > 0 {
		n.bad("ami_product_codes is not supported: AWS Marketplace puts product codes on the images that it sells")
	}
	if len(r.Licenses) > 0 {
		n.bad("license_specifications is not supported: no system for Graviton machines has licences of that kind; associate the finished image in License Manager")
	}
	if r.NitroEnclave {
		n.bad("enable_nitro_enclave is not supported: T4g machines have no enclaves, and an image does not need one to be built; ask for it where the image is launched")
	}
	if r.ElasticIPID != "" {
		n.bad("elastic_ip_allocation_id is not supported: use associate_public_ip_address")
	}
	if r.BootMode != "" && r.BootMode != "uefi" {
		n.bad("boot_mode: images for Graviton start by UEFI and in no other way, it is %q", r.BootMode)
	}
	for _, a := range []struct{ name, value string }{{"ami_architecture", r.Architecture}, {"architecture", r.Architecture2}} {
		if a.value != "" && a.value != "arm64" {
			n.bad("%s: the image has the architecture of the source image, which is arm64 for Graviton machines, it is %q", a.name, a.value)
		}
	}
	if c.Type == "winrm" {
		n.bad("communicator must be \"ssh\" or \"none\": there is no Windows for Graviton machines")
	}
}
