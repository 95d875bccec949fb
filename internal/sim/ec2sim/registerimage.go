// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"context"
	"slices"
)

type registerParams struct {
	Name         string `aws:"Name,required"`
	Description  string
	Architecture string             `aws:"Architecture,enum=i386|x86_64|arm64|x86_64_mac|arm64_mac"`
	BootMode     string             `aws:"BootMode,enum=legacy-bios|uefi|uefi-preferred"`
	ENA          *bool              `aws:"EnaSupport"`
	IMDS         string             `aws:"ImdsSupport,enum=v2.0"`
	TPM          string             `aws:"TpmSupport,enum=v2.0"`
	Root         string             `aws:"RootDeviceName"`
	Sriov        string             `aws:"SriovNetSupport,enum=simple"`
	Virtual      string             `aws:"VirtualizationType,enum=hvm|paravirtual"`
	Location     string             `aws:"ImageLocation"`
	Devices      []deviceParams     `aws:"BlockDeviceMapping"`
	Specs        []tagSpecification `aws:"TagSpecification"`
}

// registerImage makes an image of snapshots that exist.
func (c *Cloud) registerImage(q *call, in *registerParams) (any, error) {
	tags, err := specified(in.Specs, "image")
	if err != nil {
		return nil, err
	}
	switch {
	case in.Location != "":
		return nil, errNotSimulated("images in S3")
	case in.Root == "":
		return nil, errMissing("rootDeviceName")
	case in.Architecture == "i386" || in.Architecture == "x86_64_mac" || in.Architecture == "arm64_mac":
		return nil, errNotSimulated("architecture " + in.Architecture)
	case in.Virtual != "hvm": // the default is paravirtual
		return nil, errCombination("The virtualization type paravirtual is not supported by the architecture %s", orText(in.Architecture, "i386"))
	case in.Architecture == "": // the default is i386
		return nil, errNotSimulated("architecture i386")
	case in.Architecture == arm64 && in.BootMode == "legacy-bios":
		return nil, errCombination("The boot mode legacy-bios is not supported by the architecture arm64")
	case in.TPM != "" && in.BootMode != "uefi":
		return nil, errCombination("TPM support needs the boot mode uefi")
	}
	img := &image{name: in.Name, description: in.Description, state: "pending", arch: in.Architecture, root: in.Root, bootMode: in.BootMode,
		imds: in.IMDS, tpm: in.TPM, ena: in.ENA != nil && *in.ENA, freeTier: true, protection: "disabled"}
	asked := []AccessResource{q.planned("image", tags["image"])}
	for _, p := range in.Devices {
		if p.Ebs == nil || p.DeviceName == "" || p.NoDevice != nil {
			return nil, errNotSimulated("images with devices that are no EBS volumes")
		}
		if p.Ebs.KmsKeyID != "" {
			return nil, errImageKey(p.DeviceName)
		}
		if p.Ebs.Encrypted != nil && p.Ebs.SnapshotID != "" {
			return nil, refuse("InvalidBlockDeviceMapping", "the encrypted flag cannot be specified since device %s has a snapshot specified.", p.DeviceName)
		}
		d, err := c.apply(q, disk{device: p.DeviceName, deletes: true}, p.Ebs)
		if err != nil {
			return nil, err
		}
		if d.source != nil {
			if !d.source.seenBy(q) {
				return nil, errUnknownID("snapshot", d.source.id)
			}
			if d.source.state != "completed" {
				return nil, refuse("IncorrectState", "The snapshot '%s' is not in the state 'completed'", d.source.id)
			}
			asked = append(asked, existing(d.source))
		}
		img.devices = append(img.devices, d)
	}
	if !slices.ContainsFunc(img.devices, func(d disk) bool { return d.device == in.Root && d.source != nil }) {
		return nil, refuse("InvalidBlockDeviceMapping", "The root device %s must have a snapshot", in.Root)
	}
	var tagged []AccessResource
	if len(in.Specs) > 0 {
		tagged = append(tagged, asked[0])
	}
	if err := c.authorize(q, asked, tagged...); err != nil {
		return nil, err
	}
	if err := c.checkImageName(q, in.Name); err != nil {
		return nil, err
	}
	img.resourceBase = c.newBase(q, "image", tags["image"])
	c.resources.put(img)
	c.background(func(ctx context.Context) { c.finishImage(ctx, img, "RegisterImage", nil) })
	return struct {
		ID string `xml:"imageId"`
	}{img.id}, nil
}

type copyParams struct {
	SourceRegion  string `aws:"SourceRegion,required"`
	SourceImageID string `aws:"SourceImageId,required"`
	Name          string `aws:"Name,required"`
	Description   string
	Encrypted     *bool
	KmsKeyID      string `aws:"KmsKeyId"`
	CopyTags      bool   `aws:"CopyImageTags"`
	ClientToken   string
	Minutes       *int               `aws:"SnapshotCopyCompletionDurationMinutes"`
	Specs         []tagSpecification `aws:"TagSpecification"`
}

