// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// settle does what is left when there are good images everywhere, and nothing may
// take those away again: what fails now is said. It returns the id of the image in
// the region of the machine, or of the first copy if there is none.
func (b *Build) settle(ctx context.Context, m *making) string {
	extra := func(p *place, what string, err error) {
		if err != nil && ctx.Err() == nil {
			b.say("The image %s is finished, but %s: %v", p.id, what, err)
		}
	}
	_ = each(m.places, func(p *place) error {
		if len(p.old) > 0 {
			extra(p, "an older image of the same name could not be replaced", b.replace(ctx, p))
		}
		extra(p, "its protection could not be set", b.protect(ctx, p))
		return nil
	})
	if b.cfg.Image.SkipBuildRegion || b.encryptsAnew() { // the first image was only a step on the way
		if err := b.Client.DeleteImage(ctx, m.first); err != nil && ctx.Err() == nil {
			b.say("The temporary image %s could not be deleted, please do so by hand: %v", m.first, err)
		}
	}
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
	return m.places[0].id
}

// replace gives an image the name of older ones, which go. An image cannot be
// renamed, so it is registered again with the same snapshots; it exists all the
// while, under its temporary name.
func (b *Build) replace(ctx context.Context, p *place) error {
	for _, old := range p.old {
		b.say("Deregistering the image %s in %s, which has the same name (force_deregister)", aws.ToString(old.ImageId), p.client.Region)
		if err := p.client.removeImage(ctx, old, b.cfg.Image.ReplaceSnapshots); err != nil {
			return err
		}
	}
	img, err := p.client.image(ctx, p.id)
	if err != nil {
		return err
	}
	id, err := b.again(ctx, p.client, img, b.cfg.Image.Name)
	if err != nil {
		return fmt.Errorf("it keeps the name %q: %w", p.name, err)
	}
	again, err := b.awaitImage(ctx, p.client, id)
	if err == nil {
		err = b.share(ctx, p.client, again)
	}
	if err != nil {
		return errors.Join(err, p.client.removeImage(ctx, types.Image{ImageId: &id}, false))
	}
	temporary := p.id
	p.id, p.name = id, b.cfg.Image.Name
	return p.client.removeImage(ctx, types.Image{ImageId: &temporary}, false)
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
