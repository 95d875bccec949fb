// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// settle does what is left when there are good images everywhere, and nothing may
// take those away again: what fails now is said. An image that did not get its name
// from those that had it is an error, and stays. It returns the id of the image in
// the region of the machine, or of the first copy if there is none.
func (b *Build) settle(ctx context.Context, m *making) (string, error) {
	nameless := make([]error, len(m.places))
	_ = each(slices.Collect(seq(len(m.places))), func(n int) error {
		p := m.places[n]
		if len(p.old) > 0 {
			nameless[n] = b.replace(ctx, p)
		}
		if err := b.protect(ctx, p); err != nil && ctx.Err() == nil {
			b.say("The image %s is finished, but its protection could not be set: %v", p.id, err)
		}
		return nil
	})
	if b.cfg.Image.SkipBuildRegion || b.encryptsAnew() { // the first image was only a step on the way
		if err := b.Client.DeleteImage(ctx, m.first); err != nil && ctx.Err() == nil {
			b.say("The temporary image %s could not be deleted, please do so by hand: %v", m.first, err)
		}
	}
	if err := errors.Join(nameless...); err != nil {
		for _, p := range m.places {
			b.say("Image %s in %s is finished and stays", p.id, p.client.Region)
		}
		return "", &cloud.Kept{Err: err}
	}
	_ = each(m.places, func(p *place) error {
		if err := b.retain(ctx, p); err != nil && ctx.Err() == nil {
			b.say("The image %s is finished, but older images of its series in %s could not all be deleted (retain): %v", p.id, p.client.Region, err)
		}
		return nil
	})
	done := map[string]string{}
	b.images.mu.Lock()
	defer b.images.mu.Unlock()
	for _, p := range m.places {
		done[p.client.Region] = p.id
		b.images.work[p.id] = m
	}
	for _, p := range m.places {
		b.images.done[p.id] = done
	}
	return m.places[0].id, nil
}

// replaceGrace is how long replacing may go on after a cancel: in the middle of it
// nothing has the name.
const replaceGrace = 2 * time.Minute

