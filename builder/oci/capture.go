// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capture"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/phase"
	validated "github.com/armfree/packer-plugin-armfree/internal/proof"
)

// linkMargin is how much longer a link lives than what needs it may take.
const linkMargin = 30 * time.Minute

// captures says how the disk of a machine is captured; nil if it never is.
func (b *Builder) captures(cloud *fleet.Fleet, id owner.Build) (*phase.Captures, error) {
	c := &b.config
	if !c.Capture.Possible() || c.SkipCreateImage {
		return nil, nil
	}
	bring := b.Helper
	if bring == nil {
		bring = capture.Helper
	}
	helper, err := bring()
	if err != nil {
		return nil, fmt.Errorf("image_method = %q: %w", c.ImageMethod, err)
	}
	at := func(machine string) *oci.Build { return cloud.Of(machine).(*oci.Build) }
	return &phase.Captures{
		Helper: helper, Timeout: c.ImageTimeout, Option: "image_timeout",
		Wanted: func(machine string) bool { return at(machine).Captures() },
		Begin: func(ctx context.Context, machine string) (phase.CaptureObject, error) {
			return at(machine).BeginCapture(ctx, c.ObjectName(id), c.Capture.Direct(), c.ImageTimeout+linkMargin, b.Mask.AddURL)
		},
		Job: func(machine string) wire.Job { return c.Capture.Job(at(machine).System()) },
	}, nil
}

// captured is the artifact of a build that captured its disk.
func (b *Builder) captured(cloud *fleet.Fleet, made *phase.Made, source string) *ocibuild.Captured {
	site := cloud.In("oci", made.Offer.Region).(*oci.Build)
	bucket, object := site.CaptureBucket(), made.Captured.Object
	name, version := site.System()
	return &ocibuild.Captured{
		Region: made.Offer.Region, Namespace: bucket.Namespace, Bucket: bucket.Bucket, Object: object,
		Checksum: made.Captured.Checksum, Size: made.Captured.Size, Name: b.config.ImageName, System: name + "\n" + version,
		Source: source, Proof: site.ImageTag(validated.Tag), Data: made.Data,
		Remove: func(ctx context.Context) error { return bucket.Remove(ctx, object) },
	}
}
