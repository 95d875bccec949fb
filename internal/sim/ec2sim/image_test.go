// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// make makes an image of an instance and waits for it.
func (k *kit) make(instance, name string) types.Image {
	k.t.Helper()
	out := must[*ec2.CreateImageOutput](k.t)(k.client.CreateImage(k.t.Context(), &ec2.CreateImageInput{InstanceId: &instance, Name: &name}))
	return k.imageReaches(k.client, *out.ImageId, types.ImageStateAvailable)
}

func (k *kit) terminate(id string) {
	k.t.Helper()
	must[*ec2.TerminateInstancesOutput](k.t)(k.client.TerminateInstances(k.t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}))
	k.reaches(k.client, id, types.InstanceStateNameTerminated)
}

// TestFastPath makes an image of a stopped machine by CreateSnapshot and
// RegisterImage.
func TestFastPath(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	i, key := k.open(nil)
	k.shell(k.login(*i.PublicIpAddress, key), "echo fast | sudo tee /etc/path")
	must[*ec2.StopInstancesOutput](t)(k.client.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{*i.InstanceId}}))
	k.reaches(k.client, *i.InstanceId, "stopped")
	s := must[*ec2.CreateSnapshotOutput](t)(k.client.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: i.BlockDeviceMappings[0].Ebs.VolumeId,
		TagSpecifications: []types.TagSpecification{{ResourceType: "snapshot", Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}}))
	if s.State != types.SnapshotStatePending {
		t.Errorf("a new snapshot is %s", s.State)
	}
	register := func(change func(*ec2.RegisterImageInput)) (*ec2.RegisterImageOutput, error) {
		in := &ec2.RegisterImageInput{Name: aws.String("fast"), Architecture: "arm64", BootMode: "uefi", EnaSupport: aws.Bool(true), ImdsSupport: "v2.0",
			RootDeviceName: aws.String("/dev/xvda"), VirtualizationType: aws.String("hvm"), BlockDeviceMappings: []types.BlockDeviceMapping{
				{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: s.SnapshotId, VolumeType: "gp3", DeleteOnTermination: aws.Bool(true)}}}}
		if change != nil {
			change(in)
		}
		return k.client.RegisterImage(ctx, in)
	}
	done := k.snapshotReaches(k.client, *s.SnapshotId, types.SnapshotStateCompleted)
	if *done.FullSnapshotSizeInBytes == 0 || *done.FullSnapshotSizeInBytes%(512<<10) != 0 || *done.Progress != "100%" || *done.VolumeSize != 8 {
		t.Errorf("completed: %+v", done)
	}
	for name, c := range map[string]struct {
		change     func(*ec2.RegisterImageInput)
		code, text string
	}{
		"paravirtual": {func(in *ec2.RegisterImageInput) { in.VirtualizationType = nil }, "InvalidParameterCombination", "paravirtual"},
		"bios":        {func(in *ec2.RegisterImageInput) { in.BootMode = "legacy-bios" }, "InvalidParameterCombination", "arm64"},
		"no root":     {func(in *ec2.RegisterImageInput) { in.RootDeviceName = aws.String("/dev/sda1") }, "InvalidBlockDeviceMapping", "/dev/sda1"},
		"encrypted":   {func(in *ec2.RegisterImageInput) { in.BlockDeviceMappings[0].Ebs.Encrypted = aws.Bool(true) }, "InvalidBlockDeviceMapping", "encrypted flag"},
		"bad name":    {func(in *ec2.RegisterImageInput) { in.Name = aws.String("a:b:c") }, "InvalidAMIName.Malformed", ""},
		"short name":  {func(in *ec2.RegisterImageInput) { in.Name = aws.String("ab") }, "InvalidAMIName.Malformed", "between 3 and 128"},
	} {
		_, err := register(c.change)
		t.Log(name)
		wantError(t, err, 400, c.code, c.text)
	}
	made, err := register(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = register(nil)
	wantError(t, err, 400, "InvalidAMIName.Duplicate", "AMI name fast is already in use by AMI "+*made.ImageId)
	img := k.imageReaches(k.client, *made.ImageId, types.ImageStateAvailable)
	if img.ImdsSupport != "v2.0" || img.BootMode != "uefi" || img.Architecture != "arm64" || *img.OwnerId != k.build.ID || *img.RootDeviceName != "/dev/xvda" {
		t.Errorf("registered %+v", img)
	}
	copied := k.launched(func(in *ec2.RunInstancesInput) {
		in.ImageId, in.KeyName, in.SecurityGroupIds = made.ImageId, aws.String("k"), []string{*i.SecurityGroups[0].GroupId}
	})
	if copied.MetadataOptions.HttpTokens != "required" {
		t.Error("IMDSv1 in spite of the image")
	}
	if got := k.shell(k.login(*copied.PublicIpAddress, key), "cat /etc/path"); got != "fast\n" {
		t.Errorf("got %q", got)
	}
	_, err = k.client.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: s.SnapshotId})
	wantError(t, err, 400, "InvalidSnapshot.InUse", "currently in use by "+*made.ImageId)
	must[*ec2.EnableImageDeregistrationProtectionOutput](t)(k.client.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: made.ImageId}))
	_, err = k.client.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: made.ImageId})
	wantError(t, err, 400, "OperationNotPermitted", "protect")
	must[*ec2.DisableImageDeregistrationProtectionOutput](t)(k.client.DisableImageDeregistrationProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{ImageId: made.ImageId}))
	gone := must[*ec2.DeregisterImageOutput](t)(k.client.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: made.ImageId, DeleteAssociatedSnapshots: aws.Bool(true)}))
	if len(gone.DeleteSnapshotResults) != 1 || gone.DeleteSnapshotResults[0].ReturnCode != "success" {
		t.Errorf("deleted %+v", gone.DeleteSnapshotResults)
	}
	_, err = k.client.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*s.SnapshotId}})
	wantError(t, err, 400, "InvalidSnapshot.NotFound", *s.SnapshotId)
}

