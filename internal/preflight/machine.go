// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package preflight

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// DefaultShape is that of a machine whose shape is not named.
const DefaultShape = "VM.Standard.A1.Flex"

// maxGroups is how many network security groups OCI allows a machine.
const maxGroups = 5

// VerifyMachine is the machine that is started from a copy in its destination.
type VerifyMachine struct {
	// The subnet of the machine, in the destination's region. Defaults to the
	// environment variable `PROD_OCI_SUBNET_OCID`.
	SubnetOCID string `mapstructure:"subnet_ocid" required:"false"`
	// The one availability domain to look for a machine in. Defaults to all.
	AvailabilityDomain string `mapstructure:"availability_domain" required:"false"`
	// The shape of the machine, which must be one of the copy's `image_shapes`.
	// Defaults to `VM.Standard.A1.Flex`.
	Shape string `mapstructure:"shape" required:"false"`
	// The size of the machine, for shapes whose name ends in `Flex`; several blocks
	// are tried in their order. Defaults to 1 OCPU with 6 GB, then 1 OCPU with 2 GB.
	// See [`shape_config`](../builders/oci.mdx#shape_config) of the builder.
	ShapeConfig []ocibuild.ShapeConfig `mapstructure:"shape_config" required:"false"`
	// How much it matters that the machine is free, as for the builder: `prefer`
	// (the default) launches no machine of a size that it chose itself where that
	// would cost money; `require` none that costs money; `ignore` checks nothing.
	FreeTier string `mapstructure:"free_tier" required:"false"`
	// What is free in the destination. See
	// [`free_allowance`](../builders/oci.mdx#free_allowance) of the builder.
	FreeAllowance ocibuild.FreeAllowance `mapstructure:"free_allowance" required:"false"`
	// Whether the machine gets a public address. Defaults to what the subnet does.
	AssignPublicIP config.Trilean `mapstructure:"assign_public_ip" required:"false"`
	// Connect to the machine's private address. Defaults to `false`.
	UsePrivateIP bool `mapstructure:"use_private_ip" required:"false"`
	// The OCIDs of network security groups of the machine, at most five.
	NsgIDs []string `mapstructure:"nsg_ids" required:"false"`
	// Metadata of the machine, beside the key that lets the copy in; `user_data` is
	// in base64.
	Metadata map[string]string `mapstructure:"metadata" required:"false"`
	// Reaches a machine without a public address by sessions of an OCI Bastion. See
	// [`oci_bastion`](../builders/oci.mdx#oci_bastion) of the builder.
	Bastion *ocibuild.Bastion `mapstructure:"oci_bastion" required:"false"`
}

// Prepare fills in what is left out and returns every mistake. block is put before
// the names of options; comm is how the machine is reached.
func (m *VerifyMachine) Prepare(block string, comm *communicator.Config) (list []error) {
	bad := func(format string, a ...any) { list = append(list, fmt.Errorf(block+format, a...)) }
	note := func(err error) {
		if err != nil {
			list = append(list, err)
		}
	}
	m.SubnetOCID = cmp.Or(m.SubnetOCID, os.Getenv("PROD_OCI_SUBNET_OCID"))
	m.Shape = cmp.Or(m.Shape, DefaultShape)
	m.FreeTier = cmp.Or(m.FreeTier, string(oci.FreePrefer))
	if m.SubnetOCID == "" {
		bad("subnet_ocid must be set (or the environment variable PROD_OCI_SUBNET_OCID)")
	}
	note(ocicfg.OCID(block+"subnet_ocid", "subnet", m.SubnetOCID))
	if len(m.NsgIDs) > maxGroups {
		bad("nsg_ids: OCI allows five network security groups, there are %d", len(m.NsgIDs))
	}
	for _, id := range m.NsgIDs {
		note(ocicfg.OCID(block+"nsg_ids", "networksecuritygroup", id))
	}
	o := m.Options("")
	for _, err := range append(o.Search.Check(), m.Bastion.Prepare(&o, comm)...) {
		bad("%w", err)
	}
	m.AssignPublicIP, m.UsePrivateIP = o.AssignPublicIP, o.UsePrivateIP // as the bastion wants it
	return list
}

// named says whether the template says what machine it is to be.
func (m *VerifyMachine) named() bool { return len(m.ShapeConfig) > 0 || m.Shape != DefaultShape }

// smallest are the sizes that are tried where the template names none: what is left
// of the allowance may be little.
func smallest() []ocibuild.ShapeConfig {
	return []ocibuild.ShapeConfig{{Ocpus: 1, MemoryInGBs: 6}, {Ocpus: 1, MemoryInGBs: 2}}
}

// Options are what is launched, in the words of the builder. image is empty as long
// as there is none.
func (m *VerifyMachine) Options(image string) ocibuild.Options {
	sizes := m.ShapeConfig
	if !m.named() {
		sizes = smallest()
	}
	return ocibuild.Options{
		Search: ocibuild.Search{
			AvailabilityDomain: m.AvailabilityDomain, Shape: m.Shape, ShapeConfig: sizes, FreeTier: m.FreeTier, FreeAllowance: m.FreeAllowance,
		},
		Machine: ocibuild.Machine{
			BaseImageOCID: image, SubnetOCID: m.SubnetOCID, AssignPublicIP: m.AssignPublicIP, UsePrivateIP: m.UsePrivateIP,
			CreateVnicDetails: ocibuild.CreateVnicDetails{NsgIDs: m.NsgIDs}, Metadata: m.Metadata, InstanceName: "armfree-verify",
		},
		Image: ocibuild.Image{SkipCreateImage: true},
	}
}

// Build is what is launched at a destination, in the adapter's terms. public is the
// key that is to be let in; limit is how long the machine may take until it runs.
func (m *VerifyMachine) Build(at *oci.Importer, image, public string, limit time.Duration) (oci.BuildConfig, error) {
	o := m.Options(image)
	o.Search.Check() // fills in the allowance
	o.CompartmentOCID = at.Compartment
	given := ocibuild.Given{Tenancy: at.Tenancy, Region: at.Region, Limits: &buildcfg.Limits{CapacityOrder: "place", InstanceTimeout: limit}}
	all, err := o.Builds(given, ocibuild.Keys{Public: public}, m.Bastion)
	if err != nil {
		return oci.BuildConfig{}, err
	}
	c := all[0]
	c.FirstDomain, c.SizesNamed = "", m.named() // the environment speaks of the build's tenancy
	if image == "" {
		c.ImageFilter = nil
	}
	return c, nil
}

// check says why no such machine could be had, as far as that can be told before
// there is an image.
func (m *VerifyMachine) check(ctx context.Context, at *oci.Importer) error {
	c, err := m.Build(at, "", "", 0)
	if err != nil {
		return err
	}
	// Nothing is made, so that it does not matter whose it would be.
	return oci.NewBuild(at.Client, c, owner.NewBuild(time.Now(), time.Hour), func(string, ...any) {}).Check(ctx)
}
