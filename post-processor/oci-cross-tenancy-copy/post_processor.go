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
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/lifeline"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
)

// BuilderID identifies artifacts of this post-processor.
const BuilderID = "armfree.oci-cross-tenancy-copy"

// The builders whose artifact is an OCI image, identified by its OCID, and those
// whose artifact is an AMI.
const (
	armfreeOCI = "armfree.oci"
	oracleOCI  = "packer.oracle.oci"
	armfreeAWS = "armfree.aws"
	amazonEBS  = "mitchellh.amazonebs"
)

// PostProcessor implements packersdk.PostProcessor. Mask must be set.
type PostProcessor struct {
	Mask *mask.Masker
	// HTTP replaces the client that the environment describes (proxy,
	// certificates); tests set it.
	HTTP   *http.Client
	config Config
}

// ConfigSpec implements packersdk.PostProcessor.
func (p *PostProcessor) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Configure implements packersdk.PostProcessor. It makes no request.
func (p *PostProcessor) Configure(raws ...interface{}) error {
	err := p.config.Prepare(raws...)
	p.Mask.AddVariables(p.config.PackerSensitiveVars, p.config.PackerUserVars)
	p.Mask.Add(p.config.Source.Credentials().Secrets()...)
	for _, d := range p.config.Destinations {
		p.Mask.Add(d.Credentials().Secrets()...)
	}
	return err
}

// PostProcess implements packersdk.PostProcessor. The source image is kept, unless
// keep_source_image says otherwise and all went well.
func (p *PostProcessor) PostProcess(ctx context.Context, ui packersdk.Ui, a packersdk.Artifact) (_ packersdk.Artifact, keep, force bool, err error) {
	defer func() { err = p.Mask.Error(err) }()
	ui = p.Mask.Ui(ui)
	a.State(buildcfg.HoldState) // it is to survive, whatever comes of the copy
	image, err := p.image(a)
	if err != nil {
		return nil, true, true, err
	}
	c, err := p.plan(ctx, image, a, ui)
	if err != nil {
		return nil, true, true, err
	}
	lifeline.Rest(ctx, func() []string { return rest(c) })
	start := time.Now()
	results, err := c.Run(ctx)
	for _, r := range results {
		switch {
		case r.Err == nil && r.Image != "" && r.Route != "":
			ui.Sayf("%s: %s, imported in %s", r.Destination, r.Image, r.Took.Round(time.Second))
		case r.Err != nil && len(results) > 1: // a single failure is the error of the whole, which Packer prints
			ui.Errorf("%v", r.Err)
		}
	}
	if rerr := p.report(c, results, start, err); rerr != nil {
		err = errors.Join(err, rerr)
	}
	if err != nil {
		return nil, true, true, fmt.Errorf("%w\nThe source image %s is kept: the copy can be run again with source_image_ocid", err, image)
	}
	ui.Sayf("Copied %s to %s in %s", image, count(len(results), "destination"), time.Since(start).Round(time.Second))
	return &Artifact{source: image, places: p.places(c), results: results}, !c.RemoveSource, true, nil
}

// image is the OCID of the image to copy.
func (p *PostProcessor) image(a packersdk.Artifact) (string, error) {
	if p.config.SourceImageOCID != "" {
		return p.config.SourceImageOCID, nil
	}
	switch a.BuilderId() {
	case armfreeOCI, oracleOCI:
		return a.Id(), nil
	case armfreeAWS, amazonEBS:
		return "", fmt.Errorf("the artifact of the builder %q is an AMI, which this version cannot bring to OCI; the AMI is kept", a.BuilderId())
	}
	return "", fmt.Errorf("the artifact of the builder %q is no OCI image; set source_image_ocid, or put this post-processor behind armfree-oci or oracle-oci", a.BuilderId())
}

// region is where the image is: the source's own, unless the build says that it
// found its machine in another.
func (p *PostProcessor) region(own string, a packersdk.Artifact, ui packersdk.Ui) string {
	if p.config.SourceImageOCID != "" || a.BuilderId() != armfreeOCI {
		return own
	}
	region, ok := a.State("region").(string)
	if !ok || region == "" || region == own {
		return own
	}
	ui.Sayf("The image is in %s, so it travels through the bucket %q there", region, p.config.Source.Bucket)
	return region
}

// count is n things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
