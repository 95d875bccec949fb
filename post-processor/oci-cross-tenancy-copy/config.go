// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,Destination,Verify,ExportImage

package ocicrosstenancycopy

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/preflight"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// Destination is a tenancy and region to which the image is copied. What is
// left out comes from environment variables whose names begin with `PROD_`:
// `PROD_OCI_TENANCY_OCID`, and so on.
type Destination struct {
	preflight.Place `mapstructure:",squash"`
	// The name of the image in this destination. Defaults to `dest_image_name`.
	ImageName string `mapstructure:"image_name" required:"false"`
	// Freeform tags of the new image, at most nine. An export carries no tags:
	// name those that the copy is to have. The tag that says how the image was
	// checked by goss is carried over where there is room for it.
	Tags map[string]string `mapstructure:"tags" required:"false"`
	// Shapes on which the new image must be able to start. They are added to it
	// and verified: an import does not bring them along. Defaults to
	// `["VM.Standard.A1.Flex"]`.
	ImageShapes []string `mapstructure:"image_shapes" required:"false"`
	// How long the import into this destination may take. Defaults to the
	// `import_timeout` of all destinations.
	ImportTimeout time.Duration `mapstructure:"import_timeout" required:"false"`
	// How the object gets to the destination. `direct` imports it straight from the
	// source's bucket, in whatever region that is. `copy-object` lets Object Storage
	// copy it first into a bucket of the source's tenancy in the destination's
	// region. `relay` streams it through this computer into a bucket of the
	// destination's tenancy. By default the import is direct, and if that is refused
	// the others are tried for which a bucket is named below.
	Route string `mapstructure:"route" required:"false"`
	// The bucket of the source's tenancy, in the destination's region, for the route
	// `copy-object`. It must exist. Defaults to the source's `bucket` if that is the
	// `route`.
	CopyBucket string `mapstructure:"copy_bucket" required:"false"`
	// The bucket of the destination's tenancy, in its region, for the route `relay`.
	// It must exist.
	RelayBucket string `mapstructure:"relay_bucket" required:"false"`
	// The Object Storage namespace of `relay_bucket`. Defaults to the tenancy's own.
	RelayNamespace string `mapstructure:"relay_namespace" required:"false"`
	// How many copies of the series are kept in this destination. Defaults to the
	// `retain` of all destinations. See [Keeping the last copies](#keeping-the-last-copies).
	Retain int `mapstructure:"retain" required:"false"`
	// Starts the copy to prove that it boots, and runs gossfiles on it. See
	// [`destination.verify`](#destinationverify).
	Verify *Verify `mapstructure:"verify" required:"false"`
}