// copyImage brings an image of another region here, with its bytes.
func (c *Cloud) copyImage(q *call, in *copyParams) (any, error) {
	return c.withToken(q, in.ClientToken, func() (func() (any, error), error) {
		tags, err := specified(in.Specs, "image", "snapshot")
		if err != nil {
			return nil, err
		}
		from, err := c.lookUpRegion(in.SourceRegion)
		if err != nil {
			return nil, errValue("Invalid region: %s", in.SourceRegion)
		}
		there := *q
		there.region = from
		source, err := c.findImage(&there, in.SourceImageID)
		if err != nil {
			return nil, err
		}
		switch {
		case source.state != "available":
			return nil, refuse("InvalidAMIID.Unavailable", "The image ID '%s' is not available", source.id)
		case !source.seenBy(&there) && slices.ContainsFunc(source.devices, func(d disk) bool { return d.source != nil && !d.source.readable(&there) }):
			return nil, refuse("InvalidRequest", "You do not have permission to access the storage of this ami")
		case in.Minutes != nil && (*in.Minutes < 15 || *in.Minutes > 2880 || *in.Minutes%15 != 0):
			return nil, errValue("SnapshotCopyCompletionDurationMinutes must be between 15 and 2880, in steps of 15")
		}
		if err := c.authorize(q, []AccessResource{q.planned("image", tags["image"]), source.asResource(q), q.planned("snapshot", tags["snapshot"])},
			plannedWithTags(q, tags, "image", "snapshot")...); err != nil {
			return nil, err
		}
		if err := c.checkImageName(q, in.Name); err != nil {
			return nil, err
		}
		img, err := c.newCopy(q, in, source, tags)
		if err != nil {
			return nil, err
		}
		return func() (any, error) {
			return struct {
				ID string `xml:"imageId"`
			}{img.id}, nil
		}, nil
	})
}

// plannedWithTags are the resources that are made with tags.
func plannedWithTags(q *call, tags map[string]tagMap, kinds ...string) []AccessResource {
	var list []AccessResource
	for _, kind := range kinds {
		if len(tags[kind]) > 0 {
			list = append(list, q.planned(kind, tags[kind]))
		}
	}
	return list
}

// newCopy makes the image and lets its snapshots fill in the background.
func (c *Cloud) newCopy(q *call, in *copyParams, source *image, tags map[string]tagMap) (*image, error) {
	img := &image{resourceBase: c.newBase(q, "image", tags["image"]), name: in.Name, description: in.Description, state: "pending",
		arch: source.arch, root: source.root, devices: slices.Clone(source.devices), bootMode: source.bootMode, imds: source.imds, tpm: source.tpm,
		ena: source.ena, freeTier: true, protection: "disabled", sourceImage: source.id, sourceRegion: source.region.name}
	if in.CopyTags && source.account == q.who.Account {
		for k, v := range source.tags {
			if _, own := img.tags[k]; !own {
				img.tags[k] = v
			}
		}
	}
	var sources []*snapshot
	for n := range img.devices {
		d := &img.devices[n]
		if d.source == nil {
			continue
		}
		if err := d.encrypt(q, &ebsParams{Encrypted: in.Encrypted, KmsKeyID: in.KmsKeyID}); err != nil {
			return nil, err
		}
		sources = append(sources, d.source)
		s := c.newSnapshot(q, "vol-ffffffff", d.source.sizeGiB, d.encrypted, d.kmsKey,
			"Copied for DestinationAmi "+img.id+" from SourceAmi "+source.id+" for SourceSnapshot "+d.source.id+".", tags["snapshot"])
		d.source = s
	}
	c.resources.put(img)
	c.background(func(ctx context.Context) {
		filled := make(chan error, len(sources))
		for n, from := range sources {
			c.fill(ctx, img.devices[n].source, "CopyImage", c.delays.Copy, func(ctx context.Context, path string) error {
				c.mu.Lock()
				file := from.path
				c.mu.Unlock()
				return c.cfg.Disks.Image(ctx, file, path)
			}, func(err error) { filled <- err })
		}
		c.awaitSnapshots(ctx, img, "CopyImage", filled)
	})
	return img, nil
}

// errImageKey refuses a KMS key for a device of an image: EC2 takes one where
// machines are launched, and nowhere else.
func errImageKey(device string) *apiError {
	return refuse("InvalidBlockDeviceMapping", "The parameter KmsKeyId of device %s is only supported by RunInstances, RequestSpotFleet and RequestSpotInstances.", device)
}
