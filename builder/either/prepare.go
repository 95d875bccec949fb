// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package either

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/awsbuild"
	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/capturecfg"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// builderID names the builder where Packer's SDK asks for that. Artifacts are those
// of the cloud that made them.
const builderID = "armfree.either"

// The blocks, and what their options are called in messages.
const (
	ociBlock, awsBlock = "oci", "aws"
	atOCI, atAWS       = "oci: ", "aws: "
)

const defaultPreferTimeout = 30 * time.Minute

// Prepare decodes the template and checks all that can be checked without a
// request. Every problem is reported, in the words of the template.
func (c *Config) Prepare(raws ...interface{}) (warnings []string, err error) {
	*c = Config{ctx: interpolate.Context{Funcs: awsbuild.Functions()}} // Packer may prepare a component more than once
	var mistakes buildcfg.Mistakes
	note := mistakes.Note
	rest, blocks, broken := buildcfg.Blocks(raws, ociBlock, awsBlock)
	ctx := c.ctx
	note(buildcfg.Each(buildcfg.Decode(c, builderID, &ctx, rest, "tags"))...)
	c.ctx = ctx
	if broken != nil {
		note(broken)
		return nil, mistakes.Err()
	}
	if block, ok := blocks[ociBlock]; ok {
		c.OCI = new(OCI)
		ctx := interpolate.Context{}
		note(in(atOCI, buildcfg.Each(buildcfg.Decode(c.OCI, builderID, &ctx, block))...)...)
	}
	if block, ok := blocks[awsBlock]; ok {
		c.AWS = new(AWS)
		ctx := interpolate.Context{Funcs: awsbuild.Functions()}
		note(in(atAWS, buildcfg.Each(buildcfg.Decode(c.AWS, builderID, &ctx, block, awsbuild.Late()...))...)...)
		c.AWS.ctx = ctx
	}
	if c.OCI == nil && c.AWS == nil {
		note(errors.New("a block oci { } or aws { } must be there, or both: it says where to build"))
	}
	c.Limits.Defaults(0)
	note(c.Limits.Problems()...)
	note(c.preparePreference()...)
	untagged, clash := c.share()
	warnings = append(warnings, untagged...)
	note(clash...)
	note(c.prepareConnection()...)
	note(c.Checks.Prepare()...)
	if o := c.OCI; o != nil {
		lines, bad := c.prepareOCI(o)
		warnings = append(warnings, lines...)
		note(bad...)
	}
	if a := c.AWS; a != nil {
		lines, bad := c.prepareAWS(a)
		warnings = append(warnings, lines...)
		note(bad...)
	}
	if d := c.CapacityInterval; d > 0 && d < time.Second {
		warnings = append(warnings, fmt.Sprintf("capacity_interval = %q: clouds throttle accounts that ask more often than about once a second", d))
	}
	return warnings, mistakes.Err()
}

// in puts the name of a block before errors about it.
func in(block string, errs ...error) (list []error) {
	for _, err := range errs {
		if err != nil {
			list = append(list, fmt.Errorf("%s%w", block, err))
		}
	}
	return list
}

// preparePreference settles the order of the clouds.
func (c *Config) preparePreference() (list []error) {
	asked := c.Prefer
	for i, name := range asked {
		switch {
		case tmpl.Unknown(name):
			c.Prefer = nil // a build will tell
		case name != ociBlock && name != awsBlock:
			list = append(list, fmt.Errorf("prefer must have \"oci\" and \"aws\" in some order, one is %q", name))
		case slices.Contains(asked[:i], name):
			list = append(list, fmt.Errorf("prefer: %s is there twice", name))
		case name == ociBlock && c.OCI == nil, name == awsBlock && c.AWS == nil:
			list = append(list, fmt.Errorf("prefer names %s, and there is no block %s { }", name, name))
		}
	}
	for _, name := range []string{ociBlock, awsBlock} {
		if !slices.Contains(c.Prefer, name) {
			c.Prefer = append(c.Prefer, name)
		}
	}
	c.prefers = min(defaultPreferTimeout, c.CapacityTimeout/2)
	if c.PreferTimeout == "" || tmpl.Unknown(c.PreferTimeout) {
		return list
	}
	d, err := time.ParseDuration(c.PreferTimeout)
	switch {
	case err != nil || d < 0:
		list = append(list, fmt.Errorf("prefer_timeout must be a duration such as \"30m\", it is %q", c.PreferTimeout))
	case d >= c.CapacityTimeout && c.OCI != nil && c.AWS != nil:
		list = append(list, fmt.Errorf("prefer_timeout is %s, and capacity_timeout is %s: the second cloud would never be asked", d, c.CapacityTimeout))
	}
	c.prefers = d
	return list
}

