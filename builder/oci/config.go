// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,ShapeConfig,AdditionalRegion,FreeAllowance

package oci

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
)

// Config is the configuration of the armfree-oci builder.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	Comm                communicator.Config `mapstructure:",squash"`
	ocicfg.Access       `mapstructure:",squash"`
	Search              `mapstructure:",squash"`

	// The compartment in which the machine is launched. A tenancy's OCID is its
	// root compartment. Defaults to the environment variable
	// `OCI_COMPARTMENT_OCID`, else to the tenancy.
	CompartmentOCID string `mapstructure:"compartment_ocid" required:"false"`
	// The compartment in which the image is made. Defaults to
	// `compartment_ocid`.
	ImageCompartmentOCID string `mapstructure:"image_compartment_ocid" required:"false"`
	// The image from which the machine starts. Defaults to the environment
	// variable `OCI_BASE_IMAGE_OCID`. For an Ampere shape it must start by
	// `UEFI_64`.
	BaseImageOCID string `mapstructure:"base_image_ocid" required:"false"`
	// The name of the image that is made. Defaults to `packer-{{timestamp}}`.
	ImageName string `mapstructure:"image_name" required:"false"`
	// The size of the boot volume in GB, from 50 to 16384. Defaults to the size
	// of the base image.
	BootVolumeSizeInGBs int64 `mapstructure:"disk_size" required:"false"`
	// The subnet to which the machine is connected. Defaults to the environment
	// variable `OCI_SUBNET_OCID`.
	SubnetOCID string `mapstructure:"subnet_ocid" required:"false"`
	// Whether the machine gets a public address. Defaults to what the subnet
	// does. With `false`, and a NAT or service gateway for its way out, set
	// `use_private_ip` too and run Packer where that address can be reached.
	AssignPublicIP config.Trilean `mapstructure:"assign_public_ip" required:"false"`
	// Connect to the machine's private address. Defaults to `false`, which
	// means the public address if there is one.
	UsePrivateIP bool `mapstructure:"use_private_ip" required:"false"`
	// The name of the machine while it exists. Defaults to a name that OCI
	// makes up.
	InstanceName string `mapstructure:"instance_name" required:"false"`
	// Freeform tags of the machine, at most nine. Values may be empty. One tag
	// more, `armfree`, says which build made it and until when it is needed.
	InstanceTags map[string]string `mapstructure:"instance_tags" required:"false"`
	// Freeform tags of the image, like `instance_tags`.
	Tags map[string]string `mapstructure:"tags" required:"false"`
	// User data for cloud-init, as plain text; it is encoded as OCI wants it.
	UserData string `mapstructure:"user_data" required:"false"`
	// The path of a file with user data. Excludes `user_data`.
	UserDataFile string `mapstructure:"user_data_file" required:"false"`
	// Shapes on which the image must be able to start; missing ones are added
	// to it, and the result is verified. Defaults to the shapes of the machine.
	ImageShapes []string `mapstructure:"image_shapes" required:"false"`
	// Build and check, but make no image. Defaults to `false`.
	SkipCreateImage bool `mapstructure:"skip_create_image" required:"false"`

	// How long a machine that was accepted may take until it runs and has an
	// address. Defaults to `15m`.
	InstanceTimeout time.Duration `mapstructure:"instance_timeout" required:"false"`
	// How long the image may take. Defaults to `60m`.
	ImageTimeout time.Duration `mapstructure:"image_timeout" required:"false"`
	// How long removing what a build made may take at its end. Defaults to
	// `10m`.
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
	}, raws...)
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
	for _, o := range []struct{ value, name, env, kind string }{
		{c.BaseImageOCID, "base_image_ocid", "OCI_BASE_IMAGE_OCID", "image"},
		{c.SubnetOCID, "subnet_ocid", "OCI_SUBNET_OCID", "subnet"},
	} {
		if o.value == "" {
			note(fmt.Errorf("%s must be set (or the environment variable %s)", o.name, o.env))
		}
		note(ocid(o.name, o.kind, o.value))
	}
	note(c.Search.problems(c.Region)...)
	if d := c.BootVolumeSizeInGBs; d != 0 && (d < 50 || d > 16384) {
		note(fmt.Errorf("disk_size must be from 50 to 16384 GB, it is %d", d))
	}
	if len(c.ImageName) > 255 {
		note(errors.New("image_name must not be longer than 255 characters"))
	}
	note(owner.CheckTags("instance_tags", c.InstanceTags), owner.CheckTags("tags", c.Tags), c.readUserData())
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
	note(c.Comm.Prepare(&c.ctx)...)
	note(sshkey.Check(&c.Comm))
	if len(errs.Errors) > 0 {
		return warnings, errs
	}
	return warnings, nil
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
	str(&c.TenancyOCID, os.Getenv("OCI_TENANCY_OCID"))
	str(&c.CompartmentOCID, c.TenancyOCID)
	str(&c.ImageCompartmentOCID, c.CompartmentOCID)
	str(&c.BaseImageOCID, os.Getenv("OCI_BASE_IMAGE_OCID"))
	str(&c.SubnetOCID, os.Getenv("OCI_SUBNET_OCID"))
	c.Search.defaults()
	if c.ImageName == "" {
		name, err := interpolate.Render("packer-{{timestamp}}", nil)
		if err == nil {
			c.ImageName = name
		}
	}
	if c.Comm.SSHUsername == "" && (c.Comm.Type == "" || c.Comm.Type == "ssh") {
		c.Comm.SSHUsername = os.Getenv("OCI_SSH_USERNAME")
	}
	if len(c.ImageShapes) == 0 {
		c.ImageShapes = c.shapes()
	}
	dur(&c.InstanceTimeout, 15*time.Minute)
	dur(&c.ImageTimeout, time.Hour)
	dur(&c.CleanupTimeout, 10*time.Minute)
}

// maxUserData is how much OCI takes of all metadata together.
const maxUserData = 32000

func (c *Config) readUserData() error {
	c.userData = []byte(c.UserData)
	if c.UserDataFile != "" {
		if c.UserData != "" {
			return errors.New("user_data and user_data_file exclude each other")
		}
		b, err := os.ReadFile(c.UserDataFile)
		if err != nil {
			return fmt.Errorf("user_data_file cannot be read: %w", err)
		}
		c.userData = b
	}
	if n := base64.StdEncoding.EncodedLen(len(c.userData)); n > maxUserData {
		return fmt.Errorf("the user data has %d bytes when encoded, OCI takes at most %d", n, maxUserData)
	}
	return nil
}
