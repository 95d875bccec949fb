// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// register makes the first image of the snapshots.
func (b *Build) register(ctx context.Context, m *making) error {
	src := b.found.image
	in := ec2.RegisterImageInput{
		Name: &m.name, Description: text(b.found.words.Description), Architecture: src.Architecture, BootMode: src.BootMode,
		EnaSupport: aws.Bool(true), ImdsSupport: src.ImdsSupport, TpmSupport: src.TpmSupport, RootDeviceName: src.RootDeviceName,
		VirtualizationType: aws.String("hvm"), BlockDeviceMappings: b.mappings(m.shots),
		TagSpecifications: []types.TagSpecification{b.imageTags(m.token)},
	}
	if in.BootMode == "" && src.Architecture == types.ArchitectureValuesArm64 {
		in.BootMode = types.BootModeValuesUefi
	}
	if b.cfg.Image.IMDSv2 {
		in.ImdsSupport = types.ImdsSupportValuesV20
	}
	id, err := b.registerOnce(ctx, b.Client, in)
	if id != "" {
		m.first = id
		b.images.known(id, m)
	}
	return err
}

// registerOnce registers an image. A name is taken once in a region, so the
// request can be sent again: what a lost one made is found by the name.
func (b *Build) registerOnce(ctx context.Context, c *Client, in ec2.RegisterImageInput) (id string, err error) {
	g, cancel := wait.Grace(ctx, requestGrace)
	defer cancel()
	name, unclear := aws.ToString(in.Name), false
	err = c.repeat(g, "register image", name, func(ctx context.Context) error {
		r, err := c.registerImage(ctx, &in)
		if err == nil && r.ImageId == nil {
			err = errNoAnswer
		}
		unclear = unclear || lost(wrap("register image", name, err))
		if err == nil {
			id = *r.ImageId
		}
		return err
	})
	switch taken := code(err, "InvalidAMIName.Duplicate"); {
	case err == nil:
	case unclear:
		open := b.images.lost(c.Region)
		open.Add(name)
		// Not with g: the lists may lag behind for longer, and after a cancel
		// removeIn looks on.
		_, ferr := open.Settle(ctx, func(ctx context.Context, key string) (bool, error) {
			found, taken, ferr := b.namedByUs(ctx, c, key)
			if found == "" && key == name {
				found = b.oursIn(ctx, c, err)
			}
			if key == name {
				id = found
			}
			return found != "" || taken, ferr
		})
		switch {
		case id != "":
			err = nil
		case ctx.Err() != nil:
			err = ctx.Err()
		case ferr != nil:
			err = errors.Join(err, ferr)
		}
	case taken: // by somebody else, or by an earlier try of ours
		if found, _, ferr := b.namedByUs(g, c, name); ferr == nil && found != "" {
			id, err = found, nil
		}
	}
	b.images.note(c.Region, id)
	return id, b.details(ctx, err)
}

// namedByUs is the image of this build that has a name, if the list shows it; taken
// says that another image has the name, so that there is none of ours.
func (b *Build) namedByUs(ctx context.Context, c *Client, name string) (id string, taken bool, err error) {
	all, err := c.named(ctx, name)
	for _, i := range all {
		if b.mine(i) {
			id = aws.ToString(i.ImageId)
		}
	}
	return id, len(all) > 0 && id == "", err
}

// mine says whether an image is one of this build.
func (b *Build) mine(i types.Image) bool {
	t, is := ours(i.Tags)
	return is && t.Build == b.owner.ID
}

// takenBy is how EC2 says who has a name: "AMI name x is already in use by AMI
// ami-0123".
var takenBy = regexp.MustCompile(`ami-[0-9a-f]+$`)

