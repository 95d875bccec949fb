// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// AMI is an image that leaves AWS: what can be known of it before its bytes are read.
type AMI struct {
	*Client
	ID string
	// Warn is told what of the image does not come along.
	Warn func(format string, args ...any)
	// Goes says that the image is to be removed in the end.
	Goes bool

	img  types.Image // as Describe has found it
	root types.Snapshot
}

// maxExport is the largest disk that OCI imports, in GiB.
const maxExport = 400

// Describe looks the image up and gives every reason why a machine on OCI could not be
// made of it.
func (a *AMI) Describe(ctx context.Context) (cloud.Image, error) {
	img, err := a.image(ctx, a.ID)
	if missing(err) {
		return cloud.Image{}, fmt.Errorf("there is no image %s in %s that this user may see; check the id and the region", a.ID, a.Region)
	}
	if err != nil {
		return cloud.Image{}, a.explain(a.details(ctx, err))
	}
	a.img = img
	out := cloud.Image{ID: a.ID, Name: aws.ToString(img.Name), Tags: tagMap(img.Tags)}
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("image %s "+format, append([]any{a.ID}, args...)...))
	}
	if img.State != types.ImageStateAvailable {
		bad("is %s, and must be available", img.State)
	}
	if t, is := ours(img.Tags); is && t.Unfinished {
		bad("is not finished: its build is under way, or was broken off")
	}
	if img.Architecture != types.ArchitectureValuesArm64 {
		bad("is for %s; Ampere shapes run arm64 only", img.Architecture)
	}
	if img.BootMode != "" && img.BootMode != types.BootModeValuesUefi {
		bad("has the boot mode %s; Ampere shapes boot by UEFI only", img.BootMode)
	}
	shots := snapshotsOf(img)
	root := rootSnapshot(img)
	if root == "" || img.RootDeviceType != types.DeviceTypeEbs {
		bad("has no snapshot of its root volume %s", aws.ToString(img.RootDeviceName))
		return out, errors.Join(errs...)
	}
	switch {
	case len(shots) > 1 && a.Goes: // what is not copied would be lost
		bad("has %d volumes, of which only the root volume (%s) is copied, and keep_source_image = false would delete the others as well; leave that option out, and remove the image yourself once you have what is on them", len(shots), aws.ToString(img.RootDeviceName))
	case len(shots) > 1:
		a.Warn("Image %s has %d volumes; only the root volume (%s) is copied: an image on OCI is one disk", a.ID, len(shots), aws.ToString(img.RootDeviceName))
	}
	if blank := blankDevices(img); len(blank) > 0 {
		a.Warn("Image %s gives its machines volumes that hold nothing yet (%s); a machine on OCI does not have them: remove them from its /etc/fstab, or give it a block volume", a.ID, strings.Join(blank, ", "))
	}
	if err := a.findRoot(ctx, root); err != nil {
		return out, errors.Join(append(errs, err)...)
	}
	if a.root.State != types.SnapshotStateCompleted {
		bad("is not ready: its snapshot %s is %s, and must be completed", root, a.root.State)
	}
	if n := aws.ToInt32(a.root.VolumeSize); n > maxExport {
		bad("has a disk of %d GiB; OCI imports up to %d", n, maxExport)
	}
	_, full := a.Snapshot()
	if out.SizeGB = (full + 1<<30 - 1) >> 30; full == 0 { // it may be as large as its volume
		out.SizeGB = int64(aws.ToInt32(a.root.VolumeSize))
	}
	return out, errors.Join(errs...)
}

// rootSnapshot is the snapshot of the device that the image names as its root.
func rootSnapshot(img types.Image) string {
	for _, d := range img.BlockDeviceMappings {
		if d.Ebs != nil && d.DeviceName != nil && *d.DeviceName == aws.ToString(img.RootDeviceName) {
			return aws.ToString(d.Ebs.SnapshotId)
		}
	}
	return ""
}

// blankDevices are those that are made empty with each machine, in words.
func blankDevices(img types.Image) (list []string) {
	for _, d := range img.BlockDeviceMappings {
		name := aws.ToString(d.DeviceName)
		switch {
		case aws.ToString(d.VirtualName) != "":
			list = append(list, fmt.Sprintf("%s is the instance store %s", name, *d.VirtualName))
		case d.Ebs != nil && aws.ToString(d.Ebs.SnapshotId) == "":
			list = append(list, fmt.Sprintf("%s has %d GiB", name, aws.ToInt32(d.Ebs.VolumeSize)))
		}
	}
	return list
}

// findRoot looks up the snapshot of the root volume.
func (a *AMI) findRoot(ctx context.Context, id string) error {
	err := a.repeat(ctx, "describe snapshot", id, func(ctx context.Context) error {
		r, err := a.describeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
		if err == nil && len(r.Snapshots) == 0 {
			err = &Error{Op: "describe snapshot", Subject: id, Code: "InvalidSnapshot.NotFound", Message: "it is not there"}
		}
		if err == nil {
			a.root = r.Snapshots[0]
		}
		return err
	})
	if missing(err) {
		return fmt.Errorf("the snapshot %s of image %s belongs to somebody who has not shared it; copy the image into your own account first: %w", id, a.ID, err)
	}
	return a.details(ctx, err)
}

// Snapshot is the root volume's, once Describe has found it, and how many bytes were
// ever written to it, or 0 if EC2 does not say.
func (a *AMI) Snapshot() (id string, full int64) {
	return aws.ToString(a.root.SnapshotId), aws.ToInt64(a.root.FullSnapshotSizeInBytes)
}

// Size is that of the root volume in bytes, once Describe has found it.
func (a *AMI) Size() int64 { return int64(aws.ToInt32(a.root.VolumeSize)) << 30 }

// Remove deletes the image and its snapshots.
func (a *AMI) Remove(ctx context.Context) error { return a.DeleteImage(ctx, a.ID) }