// share gives each block what is said for both.
func (c *Config) share() (warnings []string, list []error) {
	o, a := c.OCI, c.AWS
	if !c.SkipCreateImage && (o != nil && o.SkipCreateImage || a != nil && a.SkipCreateAMI) {
		list = append(list, errors.New("skip_create_image is for both clouds: set it outside of the blocks oci and aws"))
	}
	if o != nil {
		if !o.Always() {
			tags, err := c.plainTags()
			if err != nil {
				list = append(list, err)
			}
			o.Tags = both(tags, o.Tags)
		}
		if o.ImageName+o.ImageNamePrefix == "" {
			o.ImageName = c.ImageName
		}
		if o.UserData+o.UserDataFile == "" && o.Metadata["user_data"] == "" {
			o.UserData, o.UserDataFile = c.UserData, c.UserDataFile
		}
		o.PinHostKey = o.PinHostKey || c.PinHostKey
		o.SkipCreateImage = c.SkipCreateImage
	}
	if a != nil {
		if a.AMIName+a.AMINamePrefix == "" {
			a.AMIName = c.ImageName
		}
		if !a.Captures() {
			a.ImageTags = both(c.Tags, a.ImageTags)
		}
		if a.UserData+a.UserDataFile == "" {
			a.UserData, a.UserDataFile = c.UserData, c.UserDataFile
		}
		a.PinHostKey = a.PinHostKey || c.PinHostKey
		a.SkipCreateAMI = c.SkipCreateImage
	}
	switch blocks := c.capturing(); {
	case len(c.Tags) == 0 || len(blocks) == 0:
	case len(blocks) == 1 && o != nil && a != nil:
		warnings = append(warnings, fmt.Sprintf("tags are for images: %s in the block %s captures disks, which get none; destination.tags of the post-processor armfree-oci-cross-tenancy-copy are for what is made of them", captureMethod, blocks[0]))
	default:
		list = append(list, fmt.Errorf("tags are for images, and with %s in the %s none is made: remove them; the post-processor armfree-oci-cross-tenancy-copy, which makes the image, has destination.tags", captureMethod, said(blocks)))
	}
	return warnings, list
}

// captureMethod is how a template says it.
const captureMethod = `image_method = "capture"`

// capturing are the blocks that never make an image, but capture disks.
func (c *Config) capturing() (blocks []string) {
	if c.OCI != nil && c.OCI.Always() {
		blocks = append(blocks, ociBlock)
	}
	if c.AWS != nil && c.AWS.Captures() {
		blocks = append(blocks, awsBlock)
	}
	return blocks
}

// said is "block oci", or "blocks oci and aws".
func said(blocks []string) string {
	if len(blocks) == 1 {
		return "block " + blocks[0]
	}
	return "blocks " + strings.Join(blocks, " and ")
}

// plainTags are the tags for both clouds, rendered; for AWS that is done once the
// source image is known.
func (c *Config) plainTags() (map[string]string, error) {
	out := map[string]string{}
	for key, value := range c.Tags {
		text, err := interpolate.Render(value, &c.ctx)
		if err != nil || strings.Contains(text, "<no value>") {
			return nil, fmt.Errorf("tags: %s = %q has what OCI does not know; such a tag belongs into the block aws", key, value)
		}
		out[key] = text
	}
	return out, nil
}

// both are the tags of the template and those of a block, which count before them.
func both(common, own map[string]string) map[string]string {
	if len(common) == 0 {
		return own
	}
	all := maps.Clone(common)
	maps.Copy(all, own)
	return all
}

