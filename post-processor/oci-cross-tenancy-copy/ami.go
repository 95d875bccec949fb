// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/ebsdirect"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/version"
)

// blockConnections is how many blocks are asked for at the same time at most.
const blockConnections = 64

// ami is an AMI as the root volume's snapshot has it.
type ami struct {
	ec2.AMI
	copies []*ec2.AMI // of the image, in other regions
}

// ami signs in to AWS for an image, which is in one or more regions: that where it was
// made counts, unless the template names one of them. The region "" is that of the
// template.
func (p *PostProcessor) ami(ctx context.Context, images map[string]string, made string, ui packersdk.Ui) (subject, error) {
	c := &p.config
	region := slices.Sorted(maps.Keys(images))[0]
	for _, r := range []string{made, c.AWS.Region} {
		if images[r] != "" {
			region = r
		}
	}
	creds, err := c.signIn(region)
	if err != nil {
		return subject{}, err
	}
	client, err := ec2.SignIn(ctx, creds, ec2.Options{UserAgent: version.UserAgent(), HTTP: p.HTTP, Secret: p.Mask.Add})
	if err != nil {
		return subject{}, fmt.Errorf("aws: %w", err)
	}
	d := &ami{AMI: ec2.AMI{Client: client, ID: images[region], Warn: ui.Errorf}}
	for r, id := range images {
		if r != region {
			d.copies = append(d.copies, &ec2.AMI{Client: client.In(r), ID: id})
		}
	}
	return subject{id: d.ID, region: client.Region, option: "source_ami", disk: d}, nil
}

// Describe implements imagecopy.Disk.
func (d *ami) Describe(ctx context.Context) (cloud.Image, error) {
	img, err := d.AMI.Describe(ctx)
	img.OS, img.OSVersion = systemOf(img.Name)
	return img, err
}

// Open implements imagecopy.Disk.
func (d *ami) Open(ctx context.Context, _ func(string, ...any)) (diskimage.Source, int64, error) {
	id, full := d.Snapshot()
	r, err := ebsdirect.Open(ctx, d.Blocks(blockConnections), id, ebsdirect.Options{})
	if err != nil {
		return nil, 0, fmt.Errorf("the snapshot %s cannot be read (by ebs:ListSnapshotBlocks and ebs:GetSnapshotBlock): %w", id, err)
	}
	return r, full, nil
}

// Close implements imagecopy.Disk.
func (*ami) Close() error { return nil }

// Remove implements imagecopy.Disk: the image goes from every region.
func (d *ami) Remove(ctx context.Context) error {
	errs := []error{d.AMI.Remove(ctx)}
	for _, c := range d.copies {
		if err := c.Remove(ctx); err != nil {
			errs = append(errs, fmt.Errorf("in %s: %w", c.Region, err))
		}
	}
	return errors.Join(errs...)
}
