// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package ocicrosstenancycopy is the post-processor
// armfree-oci-cross-tenancy-copy: it brings a finished image from the tenancy
// that built it into one or many others.
//
// What a copy does is in internal/imagecopy; this package reads the template,
// hands the three sides of a copy over, and reports how it ended.
package ocicrosstenancycopy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
	"github.com/armfree/packer-plugin-armfree/internal/lifeline"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
)

// BuilderID identifies artifacts of this post-processor.
const BuilderID = "armfree.oci-cross-tenancy-copy"

// PostProcessor implements packersdk.PostProcessor. Mask must be set.
type PostProcessor struct {
	Mask *mask.Masker
	// HTTP replaces the client that the environment describes (proxy,
	// certificates); tests set it.
	HTTP *http.Client
	// Goss makes what runs gossfiles on a machine: the provisioner armfree-goss.
	// Without it there is none.
	Goss func() packersdk.Provisioner

	config   Config
	checkers []packersdk.Provisioner // by destination; nil where nothing is checked
	// unreachable is for tests in virtual time, in which no network leads to a
	// machine: nobody signs in to it.
	unreachable bool
}

// ConfigSpec implements packersdk.PostProcessor.
func (p *PostProcessor) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Configure implements packersdk.PostProcessor. It makes no request.
func (p *PostProcessor) Configure(raws ...interface{}) error {
	err := p.config.Prepare(raws...)
	p.Mask.AddVariables(p.config.PackerSensitiveVars, p.config.PackerUserVars)
	p.Mask.Add(p.config.Source.Credentials().Secrets()...)
	p.Mask.Add(p.config.AWS.Secrets()...)
	if u := p.config.SourceURL; strings.ContainsAny(u, "?@") {
		p.Mask.Add(u)
	}
	for _, d := range p.config.Destinations {
		p.Mask.Add(d.Credentials().Secrets()...)
	}
	if bad := p.prepareCheckers(); len(bad) > 0 {
		err = packersdk.MultiErrorAppend(err, bad...)
	}
	return err
}

// PostProcess implements packersdk.PostProcessor. The source image is kept, unless
// keep_source_image says otherwise and all went well.
func (p *PostProcessor) PostProcess(ctx context.Context, ui packersdk.Ui, a packersdk.Artifact) (_ packersdk.Artifact, keep, force bool, err error) {
	defer func() { err = p.Mask.Error(help.With(err)) }()
	ui = p.Mask.Ui(ui)
	a.State(buildcfg.HoldState) // it is to survive, whatever comes of the copy
	what, err := p.find(ctx, a, ui)
	if err != nil {
		return nil, true, true, err
	}
	c, err := p.plan(ctx, what, ui)
	if err != nil {
		return nil, true, true, err
	}
	ui.Sayf("Copy %s", c.Owner.ID)
	defer lifeline.Rest(ctx, func() []string { return rest(c) })()
	start := time.Now()
	results, err := c.Run(ctx)
	for _, r := range results {
		switch {
		case r.Err == nil && r.Image != "" && r.Route != "":
			ui.Sayf("%s: %s, imported%s in %s", r.Destination, r.Image, map[bool]string{true: " and verified"}[r.Verified != nil], r.Took.Round(time.Second))
		case r.Err != nil && len(results) > 1 && !errors.As(r.Err, new(*imagecopy.DeliveryError)): // what concerns all is the error of the whole, which Packer prints
			ui.Errorf("%v", r.Err)
		}
	}
	if rerr := p.report(c, results, start, err); rerr != nil {
		err = errors.Join(err, rerr)
	}
	if err != nil {
		return nil, true, true, errors.Join(err, errors.New(what.kept))
	}
	ui.Sayf("Copied %s to %s in %s", what.label, count(len(results), "destination"), time.Since(start).Round(time.Second))
	return &Artifact{source: what.id, places: p.places(c), results: results}, !c.RemoveSource, true, nil
}

// count is n things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
