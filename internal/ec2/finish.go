// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// FinishImage implements cloud.Imager: it makes the image of its snapshots, copies
// it, verifies all of it, and only then marks it as finished, in every region. What
// it replaces goes last.
func (b *Build) FinishImage(ctx context.Context, id string) (string, error) {
	m := b.images.of(id)
	if m == nil {
		return "", fmt.Errorf("%s is not an image of this build", id)
	}
	if m.first == "" {
		if err := b.takeRest(ctx, m); err != nil {
			return id, err
		}
		if err := b.awaitShots(ctx, m); err != nil {
			return id, err
		}
		if err := b.register(ctx, m); err != nil {
			return orElse(m.first, id), err
		}
		b.say("The snapshot is complete, image %s is registered", m.first)
	}
	img, err := b.awaitImage(ctx, b.Client, m.first)
	if err != nil {
		return m.first, err
	}
	if err := ctx.Err(); err != nil {
		return m.first, err
	}
	b.layOut(m)
	if err := each(m.places, func(p *place) error { return b.prepare(ctx, m, img, p) }); err != nil {
		return m.first, err
	}
	if err := each(m.places, func(p *place) error { return b.markFinished(ctx, p) }); err != nil {
		return m.first, err
	}
	if m.doubtful && len(m.shots) > 0 {
		b.dropDoubles(ctx, m)
	}
	return b.settle(ctx, m)
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// layOut lists the regions that the image will be in.
func (b *Build) layOut(m *making) {
	cfg := b.cfg.Image
	m.places = nil
	if !cfg.SkipBuildRegion {
		p := &place{client: b.Client, id: m.first, name: m.name}
		if b.encryptsAnew() {
			p.id, p.isCopy, p.encrypt, p.key = "", true, cfg.Encrypt, cfg.KMSKey
		}
		m.places = append(m.places, p)
	}
	for _, c := range cfg.Copies {
		m.places = append(m.places, &place{client: b.In(c.Region), isCopy: true, encrypt: c.Encrypt, key: c.KMSKey})
	}
}

// prepare makes the image of one region and proves it.
func (b *Build) prepare(ctx context.Context, m *making, first types.Image, p *place) error {
	in := func(err error) error {
		if err == nil || p.client.Region == b.Region {
			return err
		}
		return fmt.Errorf("in %s: %w", p.client.Region, err)
	}
	if b.cfg.Image.Replace {
		old, err := b.namesakesIn(ctx, p.client)
		if err != nil {
			return in(err)
		}
		p.old = old
	}
	img := first
	if p.isCopy {
		p.name = b.cfg.Image.Name
		if len(p.old) > 0 {
			p.name = b.temporaryName() + "-copy"
		}
		var err error
		if p.id, err = b.copyTo(ctx, m, first, p); err != nil {
			return in(err)
		}
		if img, err = b.awaitImage(ctx, p.client, p.id); err != nil {
			return in(err)
		}
	}
	if b.cfg.Image.IMDSv2 && img.ImdsSupport != types.ImdsSupportValuesV20 {
		var err error
		if img, err = b.requireIMDSv2(ctx, p.client, p.id); err != nil {
			return in(err)
		}
	}
	if err := b.verify(ctx, p, img); err != nil {
		return in(err)
	}
	return in(b.share(ctx, p.client, img))
}

// copyTo asks for a copy in another region, or of another key.
func (b *Build) copyTo(ctx context.Context, m *making, first types.Image, p *place) (id string, err error) {
	g, cancel := wait.Grace(ctx, requestGrace)
	defer cancel()
	token := b.owner.Token("copy", m.token, p.client.Region)
	in := &ec2.CopyImageInput{
		Name: &p.name, SourceImageId: first.ImageId, SourceRegion: &b.Region, Description: first.Description, ClientToken: &token,
		KmsKeyId: text(p.key), TagSpecifications: []types.TagSpecification{b.imageTags(m.token), b.shotTags(owner.RoleVolume, m.token)},
	}
	switch {
	case p.encrypt != nil && *p.encrypt, p.key != "":
		in.Encrypted = aws.Bool(true)
	case encryptedImage(first):
		in.Encrypted = aws.Bool(true) // a copy of what is encrypted is encrypted
	}
	if n := b.cfg.Image.CopyMinutes; n > 0 {
		in.SnapshotCopyCompletionDurationMinutes = &n
	}
	// Only so many copies may be under way at a time.
	busy := func(err error) bool { return ctx.Err() == nil && (passing(err) || code(err, "ResourceLimitExceeded")) }
	err = p.client.repeatIf(g, b.cfg.ImageTimeout, "copy image", aws.ToString(first.ImageId), busy, func(ctx context.Context) error {
		r, err := p.client.copyImage(ctx, in)
		if err == nil && r.ImageId == nil {
			err = errNoAnswer
		}
		if err == nil {
			id = *r.ImageId
		}
		return err
	})
	b.images.note(p.client.Region, id)
	if lost(err) {
		b.images.lost(p.client.Region).Add(p.name)
	}
	if err == nil {
		b.say("Copy %s is being made in %s", id, p.client.Region)
	}
	return id, b.details(ctx, err)
}

func encryptedImage(i types.Image) bool {
	return slices.ContainsFunc(i.BlockDeviceMappings, func(d types.BlockDeviceMapping) bool { return d.Ebs != nil && aws.ToBool(d.Ebs.Encrypted) })
}

// awaitImage waits until an image is available.
func (b *Build) awaitImage(ctx context.Context, c *Client, id string) (img types.Image, err error) {
	begun := time.Now()
	err = wait.Loop{
		What: "image " + id + " in " + c.Region, Timeout: b.cfg.ImageTimeout, Option: "image_timeout", Pace: wait.Slow, Tolerate: lags(begun),
		Progress: func(d time.Duration) { b.say("Still waiting for image %s in %s (%s)", id, c.Region, d) },
	}.Until(ctx, func(ctx context.Context) (bool, error) {
		i, err := c.lookImage(ctx, id)
		if err != nil {
			return false, err
		}
		img = i
		switch i.State {
		case types.ImageStateAvailable:
			return true, nil
		case types.ImageStatePending, types.ImageStateTransient, "":
			return false, nil
		}
		e := &Error{Op: "make image", Subject: id, Message: fmt.Sprintf("it is %s", i.State)}
		if r := i.StateReason; r != nil {
			e.Code, e.Message = aws.ToString(r.Code), fmt.Sprintf("it is %s: %s", i.State, aws.ToString(r.Message))
		}
		return false, e
	})
	for _, s := range snapshotsOf(img) {
		b.images.note(c.Region, s)
	}
	return img, err
}

// lookImage is one look at an image.
func (c *Client) lookImage(ctx context.Context, id string) (img types.Image, err error) {
	err = once(ctx, "describe image", id, func(ctx context.Context) error {
		r, err := c.describeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}, IncludeDeprecated: aws.Bool(true)})
		if err != nil {
			return err
		}
		if len(r.Images) == 0 {
			return &Error{Op: "describe image", Subject: id, Code: "InvalidAMIID.NotFound", Message: "it is not there"}
		}
		img = r.Images[0]
		return nil
	})
	return img, err
}

