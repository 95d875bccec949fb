// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,OCI,AWS

package either

import (
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/awsbuild"
	"github.com/armfree/packer-plugin-armfree/internal/awscfg"
	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/capturecfg"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/preflight"
)

// OCI is what a template says of a build on OCI: all options of `armfree-oci` but
// those that are common to both clouds, and `oci_bastion`.
type OCI struct {
	ocicfg.Access    `mapstructure:",squash"`
	ocibuild.Options `mapstructure:",squash"`
	ocibuild.Capture `mapstructure:",squash"`

	// The user to sign in as on a machine on OCI, such as `ubuntu`. Defaults to
	// the `ssh_username` outside the block, else to the environment variable
	// `OCI_SSH_USERNAME`.
	SSHUsername string `mapstructure:"ssh_username" required:"false"`

	credentials oci.Credentials
}

// AWS is what a template says of a build on AWS: all options of `armfree-aws` but
// those that are common to both clouds.
type AWS struct {
	awscfg.Access    `mapstructure:",squash"`
	awsbuild.Options `mapstructure:",squash"`
	// Where `capture_to` is left out and the block `oci` has a `capture_bucket`, captured
	// disks go there, and who signs in to OCI by that block signs in for it.
	capturecfg.Away `mapstructure:",squash"`

	// The user to sign in as on a machine on AWS, such as `admin`. Defaults to
	// the `ssh_username` outside the block, else to the environment variable
	// `AWS_SSH_USERNAME`.
	SSHUsername string `mapstructure:"ssh_username" required:"false"`

	credentials ec2.Credentials
	ctx         interpolate.Context
}

// Config is the configuration of the builder armfree.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	Comm                communicator.Config `mapstructure:",squash"`
	buildcfg.Limits     `mapstructure:",squash"`
	preflight.Checks    `mapstructure:",squash"`

	// Builds on OCI. See [`oci`](#oci). At least one of the two blocks is needed;
	// a template with one builds in that cloud only.
	OCI *OCI `mapstructure:"oci" required:"false"`
	// Builds on AWS. See [`aws`](#aws).
	AWS *AWS `mapstructure:"aws" required:"false"`

	// The clouds in the order in which a machine is looked for: `oci`, `aws`.
	// Defaults to `["oci", "aws"]`.
	Prefer []string `mapstructure:"prefer" required:"false"`
	// How long only the first cloud is asked, from the beginning of the search.
	// After that both are, the first one first, until a machine is found or
	// `capacity_timeout` is over. With `0s` both are asked from the beginning.
	// Where the first has no place to try at all, such as with a limit of zero,
	// nothing is waited for. Defaults to `30m`, or to half of `capacity_timeout`
	// if that is less.
	PreferTimeout string `mapstructure:"prefer_timeout" required:"false"`

	// The name of the image, in either cloud: `image_name` of the block `oci` and
	// `ami_name` of the block `aws`, where a block has no name or prefix of its
	// own. It must have what both clouds allow: 3 to 128 letters, digits, spaces
	// and the signs `()[]./-'@_`.
	ImageName string `mapstructure:"image_name" required:"false"`
	// Tags of the image, in either cloud. Those of a block count before them.
	// What only one cloud can fill in, such as `{{ .SourceAMI }}`, belongs into
	// its block. Disks that are captured have none.
	Tags map[string]string `mapstructure:"tags" required:"false"`
	// User data for cloud-init, in either cloud, where a block has none of its
	// own.
	UserData string `mapstructure:"user_data" required:"false"`
	// The path of a file with user data. Excludes `user_data`.
	UserDataFile string `mapstructure:"user_data_file" required:"false"`
	// Give the machine a host key of this build's, in either cloud, and connect
	// to nothing else. Defaults to what each block says.
	PinHostKey bool `mapstructure:"ssh_pin_host_key" required:"false"`
	// Build and check, but make no image, in either cloud. Defaults to `false`.
	// A block cannot say so for its own cloud alone.
	SkipCreateImage bool `mapstructure:"skip_create_image" required:"false"`

	prefers time.Duration // prefer_timeout
	ctx     interpolate.Context
}