// prepareConnection settles how machines are connected to: as one user or another,
// with one key.
func (c *Config) prepareConnection() (list []error) {
	user := c.Comm.SSHUsername
	if c.AWS != nil && c.Comm.SSHKeyPairName != "" {
		// A machine on AWS is reached with the key of its pair, which is AWS's; one on
		// OCI takes any.
		awsbuild.FromEnvironment(&c.Comm)
		c.Comm.SSHUsername = user
	}
	if o := c.OCI; o != nil {
		o.SSHUsername = cmp.Or(o.SSHUsername, user, os.Getenv("OCI_SSH_USERNAME"))
		c.Comm.SSHUsername = o.SSHUsername
		ocibuild.FromEnvironment(&c.Comm)
	}
	if a := c.AWS; a != nil {
		a.SSHUsername = cmp.Or(a.SSHUsername, user, os.Getenv("AWS_SSH_USERNAME"))
		c.Comm.SSHUsername = cmp.Or(c.Comm.SSHUsername, a.SSHUsername)
		awsbuild.FromEnvironment(&c.Comm)
	}
	list = append(list, c.Comm.Prepare(&c.ctx)...)
	if c.Comm.Type == "ssh" {
		for _, b := range []struct {
			is         bool
			user, name string
		}{{c.OCI != nil, c.username(ociBlock), ociBlock}, {c.AWS != nil, c.username(awsBlock), awsBlock}} {
			if b.is && b.user == "" && c.Comm.SSHUsername != "" { // otherwise Packer's SDK says so
				list = append(list, fmt.Errorf("%s: ssh_username must be set, in the block or outside", b.name))
			}
		}
	}
	prefix := "OCI"
	if c.OCI == nil || c.AWS != nil && c.Comm.SSHKeyPairName != "" {
		prefix = "AWS"
	}
	list = append(list, sshkey.Check(&c.Comm, prefix)...)
	return append(list, buildcfg.CheckConnection(&c.Comm)...)
}

// username is that of machines in a cloud.
func (c *Config) username(cloud string) string {
	switch {
	case cloud == ociBlock && c.OCI != nil:
		return c.OCI.SSHUsername
	case cloud == awsBlock && c.AWS != nil:
		return c.AWS.SSHUsername
	}
	return c.Comm.SSHUsername
}

func (c *Config) prepareOCI(o *OCI) (warnings []string, list []error) {
	var bad []error
	o.credentials, bad = o.Access.Prepare(atOCI, "")
	warnings, list = o.Options.Prepare(c.forOCI())
	lent := c.AWS != nil && c.AWS.Captures() && c.AWS.CaptureTo == nil
	list = append(list, in(atOCI, o.Capture.Prepare(&o.Options, &c.Comm, lent)...)...)
	if o.PinHostKey && c.Comm.Type == "winrm" {
		list = append(list, errors.New(atOCI+"ssh_pin_host_key is for SSH, and communicator is \"winrm\""))
	}
	return warnings, append(bad, list...)
}

func (c *Config) prepareAWS(a *AWS) (warnings []string, list []error) {
	var lines []string
	var bad []error
	a.credentials, warnings, list = a.Access.Prepare(atAWS)
	lines, bad = a.Options.Prepare(c.forAWS())
	list = append(list, bad...)
	return append(warnings, lines...), append(list, a.Away.Prepare(capturecfg.Given{
		Method: a.ImageMethod, Wanted: a.Captures(), Skip: c.SkipCreateImage, Comm: &c.Comm, Block: atAWS, Shared: c.OCI != nil && c.OCI.CaptureBucket != "",
	})...)
}

// forOCI is what the options for OCI are told of the rest of the template.
func (c *Config) forOCI() ocibuild.Given {
	return ocibuild.Given{Tenancy: c.OCI.TenancyOCID, Region: c.OCI.Region, Limits: &c.Limits, Force: c.PackerForce, Source: c.PackerBuildName, Block: atOCI}
}

// forAWS is what the options for AWS are told of the rest of the template.
func (c *Config) forAWS() awsbuild.Given {
	return awsbuild.Given{Region: c.AWS.Region, Comm: &c.Comm, Limits: &c.Limits, Force: c.PackerForce, Source: c.PackerBuildName, Block: atAWS, Ctx: c.AWS.ctx}
}

// secrets are what the template and the environment have of them, valid or not.
func (c *Config) secrets() []string {
	all := buildcfg.Secrets(&c.Comm)
	if o := c.OCI; o != nil {
		all = append(all, o.credentials.Secrets()...)
	}
	if a := c.AWS; a != nil {
		all = append(all, slices.Concat(a.Access.Secrets(), a.credentials.Secrets(), a.Away.Secrets())...)
	}
	return all
}
