// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,Source,Destination

package ocicrosstenancycopy

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// Source is the tenancy that has the image, and the bucket in it through which
// the image travels. What is left out comes from environment variables whose
// names begin with `BUILD_`: `BUILD_OCI_TENANCY_OCID`, and so on; and where
// these are not set, from those that the builder reads: `OCI_TENANCY_OCID`.
type Source struct {
	ocicfg.Access `mapstructure:",squash"`
	// The bucket, which must exist. The exported image is in it only while the
	// copy runs. If the build may take place in additional regions, there must be
	// a bucket of this name in each. Defaults to the environment variable
	// `BUILD_OCI_BUCKET`.
	Bucket string `mapstructure:"bucket" required:"false"`
	// The Object Storage namespace of the bucket. Defaults to the environment
	// variable `BUILD_OCI_NAMESPACE`, else to the tenancy's own.
	Namespace string `mapstructure:"namespace" required:"false"`

	credentials oci.Credentials
}

// Destination is a tenancy and region to which the image is copied. What is
// left out comes from environment variables whose names begin with `PROD_`:
// `PROD_OCI_TENANCY_OCID`, and so on.
type Destination struct {
	ocicfg.Access `mapstructure:",squash"`
	// The compartment of the new image. Defaults to the environment variable
	// `PROD_OCI_COMPARTMENT_OCID` if the tenancy is the environment's too, else
	// to the tenancy.
	CompartmentOCID string `mapstructure:"compartment_ocid" required:"false"`
	// Freeform tags of the new image, at most nine. An export carries no tags:
	// name those that the copy is to have.
	Tags map[string]string `mapstructure:"tags" required:"false"`
	// Shapes on which the new image must be able to start. They are added to it
	// and verified: an import does not bring them along. Defaults to
	// `["VM.Standard.A1.Flex"]`.
	ImageShapes []string `mapstructure:"image_shapes" required:"false"`

	credentials oci.Credentials
}

// Config is the configuration of the post-processor.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// The image to copy. Defaults to the artifact of the build; with it, the
	// post-processor also copies an image that already exists (use Packer's
	// `null` builder).
	SourceImageOCID string `mapstructure:"source_image_ocid" required:"false"`
	// The name of the image in every destination. Defaults to the name of the
	// source image.
	DestImageName string `mapstructure:"dest_image_name" required:"false"`
	// The name of the object while the image travels. It must not exist yet.
	// Defaults to a name that no other build uses.
	ObjectName string `mapstructure:"object_name" required:"false"`
	// For how many hours the pre-authenticated requests are valid that let the
	// destinations read the image. They are deleted when the copy ends; this is
	// the limit should that fail. Defaults to `24`, must be longer than
	// `export_timeout` and `import_timeout`.
	ExpiresInHours int `mapstructure:"expires_in_hours" required:"false"`
	// The tenancy that has the image. May be left out if the environment says
	// it all.
	Source Source `mapstructure:"source" required:"false"`
	// Where the image goes; may be given several times. They are imported at the
	// same time, from one export. May be left out if the environment says it
	// all.
	Destinations []Destination `mapstructure:"destination" required:"false"`
	// How long the export may take. Defaults to `2h`.
	ExportTimeout time.Duration `mapstructure:"export_timeout" required:"false"`
	// How long each import may take. Defaults to `2h`.
	ImportTimeout time.Duration `mapstructure:"import_timeout" required:"false"`
	// How long removing what the copy made may take at its end. Defaults to
	// `10m`.
	CleanupTimeout time.Duration `mapstructure:"cleanup_timeout" required:"false"`

	ctx interpolate.Context
}

const defaultShape = "VM.Standard.A1.Flex"

// Prepare decodes the template and checks all that can be checked without a
// request. Every problem is reported, in the words of the template.
func (c *Config) Prepare(raws ...interface{}) error {
	*c = Config{} // Packer may prepare a component more than once
	err := config.Decode(c, &config.DecodeOpts{
		PluginType: BuilderID, Interpolate: true, InterpolateContext: &c.ctx,
		DecodeHooks: slices.Insert(slices.Clone(config.DefaultDecodeHookFuncs), 0, any(tmpl.EmptyAsUnset)),
	}, raws...)
	if err != nil {
		return err
	}
	c.defaults()
	var mistakes buildcfg.Mistakes
	note := mistakes.Note

	var bad []error
	c.Source.credentials, bad = c.Source.Access.Prepare("source.", "BUILD_", "")
	note(bad...)
	if c.Source.Bucket == "" {
		note(errors.New("source.bucket must be set (or the environment variable BUILD_OCI_BUCKET)"))
	}
	for i := range c.Destinations {
		d := &c.Destinations[i]
		block := "destination."
		if len(c.Destinations) > 1 {
			block = fmt.Sprintf("destination[%d].", i)
		}
		d.credentials, bad = d.Access.Prepare(block, "PROD_")
		note(bad...)
		note(owner.CheckTags(block+"tags", d.Tags))
		// The environment's compartment is in the environment's tenancy.
		if d.CompartmentOCID == "" && (d.TenancyOCID == "" || d.TenancyOCID == os.Getenv("PROD_OCI_TENANCY_OCID")) {
			d.CompartmentOCID = os.Getenv("PROD_OCI_COMPARTMENT_OCID")
		}
		d.CompartmentOCID = cmp.Or(d.CompartmentOCID, d.TenancyOCID)
	}
	note(ocicfg.OCID("source_image_ocid", "image", c.SourceImageOCID))
	if len(c.DestImageName) > 255 {
		note(errors.New("dest_image_name must not be longer than 255 characters"))
	}
	if len(c.ObjectName) > 1024 || strings.ContainsAny(c.ObjectName, "\r\n\x00") {
		note(errors.New("object_name must be at most 1024 characters, without line ends"))
	}
	for _, d := range []struct {
		value time.Duration
		name  string
	}{{c.ExportTimeout, "export_timeout"}, {c.ImportTimeout, "import_timeout"}, {c.CleanupTimeout, "cleanup_timeout"}} {
		if d.value < 0 {
			note(fmt.Errorf("%s must not be negative", d.name))
		}
	}
	switch life := time.Duration(c.ExpiresInHours) * time.Hour; {
	case c.ExpiresInHours < 0:
		note(errors.New("expires_in_hours must be positive"))
	case life <= max(c.ExportTimeout, c.ImportTimeout):
		note(fmt.Errorf("expires_in_hours is %d, but export_timeout is %s and import_timeout %s: the link would expire during the copy", c.ExpiresInHours, c.ExportTimeout, c.ImportTimeout))
	}
	return mistakes.Err()
}

func (c *Config) defaults() {
	str := func(v *string, env string) {
		if *v == "" {
			*v = os.Getenv(env)
		}
	}
	dur := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	str(&c.Source.Bucket, "BUILD_OCI_BUCKET")
	str(&c.Source.Namespace, "BUILD_OCI_NAMESPACE")
	if len(c.Destinations) == 0 {
		c.Destinations = []Destination{{}}
	}
	for i := range c.Destinations {
		d := &c.Destinations[i]
		if len(d.ImageShapes) == 0 {
			d.ImageShapes = []string{defaultShape}
		}
	}
	if c.ExpiresInHours == 0 {
		c.ExpiresInHours = 24
	}
	dur(&c.ExportTimeout, 2*time.Hour)
	dur(&c.ImportTimeout, 2*time.Hour)
	dur(&c.CleanupTimeout, 10*time.Minute)
}
