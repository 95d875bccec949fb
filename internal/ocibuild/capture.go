// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package ocibuild

import (
	"cmp"
	"fmt"
	"os"
	"slices"

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
	// no room for one, and says so. Beside `capture` options that say something of the
	// image (`tags`, `retain` and so on) are mistakes, since they would have no effect;
	// the post-processor that imports the disk has its own. `auto` says which have none
	// once it captures. See [capture](../capture.md#what-is-said-of-an-image).
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

// Prepare fills in what is left out and lists what is wrong. o are the other options,
// prepared; lent says that the bucket may be for the machines of another cloud.
func (c *Capture) Prepare(o *Options, comm *communicator.Config, lent bool) (list []error) {
	size, skip := o.BootVolumeSizeInGBs, o.SkipCreateImage
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
		if names, there := instead(o.ofImages); c.Always() && names != "" {
			bad("image_method = %q makes no image, so that %s would have no effect: remove what is for images only%s", c.ImageMethod, names, there)
		}
		if c.Always() && size > capturecfg.MaxDisk && !skip {
			bad("disk_size is %d GB, and OCI imports captured disks of up to %d", size, capturecfg.MaxDisk)
		}
	default:
		bad("image_method must be \"custom-image\", \"capture\" or \"auto\", it is %q", c.ImageMethod)
	}
	return append(list, c.How.Prepare()...)
}

// Possible says whether a disk may have to be captured.
func (c *Capture) Possible() bool { return oci.Method(c.ImageMethod) != oci.CustomImage }

// Always says that a disk is captured whatever the tenancy may have.
func (c *Capture) Always() bool { return oci.Method(c.ImageMethod) == oci.CaptureDisk }

// Config is that of the adapter, beside the other options.
func (c *Capture) Config(o *Options, g Given) oci.CaptureConfig {
	cfg := oci.CaptureConfig{Method: oci.Method(c.ImageMethod), Bucket: c.CaptureBucket, Namespace: c.CaptureNamespace}
	given := slices.Clone(o.ofImages)
	if g.Force {
		given = append(given, ofImage{"packer build -force", "image_name_conflict"})
	}
	if names, there := instead(given); names != "" {
		cfg.NoEffect = names + " has no effect" + there
		if len(given) > 1 {
			cfg.NoEffect = names + " have no effect" + there
		}
	}
	return cfg
}

// ObjectName is the name of the object of a captured disk.
func (o *Options) ObjectName(id owner.Build) string { return oci.CaptureName(o.ImageName, id) }
