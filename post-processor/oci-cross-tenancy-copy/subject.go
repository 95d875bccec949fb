// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
	"github.com/armfree/packer-plugin-armfree/internal/imagestream"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
)

// The builders whose artifact is an OCI image, identified by its OCID, and those
// whose artifact is an AMI.
const (
	armfreeOCI = "armfree.oci"
	oracleOCI  = "packer.oracle.oci"
	armfreeAWS = "armfree.aws"
	amazonEBS  = "mitchellh.amazonebs"
	// Two more of Amazon's, which make a disk without starting a machine from it.
	amazonSurrogate = "mitchellh.amazon.ebssurrogate"
	amazonChroot    = "mitchellh.amazon.chroot"
)

// subject is the image that is copied.
type subject struct {
	id     string
	label  string // what people call it
	kept   string // what is said of it if the copy fails
	region string // that has it
	// disk is what the image is read from here. Without one OCI exports it.
	disk imagecopy.Disk
	// object is what the image is already: a disk that was captured.
	object *captured
}

// key is what tells subjects apart: an object with other bytes is another one, and so is
// one that says something else of the image.
func (s subject) key(c *Config) string {
	if s.disk == nil {
		if s.object != nil && s.object.checksum != "" { // somebody may write to it again
			return s.id + " " + s.object.checksum
		}
		return s.id // a captured object has its build in its name
	}
	meta := []string{c.OperatingSystem, c.OperatingSystemVersion}
	if f, is := s.disk.(*file); is { // of others the id says the name, and the name the rest
		meta = append(meta, f.Name())
	}
	how := cmp.Or(c.Compression, string(diskimage.Zstd))
	if c.form() == imagecopy.VMDK {
		how = string(imagecopy.VMDK) // there is one compression for it
	}
	return fmt.Sprintf("%s %s %q", s.id, how, meta)
}

// find says what is copied: what the template names, or what was built.
func (p *PostProcessor) find(ctx context.Context, a packersdk.Artifact, ui packersdk.Ui) (subject, error) {
	c := &p.config
	switch {
	case c.SourceImageOCID != "":
		return p.image(c.SourceImageOCID, "", ui), nil
	case c.SourceAMI != "":
		return p.ami(ctx, map[string]string{"": c.SourceAMI}, "", ui)
	case c.aFile():
		return p.file(ctx)
	case c.SourceObject != "":
		return p.object(c.SourceObject), nil
	}
	switch a.BuilderId() {
	case armfreeOCI:
		region, _ := a.State("region").(string)
		return p.image(a.Id(), region, ui), nil
	case ocibuild.CapturedID:
		return p.captured(a, ui)
	case oracleOCI:
		return p.image(a.Id(), "", ui), nil
	case armfreeAWS, amazonEBS, amazonSurrogate, amazonChroot:
		made, _ := a.State("region").(string)
		images := map[string]string{}
		for _, one := range strings.Split(a.Id(), ",") {
			region, id, ok := strings.Cut(one, ":")
			if !ok {
				return subject{}, fmt.Errorf("the artifact of the builder %q is %q, which names no AMI", a.BuilderId(), a.Id())
			}
			images[region] = id
		}
		return p.ami(ctx, images, made, ui)
	}
	return subject{}, fmt.Errorf("the artifact of the builder %q is no image; set source_image_ocid, source_ami, source_file, source_url or source_object, or put this post-processor behind armfree-oci, armfree-aws, oracle-oci, amazon-ebs, amazon-ebssurrogate or amazon-chroot", a.BuilderId())
}

// image is one on OCI. It is in the source's own region, unless the build says that it
// found its machine in another.
func (p *PostProcessor) image(id, region string, ui packersdk.Ui) subject {
	own := p.config.Source.Credentials().Region
	if region != "" && region != own && own != "" {
		ui.Sayf("The image is in %s, so it travels through the bucket %q there", region, p.config.Source.Bucket)
	}
	return subject{id: id, label: id, region: region, kept: fmt.Sprintf("The source image %s is kept: the copy can be run again with source_image_ocid", id)}
}

// source is the image as the copy sees it.
func (p *PostProcessor) source(s subject, bucket *oci.Bucket, ui packersdk.Ui) imagecopy.Source {
	c := &p.config
	if s.object != nil {
		return s.object.source(bucket)
	}
	if s.disk == nil {
		return imagecopy.Exported{Exporter: &oci.Exporter{Client: bucket.Client, Image: s.id, Timeout: c.ExportTimeout, Say: ui.Sayf}}
	}
	ui.Say(c.bucketSaid())
	return &imagecopy.Streamed{
		Disk: s.disk, Label: s.label, Timeout: c.ExportTimeout,
		Metadata: diskimage.Metadata{OperatingSystem: c.OperatingSystem, OperatingSystemVersion: c.OperatingSystemVersion, Shapes: diskimage.ArmShapes()},
		Image:    c.imageOptions(),
		MadeBy:   bucket.MadeBy,
		Begin: func(ctx context.Context, object, id string, mine func(begun time.Time) bool) (imagestream.Object, error) {
			o, err := bucket.UploadBy(ctx, object, id, mine)
			if err != nil || c.SizeLimitInGBs <= 0 {
				return o, err
			}
			return &limitedObject{Object: o, left: c.SizeLimitInGBs << 30, gigabytes: c.SizeLimitInGBs}, nil
		},
	}
}
