// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
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
// are known, and those that a request made whose reply was lost, however late the
// lists show them.
func (b *Build) removeIn(ctx context.Context, c *Client) error {
	open := b.images.lost(c.Region)
	never, err := open.Settle(ctx, func(ctx context.Context, key string) (bool, error) {
		all, err := b.madeIn(ctx, c)
		return slices.ContainsFunc(all, func(m made) bool { return m.key == key }), err
	})
	errs := []error{err}
	for _, key := range append(never, open.Keys()...) {
		b.say("The request for %s in %s was not confirmed, and nothing has shown up; should there be something all the same, it has the tag %s = %s", key, c.Region, buildKey, b.owner.ID)
	}
	b.images.mu.Lock()
	known := maps.Clone(b.images.created[c.Region])
	b.images.mu.Unlock()
	if c != b.Client && len(known) == 0 && !b.images.copied() {
		return errors.Join(errs...) // it has not come to copies yet
	}
	if known == nil {
		known = map[string]time.Time{}
	}
	all, err := b.madeIn(ctx, c)
	errs = append(errs, err)
	listed := map[string]bool{}
	for _, m := range all {
		listed[m.id] = true
	}
	for id, since := range maps.Clone(known) {
		if !listed[id] && strings.HasPrefix(id, "ami-") {
			for _, s := range c.shotsOnceSeen(ctx, id, since) {
				known[s] = since
			}
		}
	}
	for id := range listed {
		known[id] = time.Time{} // it is to be seen
	}
	ids := b.own(slices.Sorted(maps.Keys(known))) // images come before snapshots
	for _, id := range ids {
		switch {
		case strings.HasPrefix(id, "ami-"):
			err = c.deregister(ctx, id, known[id])
		default:
			err = b.removeShot(ctx, c, id, known[id])
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		b.images.forget(c.Region, id)
	}
	return errors.Join(errs...)
}

// shotsOnceSeen are the snapshots of an image that was made at since. Only the image
// names them, and it may not be seen yet.
func (c *Client) shotsOnceSeen(ctx context.Context, id string, since time.Time) (ids []string) {
	_ = wait.Loop{What: "image " + id + " to be seen", Pace: wait.Slow, Tolerate: lags(since)}.Until(ctx, func(ctx context.Context) (bool, error) {
		img, err := c.lookImage(ctx, id)
		ids = snapshotsOf(img)
		return err == nil, err
	})
	return ids
}

func (im *imaging) forget(region, id string) {
	im.mu.Lock()
	defer im.mu.Unlock()
	delete(im.created[region], id)
}

// made is an image or a snapshot of this build.
type made struct {
	id  string
	key string // the name of an image, the volume of a snapshot
}

// madeIn lists what this build made in a region, as far as the lists show it.
func (b *Build) madeIn(ctx context.Context, c *Client) (all []made, err error) {
	images, ierr := c.ownImages(ctx, b.ofBuild()...)
	for _, i := range images {
		all = append(all, made{aws.ToString(i.ImageId), aws.ToString(i.Name)})
		for _, s := range snapshotsOf(i) {
			all = append(all, made{id: s})
		}
	}
	shots, serr := c.ownSnapshots(ctx, b.ofBuild()...)
	for _, s := range shots {
		all = append(all, made{aws.ToString(s.SnapshotId), aws.ToString(s.VolumeId)})
	}
	return all, errors.Join(ierr, serr)
}

// removeShot removes a snapshot of this build. One that is in use is a proof that
// there is an image: it is looked for again, since the lists may have lagged behind.
func (b *Build) removeShot(ctx context.Context, c *Client, id string, since time.Time) error {
	return c.removeSnapshotThen(ctx, id, since, func(ctx context.Context) error {
		all, err := b.madeIn(ctx, c)
		for _, m := range all {
			if strings.HasPrefix(m.id, "ami-") {
				err = errors.Join(err, c.deregister(ctx, m.id, time.Time{}))
			}
		}
		return err
	})
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
	ids := []string{id}
	for _, s := range shots {
		ids = append(ids, aws.ToString(s.SnapshotId))
	}
	back := c.giveUp(ctx, t, ids)
	if err := c.deregister(ctx, id, time.Time{}); err != nil {
		back()
		return err
	}
	var errs []error
	for _, s := range ids[1:] {
		errs = append(errs, c.removeSnapshot(ctx, s))
	}
	return errors.Join(errs...)
}

// givenUp is how long whoever removes an image has for it before a sweep does so.
const givenUp = time.Hour

// giveUp marks a finished image that is about to go, and its snapshots, as leftovers:
// once it is deregistered only their own tags say that nobody needs the snapshots. back
// takes that back, for an image that stays after all.
func (c *Client) giveUp(ctx context.Context, was owner.Tag, ids []string) (back func()) {
	if was.Unfinished {
		return func() {}
	}
	write := func(ctx context.Context, t owner.Tag) error {
		return c.repeat(ctx, "create tags of", ids[0], func(ctx context.Context) error {
			_, err := c.createTags(ctx, &ec2.CreateTagsInput{Resources: ids, Tags: tagList(map[string]string{owner.Key: t.String()})})
			return err
		})
	}
	t := was
	t.Role, t.Unfinished, t.Expires = owner.RoleImage, true, c.Now().Add(givenUp)
	if err := write(ctx, t); err != nil { // it is about to go all the same
		log.Printf("[WARN] image %s is about to be removed and cannot be marked so: %v", ids[0], err)
	}
	return func() {
		g, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestGrace)
		defer cancel()
		if err := write(g, was); err != nil {
			log.Printf("[WARN] image %s stays and is marked as a leftover until its tag %q is %q: %v", ids[0], owner.Key, was, err)
		}
	}
}

// removeImage deregisters an image and removes its snapshots, if they are to go.
func (c *Client) removeImage(ctx context.Context, img types.Image, snapshots bool) error {
	if err := c.deregister(ctx, aws.ToString(img.ImageId), time.Time{}); err != nil || !snapshots {
		return err
	}
	var errs []error
	for _, s := range snapshotsOf(img) {
		errs = append(errs, c.removeSnapshot(ctx, s))
	}
	return errors.Join(errs...)
}

// deregister removes an image; a protection of ours is taken off first. One that was
// made at since may not be seen yet.
func (c *Client) deregister(ctx context.Context, id string, since time.Time) error {
	call := func(ctx context.Context) error {
		_, err := c.deregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &id})
		return err
	}
	// What is being made may have to be there first.
	gone := notYet(since)
	early := func(err error) bool { return gone(err) || code(err, "InvalidAMIID.Pending", "IncorrectState") }
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
	return c.removeSnapshotThen(ctx, id, time.Time{}, func(context.Context) error { return nil })
}

// removeSnapshotThen is removeSnapshot that does something about an image that
// refers to it. One that was made at since may not be seen yet.
func (c *Client) removeSnapshotThen(ctx context.Context, id string, since time.Time, free func(context.Context) error) error {
	gone := notYet(since)
	used := func(err error) bool { return gone(err) || code(err, "InvalidSnapshot.InUse", "IncorrectState") }
	err := c.repeatIf(ctx, repeatFor, "delete snapshot", id, used, func(ctx context.Context) error {
		_, err := c.deleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &id})
		if err = wrap("delete snapshot", id, err); code(err, "InvalidSnapshot.InUse") {
			if ferr := free(ctx); ferr != nil {
				log.Printf("[WARN] what uses snapshot %s cannot be removed yet: %v", id, ferr)
			}
		}
		return err
	})
	if missing(err) {
		return nil
	}
	return err
}
