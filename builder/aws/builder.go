// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package aws is the builder armfree-aws: it finds a Graviton machine on AWS
// wherever there is one, provisions it, makes an image (AMI) of it and leaves
// nothing else behind.
//
// It is thin on purpose. What a template may say is in internal/awscfg and
// internal/awsbuild, what a build does is the list of phases in Run, and what they
// mean on AWS is in the adapter (internal/ec2).
package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/awsbuild"
	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
)

// BuilderID identifies artifacts of this builder.
const BuilderID = "armfree.aws"

// destroyTimeout limits the removal of images when Packer discards them.
const destroyTimeout = 5 * time.Minute

// Builder implements packersdk.Builder. Mask must be set.
type Builder struct {
	Mask *mask.Masker
	// HTTP replaces the client that the environment describes (proxy,
	// certificates); tests set it.
	HTTP   *http.Client
	config Config
}

// ConfigSpec implements packersdk.Builder.
func (b *Builder) ConfigSpec() hcldec.ObjectSpec {
	return buildcfg.KeysAsText(b.config.FlatMapstructure().HCL2Spec())
}

// Prepare implements packersdk.Builder. It makes no request.
func (b *Builder) Prepare(raws ...interface{}) ([]string, []string, error) {
	warnings, err := b.config.Prepare(raws...)
	b.Mask.AddVariables(b.config.PackerSensitiveVars, b.config.PackerUserVars)
	b.Mask.Add(b.config.secrets()...)
	return generatedNames(), warnings, err
}

// Run implements packersdk.Builder.
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (_ packersdk.Artifact, err error) {
	defer func() { err = b.Mask.Error(err) }()
	c := &b.config
	ui = b.Mask.Ui(ui)
	secret, err := sshkey.Prepare(&c.Comm)
	if err != nil {
		return nil, err
	}
	b.Mask.Add(secret)
	if c.PackerDebug && c.Comm.SSHTemporaryKeyPairName != "" {
		remove, err := buildcfg.WriteKey(fmt.Sprintf("ec2_%s.pem", c.PackerBuildName), c.Comm.SSHPrivateKey, ui)
		if err != nil {
			return nil, err
		}
		defer remove()
	}
	if _, _, err := b.builds(); err != nil {
		return nil, err
	}
	return nil, errNoAdapter
}

// errNoAdapter is why nothing is built yet.
var errNoAdapter = errors.New("this version cannot reach AWS yet: its template was checked, and nothing was started")

// builds are the builds in all regions, and what their machine's host key is held
// against.
func (b *Builder) builds() ([]ec2.BuildConfig, *sshkey.HostKey, error) {
	c := &b.config
	keys := awsbuild.Keys{Public: string(c.Comm.SSHPublicKey)}
	if c.PinHostKey && c.Comm.Type == "ssh" {
		key, err := sshkey.NewHostKey()
		if err != nil {
			return nil, nil, err
		}
		b.Mask.Add(key.Secret())
		keys.Host = &key
	}
	all, err := c.Builds(c.given(), keys)
	return all, keys.Host, err
}
