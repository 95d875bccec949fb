// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package ocibuild

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// Image describes the image that is made.
type Image struct {
	// The compartment in which the image is made. Defaults to
	// `compartment_ocid`.
	ImageCompartmentOCID string `mapstructure:"image_compartment_ocid" required:"false"`
	// The name of the image that is made. Defaults to `packer-{{timestamp}}`.
	// OCI allows several images of one name; see `image_name_conflict`.
	ImageName string `mapstructure:"image_name" required:"false"`
	// Makes the name of the image: `<prefix>-YYYYMMDDhhmmss`, in UTC. Excludes
	// `image_name`.
	ImageNamePrefix string `mapstructure:"image_name_prefix" required:"false"`
	// What to do if there is an image of that name in its compartment: `allow`
	// makes another one, `fail` ends the build before anything is launched.
	// Defaults to `allow`. With `packer build -force` the other images of the name
	// are deleted once the new one is finished.
	ImageNameConflict string `mapstructure:"image_name_conflict" required:"false"`
	// Freeform tags of the image, like `instance_tags`.
	Tags map[string]string `mapstructure:"tags" required:"false"`
	// Defined tags of the image as JSON, like `instance_defined_tags_json`.
	DefinedTagsJSON string `mapstructure:"defined_tags_json" required:"false"`
	// JSON templates: the same as a map.
	DefinedTags map[string]map[string]interface{} `mapstructure:"defined_tags" mapstructure-to-hcl2:",skip" undocumented:"true"`
	// Shapes on which the image must be able to start; missing ones are added
	// to it, and the result is verified. Defaults to the shapes of the machine.
	ImageShapes []string `mapstructure:"image_shapes" required:"false"`
	// Remove from an image for Ampere shapes the entries of shapes with another
	// processor, which OCI adds by itself and on which it could never start.
	// Defaults to `true`.
	RemoveOtherShapes config.Trilean `mapstructure:"image_remove_other_shapes" required:"false"`
	// The launch mode of the image: `NATIVE`, `EMULATED`, `PARAVIRTUALIZED` or
	// `CUSTOM`. Defaults to that of the base image. Ampere shapes start no image
	// that is `EMULATED`.
	ImageLaunchMode string `mapstructure:"image_launch_mode" required:"false"`
	// How the image's network interface is attached by default: `VFIO`, `E1000`
	// or `PARAVIRTUALIZED`; Ampere shapes have no `E1000`. It is written into the
	// image's capability schema, as `image_launch_mode` is, which needs the
	// permission to manage compute-image-capability-schema in the tenancy. A
	// finished image is kept if that fails.
	NicAttachmentType string `mapstructure:"nic_attachment_type" required:"false"`
	// The firmware by which the image's machines start by default: `BIOS`, which
	// no Ampere shape has, or `UEFI_64`. It is written into the capability schema,
	// too. Defaults to that of the base image.
	ImageFirmware      string `mapstructure:"image_firmware" required:"false"`
	buildcfg.Retention `mapstructure:",squash"`
	// Build and check, but make no image. Defaults to `false`.
	SkipCreateImage bool `mapstructure:"skip_create_image" required:"false"`
}

// shapeName is what names of shapes look like: VM.Standard.A1.Flex, BM.GPU.A100-v2.8.
var shapeName = regexp.MustCompile(`^(VM|BM)\.[A-Za-z0-9]+([.-][A-Za-z0-9]+)*$`)