// oursIn is the image that a refusal of a name is about, if it is one of this build:
// an image may be found by its id before a list shows it.
func (b *Build) oursIn(ctx context.Context, c *Client, refusal error) string {
	var e *Error
	if !errors.As(refusal, &e) || !code(refusal, "InvalidAMIName.Duplicate") {
		return ""
	}
	id := takenBy.FindString(strings.TrimRight(e.Message, ". "))
	if id == "" {
		return ""
	}
	if img, err := c.lookImage(ctx, id); err != nil || !b.mine(img) {
		return ""
	}
	return id
}

// mappings are the devices of an image that is made of snapshots: those of the
// machine with the user's changes, and the user's own.
func (b *Build) mappings(shots []shot) (list []types.BlockDeviceMapping) {
	has := func(name string) bool {
		return slices.ContainsFunc(shots, func(s shot) bool { return s.device == name })
	}
	for _, s := range shots {
		d := b.launched(s.device)
		for _, x := range b.cfg.Image.Devices {
			if x.Device == s.device {
				d = d.changed(x)
			}
		}
		// Whether a snapshot is encrypted is not for the image to say.
		d.Snapshot, d.Encrypted, d.KMSKey = s.id, nil, ""
		list = append(list, d.mapping())
	}
	for _, x := range b.cfg.Image.Devices {
		if !has(x.Device) && !x.NoDevice {
			list = append(list, x.mapping())
		}
	}
	return list
}

// launched is a device as it was launched.
func (b *Build) launched(name string) BlockDevice {
	d := BlockDevice{Device: name}
	if name == b.rootName() {
		d.Type = b.cfg.Root.Type
	}
	for _, v := range b.cfg.Volumes {
		if v.Device == name {
			d.Type, d.IOPS, d.Throughput = v.Type, v.IOPS, v.Throughput
		}
	}
	return d
}

// changed is a device with what x says of it.
func (d BlockDevice) changed(x BlockDevice) BlockDevice {
	if x.SizeGB > 0 {
		d.SizeGB = x.SizeGB
	}
	if x.Type != "" {
		d.Type, d.IOPS, d.Throughput = x.Type, 0, 0
	}
	if x.IOPS > 0 {
		d.IOPS = x.IOPS
	}
	if x.Throughput > 0 {
		d.Throughput = x.Throughput
	}
	d.KeepVolume = x.KeepVolume
	return d
}

// changes are the user's devices for an image that EC2 makes of the machine.
func (b *Build) changes() (list []types.BlockDeviceMapping) {
	for _, x := range b.cfg.Image.Devices {
		if slices.ContainsFunc(b.cfg.volumes(b.found.image), func(d BlockDevice) bool { return d.Device == x.Device }) {
			x.Encrypted = nil // that of the volume
		}
		x.KMSKey = "" // EC2 takes none here
		list = append(list, x.mapping())
	}
	return list
}

// again registers an image under another name, with the same snapshots.
func (b *Build) again(ctx context.Context, c *Client, of types.Image, name string) (string, error) {
	tags := tagMap(of.Tags)
	maps.Copy(tags, b.finished(nil)) // which may not be seen yet
	in := ec2.RegisterImageInput{
		Name: &name, Description: of.Description, Architecture: of.Architecture, BootMode: of.BootMode, EnaSupport: of.EnaSupport,
		ImdsSupport: of.ImdsSupport, TpmSupport: of.TpmSupport, RootDeviceName: of.RootDeviceName, SriovNetSupport: of.SriovNetSupport,
		VirtualizationType: aws.String(string(of.VirtualizationType)),
		TagSpecifications:  []types.TagSpecification{spec(types.ResourceTypeImage, tags)},
	}
	for _, d := range of.BlockDeviceMappings {
		if d.Ebs != nil {
			e := *d.Ebs
			if e.SnapshotId != nil {
				e.Encrypted, e.KmsKeyId = nil, nil
			}
			d.Ebs = &e
		}
		in.BlockDeviceMappings = append(in.BlockDeviceMappings, d)
	}
	return b.registerOnce(ctx, c, in)
}
