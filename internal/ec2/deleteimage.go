// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// DeleteImage implements cloud.Imager: it removes everything that was made on the
// way to an image of this build, in every region. id is the image's, or that of a
// snapshot from which it was to be.
func (b *Build) DeleteImage(ctx context.Context, id string) error {
	if b.images.of(id) == nil {
		return b.Client.DeleteImage(ctx, id)
	}
	clients := []*Client{b.Client}
	for _, c := range b.cfg.Image.Copies {
		clients = append(clients, b.In(c.Region))
	}
	errs := make([]error, len(clients))
	_ = each(clients, func(c *Client) error {
		errs[slices.Index(clients, c)] = b.removeIn(ctx, c)
		return nil
	})
	return errors.Join(errs...)
}

// removeIn removes the images and snapshots of this build in one region: those that
// are known, and those that a request made whose reply was lost.
func (b *Build) removeIn(ctx context.Context, c *Client) error {
	b.images.mu.Lock()
	known := maps.Clone(b.images.created[c.Region])
	b.images.mu.Unlock()
	if c != b.Client && len(known) == 0 && !b.images.copied() {
		return nil // it has not come to copies yet
	}
	if known == nil {
		known = map[string]bool{}
	}
	var errs []error
	images, err := c.ownImages(ctx, b.ofBuild()...)
	errs = append(errs, err)
	for _, i := range images {
		known[aws.ToString(i.ImageId)] = true
		for _, s := range snapshotsOf(i) {
			known[s] = true
		}
	}
	shots, err := c.ownSnapshots(ctx, b.ofBuild()...)
	errs = append(errs, err)
	for _, s := range shots {
		known[aws.ToString(s.SnapshotId)] = true
	}
	ids := b.own(slices.Sorted(maps.Keys(known))) // images come before snapshots
	for _, id := range ids {
		switch {
		case strings.HasPrefix(id, "ami-"):
			err = c.deregister(ctx, id)
		default:
			err = c.removeSnapshot(ctx, id)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b.images.mu.Lock()
		delete(b.images.created[c.Region], id)
		b.images.mu.Unlock()
	}
	return errors.Join(errs...)
}

// own leaves out the snapshots that the template names: they are the user's.
func (b *Build) own(ids []string) []string {
	return slices.DeleteFunc(ids, func(id string) bool {
		return slices.ContainsFunc(slices.Concat(b.cfg.Volumes, b.cfg.Image.Devices), func(d BlockDevice) bool { return d.Snapshot == id })
	})
}

// copied says whether any copy has been asked for.
func (im *imaging) copied() bool {
	im.mu.Lock()
	defer im.mu.Unlock()
	for _, m := range im.work {
		if len(m.places) > 0 {
			return true
		}
	}
	return false
}

// DeleteImage removes an image with its snapshots, or a snapshot. What is gone
// already is no error. A snapshot that the image has and its build did not make, since
// the template named it, stays.
func (c *Client) DeleteImage(ctx context.Context, id string) error {
	if strings.HasPrefix(id, "snap-") {
		return c.removeSnapshot(ctx, id)
	}
	img, err := c.image(ctx, id)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	t, is := ours(img.Tags)
	if !is {
		return c.removeImage(ctx, img, true)
	}
	var shots []types.Snapshot
	if ids := snapshotsOf(img); len(ids) > 0 {
		if shots, err = c.ownSnapshots(ctx, filter("snapshot-id", ids...), filter("tag:"+buildKey, t.Build)); err != nil {
			return err
		}
	}
	if err := c.deregister(ctx, id); err != nil {
		return err
	}
	var errs []error
	for _, s := range shots {
		errs = append(errs, c.removeSnapshot(ctx, aws.ToString(s.SnapshotId)))
	}
	return errors.Join(errs...)
}

// removeImage deregisters an image and removes its snapshots, if they are to go.
func (c *Client) removeImage(ctx context.Context, img types.Image, snapshots bool) error {
	if err := c.deregister(ctx, aws.ToString(img.ImageId)); err != nil || !snapshots {
		return err
	}
	var errs []error
	for _, s := range snapshotsOf(img) {
		errs = append(errs, c.removeSnapshot(ctx, s))
	}
	return errors.Join(errs...)
}

// deregister removes an image; a protection of ours is taken off first.
func (c *Client) deregister(ctx context.Context, id string) error {
	call := func(ctx context.Context) error {
		_, err := c.deregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &id})
		return err
	}
	// What is being made may have to be there first.
	early := func(err error) bool { return passing(err) || code(err, "InvalidAMIID.Pending", "IncorrectState") }
	err := c.repeatIf(ctx, repeatFor, "deregister image", id, early, call)
	var e *Error
	if errors.As(err, &e) && strings.Contains(strings.ToLower(e.Message), "protect") {
		perr := c.repeat(ctx, "take off the protection of image", id, func(ctx context.Context) error {
			_, err := c.disableProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{ImageId: &id})
			return err
		})
		if perr == nil {
			err = c.repeatIf(ctx, repeatFor, "deregister image", id, early, call)
		} else {
			err = fmt.Errorf("%w (%w)", err, perr)
		}
	}
	if missing(err) {
		return nil
	}
	return err
}

// removeSnapshot removes a snapshot once no image refers to it.
func (c *Client) removeSnapshot(ctx context.Context, id string) error {
	used := func(err error) bool { return passing(err) || code(err, "InvalidSnapshot.InUse", "IncorrectState") }
	err := c.repeatIf(ctx, repeatFor, "delete snapshot", id, used, func(ctx context.Context) error {
		_, err := c.deleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &id})
		return err
	})
	if missing(err) {
		return nil
	}
	return err
}