// TestCopyImage brings an image to another region, with its bytes.
func TestCopyImage(t *testing.T) {
	k := newKit(t, func(c *ec2sim.Config) { c.Accounts[0].KMSKeys = []string{"1234abcd-12ab-34cd-56ef-1234567890ab"} })
	ctx := t.Context()
	i, key := k.open(nil)
	k.shell(k.login(*i.PublicIpAddress, key), "echo far away | sudo tee /etc/copied")
	img := k.make(*i.InstanceId, "home")
	must[*ec2.CreateTagsOutput](t)(k.client.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{*img.ImageId}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}))
	k.terminate(*i.InstanceId)

	west := k.clientOf(k.build, "us-west-2")
	in := &ec2.CopyImageInput{SourceRegion: aws.String(region), SourceImageId: img.ImageId, Name: aws.String("home"), CopyImageTags: aws.Bool(true),
		ClientToken: aws.String("once"), Encrypted: aws.Bool(true), KmsKeyId: aws.String("1234abcd-12ab-34cd-56ef-1234567890ab")}
	out := must[*ec2.CopyImageOutput](t)(west.CopyImage(ctx, in))
	if again := must[*ec2.CopyImageOutput](t)(west.CopyImage(ctx, in)); *again.ImageId != *out.ImageId {
		t.Error("the same token made another copy")
	}
	copied := k.imageReaches(west, *out.ImageId, types.ImageStateAvailable)
	if *copied.SourceImageId != *img.ImageId || *copied.SourceImageRegion != region || *copied.Tags[0].Value != "b" || !*copied.BlockDeviceMappings[0].Ebs.Encrypted {
		t.Errorf("copied %+v", copied)
	}
	must[*ec2.DeregisterImageOutput](t)(k.client.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: img.ImageId, DeleteAssociatedSnapshots: aws.Bool(true)}))
	public := strings.TrimSpace(string(marshalKey(key)))
	must[*ec2.ImportKeyPairOutput](t)(west.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{KeyName: aws.String("k"), PublicKeyMaterial: []byte(public)}))
	group := must[*ec2.CreateSecurityGroupOutput](t)(west.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("g")}))
	must[*ec2.AuthorizeSecurityGroupIngressOutput](t)(west.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: group.GroupId,
		IpProtocol: aws.String("-1"), CidrIp: aws.String("0.0.0.0/0")}))
	launch := k.launch(func(in *ec2.RunInstancesInput) {
		in.ImageId, in.KeyName, in.SecurityGroupIds = out.ImageId, aws.String("k"), []string{*group.GroupId}
	})
	there := must[*ec2.RunInstancesOutput](t)(west.RunInstances(ctx, launch))
	ran := k.reaches(west, *there.Instances[0].InstanceId, "running")
	if got := k.shell(k.login(*ran.PublicIpAddress, key), "cat /etc/copied"); got != "far away\n" {
		t.Errorf("got %q", got)
	}
	_, err := west.CopyImage(ctx, &ec2.CopyImageInput{SourceRegion: aws.String("mars-1"), SourceImageId: img.ImageId, Name: aws.String("other")})
	wantError(t, err, 400, "InvalidParameterValue", "mars-1")
	_, err = west.CopyImage(ctx, &ec2.CopyImageInput{SourceRegion: aws.String(region), SourceImageId: img.ImageId, Name: aws.String("other")})
	wantError(t, err, 400, "InvalidAMIID.NotFound", *img.ImageId)
}

