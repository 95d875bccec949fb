// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,ShapeConfig,AdditionalRegion,FreeAllowance,BaseImageFilter,CreateVnicDetails,Bastion

package oci

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
)

// Config is the configuration of the armfree-oci builder.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	Comm                communicator.Config `mapstructure:",squash"`
	ocicfg.Access       `mapstructure:",squash"`
	buildcfg.Limits     `mapstructure:",squash"`
	Search              `mapstructure:",squash"`
	Machine             `mapstructure:",squash"`
	Image               `mapstructure:",squash"`
	Misnomers           `mapstructure:",squash" undocumented:"true"`

	// The compartment in which the machine is launched. A tenancy's OCID is its
	// root compartment. Defaults to the environment variable
	// `OCI_COMPARTMENT_OCID`, else to the tenancy.
	CompartmentOCID string `mapstructure:"compartment_ocid" required:"false"`
	// Reaches a machine without a public address by sessions of an OCI Bastion.
	// See [`oci_bastion`](#oci_bastion).
	Bastion *Bastion `mapstructure:"oci_bastion" required:"false"`

	credentials oci.Credentials
	userData    []byte
	ctx         interpolate.Context
}

// Prepare decodes the template and checks all that can be checked without a
// request. Every problem is reported, in the words of the template.
func (c *Config) Prepare(raws ...interface{}) (warnings []string, err error) {
	*c = Config{} // Packer may prepare a component more than once
	var mistakes buildcfg.Mistakes
	note := mistakes.Note
	if err := buildcfg.Decode(c, BuilderID, &c.ctx, raws); err != nil {
		// What could be decoded is looked at all the same, unless that is nothing.
		if note(buildcfg.Each(err)...); c.SubnetOCID+c.ImageName+c.Shape+c.Region+c.KeyFile+c.Comm.SSHUsername == "" {
			return nil, mistakes.Err()
		}
	}
	c.defaults()

	var bad []error
	if c.SecurityTokenFile != "" && c.TenancyOCID != "" && c.UserOCID != "" && c.Fingerprint != "" && c.Key+c.KeyFile != "" {
		// oracle-oci never reads it, so there are templates that have both.
		warnings = append(warnings, "security_token_file is not used: tenancy_ocid, user_ocid, fingerprint and key say who signs in")
		c.SecurityTokenFile = ""
	}
	c.credentials, bad = c.Access.Prepare("", "")
	note(bad...)
	c.settle(c.TenancyOCID, c.Region)
	note(c.Misnomers.problems()...)
	more, bad := c.Search.problems(c.Region, c.BaseImageFilter.set())
	warnings = append(warnings, more...)
	note(bad...)
	// Each defaults to the one before it, of which it was said.
	if c.CompartmentOCID != c.TenancyOCID {
		note(ocicfg.Compartment("compartment_ocid", c.CompartmentOCID))
	}
	if c.ImageCompartmentOCID != c.CompartmentOCID {
		note(ocicfg.Compartment("image_compartment_ocid", c.ImageCompartmentOCID))
	}
	c.userData, bad = c.Machine.prepare()
	note(bad...)
	note(c.Image.prepare(time.Now(), oci.Shapes(c.sizes()))...)
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
	note(c.Bastion.prepare(c)...)
	return warnings, mistakes.Err()
}

func (c *Config) defaults() {
	str := func(v *string, d string) {
		if *v == "" {
			*v = d
		}
	}
	str(&c.CompartmentOCID, os.Getenv("OCI_COMPARTMENT_OCID"))
	c.Search.defaults()
	if c.Comm.SSHUsername == "" && (c.Comm.Type == "" || c.Comm.Type == "ssh") {
		c.Comm.SSHUsername = os.Getenv("OCI_SSH_USERNAME")
	}
	buildcfg.KeysFromEnvironment(&c.Comm, "OCI")
	if len(c.ImageShapes) == 0 {
		c.ImageShapes = oci.Shapes(c.sizes())
	}
	c.Limits.Defaults(10 * time.Second)
}

// settle fills in what follows from who signs in, and where. Some learn that only
// when they do.
func (c *Config) settle(tenancy, region string) {
	c.Region = region
	c.CompartmentOCID = cmp.Or(c.CompartmentOCID, tenancy)
	c.ImageCompartmentOCID = cmp.Or(c.ImageCompartmentOCID, c.CompartmentOCID)
}
