// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,ShapeConfig,AdditionalRegion,FreeAllowance,BaseImageFilter,CreateVnicDetails,Bastion

package oci

import (
	"cmp"
	"fmt"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
)

// Config is the configuration of the armfree-oci builder.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	Comm                communicator.Config `mapstructure:",squash"`
	ocicfg.Access       `mapstructure:",squash"`
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
	// How long a machine that was accepted may take until it runs and has an
	// address. Defaults to `15m`.
	InstanceTimeout time.Duration `mapstructure:"instance_timeout" required:"false"`
	// How long the image may take. Defaults to `60m`.
	ImageTimeout time.Duration `mapstructure:"image_timeout" required:"false"`
	// How long removing what a build made may take at its end: the machine, an
	// image that is not finished and a bastion, each. Defaults to `10m`.
	CleanupTimeout time.Duration `mapstructure:"cleanup_timeout" required:"false"`

	credentials oci.Credentials
	userData    []byte
	ctx         interpolate.Context
}

// Prepare decodes the template and checks all that can be checked without a
// request. Every problem is reported, in the words of the template.
func (c *Config) Prepare(raws ...interface{}) (warnings []string, err error) {
	*c = Config{} // Packer may prepare a component more than once
	err = config.Decode(c, &config.DecodeOpts{
		PluginType:         BuilderID,
		Interpolate:        true,
		InterpolateContext: &c.ctx,
		DecodeHooks:        slices.Insert(slices.Clone(config.DefaultDecodeHookFuncs), 0, any(textAsBytes), any(emptyAsUnset)),
	}, keysAsBytes(raws)...)
	if err != nil {
		return nil, err
	}
	c.defaults()
	errs := new(packersdk.MultiError)
	note := func(more ...error) {
		for _, err := range more {
			if err != nil {
				errs = packersdk.MultiErrorAppend(errs, err)
			}
		}
	}

	var bad []error
	c.credentials, bad = c.Access.Prepare("", "")
	note(bad...)
	c.settle(c.TenancyOCID, c.Region)
	note(c.Misnomers.problems()...)
	note(c.Search.problems(c.Region, c.BaseImageFilter.set())...)
	c.userData, bad = c.Machine.prepare()
	note(bad...)
	note(c.Image.prepare(time.Now())...)
	for _, d := range []struct {
		value time.Duration
		name  string
	}{
		{c.InstanceTimeout, "instance_timeout"}, {c.ImageTimeout, "image_timeout"}, {c.CleanupTimeout, "cleanup_timeout"},
	} {
		if d.value < 0 {
			note(fmt.Errorf("%s must not be negative", d.name))
		}
	}
	if d := c.CapacityInterval; d > 0 && d < time.Second {
		warnings = append(warnings, fmt.Sprintf("capacity_interval = %q: OCI throttles accounts that ask more often than every few seconds", d))
	}
	note(c.Comm.Prepare(&c.ctx)...)
	note(sshkey.Check(&c.Comm))
	note(c.Bastion.prepare(c)...)
	if len(errs.Errors) > 0 {
		return warnings, errs
	}
	return warnings, nil
}

// emptyAsUnset takes an empty duration for one that is left to its default, as
// a variable of a JSON template is that nobody set. Packer's SDK does so for other
// kinds of values only.
func emptyAsUnset(from, to reflect.Type, data interface{}) (interface{}, error) {
	if from.Kind() == reflect.String && to == reflect.TypeFor[time.Duration]() && reflect.ValueOf(data).String() == "" {
		return time.Duration(0), nil
	}
	return data, nil
}

func (c *Config) defaults() {
	str := func(v *string, d string) {
		if *v == "" {
			*v = d
		}
	}
	dur := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	str(&c.CompartmentOCID, os.Getenv("OCI_COMPARTMENT_OCID"))
	c.Search.defaults()
	if c.Comm.SSHUsername == "" && (c.Comm.Type == "" || c.Comm.Type == "ssh") {
		c.Comm.SSHUsername = os.Getenv("OCI_SSH_USERNAME")
	}
	keysFromEnvironment(&c.Comm)
	if len(c.ImageShapes) == 0 {
		c.ImageShapes = oci.Shapes(c.sizes())
	}
	dur(&c.InstanceTimeout, 15*time.Minute)
	dur(&c.ImageTimeout, time.Hour)
	dur(&c.CleanupTimeout, 10*time.Minute)
}

// settle fills in what follows from who signs in, and where. Some learn that only
// when they do.
func (c *Config) settle(tenancy, region string) {
	c.Region = region
	c.CompartmentOCID = cmp.Or(c.CompartmentOCID, tenancy)
	c.ImageCompartmentOCID = cmp.Or(c.ImageCompartmentOCID, c.CompartmentOCID)
}
