// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"fmt"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// captured is a disk that was captured: an object, which is imported as it is.
type captured struct {
	image             cloud.Image
	bucket, namespace string // of the artifact; empty: those of the block source
	name, checksum    string
	unproven          error // why it may not be copied as it is
}

// captured is the artifact of a build that captured its disk.
func (p *PostProcessor) captured(a packersdk.Artifact, ui packersdk.Ui) (subject, error) {
	text := func(name string) string {
		s, _ := a.State(name).(string)
		return s
	}
	c := &captured{
		bucket: text(ocibuild.StateBucket), namespace: text(ocibuild.StateNamespace), name: text(ocibuild.StateObject), checksum: text(ocibuild.StateChecksum),
		image: cloud.Image{Name: text("image_name")},
	}
	region := text("region")
	if c.name == "" || c.bucket == "" || region == "" {
		return subject{}, fmt.Errorf("the artifact %q does not say where its object is", a.Id())
	}
	c.image.OS, c.image.OSVersion, _ = strings.Cut(text(ocibuild.StateSystem), "\n")
	if v := text(ocibuild.StateProof); v != "" {
		c.image.Tags = map[string]string{proof.Tag: v}
	}
	if where := text(ocibuild.StateMachine); where != "" && where != "oci" {
		// Its machine booted elsewhere, which says nothing of OCI.
		c.unproven = proofOf("the captured disk "+c.name, "its build", text(ocibuild.StateProof), p.config.AllowUnprovenImage, ui.Errorf)
	}
	if p.config.ExportImage != nil {
		ui.Say("export_image has no effect: there is no AMI, the build has captured the disk")
	}
	if p.config.ImageFormat != "" || p.config.Compression != "" {
		ui.Say("image_format and compression have no effect: the build has captured the disk, which is imported as it is")
	}
	if p.config.borrowed {
		ui.Sayf("The captured disk is read from the bucket %q in %s by who signs in to the first destination: neither the block source nor the environment says who else does", c.bucket, region)
	}
	if own := p.config.Source.Bucket; own != "" && own != c.bucket {
		ui.Sayf("The captured disk is in the bucket %q, and not in %q, which the block source names", c.bucket, own)
	}
	return c.subject(region), nil
}

// object is an object that the template names, in the source's bucket.
func (p *PostProcessor) object(name string) subject {
	c := &captured{name: name, checksum: p.config.SourceChecksum, image: cloud.Image{Name: oci.CapturedImage(name)}}
	c.image.OS, c.image.OSVersion = oci.SystemOf(c.image.Name)
	return c.subject("")
}

func (c *captured) subject(region string) subject {
	c.image.ID = c.name
	kept := fmt.Sprintf("The object %s is kept: the copy can be run again with source_object", c.name)
	if c.checksum != "" {
		kept += fmt.Sprintf(" and source_checksum = %q", c.checksum)
	}
	return subject{id: c.name, label: c.name, region: region, object: c, kept: kept}
}

// source is the object as the copy sees it.
func (c *captured) source(bucket *oci.Bucket) imagecopy.Source {
	return &imagecopy.Stored{
		Image: c.image, Store: bucket, Object: c.name, Checksum: c.checksum, Problem: c.unproven,
		Content: func(ctx context.Context, object string) (k imagecopy.Content, err error) {
			k.Checksum, k.Version, err = bucket.Content(ctx, object)
			return k, err
		},
	}
}
