// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package oci is the builder armfree-oci: it finds an Ampere machine on Oracle
// Cloud wherever there is one, provisions it, makes a custom image of it and
// leaves nothing else behind.
//
// It is thin on purpose. What a build does is the list of phases in Run; the
// phases are shared with the other builders (internal/phase), and what they
// mean on OCI is in the adapter (internal/oci).
package oci

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/capture"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
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
	b.Mask.Add(b.config.credentials.Secrets()...)
	b.Mask.Add(buildcfg.Secrets(&b.config.Comm)...)
	b.Mask.Add(b.config.Checks.Secrets()...)
	return ocibuild.GeneratedNames(), warnings, err
}

// Run implements packersdk.Builder.
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (_ packersdk.Artifact, err error) {
	defer func() { err = b.Mask.Error(help.With(err)) }()
	c := &b.config
	ui = b.Mask.Ui(ui)
	done, err := buildcfg.UseKey(&c.PackerConfig, &c.Comm, "oci", b.Mask.Add, ui)
	if err != nil {
		return nil, err
	}
	defer done()
	host, err := b.hostKey()
	if err != nil {
		return nil, err
	}
	id := owner.NewBuild(time.Now(), c.Life(c.Comm.SSHTimeout))
	options := oci.Options{UserAgent: version.UserAgent(), HTTP: b.HTTP, Secret: b.Mask.Add}
	who, err := oci.SignIn(ctx, c.credentials, options)
	if err != nil {
		return nil, err
	}
	if err := c.Checks.Look(ctx, options, ui.Sayf); err != nil {
		return nil, err
	}
	c.settle(who.Tenancy, who.Region)
	builds, err := c.Builds(c.given(), ocibuild.Keys{Public: string(c.Comm.SSHPublicKey), Host: host}, c.Bastion)
	if err != nil {
		return nil, err
	}
	// In a request it is encoded, and Oracle's SDK logs requests if it is told to.
	b.Mask.Add(base64.StdEncoding.EncodeToString(builds[0].UserData))
	for i := range builds {
		builds[i].Image.Capture = c.Capture.Config(&c.Options, c.given())
	}
	places, err := ocibuild.Places(who, builds, id, ui.Sayf)
	if err != nil {
		return nil, err
	}
	cloud := fleet.New(places...)
	source := func(region string) string { return cloud.In("oci", region).(*oci.Build).BaseImage() }
	build := phase.Build{
		UI: ui, Hook: hook, Site: cloud, Token: id.Token, ID: id.ID, Life: c.Life(c.Comm.SSHTimeout), Replaces: c.PackerForce || c.Retain > 0, Debug: c.PackerDebug, OnError: c.PackerOnError,
		Policy: c.policy(), Timeout: c.CapacityTimeout, CleanupTimeout: c.CleanupTimeout, TraceFile: c.TraceFile, Comm: &c.Comm,
		More: func(m *phase.FindMachine) map[string]interface{} {
			return ocibuild.Generated(m.ID, id.ID, m.Offer, source(m.Offer.Region))
		},
	}
	captures := ocicapture.Build{Timeout: c.ImageTimeout, Fleet: cloud, Secret: b.Mask.AddURL, Helper: b.Helper}
	switch {
	case c.SkipCreateImage:
		build.NoImage = "skip_create_image is set"
	case c.Possible():
		captures.Options = map[string]ocicapture.Options{"oci": {How: &c.How, Method: c.ImageMethod, Object: c.ObjectName(id), Image: c.ImageName}}
	}
	if build.Captures, err = captures.Captures(); err != nil {
		return nil, err
	}
	if host != nil {
		build.Pin = host.Pin
	}
	if c.Bastion != nil {
		build.Tunnel = &phase.Tunnel{
			UI: ui, Config: &c.Comm, Bastion: &phase.Bastion{UI: ui, Cloud: cloud, Token: id.Token}, Port: c.Comm.SSHPort,
			Dial: oci.Options{HTTP: b.HTTP}.DialJumpHost, Timeout: c.Bastion.Timeout, Option: "oci_bastion: timeout",
		}
	}
	if c.SkipTerminationWait {
		build.Leave = func(*phase.FindMachine) bool { return true }
	}
	made, err := build.Run(ctx)
	if err != nil || c.SkipCreateImage {
		return nil, err
	}
	if made.Captured != nil {
		return captures.Artifact(made), nil
	}
	return &ocibuild.Artifact{
		Image: made.Image, Name: c.ImageName, Region: made.Offer.Region, Remove: cloud.DeleteImage,
		Data: made.Data, Source: source(made.Offer.Region), Retained: c.Retain > 0,
	}, nil
}

// hostKey is the host key of the machine; nil if it makes its own.
func (b *Builder) hostKey() (*sshkey.HostKey, error) {
	if !b.config.PinHostKey || b.config.Comm.Type != "ssh" {
		return nil, nil
	}
	key, err := sshkey.NewHostKey()
	if err != nil {
		return nil, err
	}
	b.Mask.Add(key.Secret())
	return &key, nil
}
