// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package ocibuild

import (
	"cmp"
	"fmt"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/communicator"

	"github.com/armfree/packer-plugin-armfree/internal/capturecfg"
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
	capturecfg.How   `mapstructure:",squash"`
}

// Prepare fills in what is left out and lists what is wrong. skip says that nothing is
// made at all; lent, that the bucket may be for the machines of another cloud.
func (c *Capture) Prepare(comm *communicator.Config, size int64, skip, lent bool) (list []error) {
	bad := func(format string, a ...any) { list = append(list, fmt.Errorf(format, a...)) }
	c.ImageMethod = cmp.Or(c.ImageMethod, string(oci.CustomImage))
	given := c.CaptureBucket != "" || c.CaptureNamespace != ""
	c.CaptureBucket = cmp.Or(c.CaptureBucket, os.Getenv("BUILD_OCI_BUCKET"))
	c.CaptureNamespace = cmp.Or(c.CaptureNamespace, os.Getenv("BUILD_OCI_NAMESPACE"))
	switch oci.Method(c.ImageMethod) {
	case oci.CustomImage:
		if given && !lent {
			bad("capture_bucket and capture_namespace are for captured disks, and image_method is %q: set it to \"capture\" or \"auto\"", c.ImageMethod)
		}
	case oci.CaptureDisk, oci.AutoMethod:
		if c.CaptureBucket == "" {
			bad("capture_bucket must be set for image_method = %q (or the environment variable BUILD_OCI_BUCKET)", c.ImageMethod)
		}
		if err := capturecfg.Connection(c.ImageMethod, comm); err != nil && !skip {
			list = append(list, err)
		}
		if oci.Method(c.ImageMethod) == oci.CaptureDisk && size > capturecfg.MaxDisk && !skip {
			bad("disk_size is %d GB, and OCI imports captured disks of up to %d", size, capturecfg.MaxDisk)
		}
	default:
		bad("image_method must be \"custom-image\", \"capture\" or \"auto\", it is %q", c.ImageMethod)
	}
	return append(list, c.How.Prepare()...)
}

// Possible says whether a disk may have to be captured.
func (c *Capture) Possible() bool { return oci.Method(c.ImageMethod) != oci.CustomImage }

// Config is that of the adapter.
func (c *Capture) Config() oci.CaptureConfig {
	return oci.CaptureConfig{Method: oci.Method(c.ImageMethod), Bucket: c.CaptureBucket, Namespace: c.CaptureNamespace}
}

// ObjectName is the name of the object of a captured disk.
func (o *Options) ObjectName(id owner.Build) string { return oci.CaptureName(o.ImageName, id) }
