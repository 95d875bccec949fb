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
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/version"
)

// BuilderID identifies artifacts of this post-processor.
const BuilderID = "armfree.oci-cross-tenancy-copy"

// The builders whose artifact is an OCI image, identified by its OCID.
const (
	armfreeOCI = "armfree.oci"
	oracleOCI  = "packer.oracle.oci"
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
	p.Mask.Add(p.config.Source.credentials.Secrets()...)
	for _, d := range p.config.Destinations {
		p.Mask.Add(d.credentials.Secrets()...)
	}
	return err
}

// PostProcess implements packersdk.PostProcessor. The source image is always
// kept.
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
	start := time.Now()
	results, err := c.Run(ctx)
	for _, r := range results {
		switch {
		case r.Err == nil:
			ui.Sayf("%s: %s, imported in %s", r.Destination, r.Image, r.Took.Round(time.Second))
		case len(results) > 1: // a single failure is the error of the whole, which Packer prints
			ui.Errorf("%v", r.Err)
		}
	}
	if err != nil {
		return nil, true, true, fmt.Errorf("%w\nThe source image %s is kept: the copy can be run again with source_image_ocid", err, image)
	}
	ui.Sayf("Copied %s to %s in %s", image, count(len(results), "destination"), time.Since(start).Round(time.Second))
	return &Artifact{name: c.Name, results: results}, true, true, nil
}

// image is the OCID of the image to copy.
func (p *PostProcessor) image(a packersdk.Artifact) (string, error) {
	if p.config.SourceImageOCID != "" {
		return p.config.SourceImageOCID, nil
	}
	switch a.BuilderId() {
	case armfreeOCI, oracleOCI:
		return a.Id(), nil
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

// plan is the copy of an image that the configuration describes.
func (p *PostProcessor) plan(ctx context.Context, image string, a packersdk.Artifact, ui packersdk.Ui) (*imagecopy.Copy, error) {
	c := &p.config
	o := oci.Options{UserAgent: "packer-plugin-armfree/" + version.Version, HTTP: p.HTTP, Secret: p.Mask.Add}
	life := time.Duration(c.ExpiresInHours) * time.Hour
	id := owner.NewBuild(time.Now(), life)
	from, err := oci.SignIn(ctx, c.Source.credentials, o)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	src, err := from.Client(p.region(from.Region, a, ui))
	if err != nil {
		return nil, err
	}
	var dests []imagecopy.Destination
	var errs []error
	for _, d := range c.Destinations {
		who, err := oci.SignIn(ctx, d.credentials, o)
		if err != nil {
			errs = append(errs, fmt.Errorf("destination: %w", err))
			continue
		}
		cl, err := who.Client(who.Region)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		dests = append(dests, &oci.Importer{
			Client: cl, Label: label(who), Compartment: cmp.Or(d.CompartmentOCID, who.Tenancy), Shapes: d.ImageShapes,
			Tags: d.Tags, Owner: id, Timeout: c.ImportTimeout, Say: ui.Sayf,
		})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	object := c.ObjectName
	if object == "" {
		object = id.Name("image") + ".oci"
	}
	return &imagecopy.Copy{
		Source:       &oci.Exporter{Client: src, Timeout: c.ExportTimeout, Say: ui.Sayf},
		Store:        &oci.Bucket{Client: src, Namespace: c.Source.Namespace, Bucket: c.Source.Bucket},
		Destinations: dests,
		Image:        image, Name: c.DestImageName, Object: object, Owner: id,
		LinkLife: life, Cleanup: c.CleanupTimeout,
		Say: ui.Sayf, Warn: ui.Errorf, Secret: p.Mask.AddURL,
	}, nil
}

// label names a destination: its region and the end of its tenancy's OCID.
func label(who *oci.Principal) string {
	t := who.Tenancy
	if i := strings.LastIndexByte(t, '.'); i >= 0 {
		t = t[i+1:]
	}
	if len(t) > 8 {
		t = "..." + t[len(t)-8:]
	}
	return who.Region + " (tenancy " + t + ")"
}

// count is n things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