// TestSharing lets another account launch an image, and not read its snapshot.
func TestSharing(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	img := k.make(*k.launched(nil).InstanceId, "shared")
	other := k.clientOf(k.other, region)
	look := func() error {
		_, err := other.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{*img.ImageId}})
		return err
	}
	wantError(t, look(), 400, "InvalidAMIID.NotFound", "")
	modify := func(in ec2.ModifyImageAttributeInput) error {
		in.ImageId = img.ImageId
		_, err := k.client.ModifyImageAttribute(ctx, &in)
		return err
	}
	// As Packer's plugin for Amazon says it, twice.
	if err := modify(ec2.ModifyImageAttributeInput{UserIds: []string{k.other.ID},
		LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: &k.other.ID}}}}); err != nil {
		t.Fatal(err)
	}
	if err := look(); err != nil {
		t.Errorf("a shared image: %v", err)
	}
	snapshot := *img.BlockDeviceMappings[0].Ebs.SnapshotId
	_, err := other.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{snapshot}})
	wantError(t, err, 400, "InvalidSnapshot.NotFound", snapshot)
	must[*ec2.RunInstancesOutput](t)(other.RunInstances(ctx, k.launch(func(in *ec2.RunInstancesInput) { in.ImageId = img.ImageId })))
	_, err = other.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: img.ImageId})
	wantError(t, err, 400, "AuthFailure", "Not authorized for image")
	out := must[*ec2.DescribeImageAttributeOutput](t)(k.client.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: img.ImageId, Attribute: "launchPermission"}))
	if len(out.LaunchPermissions) != 1 || *out.LaunchPermissions[0].UserId != k.other.ID {
		t.Errorf("permissions %+v", out.LaunchPermissions)
	}
	_, err = other.CopyImage(ctx, &ec2.CopyImageInput{SourceRegion: aws.String(region), SourceImageId: img.ImageId, Name: aws.String("theirs")})
	wantError(t, err, 400, "InvalidRequest", "permission to access the storage")
	must[*ec2.ModifySnapshotAttributeOutput](t)(k.client.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{SnapshotId: &snapshot,
		CreateVolumePermission: &types.CreateVolumePermissionModifications{Add: []types.CreateVolumePermission{{UserId: &k.other.ID}}}}))
	must[*ec2.DescribeSnapshotsOutput](t)(other.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{snapshot}}))
	must[*ec2.CopyImageOutput](t)(other.CopyImage(ctx, &ec2.CopyImageInput{SourceRegion: aws.String(region), SourceImageId: img.ImageId, Name: aws.String("theirs")}))
	wantError(t, modify(ec2.ModifyImageAttributeInput{LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: aws.String("me")}}}}),
		400, "InvalidAMIAttributeItemValue", "me")
	wantError(t, modify(ec2.ModifyImageAttributeInput{}), 400, "InvalidParameterCombination", "No attributes")
	wantError(t, modify(ec2.ModifyImageAttributeInput{ImdsSupport: &types.AttributeValue{Value: aws.String("v3")}}), 400, "InvalidParameterValue", "v2.0")
	for _, good := range []ec2.ModifyImageAttributeInput{{ImdsSupport: &types.AttributeValue{Value: aws.String("v2.0")}}, {Description: &types.AttributeValue{Value: aws.String("words")}}} {
		if err := modify(good); err != nil {
			t.Error(err)
		}
	}
	if now := k.imageReaches(k.client, *img.ImageId, "available"); *now.Description != "words" || now.ImdsSupport != "v2.0" {
		t.Errorf("changed: %+v", now)
	}
}