// Config is the configuration of the post-processor.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	Elsewhere           `mapstructure:",squash"`

	// The image to copy. Defaults to the artifact of the build; with it, the
	// post-processor also copies an image that already exists (use Packer's
	// `null` builder).
	SourceImageOCID string `mapstructure:"source_image_ocid" required:"false"`
	// The name of the image in every destination that names none itself. Defaults
	// to the name of the source image.
	DestImageName string `mapstructure:"dest_image_name" required:"false"`
	// The name of the object while the image travels. It must not exist yet, and nobody
	// else may use it meanwhile. Defaults to a name made of the source image's OCID and of
	// where it goes, which is the same when the same copy is made again.
	ObjectName string `mapstructure:"object_name" required:"false"`
	// For how many hours the pre-authenticated requests are valid at most through
	// which the image is written and read. They live as long as the timeouts below
	// need, and are deleted when the copy ends; this is the limit should that fail.
	// Defaults to `24`.
	ExpiresInHours int `mapstructure:"expires_in_hours" required:"false"`
	// The tenancy that has the image. May be left out if the environment says
	// it all.
	Source preflight.Origin `mapstructure:"source" required:"false"`
	// Where the image goes; may be given several times. They are imported at the
	// same time, from one export. May be left out if the environment says it
	// all.
	Destinations []Destination `mapstructure:"destination" required:"false"`
	// How long the export may take. Defaults to `2h`, or to three quarters of
	// `expires_in_hours` if that is less.
	ExportTimeout time.Duration `mapstructure:"export_timeout" required:"false"`
	// How long each import may take. Defaults to `2h`, or to three quarters of
	// `expires_in_hours` if that is less.
	ImportTimeout time.Duration `mapstructure:"import_timeout" required:"false"`
	// What to do about images that have the name in a destination already. `skip`
	// takes a finished copy of the same source image as the result, unless it travelled in
	// another `image_format`, which ends the copy before it begins, and makes the new image
	// beside any other; `fail` ends the copy before it begins; `replace` deletes them once
	// the new image is finished. Defaults to `skip`.
	ImageNameConflict string `mapstructure:"image_name_conflict" required:"false"`
	// How large the source image may be, in GB of what is stored of it. Defaults to
	// `20`, which is what Object Storage is free for. `-1` is no limit. Of a file its
	// length counts; one at a `source_url` is refused once its server says how long it is,
	// or else once more than that has come.
	SizeLimitInGBs int64 `mapstructure:"size_limit_in_gbs" required:"false"`
	// Keep the source image. With `false` it is deleted once every destination has
	// its copy and each has been verified. An AMI with more volumes than its root is then
	// refused, since the others are not copied. Defaults to `true`.
	KeepSourceImage config.Trilean `mapstructure:"keep_source_image" required:"false"`
	// How many copies of the series are kept in each destination, the new one among
	// them: once it is finished the older ones are deleted. By default all are kept. See
	// [Keeping the last copies](#keeping-the-last-copies).
	Retain int `mapstructure:"retain" required:"false"`
	// The series that the copies belong to: any text, the same for all that follow one
	// another. Defaults to the series of the source image (the builder's `image_series`,
	// or its `image_name_prefix`).
	ImageSeries string `mapstructure:"image_series" required:"false"`
	// The operating system that the copies say they hold, by which people look
	// images up. Defaults to that of the source image.
	OperatingSystem string `mapstructure:"operating_system" required:"false"`
	// Its version. Defaults to that of the source image.
	OperatingSystemVersion string `mapstructure:"operating_system_version" required:"false"`
	// A file to which the outcome for each destination is written as JSON, also
	// when the copy fails. Its folder must exist.
	Report string `mapstructure:"report" required:"false"`
	// How long removing what the copy made may take at its end. Defaults to
	// `10m`.
	CleanupTimeout time.Duration `mapstructure:"cleanup_timeout" required:"false"`

	ctx      interpolate.Context
	borrowed bool // the bucket is one of the first destination's tenancy
}

// Prepare decodes the template and checks all that can be checked without a
// request. Every problem is reported, in the words of the template.
func (c *Config) Prepare(raws ...interface{}) error {
	*c = Config{} // Packer may prepare a component more than once
	err := config.Decode(c, &config.DecodeOpts{
		PluginType: BuilderID, Interpolate: true, InterpolateContext: &c.ctx,
		DecodeHooks: slices.Insert(slices.Clone(config.DefaultDecodeHookFuncs), 0, any(tmpl.EmptyAsUnset)),
	}, raws...)
	if err != nil {
		return buildcfg.PlainAll(err)
	}
	c.defaults()
	var mistakes buildcfg.Mistakes
	note := mistakes.Note

	var later []error // than what is wrong with the source, which may need a destination
	for i := range c.Destinations {
		c.Destinations[i].prepare(c.block(i), func(errs ...error) { later = append(later, errs...) })
	}
	c.prepareSource(note)
	note(later...)
	note(ocicfg.OCID("source_image_ocid", "image", c.SourceImageOCID))
	if len(c.DestImageName) > imagecopy.MaxName {
		note(errors.New("dest_image_name must not be longer than 255 characters"))
	}
	if len(c.ObjectName) > 1024 || strings.ContainsAny(c.ObjectName, "\r\n\x00") {
		note(errors.New("object_name must be at most 1024 characters, without line ends"))
	}
	switch imagecopy.Conflict(c.ImageNameConflict) {
	case imagecopy.Skip, imagecopy.Fail, imagecopy.Replace:
	default:
		note(fmt.Errorf("image_name_conflict must be skip, fail or replace, it is %q", c.ImageNameConflict))
	}
	if c.Retain < 0 {
		note(fmt.Errorf("retain must be 1 or more, or left out to keep all copies; it is %d", c.Retain))
	}
	if c.SizeLimitInGBs < -1 {
		note(errors.New("size_limit_in_gbs must be positive, or -1 for no limit"))
	}
	if c.Report != "" && !tmpl.Unknown(c.Report) {
		if i, err := os.Stat(filepath.Dir(c.Report)); err != nil || !i.IsDir() {
			note(fmt.Errorf("report: there is no folder %s", filepath.Dir(c.Report)))
		}
	}
	c.times(note)
	return mistakes.Err()
}

