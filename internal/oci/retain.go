// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// retainFor is how long deleting older images may take: the build has what it is for.
const retainFor = 5 * time.Minute

// retain deletes the older images of the series of the image made, if so many are
// kept. One from which a machine in the build's compartments was made stays, whoever
// made the machine. What cannot be found out keeps everything.
func (b *Build) retain(ctx context.Context, made string) error {
	keep := b.cfg.Image.Retain
	if keep == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, retainFor)
	defer cancel()
	all, err := b.aged(ctx, b.cfg.Image.Compartment)
	if err != nil {
		return err
	}
	surplus := owner.Surplus(all, owner.RoleImage, b.cfg.Image.Series, made, keep)
	if len(surplus) == 0 {
		return nil
	}
	places := []string{b.cfg.Compartment, b.cfg.Image.Compartment}
	used, err := b.bases(ctx, slices.Compact(places))
	if err != nil {
		return err
	}
	return b.thin(ctx, surplus, used, keep, b.say)
}

// thin deletes images, but for those of which there are machines.
func (c *Client) thin(ctx context.Context, surplus []owner.Image, used map[string]string, keep int, say func(string, ...any)) error {
	var errs []error
	for _, i := range surplus {
		if machine := used[i.ID]; machine != "" {
			say("The older image %s (%q) stays although retain = %d: machine %s was made of it", i.ID, i.Name, keep, machine)
			continue
		}
		say("Deleting the older image %s (%q) of %s (retain = %d)", i.ID, i.Name, i.Created.UTC().Format(time.DateTime), keep)
		errs = append(errs, c.DeleteImage(ctx, i.ID))
	}
	return errors.Join(errs...)
}

// aged lists the images of a compartment with their age.
func (c *Client) aged(ctx context.Context, compartment string) (all []owner.Image, err error) {
	err = cloud.Pages(func(page *string) (*string, error) {
		var r core.ListImagesResponse
		err := repeat(ctx, "list images", "", func(ctx context.Context) (err error) {
			r, err = c.compute.ListImages(shield(ctx), core.ListImagesRequest{CompartmentId: &compartment, Page: page, RequestMetadata: once()})
			return err
		})
		for _, i := range r.Items {
			if text(i.CompartmentId) != compartment { // Oracle's own are in every list
				continue
			}
			a := owner.Image{ID: text(i.Id), Name: text(i.DisplayName), Ready: i.LifecycleState == core.ImageLifecycleStateAvailable}
			if i.TimeCreated != nil {
				a.Created = i.TimeCreated.Time
			}
			a.Mark, _ = owner.ParseTag(i.FreeformTags[owner.Key])
			all = append(all, a)
		}
		return r.OpcNextPage, err
	})
	return all, err
}

// bases are the images of which machines in some compartments were made, each with one of
// the machines.
func (c *Client) bases(ctx context.Context, compartments []string) (map[string]string, error) {
	used := map[string]string{}
	for _, compartment := range compartments {
		err := c.instances(ctx, compartment, func(i core.Instance) {
			if s, is := i.SourceDetails.(core.InstanceSourceViaImageDetails); is && !ended(i.LifecycleState) {
				used[text(s.ImageId)] = text(i.Id)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return used, nil
}
