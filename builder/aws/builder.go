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
	"net/http"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/awsbuild"
	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/capture"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicapture"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/phase"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
	"github.com/armfree/packer-plugin-armfree/version"
)

// Builder implements packersdk.Builder. Mask must be set.
type Builder struct {
	Mask *mask.Masker
	// HTTP replaces the client that the environment describes (proxy,
	// certificates); tests set it.
	HTTP *http.Client
	// Helper gives what is brought to a machine whose disk is captured; default: what the
	// plugin carries. Tests set it.
	Helper func() (*capture.Binary, error)
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
	return awsbuild.GeneratedNames(), warnings, err
}

// Run implements packersdk.Builder.
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (_ packersdk.Artifact, err error) {
	defer func() { err = b.Mask.Error(help.With(err)) }()
	c := &b.config
	ui = b.Mask.Ui(ui)
	done, err := buildcfg.UseKey(&c.PackerConfig, &c.Comm, "ec2", b.Mask.Add, ui)
	if err != nil {
		return nil, err
	}
	defer done()
	client, err := ec2.SignIn(ctx, c.credentials, ec2.Options{
		UserAgent: version.UserAgent(), HTTP: b.HTTP, Secret: b.Mask.Add,
	})
	if err != nil {
		return nil, err
	}
	look := oci.Options{UserAgent: version.UserAgent(), HTTP: b.HTTP, Secret: b.Mask.Add}
	if err := c.Checks.Look(ctx, look, ui.Sayf); err != nil {
		return nil, err
	}
	id := owner.NewBuild(client.Now(), c.Life(c.Comm.SSHTimeout))
	builds, host, err := b.builds()
	if err != nil {
		return nil, err
	}
	places := awsbuild.Places(client, builds, id, ui.Sayf)
	own := places // what Site knows
	captures := ocicapture.Build{Timeout: c.ImageTimeout, Secret: b.Mask.AddURL, Helper: b.Helper}
	if c.Captures() && !c.SkipCreateAMI {
		bucket, err := c.CaptureTo.Open(ctx, look)
		if err != nil {
			return nil, err
		}
		places = ocicapture.Capturing(own, ocicapture.Target{Bucket: bucket, Option: "capture_to", Owner: id})
		captures.Options = map[string]ocicapture.Options{"aws": {How: &c.How, Method: c.ImageMethod, Object: oci.CaptureName(c.AMIName, id), Image: c.AMIName}}
	}
	cloud := fleet.New(places...)
	captures.Fleet = cloud
	site := func(region string) *ec2.Build { return awsbuild.Site(own, region) }
	build := phase.Build{
		UI: ui, Hook: hook, Site: cloud, Sundries: cloud, Token: id.Token, ID: id.ID, Life: c.Life(c.Comm.SSHTimeout), Replaces: c.PackerForce || c.ForceDeregister || c.Retain > 0, Debug: c.PackerDebug, OnError: c.PackerOnError,
		Policy: c.Policy(), Timeout: c.CapacityTimeout, CleanupTimeout: c.CleanupTimeout, TraceFile: c.TraceFile, Comm: &c.Comm,
		More: func(m *phase.FindMachine) map[string]interface{} {
			return awsbuild.Generated(m.ID, id.ID, m.Offer, site(m.Offer.Region).SourceImage())
		},
	}
	if host != nil {
		build.Pin = host.Pin
	}
	if c.SkipCreateAMI {
		build.NoImage = "skip_create_ami is set"
	}
	if build.Captures, err = captures.Captures(); err != nil {
		return nil, err
	}
	made, err := build.Run(ctx)
	if err != nil || c.SkipCreateAMI {
		return nil, err
	}
	if made.Captured != nil {
		return captures.Artifact(made), nil
	}
	at := site(made.Offer.Region)
	return &awsbuild.Artifact{
		Images: at.Images(made.Image), Name: builds[0].Image.Name, Region: made.Offer.Region, Source: at.SourceImage().ID, Data: made.Data,
		Retained: c.Retain > 0,
		Remove: func(ctx context.Context, region, image string) error {
			return client.In(region).DeleteImage(ctx, image)
		},
	}, nil
}

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
