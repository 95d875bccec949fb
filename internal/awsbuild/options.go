// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Options,AdditionalRegion,FreeAllowance,SourceAMIFilter,SubnetFilter,Filter,NameValue,Tag,BlockDevice,MetadataOptions,Placement,PolicyDocument,Statement,DeregistrationProtection,FastLaunch,FastLaunchTemplate,LicenseSpecification,LicenseConfiguration

// Package awsbuild is the part of a template that says what is built on AWS, and
// where a machine for that is looked for: under the names that the amazon-ebs
// builder uses, and with new names for what that does not have.
//
// A builder for AWS has it at its top level, a builder for several clouds in a
// block. So it depends on nothing beside it but what it is given (Given): the
// region, the connection, the limits, Packer's own flags.
package awsbuild

import (
	"fmt"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
)

// Options are what a template says of one build on AWS.
type Options struct {
	Search    `mapstructure:",squash"`
	Network   `mapstructure:",squash"`
	Machine   `mapstructure:",squash"`
	Image     `mapstructure:",squash"`
	Tags      `mapstructure:",squash"`
	Ignored   `mapstructure:",squash" undocumented:"true"`
	Refused   `mapstructure:",squash" undocumented:"true"`
	Misnomers `mapstructure:",squash" undocumented:"true"`

	userData []byte // the user's own
	ctx      interpolate.Context
}

// Given is what a template says elsewhere. Comm is prepared.
type Given struct {
	Region string // "" if it is missing
	Comm   *communicator.Config
	Limits *buildcfg.Limits
	Force  bool   // packer build -force
	Source string // the name of the source in the template
	Block  string // is put before the names of options in messages: "aws: "
	Ctx    interpolate.Context
}

// notes collects what is to be said of a template.
type notes struct {
	block    string
	warnings []string
	errs     []error
}

func (n *notes) bad(format string, args ...any) {
	n.errs = append(n.errs, fmt.Errorf(n.block+format, args...))
}

func (n *notes) warn(format string, args ...any) {
	n.warnings = append(n.warnings, fmt.Sprintf(n.block+format, args...))
}

// Prepare fills in what the template leaves out and checks all that can be checked
// without a request. It returns a line for each thing that is not as it may seem,
// and every problem, in the words of the template.
func (o *Options) Prepare(g Given) ([]string, []error) {
	n := &notes{block: g.Block}
	o.ctx = g.Ctx
	o.ctx.Funcs = Functions()
	o.Misnomers.problems(n)
	o.Refused.problems(n, g.Comm)
	o.Ignored.say(n)
	o.Search.prepare(n, g.Region)
	o.Network.prepare(n, &o.Search, &o.Machine, g)
	o.Machine.prepare(n, &o.Search)
	o.userData = o.readUserData(n)
	o.prepareWayIn(n, g)
	o.checkCapture(n, g.Force)
	o.Image.prepare(n, g, time.Now())
	if wanted, _ := o.spot(); wanted && o.DisableStopInstance && !o.SkipCreateAMI {
		n.bad("disable_stop_instance waits for a machine that has stopped, and a spot machine that shuts down is terminated: remove it and let no provisioner shut the machine down, or ask for on-demand machines only")
	}
	if !o.Captures() {
		o.checkEncryption(n, g.Region)
	}
	o.checkFree(n)
	o.Tags.prepare(n)
	if _, err := o.render(g.Region, exampleImage(), n.block); err != nil {
		n.errs = append(n.errs, err)
	}
	return n.warnings, n.errs
}