func TestDeprecation(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	img := k.make(*k.launched(nil).InstanceId, "old")
	at := func(when time.Time) error {
		_, err := k.client.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: img.ImageId, DeprecateAt: &when})
		return err
	}
	wantError(t, at(time.Now().Add(-time.Hour)), 400, "InvalidParameterValue", "future")
	wantError(t, at(time.Now().AddDate(11, 0, 0)), 400, "InvalidParameterValue", "10 years")
	if err := at(time.Now().AddDate(1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if now := k.imageReaches(k.client, *img.ImageId, "available"); now.DeprecationTime == nil {
		t.Error("not deprecated")
	}
	must[*ec2.DisableImageDeprecationOutput](t)(k.client.DisableImageDeprecation(ctx, &ec2.DisableImageDeprecationInput{ImageId: img.ImageId}))
	if now := k.imageReaches(k.client, *img.ImageId, "available"); now.DeprecationTime != nil {
		t.Error("still deprecated")
	}
	debians := must[*ec2.DescribeImagesOutput](t)(k.client.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{ec2sim.DebianAccount},
		Filters: []types.Filter{{Name: aws.String("architecture"), Values: []string{"arm64"}}, {Name: aws.String("name"), Values: []string{"debian-13-arm64-*"}},
			{Name: aws.String("state"), Values: []string{"available"}}, {Name: aws.String("virtualization-type"), Values: []string{"hvm"}},
			{Name: aws.String("root-device-type"), Values: []string{"ebs"}}, {Name: aws.String("is-public"), Values: []string{"true"}}}}))
	if len(debians.Images) != 3 || *debians.Images[2].Name != debian || !*debians.Images[0].FreeTierEligible {
		t.Errorf("Debian's images: %+v", debians.Images)
	}
	for _, wrong := range []string{"latest", "20261112-2658"} {
		path := "resolve:ssm:/aws/service/debian/release/trixie/" + wrong + "/arm64"
		if i := k.launched(func(in *ec2.RunInstancesInput) { in.ImageId = &path }); *i.ImageId != k.ami {
			t.Errorf("%s is %s", path, *i.ImageId)
		}
	}
	wantError(t, k.run(func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("resolve:ssm:/nothing") }), 400, "InvalidParameterValue", "/nothing")
}

// TestCapture tells what CreateImage does to the machine.
func TestCapture(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	i, key := k.open(nil)
	c := k.login(*i.PublicIpAddress, key)
	must[*ec2.CreateImageOutput](t)(k.client.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: i.InstanceId, Name: aws.String("asleep"), NoReboot: aws.Bool(true)}))
	k.shell(c, "true")
	out := must[*ec2.CreateImageOutput](t)(k.client.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: i.InstanceId, Name: aws.String("awake"),
		TagSpecifications: []types.TagSpecification{{ResourceType: "image", Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}}},
			{ResourceType: "snapshot", Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("2")}}}}}))
	if err := c.Wait(); err == nil {
		t.Error("the machine was not rebooted")
	}
	k.login(*i.PublicIpAddress, key)
	img := k.imageReaches(k.client, *out.ImageId, types.ImageStateAvailable)
	s := k.snapshotReaches(k.client, *img.BlockDeviceMappings[0].Ebs.SnapshotId, types.SnapshotStateCompleted)
	if *img.Tags[0].Value != "1" || *s.Tags[0].Value != "2" || *img.SourceInstanceId != *i.InstanceId || !strings.Contains(*s.Description, *img.ImageId) {
		t.Errorf("made %+v and %+v", img, s)
	}
	// An image that is being made is finished although its machine ends.
	out = must[*ec2.CreateImageOutput](t)(k.client.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: i.InstanceId, Name: aws.String("last")}))
	k.terminate(*i.InstanceId)
	k.imageReaches(k.client, *out.ImageId, types.ImageStateAvailable)
	_, err := k.client.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: i.InstanceId, Name: aws.String("late")})
	wantError(t, err, 400, "IncorrectInstanceState", "not in state")
}
