// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config

package aws

import (
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/awsbuild"
	"github.com/armfree/packer-plugin-armfree/internal/awscfg"
	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/capturecfg"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/preflight"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
)

// Config is the configuration of the armfree-aws builder.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	Comm                communicator.Config `mapstructure:",squash"`
	awscfg.Access       `mapstructure:",squash"`
	buildcfg.Limits     `mapstructure:",squash"`
	awsbuild.Options    `mapstructure:",squash"`
	capturecfg.Away     `mapstructure:",squash"`
	preflight.Checks    `mapstructure:",squash"`

	credentials ec2.Credentials
	ctx         interpolate.Context
}

// Prepare decodes the template and checks all that can be checked without a
// request. Every problem is reported, in the words of the template.
func (c *Config) Prepare(raws ...interface{}) (warnings []string, err error) {
	*c = Config{ctx: interpolate.Context{Funcs: awsbuild.Functions()}} // Packer may prepare a component more than once
	ctx := c.ctx
	var mistakes buildcfg.Mistakes
	note := mistakes.Note
	if err := buildcfg.Decode(c, awsbuild.BuilderID, &ctx, raws, awsbuild.Late()...); err != nil {
		// What could be decoded is looked at all the same, unless that is nothing.
		if note(buildcfg.Each(err)...); c.Region+c.AccessKey+c.SourceAMI+c.AMIName+c.AMINamePrefix+c.Comm.SSHUsername == "" {
			return nil, mistakes.Err()
		}
	}
	c.ctx = ctx

	var bad []error
	var lines []string
	c.credentials, lines, bad = c.Access.Prepare("")
	warnings = append(warnings, lines...)
	note(bad...)
	c.Limits.Defaults(awsbuild.Interval)
	note(c.Limits.Problems()...)
	if d := c.CapacityInterval; d > 0 && d < time.Second {
		warnings = append(warnings, fmt.Sprintf("capacity_interval = %q: AWS throttles accounts that ask more often than about once a second", d))
	}
	awsbuild.FromEnvironment(&c.Comm)
	note(c.Comm.Prepare(&c.ctx)...)
	note(sshkey.Check(&c.Comm, "AWS")...)
	note(buildcfg.CheckConnection(&c.Comm)...)
	note(c.Checks.Prepare()...)
	lines, bad = c.Options.Prepare(c.given())
	warnings = append(warnings, lines...)
	note(bad...)
	note(c.Away.Prepare(capturecfg.Given{Method: c.ImageMethod, Wanted: c.Captures(), Skip: c.SkipCreateAMI, Comm: &c.Comm})...)
	return warnings, mistakes.Err()
}

// given is what the options for AWS are told of the rest of the template.
func (c *Config) given() awsbuild.Given {
	return awsbuild.Given{Region: c.Region, Comm: &c.Comm, Limits: &c.Limits, Force: c.PackerForce, Source: c.PackerBuildName, Ctx: c.ctx}
}

// secrets are what the template and the environment have of them, valid or not.
func (c *Config) secrets() []string {
	return slices.Concat(c.Access.Secrets(), c.credentials.Secrets(), buildcfg.Secrets(&c.Comm), c.Checks.Secrets(), c.Away.Secrets())
}
