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
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/phase"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
	"github.com/armfree/packer-plugin-armfree/version"
)

// BuilderID identifies artifacts of this builder.
const BuilderID = "armfree.oci"

// destroyTimeout limits the removal of an image when Packer discards it.
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
	b.Mask.Add(b.config.credentials.Secrets()...)
	b.Mask.Add(buildcfg.Secrets(&b.config.Comm)...)
	return generatedNames(), warnings, err
}

// Run implements packersdk.Builder.
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (_ packersdk.Artifact, err error) {
	defer func() { err = b.Mask.Error(err) }()
	c := &b.config
	ui = b.Mask.Ui(ui)
	done, err := buildcfg.UseKey(&c.PackerConfig, &c.Comm, "oci", b.Mask.Add, ui)
	if err != nil {
		return nil, err
	}
	defer done()
	pin, err := b.pinHostKey()
	if err != nil {
		return nil, err
	}
	// In a request it is encoded, and Oracle's SDK logs requests if it is told to.
	b.Mask.Add(base64.StdEncoding.EncodeToString(c.userData))
	id := owner.NewBuild(time.Now(), c.Life(c.Comm.SSHTimeout))
	who, err := oci.SignIn(ctx, c.credentials, oci.Options{
		UserAgent: "packer-plugin-armfree/" + version.Version, HTTP: b.HTTP, Secret: b.Mask.Add,
	})
	if err != nil {
		return nil, err
	}
	cloud, err := b.fleet(who, id, ui.Sayf)
	if err != nil {
		return nil, err
	}
	find := &phase.FindMachine{
		UI: ui, Cloud: cloud, Token: id.Token, Plan: cloud.Plan,
		Policy: c.policy(), Timeout: c.CapacityTimeout, TimeoutOption: "capacity_timeout",
	}
	connect := &phase.Connect{UI: ui, Config: &c.Comm, Machine: find, Pin: pin}
	source := func() string { return cloud.In("oci", find.Offer.Region).(*oci.Build).BaseImage() }
	provision := &phase.Provision{
		UI: ui, Hook: hook, Config: &c.Comm, Machine: find, Connect: connect,
		More: func() map[string]interface{} { return c.generated(id, find, source()) },
	}
	checked := &phase.Validated{UI: ui, Machine: find, Tag: cloud.TagImage}
	defer checked.Forget()
	image := &phase.MakeImage{UI: ui, Cloud: cloud, Token: id.Token, Machine: find}

	phases := []phase.Phase{find, connect, provision}
	if c.Bastion != nil {
		phases = b.throughBastion(ui, cloud, id, find, connect, provision)
	}
	checked.Follow(connect, provision)
	if !c.SkipCreateImage {
		phases = append(phases, image)
	}
	runner := phase.Runner{UI: ui, Debug: c.PackerDebug, OnError: c.PackerOnError, CleanupTimeout: c.CleanupTimeout}
	if err := runner.Run(ctx, phases...); err != nil {
		return nil, err
	}
	if c.SkipCreateImage {
		ui.Say("No image was made: skip_create_image is set")
		return nil, nil
	}
	if ctx.Err() != nil {
		ui.Sayf("The build was cancelled after its image was finished: image %s stays", image.ID)
	}
	return &Artifact{
		image: image.ID, name: c.ImageName, region: find.Offer.Region, remove: cloud.DeleteImage,
		data: provision.Data, source: source(),
	}, nil
}

// fleet is the build in every region in which it may take place.
func (b *Builder) fleet(who *oci.Principal, id owner.Build, say func(string, ...any)) (*fleet.Fleet, error) {
	c := &b.config
	c.settle(who.Tenancy, who.Region)
	var places []fleet.Place
	regions := map[string]bool{}
	for _, cfg := range c.builds() {
		if regions[cfg.Region] {
			return nil, fmt.Errorf("additional_region: %s is there twice", cfg.Region)
		}
		regions[cfg.Region] = true
		client, err := who.Client(cfg.Region)
		if err != nil {
			return nil, err
		}
		places = append(places, fleet.Place{Cloud: "oci", Region: cfg.Region, Site: oci.NewBuild(client, cfg, id, say)})
	}
	return fleet.New(places...), nil
}

// pinHostKey makes the host key of the machine and puts it into its user data.
func (b *Builder) pinHostKey() (pin phase.Pin, err error) {
	if !b.config.PinHostKey || b.config.Comm.Type != "ssh" {
		return nil, nil
	}
	key, err := sshkey.NewHostKey()
	if err != nil {
		return nil, err
	}
	b.Mask.Add(key.Secret())
	if b.config.userData, err = key.UserData(b.config.userData); err != nil {
		return nil, err
	}
	return key.Pin, checkMetadata(b.config.userData, b.config.Metadata)
}
