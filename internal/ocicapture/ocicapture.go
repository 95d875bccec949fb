// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package ocicapture is what the builders for OCI have in common where the disk of a
// machine becomes an object in place of an image: it puts the options of a template
// (internal/ocibuild), the phase (internal/phase) and the bucket (internal/oci) together.
package ocicapture

import (
	"context"
	"fmt"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capture"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/phase"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// Build is what a capture has to know of its build.
type Build struct {
	Capture *ocibuild.Capture
	// Object is the name of the object.
	Object string
	// Timeout limits the capture: image_timeout.
	Timeout time.Duration
	// Fleet is where machines run, on OCI and elsewhere.
	Fleet *fleet.Fleet
	// Secret is told of URLs that must not be shown.
	Secret func(string)
	// Helper gives what is brought to a machine; nil: what the plugin carries.
	Helper func() (*capture.Binary, error)
}

// at is where a machine runs; false if that is not OCI.
func (b Build) at(machine string) (*oci.Build, bool) {
	site, is := b.Fleet.Of(machine).(*oci.Build)
	return site, is
}

// linkMargin is how much longer a link lives than what needs it may take.
const linkMargin = 30 * time.Minute

// Captures says how the disk of a machine is captured; nil if it never is. It fails if
// this plugin was built without the helper.
func (b Build) Captures() (*phase.Captures, error) {
	if !b.Capture.Possible() {
		return nil, nil
	}
	bring := b.Helper
	if bring == nil {
		bring = capture.Helper
	}
	helper, err := bring()
	if err != nil {
		return nil, fmt.Errorf("image_method = %q: %w", b.Capture.ImageMethod, err)
	}
	return &phase.Captures{
		Helper: helper, Timeout: b.Timeout, Option: "image_timeout",
		Wanted: func(machine string) bool {
			site, is := b.at(machine)
			return is && site.Captures()
		},
		Begin: func(ctx context.Context, machine string) (phase.CaptureObject, error) {
			site, _ := b.at(machine)
			return site.BeginCapture(ctx, b.Object, b.Capture.Direct(), b.Timeout+linkMargin, b.Secret)
		},
		Job: func(machine string) wire.Job {
			site, _ := b.at(machine)
			return b.Capture.Job(site.System())
		},
	}, nil
}

// Artifact is that of a build that captured its disk. image is the name of the image that
// is to be made of it.
func Artifact(f *fleet.Fleet, made *phase.Made, image string) *ocibuild.Captured {
	site := f.In(made.Offer.Cloud, made.Offer.Region).(*oci.Build)
	bucket, object := site.CaptureBucket(), made.Captured.Object
	name, version := site.System()
	return &ocibuild.Captured{
		Region: made.Offer.Region, Namespace: bucket.Namespace, Bucket: bucket.Bucket, Object: object,
		Checksum: made.Captured.Checksum, Size: made.Captured.Size, Name: image, System: name + "\n" + version,
		Source: site.BaseImage(), Proof: site.ImageTag(proof.Tag), Data: made.Data,
		Remove: func(ctx context.Context) error { return bucket.Remove(ctx, object) },
	}
}
