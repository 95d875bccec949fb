// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config

package oci

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/preflight"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
)

// Config is the configuration of the armfree-oci builder.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	Comm                communicator.Config `mapstructure:",squash"`
	ocicfg.Access       `mapstructure:",squash"`
	buildcfg.Limits     `mapstructure:",squash"`
	ocibuild.Options    `mapstructure:",squash"`
	ocibuild.Capture    `mapstructure:",squash"`
	preflight.Checks    `mapstructure:",squash"`

	// Reaches a machine without a public address by sessions of an OCI Bastion.
	// See [`oci_bastion`](#oci_bastion).
	Bastion *ocibuild.Bastion `mapstructure:"oci_bastion" required:"false"`

	credentials oci.Credentials
	ctx         interpolate.Context
}

// Prepare decodes the template and checks all that can be checked without a
// request. Every problem is reported, in the words of the template.
func (c *Config) Prepare(raws ...interface{}) (warnings []string, err error) {
	*c = Config{} // Packer may prepare a component more than once
	var mistakes buildcfg.Mistakes
	note := mistakes.Note
	if err := buildcfg.Decode(c, ocibuild.BuilderID, &c.ctx, raws); err != nil {
		// What could be decoded is looked at all the same, unless that is nothing.
		if note(buildcfg.Each(err)...); c.SubnetOCID+c.ImageName+c.Shape+c.Region+c.KeyFile+c.Comm.SSHUsername == "" {
			return nil, mistakes.Err()
		}
	}
	ocibuild.FromEnvironment(&c.Comm)
	c.Limits.Defaults(ocibuild.Interval)

	var bad []error
	if c.SecurityTokenFile != "" && c.TenancyOCID != "" && c.UserOCID != "" && c.Fingerprint != "" && c.Key+c.KeyFile != "" {
		// oracle-oci never reads it, so there are templates that have both.
		warnings = append(warnings, "security_token_file is not used: tenancy_ocid, user_ocid, fingerprint and key say who signs in")
		c.SecurityTokenFile = ""
	}
	c.credentials, bad = c.Access.Prepare("", "")
	note(bad...)
	more, bad := c.Options.Prepare(c.given())
	warnings = append(warnings, more...)
	note(bad...)
	note(c.Limits.Problems()...)
	if d := c.CapacityInterval; d > 0 && d < time.Second {
		warnings = append(warnings, fmt.Sprintf("capacity_interval = %q: OCI throttles accounts that ask more often than every few seconds", d))
	}
	note(c.Comm.Prepare(&c.ctx)...)
	note(sshkey.Check(&c.Comm, "OCI")...)
	note(buildcfg.CheckConnection(&c.Comm)...)
	if c.PinHostKey && c.Comm.Type == "winrm" {
		note(errors.New("ssh_pin_host_key is for SSH, and communicator is \"winrm\""))
	}
	note(c.Capture.Prepare(&c.Options, &c.Comm, false)...)
	note(c.Bastion.Prepare(&c.Options, &c.Comm)...)
	note(c.Checks.Prepare()...)
	return warnings, mistakes.Err()
}

// given is what the options for OCI are told of the rest of the template.
func (c *Config) given() ocibuild.Given {
	return ocibuild.Given{Tenancy: c.TenancyOCID, Region: c.Region, Limits: &c.Limits, Force: c.PackerForce, Source: c.PackerBuildName}
}

// settle fills in what follows from who signs in, and where. Some learn that only
// when they do.
func (c *Config) settle(tenancy, region string) {
	c.Region = region
	c.Options.Settle(tenancy)
}

// policy paces the search.
func (c *Config) policy() capacity.Policy {
	p := c.Policy()
	p.NoAsking = c.CapacityReports.False()
	return p
}