// replace gives an image the name of older ones, which go first: a region has no two
// images of one name, and an image cannot be renamed. So it is registered again with
// the same snapshots; it exists all the while, under its temporary name. An error
// says which image has which name then, and what is gone.
func (b *Build) replace(ctx context.Context, p *place) error {
	var gone []string
	fail := func(err error) error {
		what := "the older one still has it"
		if len(gone) > 0 {
			what = fmt.Sprintf("the older one, %s, is gone", strings.Join(gone, ", "))
		}
		return fmt.Errorf("the image %s in %s is finished, but has not got the name %q: it is called %q, and %s. Copy it under its name, or build again: %w", p.id, p.client.Region, b.cfg.Image.Name, p.name, what, err)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	g, cancel := wait.Grace(ctx, replaceGrace)
	defer cancel()
	img, err := p.client.image(g, p.id)
	if err != nil {
		return fail(err)
	}
	for _, old := range p.old {
		b.say("Deregistering the image %s in %s, which has the same name (force_deregister)", aws.ToString(old.ImageId), p.client.Region)
		if err := p.client.deregister(g, aws.ToString(old.ImageId), time.Time{}); err != nil {
			return fail(err)
		}
		gone = append(gone, aws.ToString(old.ImageId))
	}
	id, err := b.rename(g, p, img)
	if err != nil {
		return fail(err)
	}
	var errs []error
	errs = append(errs, p.client.removeImage(g, types.Image{ImageId: &p.id}, false))
	p.id, p.name = id, b.cfg.Image.Name
	for _, old := range p.old {
		for _, s := range snapshotsOf(old) {
			if b.cfg.Image.ReplaceSnapshots {
				errs = append(errs, p.client.removeSnapshot(g, s))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		b.say("The image %s is finished, but something of what it replaces could not be removed, please do so by hand: %v", p.id, err)
	}
	return nil
}

// rename registers an image again under the wanted name. That of an image that was
// just deregistered may be free a little later only.
func (b *Build) rename(ctx context.Context, p *place, img types.Image) (id string, err error) {
	busy := func(err error) bool { return passing(err) || code(err, "InvalidAMIName.Duplicate") }
	err = wait.Loop{What: "the name " + b.cfg.Image.Name + " to be free", Timeout: repeatFor, Pace: wait.Slow, Tolerate: busy}.Until(ctx, func(ctx context.Context) (bool, error) {
		id, err = b.again(ctx, p.client, img, b.cfg.Image.Name)
		return err == nil, err
	})
	if err != nil {
		return "", err
	}
	again, err := b.awaitImage(ctx, p.client, id)
	if err == nil {
		err = b.share(ctx, p.client, again)
	}
	if err != nil {
		return "", errors.Join(err, p.client.removeImage(ctx, types.Image{ImageId: &id}, false))
	}
	return id, nil
}

// share lets others use an image and its snapshots, and says until when it is to be
// used.
func (b *Build) share(ctx context.Context, c *Client, img types.Image) error {
	id, s := aws.ToString(img.ImageId), b.cfg.Image.Share
	var add []types.LaunchPermission
	for _, u := range s.Users {
		add = append(add, types.LaunchPermission{UserId: &u})
	}
	for _, g := range s.Groups {
		add = append(add, types.LaunchPermission{Group: types.PermissionGroup(g)})
	}
	for _, o := range s.Organizations {
		add = append(add, types.LaunchPermission{OrganizationArn: &o})
	}
	for _, o := range s.Units {
		add = append(add, types.LaunchPermission{OrganizationalUnitArn: &o})
	}
	if len(add) > 0 {
		err := c.repeat(ctx, "modify image attribute of", id, func(ctx context.Context) error {
			_, err := c.modifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{
				ImageId: &id, Attribute: aws.String("launchPermission"), LaunchPermission: &types.LaunchPermissionModifications{Add: add},
			})
			return err
		})
		if err != nil {
			return b.details(ctx, err)
		}
	}
	var volumes []types.CreateVolumePermission
	for _, u := range s.SnapshotUsers {
		volumes = append(volumes, types.CreateVolumePermission{UserId: &u})
	}
	for _, g := range s.SnapshotGroups {
		volumes = append(volumes, types.CreateVolumePermission{Group: types.PermissionGroup(g)})
	}
	for _, shot := range snapshotsOf(img) {
		if len(volumes) == 0 {
			break
		}
		err := c.repeat(ctx, "modify snapshot attribute of", shot, func(ctx context.Context) error {
			_, err := c.modifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
				SnapshotId: &shot, Attribute: types.SnapshotAttributeNameCreateVolumePermission, CreateVolumePermission: &types.CreateVolumePermissionModifications{Add: volumes},
			})
			return err
		})
		if err != nil {
			return b.details(ctx, err)
		}
	}
	return b.deprecate(ctx, c, id)
}

func (b *Build) deprecate(ctx context.Context, c *Client, id string) error {
	at := b.cfg.Image.DeprecateAt
	if after := b.cfg.Image.DeprecateAfter; after > 0 {
		at = time.Now().Add(after)
	}
	if at.IsZero() {
		return nil
	}
	at = at.UTC().Truncate(time.Minute) // EC2 counts minutes
	err := c.repeat(ctx, "enable deprecation of image", id, func(ctx context.Context) error {
		_, err := c.enableDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: &id, DeprecateAt: &at})
		return err
	})
	return b.details(ctx, err)
}

func (b *Build) protect(ctx context.Context, p *place) error {
	if !b.cfg.Image.Protect {
		return nil
	}
	err := p.client.repeat(ctx, "protect image", p.id, func(ctx context.Context) error {
		_, err := p.client.enableProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: &p.id, WithCooldown: aws.Bool(b.cfg.Image.Cooldown)})
		return err
	})
	return b.details(ctx, err)
}

// requireIMDSv2 gives machines of an image the second version of the metadata
// service only.
func (b *Build) requireIMDSv2(ctx context.Context, c *Client, id string) (img types.Image, err error) {
	err = c.repeat(ctx, "modify image attribute of", id, func(ctx context.Context) error {
		_, err := c.modifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{
			ImageId: &id, Attribute: aws.String("imdsSupport"), ImdsSupport: &types.AttributeValue{Value: aws.String(string(types.ImdsSupportValuesV20))},
		})
		return err
	})
	if err != nil {
		return img, b.details(ctx, err)
	}
	return c.image(ctx, id)
}
