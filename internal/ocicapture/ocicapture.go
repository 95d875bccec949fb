// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package ocicapture is what builders have in common where the disk of a machine becomes
// an object on OCI in place of an image: it puts the options of a template
// (internal/capturecfg), the phase (internal/phase) and the bucket (internal/oci)
// together. In which cloud the machine runs is not its concern; see Place.
package ocicapture

import (
	"context"
	"fmt"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capture"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
	"github.com/armfree/packer-plugin-armfree/internal/capturecfg"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/phase"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// Place is a site of a fleet whose machines' disks may be captured: a *oci.Build, and
// for other clouds an *Away.
type Place interface {
	fleet.Site
	// Captures says, once Plan has looked, whether disks are captured.
	Captures() bool
	// CaptureBucket is the bucket that gets them.
	CaptureBucket() *oci.Bucket
	// BeginCapture begins an object in that bucket; see [oci.Bucket.Capture].
	BeginCapture(ctx context.Context, object string, direct bool, life time.Duration, secret func(string)) (*oci.Captured, error)
	// System is the operating system that machines start with, as OCI calls it.
	System() (name, version string)
	// BaseImage is the id of the image that they start from.
	BaseImage() string
	// ImageTag is a tag that their image is to have.
	ImageTag(key string) string
}

// Options are what a template says of machines in one cloud.
type Options struct {
	How    *capturecfg.How
	Method string // image_method
	// Object is the name of the object, and Image that of the image that is to be made
	// of it.
	Object, Image string
}

// Build is what a capture has to know of its build.
type Build struct {
	// Options are those of the clouds in which disks may be captured, by the name of the
	// cloud.
	Options map[string]Options
	// Timeout limits the capture: image_timeout.
	Timeout time.Duration
	// Fleet is where machines run.
	Fleet *fleet.Fleet
	// Secret is told of URLs that must not be shown.
	Secret func(string)
	// Helper gives what is brought to a machine; nil: what the plugin carries.
	Helper func() (*capture.Binary, error)
}

// at is where a machine runs, and what the template says of machines there; false if
// their disks are never captured.
func (b Build) at(machine string) (Place, Options, bool) {
	where := b.Fleet.At(machine)
	o, is := b.Options[where.Cloud]
	if !is {
		return nil, o, false
	}
	site, is := where.Site.(Place)
	return site, o, is
}

// linkMargin is how much longer a link lives than what needs it may take.
const linkMargin = 30 * time.Minute

// Captures says how the disk of a machine is captured; nil if it never is. It fails if
// this plugin was built without the helper.
func (b Build) Captures() (*phase.Captures, error) {
	if len(b.Options) == 0 {
		return nil, nil
	}
	bring := b.Helper
	if bring == nil {
		bring = capture.Helper
	}
	helper, err := bring()
	if err != nil {
		for _, o := range b.Options { // each says the same
			err = fmt.Errorf("image_method = %q: %w", o.Method, err)
			break
		}
		return nil, err
	}
	return &phase.Captures{
		Helper: helper, Timeout: b.Timeout, Option: "image_timeout",
		Wanted: func(machine string) bool {
			site, _, is := b.at(machine)
			return is && site.Captures()
		},
		Begin: func(ctx context.Context, machine string) (phase.CaptureObject, error) {
			site, o, _ := b.at(machine)
			return site.BeginCapture(ctx, o.Object, o.How.Direct(), b.Timeout+linkMargin, b.Secret)
		},
		Job: func(machine string) wire.Job {
			site, o, _ := b.at(machine)
			return o.How.Job(site.System())
		},
	}, nil
}

// Artifact is that of a build that captured its disk.
func (b Build) Artifact(made *phase.Made) *ocibuild.Captured {
	cloud := made.Offer.Cloud
	site := b.Fleet.In(cloud, made.Offer.Region).(Place)
	bucket, object := site.CaptureBucket(), made.Captured.Object
	name, version := site.System()
	return &ocibuild.Captured{
		Region: bucket.Region, Namespace: bucket.Namespace, Bucket: bucket.Bucket, Object: object,
		Checksum: made.Captured.Checksum, Size: made.Captured.Size, Name: b.Options[cloud].Image, System: name + "\n" + version,
		Cloud: cloud, Source: site.BaseImage(), Proof: site.ImageTag(proof.Tag), Data: made.Data,
		Remove: func(ctx context.Context) error { return bucket.Remove(ctx, object) },
	}
}
