// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// retainFor is how long deleting older images may take: the build has what it is for.
const retainFor = 5 * time.Minute

// retain deletes the older images of the series of a place's image with their
// snapshots, if so many are kept. One that is protected stays, and so does one of which
// there is a machine. What cannot be found out keeps everything.
func (b *Build) retain(ctx context.Context, p *place) error {
	keep := b.cfg.Image.Retain
	if keep == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, retainFor)
	defer cancel()
	images, err := p.client.ownImages(ctx, filter("tag-key", buildKey))
	if err != nil {
		return err
	}
	var all []owner.Image
	protected := map[string]bool{}
	for _, i := range images {
		a := owner.Image{ID: aws.ToString(i.ImageId), Name: aws.ToString(i.Name), Ready: i.State == types.ImageStateAvailable}
		a.Created, _ = time.Parse(time.RFC3339, aws.ToString(i.CreationDate)) // of no known age it stays
		a.Mark, _ = ours(i.Tags)
		all = append(all, a)
		if s := aws.ToString(i.DeregistrationProtection); s != "" && s != "disabled" {
			protected[a.ID] = true
		}
	}
	surplus := owner.Surplus(all, owner.RoleImage, b.cfg.Image.Series, p.id, keep)
	if len(surplus) == 0 {
		return nil
	}
	used, err := p.client.bases(ctx, surplus)
	if err != nil {
		return err
	}
	var errs []error
	for _, i := range surplus {
		stays := func(why string) {
			b.say("The older image %s (%q) in %s stays although retain = %d: %s", i.ID, i.Name, p.client.Region, keep, why)
		}
		switch {
		case protected[i.ID]:
			stays("it is protected from being deregistered")
		case used[i.ID] != "":
			stays("machine " + used[i.ID] + " was made of it")
		default:
			b.say("Deleting the older image %s (%q) in %s, of %s, with its snapshots (retain = %d)", i.ID, i.Name, p.client.Region, i.Created.UTC().Format(time.DateTime), keep)
			errs = append(errs, p.client.DeleteImage(ctx, i.ID))
		}
	}
	return errors.Join(errs...)
}

// bases are those of the images of which there are machines, each with one of them.
func (c *Client) bases(ctx context.Context, images []owner.Image) (map[string]string, error) {
	var ids []string
	for _, i := range images {
		ids = append(ids, i.ID)
	}
	all, err := c.instances(ctx, filter("image-id", ids...))
	used := map[string]string{}
	for _, i := range all {
		if !ended(state(i)) {
			used[aws.ToString(i.ImageId)] = aws.ToString(i.InstanceId)
		}
	}
	return used, err
}