// block is what messages put before the options of a destination.
func (c *Config) block(i int) string {
	if len(c.Destinations) > 1 {
		return fmt.Sprintf("destination[%d].", i)
	}
	return "destination."
}

func (d *Destination) prepare(block string, note func(...error)) {
	note(d.Place.Prepare(block)...)
	note(owner.CheckTags(block+"tags", d.Tags))
	if len(d.ImageName) > imagecopy.MaxName {
		note(fmt.Errorf("%simage_name must not be longer than %d characters", block, imagecopy.MaxName))
	}
	if d.Retain < 0 {
		note(fmt.Errorf("%sretain must be 1 or more, or left out to keep all copies; it is %d", block, d.Retain))
	}
	if d.Verify != nil {
		d.Verify.prepare(block+"verify.", d.ImageShapes, note)
	}
	switch d.Route {
	case "", "direct", copyObject:
	case relay:
		if d.RelayBucket == "" {
			note(fmt.Errorf("%srelay_bucket must be set for the route relay", block))
		}
	default:
		note(fmt.Errorf("%sroute must be direct, copy-object or relay, it is %q", block, d.Route))
	}
}

// The routes that are not direct.
const (
	copyObject = "copy-object"
	relay      = "relay"
)

// times checks durations, and fits those that are not given into the life of a
// link.
func (c *Config) times(note func(...error)) {
	if c.ExpiresInHours < 0 {
		note(errors.New("expires_in_hours must be positive"))
		c.ExpiresInHours = 24
	}
	life := c.life()
	type limit struct {
		name   string
		value  *time.Duration
		linked bool // the link must live as long
	}
	limits := []limit{{"export_timeout", &c.ExportTimeout, true}, {"import_timeout", &c.ImportTimeout, true}, {"cleanup_timeout", &c.CleanupTimeout, false}}
	for i := range c.Destinations {
		limits = append(limits, limit{c.block(i) + "import_timeout", &c.Destinations[i].ImportTimeout, true})
	}
	for _, l := range limits {
		switch {
		case *l.value < 0:
			note(fmt.Errorf("%s must not be negative", l.name))
		case l.linked && *l.value >= life:
			note(fmt.Errorf("%s is %s, but expires_in_hours is %d: the link would expire during the copy", l.name, *l.value, c.ExpiresInHours))
		}
	}
	usual := min(2*time.Hour, life-life/4)
	c.ExportTimeout, c.ImportTimeout = cmp.Or(c.ExportTimeout, usual), cmp.Or(c.ImportTimeout, usual)
	for i := range c.Destinations {
		d := &c.Destinations[i]
		d.ImportTimeout = cmp.Or(d.ImportTimeout, c.ImportTimeout)
	}
}

// life is how long a link may live at most.
func (c *Config) life() time.Duration { return time.Duration(c.ExpiresInHours) * time.Hour }

func (c *Config) defaults() {
	if len(c.Destinations) == 0 {
		c.Destinations = []Destination{{}}
	}
	for i := range c.Destinations {
		d := &c.Destinations[i]
		if len(d.ImageShapes) == 0 {
			d.ImageShapes = []string{preflight.DefaultShape}
		}
	}
	if c.ExpiresInHours == 0 {
		c.ExpiresInHours = 24
	}
	if c.SizeLimitInGBs == 0 {
		c.SizeLimitInGBs = 20
	}
	c.ImageNameConflict = cmp.Or(c.ImageNameConflict, string(imagecopy.Skip))
	c.CleanupTimeout = cmp.Or(c.CleanupTimeout, 10*time.Minute)
}
