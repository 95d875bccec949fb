// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// completion is what an available image still needs.
type completion struct {
	shapes []string          // it must be allowed on each of these
	tags   map[string]string // those of a finished image
	// name, if set, is the image's, where it may have had another until now.
	name string
	// os and osVersion, if set, are what the image is to say that it holds.
	os, osVersion string
	// ran are shapes of which one has run the disk that the image was made of: an
	// image of that disk starts on them, unless the service says otherwise. None
	// for an image that was imported.
	ran []string
	// say, if set, is told what could not be done to an image that is good all the
	// same. Without it that is an error.
	say func(format string, args ...any)
	patience
}

// completeImage makes an available image fit for ARM64 machines and proves it:
// it must start by UEFI, and it must be allowed on every one of the shapes. Only
// then is it marked as finished.
func (c *Client) completeImage(ctx context.Context, id string, w completion) error {
	if err := c.fit(ctx, id, w); err != nil {
		return err
	}
	return c.seal(ctx, id, w)
}

// fit is completeImage without the mark.
func (c *Client) fit(ctx context.Context, id string, w completion) error {
	img, err := c.image(ctx, id)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(w.shapes, Ampere) {
		f := img.firmware
		if f != string(core.LaunchOptionsFirmwareUefi64) && (f != "" || len(w.ran) == 0) {
			return fmt.Errorf("image %s has the firmware %s; ARM64 machines start only with %s, it would never boot", id, orNone(f), core.LaunchOptionsFirmwareUefi64)
		}
	}
	return c.allowOn(ctx, id, w)
}

// seal marks an image as finished.
func (c *Client) seal(ctx context.Context, id string, w completion) error {
	err := w.repeat(ctx, "update image", id, passing, func(ctx context.Context) error {
		_, err := c.compute.UpdateImage(shield(ctx), core.UpdateImageRequest{
			ImageId: &id, RequestMetadata: once(),
			UpdateImageDetails: core.UpdateImageDetails{DisplayName: optional(w.name), FreeformTags: w.tags, OperatingSystem: optional(w.os), OperatingSystemVersion: optional(w.osVersion)},
		})
		return err
	})
	if forbidden(err) {
		// What is tagged as unfinished is no artifact: a sweep would delete it once its
		// time is over.
		return fmt.Errorf("image %s cannot be marked as finished, and what is not counts as a leftover: this user may not update images; let a policy say \"manage instance-images\" of the image's compartment: %w", id, err)
	}
	return err
}

// forbidden says that the service will not do this for this user, however often
// it is asked.
func forbidden(err error) bool {
	var e *Error
	return errors.As(err, &e) && slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound}, e.Status)
}

// allowOn adds the shapes on which the image may not start yet, and reads back
// what it was told.
func (c *Client) allowOn(ctx context.Context, id string, w completion) error {
	has, err := c.imageShapes(ctx, id)
	if err != nil {
		if forbidden(err) && w.say != nil && !slices.ContainsFunc(w.shapes, func(s string) bool { return !slices.Contains(w.ran, s) }) {
			w.say("The image is finished, but on which shapes it may start cannot be read: %v", err)
			return nil
		}
		return err
	}
	added := false
	for _, shape := range w.shapes {
		if slices.Contains(has, shape) {
			continue
		}
		added = true
		err := w.repeat(ctx, "add shape "+shape+" to image", id, passing, func(ctx context.Context) error {
			_, err := c.compute.AddImageShapeCompatibilityEntry(shield(ctx), core.AddImageShapeCompatibilityEntryRequest{
				ImageId: &id, ShapeName: &shape, RequestMetadata: once(),
			})
			return err
		})
		if err != nil {
			return err
		}
	}
	if !added {
		return nil
	}
	if has, err = c.imageShapes(ctx, id); err != nil {
		return err
	}
	for _, shape := range w.shapes {
		if !slices.Contains(has, shape) {
			return fmt.Errorf("image %s still cannot start on %s although that was added; it can start on: %s", id, shape, orNone(strings.Join(has, ", ")))
		}
	}
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Ampere recognises the shapes of Ampere's processors: VM.Standard.A1.Flex, BM.Standard.A4.48.
func Ampere(s string) bool {
	_, rest, ok := strings.Cut(s, ".Standard.A")
	return ok && rest != "" && rest[0] >= '0' && rest[0] <= '9'
}

// imageShapes lists the shapes on which an image may start.
func (c *Client) imageShapes(ctx context.Context, id string) ([]string, error) {
	var shapes []string
	err := cloud.Pages(func(page *string) (*string, error) {
		var r core.ListImageShapeCompatibilityEntriesResponse
		err := repeat(ctx, "list shapes of image", id, func(ctx context.Context) (err error) {
			r, err = c.compute.ListImageShapeCompatibilityEntries(shield(ctx), core.ListImageShapeCompatibilityEntriesRequest{ImageId: &id, Page: page, RequestMetadata: once()})
			return err
		})
		for _, s := range r.Items {
			if s.Shape != nil {
				shapes = append(shapes, *s.Shape)
			}
		}
		return r.OpcNextPage, err
	})
	return shapes, err
}
