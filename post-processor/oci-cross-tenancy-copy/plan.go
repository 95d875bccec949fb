// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
	"github.com/armfree/packer-plugin-armfree/version"
)

// linkMargin is how much longer a link lives than what needs it may take.
const linkMargin = 30 * time.Minute

// plan is the copy of an image that the configuration describes.
func (p *PostProcessor) plan(ctx context.Context, what subject, ui packersdk.Ui) (*imagecopy.Copy, error) {
	c := &p.config
	o := oci.Options{UserAgent: version.UserAgent(), HTTP: p.HTTP, Secret: p.Mask.Add}
	from, err := oci.SignIn(ctx, c.Source.Credentials(), o)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	region := from.Region
	if what.disk == nil {
		region = cmp.Or(what.region, region)
	}
	src, err := from.Client(region)
	if err != nil {
		return nil, err
	}
	bucket := &oci.Bucket{Client: src, Namespace: c.Source.Namespace, Bucket: c.Source.Bucket}
	if o := what.object; o != nil && o.bucket != "" {
		bucket.Namespace, bucket.Bucket = o.namespace, o.bucket
	}
	targets, importers, provers, err := p.targets(ctx, o, from, bucket, ui)
	if err != nil {
		return nil, err
	}
	keys := make([]string, len(targets))
	read := c.ImportTimeout
	for i, t := range targets {
		keys[i] = t.Key
		read = max(read, c.Destinations[i].ImportTimeout*time.Duration(1+2*len(t.Ways))) // each way takes its time, and each import
	}
	slices.Sort(keys)
	now := time.Now()
	life := min(c.life(), max(c.ExportTimeout, read)+linkMargin)
	whole := c.ExportTimeout + read + takeTurns(provers) + c.CleanupTimeout + linkMargin
	id := owner.Derive(now, whole, append([]string{what.key(c), region, bucket.Bucket, c.ObjectName}, keys...)...)
	form := imagecopy.Archive
	if what.disk != nil {
		form = c.form()
	}
	for _, m := range importers {
		m.Owner, m.VMDK = id, form == imagecopy.VMDK
		if what.disk != nil { // of others there is one form only
			m.Form = string(form)
		}
	}
	for _, v := range provers {
		v.copied = id.ID
	}
	run := owner.NewBuild(now, whole)
	if a, is := what.disk.(*ami); is && a.export != nil {
		a.export.Owner, a.export.Token = id, run.Token("export-image", a.ID)
	}
	object := c.ObjectName
	switch {
	case what.object != nil:
		object = what.object.name
	case object == "":
		object = imagecopy.ObjectName(what.id, id, form)
	}
	return &imagecopy.Copy{
		Source:  p.source(what, bucket, ui),
		Store:   bucket,
		Targets: targets,
		Object:  object,
		Form:    form, FormGiven: what.disk != nil && c.ImageFormat != "",
		Given:    what.object != nil,
		Owner:    id,
		ThisRun:  run,
		Conflict: imagecopy.Conflict(c.ImageNameConflict), SizeLimitGB: max(c.SizeLimitInGBs, 0), RemoveSource: c.KeepSourceImage.False(),
		WriteLife: min(life, c.ExportTimeout+linkMargin), ReadLife: min(life, read+linkMargin), Cleanup: c.CleanupTimeout, Grace: sweep.DefaultGrace,
		Say: ui.Sayf, Warn: ui.Errorf, Secret: p.Mask.AddURL,
	}, nil
}

// targets signs in to every destination.
func (p *PostProcessor) targets(ctx context.Context, o oci.Options, from *oci.Principal, bucket *oci.Bucket, ui packersdk.Ui) ([]imagecopy.Target, []*oci.Importer, []*prover, error) {
	c := &p.config
	var targets []imagecopy.Target
	var provers []*prover
	var importers []*oci.Importer
	var errs []error
	seen := map[string]string{}
	for i := range c.Destinations {
		d, block := &c.Destinations[i], strings.TrimSuffix(c.block(i), ".")
		who, err := oci.SignIn(ctx, d.Credentials(), o)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", block, err))
			continue
		}
		m, err := d.Importer(who)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", block, err))
			continue
		}
		m.Shapes, m.Tags, m.Carry = d.ImageShapes, d.Tags, []string{proof.Tag}
		m.OS, m.OSVersion, m.Timeout, m.Say = c.OperatingSystem, c.OperatingSystemVersion, d.ImportTimeout, ui.Sayf
		name := cmp.Or(d.ImageName, c.DestImageName)
		key := strings.Join([]string{who.Tenancy, who.Region, m.Compartment, name}, "|")
		if other := seen[key]; other != "" {
			errs = append(errs, fmt.Errorf("%s and %s are the same place, and the image has the same name in both", other, block))
			continue
		}
		seen[key] = block
		importers = append(importers, m)
		ways, err := d.ways(m, from, bucket)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", block, err))
		}
		target := imagecopy.Target{
			Destination: m, Key: key, ImageName: name, Direct: d.Route == "" || d.Route == "direct", Ways: ways,
		}
		if m.Keep = cmp.Or(d.Retain, c.Retain); m.Keep > 0 {
			target.Retain = m
		}
		if c.ImageSeries != "" {
			m.Series = owner.Series(c.ImageSeries)
		}
		if d.Verify != nil {
			v, err := p.prover(i, m, key, ui)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", block, err))
				continue
			}
			provers = append(provers, v)
			target.Verify, target.KeepUnverified = v, d.Verify.OnFailure == keepFailed
		}
		targets = append(targets, target)
	}
	return targets, importers, provers, errors.Join(errs...)
}

// ways are the routes to a destination that are not direct. from is who has the
// image, in bucket.
func (d *Destination) ways(m *oci.Importer, from *oci.Principal, bucket *oci.Bucket) (ways []imagecopy.Way, err error) {
	if name := d.CopyBucket; d.Route == copyObject || d.Route == "" && name != "" {
		near, err := from.Client(m.Region)
		if err != nil {
			return nil, err
		}
		ways = append(ways, &oci.CopyWay{
			Bucket: &oci.Bucket{Client: near, Namespace: bucket.Namespace, Bucket: cmp.Or(name, bucket.Bucket)}, From: bucket, Timeout: d.ImportTimeout,
		})
	}
	if name := d.RelayBucket; d.Route == relay || d.Route == "" && name != "" {
		ways = append(ways, &oci.RelayWay{Bucket: &oci.Bucket{Client: m.Client, Namespace: d.RelayNamespace, Bucket: name}, Timeout: d.ImportTimeout})
	}
	return ways, nil
}

// place is where a destination is, for reports.
type place struct{ region, tenancy, compartment string }

func (p *PostProcessor) places(c *imagecopy.Copy) []place {
	all := make([]place, len(c.Targets))
	for i, t := range c.Targets {
		if m, ok := t.Destination.(*oci.Importer); ok {
			all[i] = place{m.Region, m.Tenancy, m.Compartment}
		}
	}
	return all
}
