// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"context"
	"regexp"
	"slices"

	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

var imageName = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./\-'@_]{3,128}$`)

// checkImageName refuses a name that is no name, or that the account has
// already in the region.
func (c *Cloud) checkImageName(q *call, name string) error {
	if !imageName.MatchString(name) {
		return refuse("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'")
	}
	for _, img := range all[*image](c) {
		if img.home == q.home() && img.name == name && img.state != "failed" {
			return refuse("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", name, img.id)
		}
	}
	return nil
}

func (c *Cloud) createImage(q *call, in *struct {
	InstanceID  string `aws:"InstanceId,required"`
	Name        string `aws:"Name,required"`
	Description string
	NoReboot    bool
	Devices     []deviceParams     `aws:"BlockDeviceMapping"`
	Specs       []tagSpecification `aws:"TagSpecification"`
	Location    string             `aws:"SnapshotLocation,enum=regional|local"`
}) (any, error) {
	tags, err := specified(in.Specs, "image", "snapshot")
	if err != nil {
		return nil, err
	}
	i, err := find[*instance](c, q, "instance", in.InstanceID)
	if err != nil {
		return nil, err
	}
	asked := []AccessResource{i.asResource(), q.planned("image", tags["image"]), q.planned("snapshot", tags["snapshot"])}
	if err := c.authorize(q, asked, plannedWithTags(q, tags, "image", "snapshot")...); err != nil {
		return nil, err
	}
	if err := c.checkImageName(q, in.Name); err != nil {
		return nil, err
	}
	if !i.is(running, stopped) {
		return nil, refuse("IncorrectInstanceState", "Instance is not in state 'running' or 'stopped'.")
	}
	img := &image{resourceBase: c.newBase(q, "image", tags["image"]), name: in.Name, description: in.Description, state: "pending",
		arch: i.image.arch, root: i.image.root, bootMode: i.image.bootMode, imds: i.image.imds, tpm: i.image.tpm, ena: true,
		freeTier: true, protection: "disabled", sourceInstance: i.id}
	if img.devices, err = i.capturedDevices(in.Devices); err != nil {
		return nil, err
	}
	var volumes []*volume
	for n, d := range img.devices {
		a := i.attachment(d.device)
		s := c.newSnapshot(q, a.volume.id, a.volume.sizeGiB, a.volume.encrypted, a.volume.kmsKey, "Created by CreateImage("+i.id+") for "+img.id, tags["snapshot"])
		img.devices[n].source = s
		volumes = append(volumes, a.volume)
	}
	c.resources.put(img)
	c.capture(i, img, volumes, !in.NoReboot && i.is(running))
	return struct {
		ID string `xml:"imageId"`
	}{img.id}, nil
}

// capturedDevices are those of an image of an instance: all of its volumes,
// except for those that the request leaves out.
func (i *instance) capturedDevices(changes []deviceParams) ([]disk, error) {
	var devices []disk
	for _, a := range i.volumes {
		v := a.volume
		devices = append(devices, disk{device: a.device, sizeGiB: v.sizeGiB, kind: v.kind, iops: v.iops, throughput: v.throughput,
			encrypted: v.encrypted, kmsKey: v.kmsKey, deletes: true})
	}
	for _, p := range changes {
		at := slices.IndexFunc(devices, func(d disk) bool { return d.device == p.DeviceName })
		switch {
		case p.NoDevice != nil && at >= 0:
			devices = slices.Delete(devices, at, at+1)
		case at < 0:
			return nil, errNotSimulated("CreateImage with a device that the instance does not have")
		case p.Ebs != nil && (p.Ebs.Encrypted != nil || p.Ebs.KmsKeyID != ""):
			return nil, errCombination("The encryption of a device cannot be changed by CreateImage")
		case p.Ebs != nil:
			if p.Ebs.DeleteOnTermination != nil {
				devices[at].deletes = *p.Ebs.DeleteOnTermination
			}
			if p.Ebs.VolumeSize != nil {
				devices[at].sizeGiB = max(devices[at].sizeGiB, *p.Ebs.VolumeSize)
			}
			if p.Ebs.VolumeType != "" {
				devices[at].kind = p.Ebs.VolumeType
			}
		}
	}
	if !slices.ContainsFunc(devices, func(d disk) bool { return d.device == i.image.root }) {
		return nil, refuse("InvalidBlockDeviceMapping", "The root device cannot be left out")
	}
	return devices, nil
}

// capture takes the bytes of an instance's volumes between its operations: it
// is rebooted for that, unless the request says not to.
func (c *Cloud) capture(i *instance, img *image, volumes []*volume, reboot bool) {
	filled := make(chan error, len(volumes))
	c.operate(i, true, func(ctx context.Context) {
		off := false
		if reboot && i.isNow(c, running) {
			off = true
			c.powerOff(ctx, i, true)
		}
		for n, v := range volumes {
			c.fill(ctx, img.devices[n].source, "CreateImage", c.delays.Snapshot, func(ctx context.Context, path string) error {
				return c.cfg.Disks.Image(ctx, v.path, path)
			}, func(err error) { filled <- err })
		}
		if off && i.isNow(c, running) {
			_ = c.powerOn(ctx, i)
		}
	})
	c.background(func(ctx context.Context) { c.awaitSnapshots(ctx, img, "CreateImage", filled) })
}

// awaitSnapshots lets an image reach its end when all of its snapshots have.
func (c *Cloud) awaitSnapshots(ctx context.Context, img *image, op string, filled <-chan error) {
	var failed error
	for range cap(filled) {
		select {
		case err := <-filled:
			if err != nil {
				failed = err
			}
		case <-ctx.Done():
			return
		}
	}
	c.finishImage(ctx, img, op, failed)
}

// finishImage makes an image available, or failed.
func (c *Cloud) finishImage(ctx context.Context, img *image, op string, err error) {
	c.mu.Lock()
	t := target{op: op, account: img.account.Name, region: img.region.name, state: "pending"}
	delay := schedule.Duration(c.delays.Image)
	if op == "RegisterImage" { // of the others the snapshots are what is slow
		if slow := c.faults.hit(t, FaultSlow); slow != nil {
			delay += slow.Delay
		}
	}
	t.state = ""
	broken := c.faults.hit(t, FaultImageFails)
	c.mu.Unlock()
	if err == nil {
		err = pause(ctx, delay)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case broken != nil:
		img.state, img.reason = "failed", &Fault{Code: orText(broken.Code, "Server.InternalError"), Message: orText(broken.Message, "Internal error")}
	case err != nil:
		img.state, img.reason = "failed", &Fault{Code: "Client.InternalError", Message: err.Error()}
	default:
		img.state = "available"
	}
}
