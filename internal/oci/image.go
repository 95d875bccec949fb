// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/workrequests"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// requestGrace is how long a request that creates something may go on after a
// cancel: cut short, it would leave open whether there is something to remove.
const requestGrace = 20 * time.Second

// imaging is what messages call it.
const imaging = "make image"

// StartImage implements cloud.Imager.
func (b *Build) StartImage(ctx context.Context, machine, token string) (string, error) {
	p := patience{limit: b.cfg.ImageTimeout, option: "image_timeout", say: b.say, shorter: []string{"IncorrectState"}}
	id, work, err := b.createImage(ctx, p, token, core.CreateImageDetails{
		CompartmentId: &b.cfg.Image.Compartment,
		InstanceId:    &machine,
		DisplayName:   &b.cfg.Image.Name,
		FreeformTags:  unfinished(b.current(), owner.RoleImage, b.cfg.Image.Tags, token),
		DefinedTags:   b.cfg.Image.DefinedTags,
		LaunchMode:    core.CreateImageDetailsLaunchModeEnum(b.cfg.Image.LaunchMode),
	}, nil)
	b.remember(id, work)
	return id, err
}

// createImage asks for an image. The retry token makes it safe to ask again,
// which "Conflict with another image operation, try again later" asks for. with may be
// nil.
func (c *Client) createImage(ctx context.Context, p patience, token string, d core.CreateImageDetails, with *launchOptions) (id string, work *string, err error) {
	err = repeatWithToken(ctx, p, "create image", text(d.DisplayName), token, func(ctx context.Context, token string) error {
		r, err := c.requestImage(ctx, core.CreateImageRequest{CreateImageDetails: d, OpcRetryToken: &token, RequestMetadata: once()}, with)
		if err == nil && r.Id == nil {
			err = errNoAnswer
		}
		id, work = text(r.Id), r.OpcWorkRequestId
		return err
	})
	return id, work, err
}

// unfinished are the tags of an image that is not yet what it should be.
func unfinished(o owner.Build, role string, user map[string]string, token string) map[string]string {
	t := o.Tag(role)
	t.Attempt, t.Unfinished = token, true
	return t.With(user)
}

// finished are its tags when it is: it belongs to the user from then on and
// has no expiry.
func finished(o owner.Build, role, series string, user map[string]string) map[string]string {
	return owner.Tag{Build: o.ID, Role: role, Series: series}.With(user)
}

// madeBy says whether tags are those of what was asked for with token.
func madeBy(tags map[string]string, token string) bool {
	t, err := owner.ParseTag(tags[owner.Key])
	return err == nil && t.Attempt == token
}

// FindImages implements cloud.Imager.
func (b *Build) FindImages(ctx context.Context, token string) ([]string, error) {
	return b.imagesOf(ctx, b.cfg.Image.Compartment, token)
}

// imagesOf lists the images in a compartment that were asked for with token.
func (c *Client) imagesOf(ctx context.Context, compartment, token string) ([]string, error) {
	var ids []string
	err := cloud.Pages(func(page *string) (*string, error) {
		var r core.ListImagesResponse
		err := repeat(ctx, "list images", "", func(ctx context.Context) (err error) {
			r, err = c.compute.ListImages(shield(ctx), core.ListImagesRequest{CompartmentId: &compartment, Page: page, RequestMetadata: once()})
			return err
		})
		for _, i := range r.Items {
			if madeBy(i.FreeformTags, token) && i.LifecycleState != core.ImageLifecycleStateDeleted {
				ids = append(ids, text(i.Id))
			}
		}
		return r.OpcNextPage, err
	})
	return ids, err
}

// FinishImage implements cloud.Imager.
func (b *Build) FinishImage(ctx context.Context, id string) (string, error) {
	progress := func(d time.Duration) { b.say("Still waiting for image %s (%s%s)", id, d, b.percent(ctx, b.workOf(id))) }
	if err := b.awaitImage(ctx, imaging, id, b.workOf(id), b.cfg.ImageTimeout, "image_timeout", progress); err != nil {
		return id, err
	}
	err := b.completeImage(ctx, id, completion{
		shapes: b.cfg.Image.Shapes, ran: b.shapes(), tags: finished(b.owner, owner.RoleImage, b.cfg.Image.Series, b.cfg.Image.Tags), say: b.say,
		patience: patience{limit: b.cfg.ImageTimeout, option: "image_timeout", say: b.say},
	})
	if err != nil {
		return id, err
	}
	// From here on there is a good image, and nothing may take it away again.
	extra := func(what string, err error) {
		if err != nil && ctx.Err() == nil {
			b.say("The image is finished, but %s: %v", what, err)
		}
	}
	if !b.cfg.Image.KeepOtherShapes {
		extra("the shapes on which it cannot start could not all be removed from it", b.removeOtherShapes(ctx, id))
	}
	if wanted := b.cfg.Image.capabilities(); len(wanted) > 0 {
		extra("its capability schema could not be written (this user needs to manage compute-image-capability-schema in the tenancy)", b.setCapabilities(ctx, id, wanted))
	}
	if b.cfg.Image.Replace {
		extra("an older image of the same name could not be deleted", b.replaceImages(ctx))
	}
	extra("older images of its series could not all be deleted (retain)", b.retain(ctx, id))
	return id, nil
}

