// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocibuild

import (
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/config"
)

// ofImage is an option that says something of an image, and the one of the post-processor
// that says it of what a captured disk becomes, if there is one.
type ofImage struct{ name, there string }

// ofImage are those that the template has. It comes before what fills in defaults.
func (i *Image) ofImage() (given []ofImage) {
	for _, x := range []struct {
		is bool
		ofImage
	}{
		{i.ImageCompartmentOCID != "", ofImage{"image_compartment_ocid", "destination.compartment_ocid"}},
		{i.ImageNameConflict == "fail", ofImage{"image_name_conflict", "image_name_conflict"}},
		{len(i.Tags) > 0, ofImage{"tags", "destination.tags"}},
		{i.DefinedTagsJSON != "", ofImage{"defined_tags_json", "destination.defined_tags_json"}},
		{len(i.DefinedTags) > 0, ofImage{"defined_tags", "destination.defined_tags_json"}},
		{len(i.ImageShapes) > 0, ofImage{"image_shapes", "destination.image_shapes"}},
		{i.RemoveOtherShapes != config.TriUnset, ofImage{name: "image_remove_other_shapes"}},
		{i.ImageLaunchMode != "", ofImage{name: "image_launch_mode"}},
		{i.NicAttachmentType != "", ofImage{name: "nic_attachment_type"}},
		{i.ImageFirmware != "", ofImage{name: "image_firmware"}},
		{i.Retain != 0, ofImage{"retain", "retain"}},
		{i.ImageSeries != "", ofImage{"image_series", "image_series"}},
	} {
		if x.is {
			given = append(given, x.ofImage)
		}
	}
	return given
}

// instead are the names of options that have no effect, and where what they say can be
// said.
func instead(given []ofImage) (names, there string) {
	var all, others []string
	for _, x := range given {
		all = append(all, x.name)
		if x.there != "" && !slices.Contains(others, x.there) {
			others = append(others, x.there)
		}
	}
	if len(others) > 0 {
		there = "; the post-processor armfree-oci-cross-tenancy-copy, which makes the image, has " + strings.Join(others, ", ")
	}
	return strings.Join(all, ", "), there
}