// prepare checks the image of a machine that has one of some shapes.
func (i *Image) prepare(now time.Time, machine []string) (list []error) {
	note := func(errs ...error) {
		for _, err := range errs {
			if err != nil {
				list = append(list, err)
			}
		}
	}
	oneOf := func(option, value string, allowed ...string) {
		if value != "" && !slices.Contains(allowed, value) {
			note(fmt.Errorf("%s must be %s, it is %q", option, strings.Join(allowed, ", "), value))
		}
	}
	switch {
	case i.ImageNamePrefix != "" && i.ImageName != "":
		note(errors.New("image_name and image_name_prefix exclude each other"))
	case i.ImageNamePrefix != "":
		i.ImageName = i.ImageNamePrefix + "-" + now.UTC().Format("20060102150405")
	case i.ImageName == "":
		if name, err := interpolate.Render("packer-{{timestamp}}", nil); err == nil {
			i.ImageName = name
		}
	}
	if utf8.RuneCountInString(i.ImageName) > maxName {
		note(errors.New("image_name must not be longer than 255 characters"))
	}
	oneOf("image_name_conflict", i.ImageNameConflict, "allow", "fail")
	oneOf("image_launch_mode", i.ImageLaunchMode, "NATIVE", "EMULATED", "PARAVIRTUALIZED", "CUSTOM")
	oneOf("nic_attachment_type", i.NicAttachmentType, "VFIO", "E1000", "PARAVIRTUALIZED")
	oneOf("image_firmware", i.ImageFirmware, "BIOS", "UEFI_64")
	note(owner.CheckTags("tags", i.Tags), parseTags("defined_tags", i.DefinedTagsJSON, &i.DefinedTags))
	note(i.Problems("image_name_prefix", i.ImageNamePrefix, i.SkipCreateImage)...)
	note(i.shapeProblems(machine)...)
	return list
}

// maxName is how many characters OCI allows in a name.
const maxName = 255

// shapeProblems says which shapes are none, and what an image for Ampere shapes
// cannot have. It would be made all the same, and never start.
func (i *Image) shapeProblems(machine []string) (list []error) {
	bad := func(format string, a ...any) { list = append(list, fmt.Errorf(format, a...)) }
	arm := func(shapes []string) bool { return slices.ContainsFunc(shapes, oci.Ampere) }
	for n, shape := range i.ImageShapes {
		shape = strings.TrimSpace(shape)
		i.ImageShapes[n] = shape
		switch {
		case tmpl.Unknown(shape) || slices.Contains(machine, shape):
		case !shapeName.MatchString(shape):
			bad("image_shapes must be names of shapes such as %s, one is %q", defaultShape, shape)
		case strings.Contains(shape, ".GPU.GB"): // Arm processors that are not Ampere's
		case len(machine) > 0 && !slices.ContainsFunc(machine, func(m string) bool { return oci.Ampere(m) == oci.Ampere(shape) || tmpl.Unknown(m) }):
			bad("image_shapes: %s has another processor than %s, on which the image is made: it could never start there", shape, strings.Join(machine, " and "))
		}
	}
	if !arm(i.ImageShapes) && !arm(machine) {
		return list
	}
	for _, o := range []struct{ option, value, never string }{
		{"image_launch_mode", i.ImageLaunchMode, "EMULATED"}, {"nic_attachment_type", i.NicAttachmentType, "E1000"}, {"image_firmware", i.ImageFirmware, "BIOS"},
	} {
		if o.value == o.never {
			bad("%s = %q is for x86 shapes: on Ampere shapes the image would never start", o.option, o.value)
		}
	}
	return list
}

// image is the image in the adapter's terms.
func (i *Image) image(g Given) oci.ImageConfig {
	return oci.ImageConfig{
		Compartment: i.ImageCompartmentOCID, Name: i.ImageName, Tags: i.Tags, DefinedTags: i.DefinedTags,
		Shapes: i.ImageShapes, KeepOtherShapes: i.RemoveOtherShapes.False(),
		LaunchMode: i.ImageLaunchMode, NICAttachment: i.NicAttachmentType, Firmware: i.ImageFirmware,
		NameMustBeFree: i.ImageNameConflict == "fail" && !g.Force, Replace: g.Force, Skip: i.SkipCreateImage,
		Series: i.Series(i.ImageNamePrefix, g.Source), Retain: i.Retain,
	}
}