// removeOtherShapes removes from an image for Ampere shapes the entries of
// shapes with another processor, which OCI gives to every image.
func (b *Build) removeOtherShapes(ctx context.Context, id string) error {
	keep := b.cfg.Image.Shapes
	if !slices.ContainsFunc(keep, Ampere) {
		return nil
	}
	has, err := b.imageShapes(ctx, id)
	if err != nil {
		return err
	}
	var errs []error
	for _, shape := range has {
		if Ampere(shape) || slices.Contains(keep, shape) {
			continue
		}
		err := repeat(ctx, "remove shape "+shape+" from image", id, func(ctx context.Context) error {
			_, err := b.compute.RemoveImageShapeCompatibilityEntry(shield(ctx), core.RemoveImageShapeCompatibilityEntryRequest{
				ImageId: &id, ShapeName: &shape, RequestMetadata: once(),
			})
			return err
		})
		if !missing(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// namesakes lists the images of the build's image name in its compartment; whole
// are those that are finished.
func (b *Build) namesakes(ctx context.Context) (ids, whole []string, err error) {
	err = cloud.Pages(func(page *string) (*string, error) {
		var r core.ListImagesResponse
		err := repeat(ctx, "list images", "", func(ctx context.Context) (err error) {
			r, err = b.compute.ListImages(shield(ctx), core.ListImagesRequest{
				CompartmentId: &b.cfg.Image.Compartment, DisplayName: &b.cfg.Image.Name, Page: page, RequestMetadata: once(),
			})
			return err
		})
		for _, i := range r.Items {
			// A platform image is everybody's.
			if i.Id != nil && i.CompartmentId != nil && i.LifecycleState != core.ImageLifecycleStateDeleted && text(i.DisplayName) == b.cfg.Image.Name {
				ids = append(ids, *i.Id)
				if i.LifecycleState == core.ImageLifecycleStateAvailable {
					whole = append(whole, *i.Id)
				}
			}
		}
		return r.OpcNextPage, err
	})
	return ids, whole, err
}

// replaceImages deletes the images of the same name that were there, finished,
// before the build began: what other builds make meanwhile is theirs.
func (b *Build) replaceImages(ctx context.Context) error {
	var errs []error
	for _, id := range b.older {
		b.say("Deleting the image %s, which has the same name (-force)", id)
		errs = append(errs, b.DeleteImage(ctx, id))
	}
	return errors.Join(errs...)
}

// awaitImage waits until an image is AVAILABLE. One that ends as DELETED has
// failed; its work request says why.
func (c *Client) awaitImage(ctx context.Context, op, id, work string, limit time.Duration, option string, progress func(time.Duration)) error {
	return c.awaitImageIn(ctx, op, id, work, wait.Loop{Timeout: limit, Option: option, Progress: progress})
}

// awaitImageIn is awaitImage with the limit and the progress of a loop.
func (c *Client) awaitImageIn(ctx context.Context, op, id, work string, l wait.Loop) error {
	l.What, l.Pace, l.Tolerate = "image "+id, wait.Slow, passing
	return l.Until(ctx, func(ctx context.Context) (bool, error) {
		r, err := c.compute.GetImage(shield(ctx), core.GetImageRequest{ImageId: &id, RequestMetadata: once()})
		if err != nil {
			return false, wrap("get image", id, err)
		}
		switch r.LifecycleState {
		case core.ImageLifecycleStateAvailable:
			done, err := c.workDone(ctx, op, id, work)
			if op == imaging && passing(err) { // it is there, whoever cannot be asked about the work
				return true, nil
			}
			return done, err
		case core.ImageLifecycleStateDeleted, core.ImageLifecycleStateDisabled:
			e := &Error{Op: op, Subject: id, Message: fmt.Sprintf("it failed: the image is %s", r.LifecycleState)}
			if code, msg, _ := c.workError(ctx, work); msg != "" {
				e.Code, e.Message = code, msg
			}
			return false, e
		}
		return false, nil
	})
}

// percent is how far a work request is, as the end of "Still waiting (2m0s":
// empty where the service does not say.
func (c *Client) percent(ctx context.Context, id string) string {
	p := c.done(ctx, id)
	if p < 0 {
		return ""
	}
	return fmt.Sprintf(", %.0f %%", p)
}

// done is how far a work request is in percent, or negative if that is not known.
// It is asked once.
func (c *Client) done(ctx context.Context, id string) float64 {
	if id == "" {
		return -1
	}
	r, err := c.work.GetWorkRequest(shield(ctx), workrequests.GetWorkRequestRequest{WorkRequestId: &id, RequestMetadata: once()})
	if err != nil || r.PercentComplete == nil {
		return -1
	}
	return float64(*r.PercentComplete)
}

// DeleteImage implements cloud.Imager.
func (c *Client) DeleteImage(ctx context.Context, id string) error {
	err := wait.Loop{What: "image " + id + " to be deleted", Pace: wait.Backoff, Tolerate: passing}.Until(ctx, func(ctx context.Context) (bool, error) {
		_, err := c.compute.DeleteImage(shield(ctx), core.DeleteImageRequest{ImageId: &id, RequestMetadata: once()})
		return err == nil, wrap("delete image", id, err)
	})
	if missing(err) {
		return nil
	}
	return err
}

// imageInfo is what we need to know of an image.
type imageInfo struct {
	name, firmware, os, osVersion string
	state                         core.ImageLifecycleStateEnum
	sizeMB, billableGB            int64
	compartment                   string // empty for Oracle's own
	listed                        bool   // from a listing of the Marketplace, so that no image can be made of it
	tags                          map[string]string
	etag                          string
}

func (c *Client) image(ctx context.Context, id string) (i imageInfo, err error) {
	err = repeat(ctx, "get image", id, func(ctx context.Context) error {
		r, err := c.compute.GetImage(shield(ctx), core.GetImageRequest{ImageId: &id, RequestMetadata: once()})
		if err != nil {
			return err
		}
		i = imageInfo{name: text(r.DisplayName), os: text(r.OperatingSystem), osVersion: text(r.OperatingSystemVersion), state: r.LifecycleState,
			compartment: text(r.CompartmentId), listed: r.CreateImageAllowed != nil && !*r.CreateImageAllowed, tags: r.FreeformTags, etag: text(r.Etag)}
		if r.LaunchOptions != nil {
			i.firmware = string(r.LaunchOptions.Firmware)
		}
		if r.SizeInMBs != nil {
			i.sizeMB = *r.SizeInMBs
		}
		if r.BillableSizeInGBs != nil {
			i.billableGB = *r.BillableSizeInGBs
		}
		return nil
	})
	return i, err
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// workError is the first error that a work request recorded, if any.
func (c *Client) workError(ctx context.Context, id string) (code, msg string, err error) {
	if id == "" {
		return "", "", nil
	}
	var r workrequests.ListWorkRequestErrorsResponse
	err = repeat(ctx, "list errors of work request", id, func(ctx context.Context) (err error) {
		r, err = c.work.ListWorkRequestErrors(shield(ctx), workrequests.ListWorkRequestErrorsRequest{WorkRequestId: &id, RequestMetadata: once()})
		return err
	})
	for _, e := range r.Items {
		if m := text(e.Message); m != "" {
			return text(e.Code), m, err
		}
	}
	return "", "", err
}

// workDone says whether a work request has ended, and fails if it ended badly
// though the resource looks fine: an export may end so. A work request that is
// no longer kept is no reason to wait; the resource's own state counts then.
func (c *Client) workDone(ctx context.Context, op, subject, id string) (bool, error) {
	if id == "" {
		return true, nil
	}
	var r workrequests.GetWorkRequestResponse
	err := repeat(ctx, "get work request", id, func(ctx context.Context) (err error) {
		r, err = c.work.GetWorkRequest(shield(ctx), workrequests.GetWorkRequestRequest{WorkRequestId: &id, RequestMetadata: once()})
		return err
	})
	if missing(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	switch r.Status {
	case workrequests.WorkRequestStatusAccepted, workrequests.WorkRequestStatusInProgress:
		return false, nil
	case workrequests.WorkRequestStatusFailed, workrequests.WorkRequestStatusCanceling, workrequests.WorkRequestStatusCanceled:
		e := &Error{Op: op, Subject: subject, Message: fmt.Sprintf("its work request is %s", r.Status)}
		if code, msg, _ := c.workError(ctx, id); msg != "" {
			e.Code, e.Message = code, msg
		}
		return false, e
	}
	return true, nil
}