// verify proves that an image is what was asked for.
func (b *Build) verify(ctx context.Context, p *place, img types.Image) error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("image %s is not what was asked for: "+format, append([]any{p.id}, a...)...)
	}
	src := b.found.image
	shots := b.own(snapshotsOf(img))
	switch {
	case img.Architecture != src.Architecture:
		return bad("its architecture is %s, and not %s", img.Architecture, src.Architecture)
	case aws.ToString(img.Name) != p.name:
		return bad("its name is %q, and not %q", aws.ToString(img.Name), p.name)
	case aws.ToString(img.RootDeviceName) != aws.ToString(src.RootDeviceName) || len(shots) == 0:
		return bad("it has no root volume %s", aws.ToString(src.RootDeviceName))
	case img.Architecture == types.ArchitectureValuesArm64 && img.BootMode != "" && img.BootMode != types.BootModeValuesUefi:
		return bad("its boot mode is %s; ARM64 machines start only with uefi", img.BootMode)
	case b.cfg.Image.IMDSv2 && img.ImdsSupport != types.ImdsSupportValuesV20:
		return bad("its machines would have the first version of the metadata service")
	}
	want := b.cfg.Image.Encrypt
	if p.client != b.Client {
		want = p.encrypt
	}
	if want != nil && *want != encryptedImage(img) {
		return bad("encrypted is %t, and not %t", encryptedImage(img), *want)
	}
	if t, is := ours(img.Tags); !is || t.Build != b.owner.ID {
		return b.tag(ctx, p.client, p.id, tagMap(b.imageTags("").Tags), shots...)
	}
	return nil
}

// tag writes tags on an image and its snapshots.
func (b *Build) tag(ctx context.Context, c *Client, id string, tags map[string]string, more ...string) error {
	err := c.repeatIf(ctx, repeatFor, "create tags of", id, lags(time.Now()), func(ctx context.Context) error {
		_, err := c.createTags(ctx, &ec2.CreateTagsInput{Resources: append([]string{id}, more...), Tags: tagList(tags)})
		return err
	})
	return b.details(ctx, err)
}

// markFinished says on an image and its snapshots that they are the user's now.
func (b *Build) markFinished(ctx context.Context, p *place) error {
	img, err := p.client.image(ctx, p.id)
	if err != nil {
		return err
	}
	ours := b.finished(nil)
	if err := b.tag(ctx, p.client, p.id, ours, b.own(snapshotsOf(img))...); err != nil {
		return err
	}
	p.finished = true
	return nil
}

func (c *Client) image(ctx context.Context, id string) (img types.Image, err error) {
	err = c.repeat(ctx, "describe image", id, func(ctx context.Context) (err error) {
		img, err = c.lookImage(ctx, id)
		return err
	})
	return img, err
}
