// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Options,ShapeConfig,AdditionalRegion,FreeAllowance,BaseImageFilter,CreateVnicDetails,Bastion,Capture

// Package ocibuild is the part of a template that says what is built on OCI, and
// where a machine for that is looked for: under the names that the oracle-oci
// builder uses, and with new names for what that does not have.
//
// A builder for OCI has it at its top level, a builder for several clouds in a
// block. So it depends on nothing beside it but what it is given (Given).
package ocibuild

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
)

// Options are what a template says of one build on OCI.
type Options struct {
	Search    `mapstructure:",squash"`
	Machine   `mapstructure:",squash"`
	Image     `mapstructure:",squash"`
	Misnomers `mapstructure:",squash" undocumented:"true"`

	// The compartment in which the machine is launched. A tenancy's OCID is its
	// root compartment. Defaults to the environment variable
	// `OCI_COMPARTMENT_OCID`, else to the tenancy.
	CompartmentOCID string `mapstructure:"compartment_ocid" required:"false"`

	userData []byte    // the user's own
	ofImages []ofImage // what the template says of the image
}

// Prepare fills in what the template leaves out and checks all that can be checked
// without a request. It returns a line for each thing that is not as it may seem,
// and every problem, in the words of the template.
func (o *Options) Prepare(g Given) (warnings []string, errs []error) {
	o.ofImages = o.ofImage()
	o.CompartmentOCID = cmp.Or(o.CompartmentOCID, os.Getenv("OCI_COMPARTMENT_OCID"))
	o.Search.defaults()
	if len(o.ImageShapes) == 0 {
		o.ImageShapes = oci.Shapes(o.sizes())
	}
	o.Settle(g.Tenancy)
	note := func(more ...error) {
		for _, err := range more {
			if err != nil && g.Block != "" {
				err = fmt.Errorf("%s%w", g.Block, err)
			}
			if err != nil {
				errs = append(errs, err)
			}
		}
	}
	note(o.Misnomers.problems()...)
	lines, bad := o.Search.problems(g.Region, o.BaseImageFilter.set())
	note(bad...)
	// Each defaults to the one before it, of which it was said.
	if o.CompartmentOCID != g.Tenancy {
		note(ocicfg.Compartment("compartment_ocid", o.CompartmentOCID))
	}
	if o.ImageCompartmentOCID != o.CompartmentOCID {
		note(ocicfg.Compartment("image_compartment_ocid", o.ImageCompartmentOCID))
	}
	o.userData, bad = o.Machine.prepare()
	note(bad...)
	if o.untimed != "" {
		lines = append(lines, o.untimed)
	}
	note(o.Image.prepare(time.Now(), oci.Shapes(o.sizes()))...)
	for _, l := range lines {
		warnings = append(warnings, g.Block+l)
	}
	return warnings, errs
}

// Settle fills in what follows from who signs in. Some learn that only when they
// do.
func (o *Options) Settle(tenancy string) {
	o.CompartmentOCID = cmp.Or(o.CompartmentOCID, tenancy)
	o.ImageCompartmentOCID = cmp.Or(o.ImageCompartmentOCID, o.CompartmentOCID)
}

// FromEnvironment completes the connection from the environment: the user and the
// key.
func FromEnvironment(c *communicator.Config) {
	if c.SSHUsername == "" && (c.Type == "" || c.Type == "ssh") {
		c.SSHUsername = os.Getenv("OCI_SSH_USERNAME")
	}
	buildcfg.KeysFromEnvironment(c, "OCI")
}
