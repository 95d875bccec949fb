// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// ImageFilter finds the newest available image that meets all conditions; an
// empty field is none.
type ImageFilter struct {
	Compartment string // empty is the machine's
	Name        string
	NameSearch  string // a regular expression
	OS          string
	OSVersion   string
	Shape       string // empty is the first of the machine's
}

// String is the filter as people read it.
func (f ImageFilter) String() string {
	var parts []string
	for _, p := range []struct{ name, value string }{
		{"display_name", f.Name}, {"display_name_search", f.NameSearch}, {"operating_system", f.OS}, {"operating_system_version", f.OSVersion}, {"shape", f.Shape}, {"compartment_id", f.Compartment},
	} {
		if p.value != "" {
			parts = append(parts, fmt.Sprintf("%s = %q", p.name, p.value))
		}
	}
	return strings.Join(parts, ", ")
}

// BaseImage is the image from which the machine starts.
func (b *Build) BaseImage() string {
	if b.cfg.BaseImage != "" {
		return b.cfg.BaseImage
	}
	return b.found
}

// findImage looks for the base image.
func (s *survey) findImage(ctx context.Context) error {
	b := s.b
	if b.cfg.BaseImage != "" {
		return nil
	}
	f := *b.cfg.ImageFilter
	if f.Compartment == "" {
		f.Compartment = b.cfg.Compartment
	}
	if f.Shape == "" {
		f.Shape = b.shapes()[0]
	}
	match, err := regexp.Compile(f.NameSearch)
	if err != nil {
		return fmt.Errorf("base_image_filter: display_name_search: %w", err)
	}
	b.found = ""
	err = cloud.Pages(func(page *string) (*string, error) {
		var r core.ListImagesResponse
		err := repeat(ctx, "list images", "", func(ctx context.Context) (err error) {
			r, err = b.compute.ListImages(shield(ctx), core.ListImagesRequest{
				CompartmentId: &f.Compartment, DisplayName: optional(f.Name), OperatingSystem: optional(f.OS), OperatingSystemVersion: optional(f.OSVersion),
				Shape: &f.Shape, LifecycleState: core.ImageLifecycleStateAvailable,
				SortBy: core.ListImagesSortByTimecreated, SortOrder: core.ListImagesSortOrderDesc, Page: page, RequestMetadata: once(),
			})
			return err
		})
		for _, i := range r.Items {
			if i.Id != nil && match.MatchString(text(i.DisplayName)) {
				b.found = *i.Id
				s.note("The base image is %s (%s)", text(i.DisplayName), *i.Id)
				return nil, nil // the newest comes first
			}
		}
		return r.OpcNextPage, err
	})
	switch {
	case missing(err):
		option := "base_image_filter: compartment_id"
		if b.cfg.ImageFilter.Compartment == "" {
			option = "compartment_ocid"
		}
		return fmt.Errorf("%s: compartment %s does not exist, or this user may not list images in it: %w", option, f.Compartment, err)
	case err != nil:
		return fmt.Errorf("base_image_filter: %w", err)
	}
	if b.found == "" {
		hint := ""
		if strings.Contains(strings.ToLower(f.OS+f.Name+f.NameSearch), "debian") {
			hint = "; OCI has no platform image of Debian: import one, with UEFI_64, and name it by base_image_ocid"
		}
		return fmt.Errorf("base_image_filter: there is no available image in %s with %s%s", b.Region, f, hint)
	}
	return nil
}
