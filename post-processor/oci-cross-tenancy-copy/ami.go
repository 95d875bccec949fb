// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/ebsdirect"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
	"github.com/armfree/packer-plugin-armfree/version"
)

// blockConnections is how many blocks are asked for at the same time at most.
const blockConnections = 64

// ami is an AMI as the root volume's snapshot has it.
type ami struct {
	ec2.AMI
	copies []*ec2.AMI // of the image, in other regions
	// unproven lets an image pass that has no proof that it boots on OCI.
	unproven bool
	reader   *ebsdirect.Reader // that Describe has opened
	// export, if set, is how EC2 itself writes the image into a file.
	export  *ec2.ImageExport
	cleanup time.Duration // limit for removing that
	closing func() error
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
	d := &ami{AMI: ec2.AMI{Client: client, ID: images[region], Warn: ui.Errorf, Goes: c.KeepSourceImage.False()}, unproven: c.AllowUnprovenImage}
	if x := c.ExportImage; x != nil {
		d.export = &ec2.ImageExport{AMI: &d.AMI, Bucket: x.S3BucketName, Prefix: x.S3Prefix, Role: x.RoleName}
		d.cleanup = c.CleanupTimeout
	}
	for r, id := range images {
		if r != region {
			d.copies = append(d.copies, &ec2.AMI{Client: client.In(r), ID: id})
		}
	}
	return subject{id: d.ID, label: fmt.Sprintf("%s in %s", d.ID, client.Region), disk: d, kept: fmt.Sprintf("The AMI %s in %s is kept: the copy can be run again with source_ami", d.ID, client.Region)}, nil
}

// Describe implements imagecopy.Disk.
func (d *ami) Describe(ctx context.Context) (cloud.Image, error) {
	img, err := d.AMI.Describe(ctx)
	img.OS, img.OSVersion = oci.SystemOf(img.Name)
	if img.ID != "" {
		err = errors.Join(err, proofOf("image "+img.ID, "it", img.Tags[proof.Tag], d.unproven, d.Warn))
	}
	switch { // who may not read it, or not use its key, is told before anything is started
	case err != nil:
	case d.export != nil:
		err = d.export.Check(ctx)
	default:
		if d.reader, err = d.read(ctx); err == nil {
			err = d.explain(d.reader.Try(ctx))
		}
	}
	return img, err
}

// read asks for the first blocks of the root volume.
func (d *ami) read(ctx context.Context) (*ebsdirect.Reader, error) {
	id, _ := d.Snapshot()
	r, err := ebsdirect.Open(ctx, d.Blocks(blockConnections), id, ebsdirect.Options{})
	return r, d.explain(err)
}

// explain says what it takes to read a snapshot, if it could not be.
func (d *ami) explain(err error) error {
	if err == nil {
		return nil
	}
	id, _ := d.Snapshot()
	return fmt.Errorf("the snapshot %s cannot be read, which takes ebs:ListSnapshotBlocks and ebs:GetSnapshotBlock, and kms:Decrypt if it is encrypted: %w", id, err)
}

// Open implements imagecopy.Disk.
func (d *ami) Open(ctx context.Context, say func(string, ...any)) (diskimage.Source, int64, error) {
	_, full := d.Snapshot()
	if d.export != nil {
		d.closing = func() error { return d.Tidy(ctx) }
		file, size, err := d.export.Open(ctx, say)
		if err != nil {
			return nil, 0, err
		}
		src, err := diskimage.Open(file, size)
		if err == nil && src.Size() != d.Size() {
			err = fmt.Errorf("it has a disk of %d bytes, and the snapshot one of %d", src.Size(), d.Size())
		}
		if err != nil {
			return nil, 0, fmt.Errorf("what EC2 has exported of %s cannot be used: %w", d.ID, err)
		}
		return src, full, nil
	}
	r := d.reader
	if d.reader = nil; r == nil {
		var err error
		if r, err = d.read(ctx); err != nil {
			return nil, 0, err
		}
	}
	return r, full, nil
}

// Close implements imagecopy.Disk.
func (d *ami) Close() error {
	if d.closing == nil {
		return nil
	}
	return d.closing()
}

// Tidy implements imagecopy.Tidier: what was exported goes, also that of an earlier run.
func (d *ami) Tidy(ctx context.Context) error {
	if d.export == nil {
		return nil
	}
	g, cancel := wait.Cleanup(ctx, d.cleanup)
	defer cancel()
	return d.export.Tidy(g)
}

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
