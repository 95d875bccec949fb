// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package ocibuild

import (
	"cmp"
	"fmt"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// Capture says whether an object is made of the machine's disk in place of an image.
type Capture struct {
	// What is made of the machine: `custom-image` (the default) asks OCI for an image;
	// `capture` makes an object of its disk from within the machine, for tenancies that
	// may have no images; `auto` does that only if the limit `custom-image-count` leaves
	// no room for one, and says so. See [capture](../capture.md).
	ImageMethod string `mapstructure:"image_method" required:"false"`
	// The bucket for captured disks, which must exist, in the build's tenancy. If the
	// machine may be found in additional regions, there must be a bucket of this name in
	// each. Defaults to the environment variable `BUILD_OCI_BUCKET`.
	CaptureBucket string `mapstructure:"capture_bucket" required:"false"`
	// The Object Storage namespace of that bucket. Defaults to the environment variable
	// `BUILD_OCI_NAMESPACE`, else to the tenancy's own.
	CaptureNamespace string `mapstructure:"capture_namespace" required:"false"`
	// How the captured disk gets into the bucket. With `auto` (the default) the machine
	// uploads it by itself, by a pre-authenticated request, and what does not get there goes
	// through this computer; with `relay` all of it goes through this computer.
	CaptureRoute string `mapstructure:"capture_route" required:"false"`
	// How a captured disk is compressed: `zstd`, `deflate`, which is what older readers of
	// qcow2 know, or `none`. Defaults to `zstd`, which is the fastest.
	CaptureCompression string `mapstructure:"capture_compression" required:"false"`
	// Remove from a disk, before it is captured, what is the machine's own and not the
	// image's: the machine's id, its host keys where something makes new ones, what
	// cloud-init and DHCP remember of it, logs, histories of shells. Defaults to `true`.
	CaptureClean config.Trilean `mapstructure:"capture_clean" required:"false"`
}

// The routes of a captured disk.
const (
	routeAuto  = "auto"
	routeRelay = "relay"
)

// Prepare fills in what is left out and lists what is wrong. skip says that nothing is
// made at all.
func (c *Capture) Prepare(comm *communicator.Config, skip bool) (list []error) {
	bad := func(format string, a ...any) { list = append(list, fmt.Errorf(format, a...)) }
	c.ImageMethod = cmp.Or(c.ImageMethod, string(oci.CustomImage))
	c.CaptureRoute = cmp.Or(c.CaptureRoute, routeAuto)
	c.CaptureCompression = cmp.Or(c.CaptureCompression, string(diskimage.Zstd))
	given := c.CaptureBucket != "" || c.CaptureNamespace != ""
	c.CaptureBucket = cmp.Or(c.CaptureBucket, os.Getenv("BUILD_OCI_BUCKET"))
	c.CaptureNamespace = cmp.Or(c.CaptureNamespace, os.Getenv("BUILD_OCI_NAMESPACE"))
	switch oci.Method(c.ImageMethod) {
	case oci.CustomImage:
		if given {
			bad("capture_bucket and capture_namespace are for captured disks, and image_method is %q: set it to \"capture\" or \"auto\"", c.ImageMethod)
		}
	case oci.CaptureDisk, oci.AutoMethod:
		if c.CaptureBucket == "" {
			bad("capture_bucket must be set for image_method = %q (or the environment variable BUILD_OCI_BUCKET)", c.ImageMethod)
		}
		switch {
		case skip:
		case comm.Type != "ssh" && comm.Type != "":
			bad("image_method = %q needs SSH, and communicator is %q", c.ImageMethod, comm.Type)
		case comm.SSHPty:
			bad("image_method = %q needs a connection without a terminal, and ssh_pty is set", c.ImageMethod)
		}
	default:
		bad("image_method must be \"custom-image\", \"capture\" or \"auto\", it is %q", c.ImageMethod)
	}
	if c.CaptureRoute != routeAuto && c.CaptureRoute != routeRelay {
		bad("capture_route must be \"auto\" or \"relay\", it is %q", c.CaptureRoute)
	}
	switch diskimage.Compression(c.CaptureCompression) {
	case diskimage.Zstd, diskimage.Deflate, diskimage.None:
	default:
		bad("capture_compression must be zstd, deflate or none, it is %q", c.CaptureCompression)
	}
	return list
}

// Possible says whether a disk may have to be captured.
func (c *Capture) Possible() bool { return oci.Method(c.ImageMethod) != oci.CustomImage }

// Direct says whether the machine may upload by itself.
func (c *Capture) Direct() bool { return c.CaptureRoute == routeAuto }

// Config is that of the adapter.
func (c *Capture) Config() oci.CaptureConfig {
	return oci.CaptureConfig{Method: oci.Method(c.ImageMethod), Bucket: c.CaptureBucket, Namespace: c.CaptureNamespace}
}

// Job is what the helper on a machine is told, whose image is of some operating system.
func (c *Capture) Job(name, version string) wire.Job {
	return wire.Job{
		Metadata:    diskimage.Metadata{OperatingSystem: cmp.Or(name, "Linux"), OperatingSystemVersion: cmp.Or(version, "1"), Shapes: diskimage.ArmShapes()},
		Compression: diskimage.Compression(c.CaptureCompression), Clean: !c.CaptureClean.False(),
	}
}

// ObjectName is the name of the object of a captured disk.
func (o *Options) ObjectName(id owner.Build) string { return oci.CaptureName(o.ImageName, id) }
