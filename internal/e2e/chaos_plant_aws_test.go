// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// decoyRegion is one that is swept and in which nothing is built, so that the machines
// there do not take what the build may have.
const decoyRegion = "us-west-2"

// decoyBucket is one of S3 with files that are not ours.
const decoyBucket = "theirs-of-s3"

// tagSpec is tags for what a request makes.
func tagSpec(kind types.ResourceType, tags map[string]string) types.TagSpecification {
	spec := types.TagSpecification{ResourceType: kind}
	for k, v := range tags {
		spec.Tags = append(spec.Tags, types.Tag{Key: &k, Value: &v})
	}
	return spec
}

// plantAWS puts decoys of every kind that a sweep removes into the account that builds.
func plantAWS(t *testing.T, s *stage.Stage) {
	t.Helper()
	who := credentials.NewStaticCredentialsProvider(s.AWS.Build.AccessKeyID, s.AWS.Build.SecretAccessKey, "")
	e := ec2.New(ec2.Options{Region: decoyRegion, HTTPClient: s.Net.Client(), Credentials: who})
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	wait := func(done func() bool) {
		t.Helper()
		for range 3000 {
			if done() {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatal("it takes too long")
	}
	for n, tag := range marks(owner.RoleGroup) {
		_, err := e.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String(fmt.Sprint("group", n)), Description: aws.String("d"), TagSpecifications: []types.TagSpecification{tagSpec(types.ResourceTypeSecurityGroup, tag)}})
		must(err)
	}
	for n, tag := range marks(owner.RoleKeyPair) {
		_, err := e.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{
			KeyName: aws.String(fmt.Sprint("armfree-aaaaaaaaaaaaaaaa-key-pair-150000000", n)), TagSpecifications: []types.TagSpecification{tagSpec(types.ResourceTypeKeyPair, tag)},
			PublicKeyMaterial: []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJZ0pQ8bN8QGgmPrBkvjLwVb9nVgGk4c8y3yQ1mJcX1d x"),
		})
		must(err)
	}
	i := iam.New(iam.Options{Region: decoyRegion, HTTPClient: s.Net.Client(), Credentials: who})
	for _, name := range decoyNames("profile", "") {
		_, err := i.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)})
		must(err)
		_, err = i.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &name})
		must(err)
	}

	// Machines, each with a disk, a network interface and, the second one, a spot request.
	base := s.AWS.Cloud.ImageID(decoyRegion, stage.AWSBaseImage)
	var disks []string
	for n := range 3 {
		in := &ec2.RunInstancesInput{
			ImageId: &base, InstanceType: "t4g.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
			TagSpecifications: []types.TagSpecification{
				tagSpec(types.ResourceTypeInstance, markOf(owner.RoleInstance, n)), tagSpec(types.ResourceTypeVolume, markOf(owner.RoleVolume, n)),
				tagSpec(types.ResourceTypeNetworkInterface, markOf(owner.RoleNetwork, n)),
			},
		}
		if n == 1 {
			in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
			in.TagSpecifications = append(in.TagSpecifications, tagSpec(types.ResourceTypeSpotInstancesRequest, markOf(owner.RoleSpot, n)))
		}
		r, err := e.RunInstances(ctx, in)
		must(err)
		wait(func() bool {
			d, err := e.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{*r.Instances[0].InstanceId}})
			must(err)
			x := d.Reservations[0].Instances[0]
			if x.State.Name != types.InstanceStateNameRunning || len(x.BlockDeviceMappings) == 0 {
				return false
			}
			disks = append(disks, *x.BlockDeviceMappings[0].Ebs.VolumeId)
			return true
		})
	}
	// Disks of a machine that is gone: they are in use no more.
	var loose []types.BlockDeviceMapping
	for n := range len(marks("")) {
		loose = append(loose, types.BlockDeviceMapping{DeviceName: aws.String("/dev/sd" + string(rune('f'+n))), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(1), DeleteOnTermination: aws.Bool(false)}})
	}
	r, err := e.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: &base, InstanceType: "t4g.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1), BlockDeviceMappings: loose})
	must(err)
	gone := *r.Instances[0].InstanceId
	var volumes []types.Volume
	wait(func() bool {
		d, err := e.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: []types.Filter{{Name: aws.String("attachment.instance-id"), Values: []string{gone}}, {Name: aws.String("size"), Values: []string{"1"}}}})
		must(err)
		volumes = d.Volumes
		return len(volumes) == len(loose) && !slices.ContainsFunc(volumes, func(v types.Volume) bool { return v.State == types.VolumeStateCreating })
	})
	for n, v := range volumes {
		_, err := e.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{*v.VolumeId}, Tags: tagSpec("", markOf(owner.RoleVolume, n)).Tags})
		must(err)
	}
	_, err = e.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{gone}})
	must(err)

	// Snapshots; the last of them is that of all images, one of which is finished: what
	// its own mark says does not matter.
	shot := ""
	for n, tag := range append(marks(owner.RoleImage), expired(owner.RoleImage)) {
		disk := append(disks, *volumes[0].VolumeId, *volumes[1].VolumeId, *volumes[2].VolumeId, *volumes[3].VolumeId, *volumes[4].VolumeId)[n]
		x, err := e.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: &disk, TagSpecifications: []types.TagSpecification{tagSpec(types.ResourceTypeSnapshot, tag)}})
		must(err)
		shot = *x.SnapshotId
	}
	wait(func() bool {
		d, err := e.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{shot}})
		must(err)
		return d.Snapshots[0].State == types.SnapshotStateCompleted
	})
	finished := map[string]string{owner.Key: owner.Tag{Build: "bbbbbbbbbbbbbbbb", Role: owner.RoleImage}.String()}
	var images []string
	for n, tag := range append(marks(owner.RoleImage), finished) {
		x, err := e.RegisterImage(ctx, &ec2.RegisterImageInput{
			Name: aws.String(fmt.Sprint("armfree-aaaaaaaaaaaaaaaa-image-150000000", n)), Architecture: types.ArchitectureValuesArm64, RootDeviceName: aws.String("/dev/xvda"), VirtualizationType: aws.String("hvm"),
			EnaSupport: aws.Bool(true), BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: &shot}}},
			TagSpecifications: []types.TagSpecification{tagSpec(types.ResourceTypeImage, tag)},
		})
		must(err)
		images = append(images, *x.ImageId)
	}

	// Exports that are complete, each with its file.
	must(s.AWS.Cloud.AddBucket(s.AWS.Build, decoyRegion, decoyBucket))
	must(s.AWS.Cloud.AddExportRole(s.AWS.Build, "theirs-vmimport", decoyBucket))
	for n, tag := range marks(owner.RoleExport) {
		in := &ec2.ExportImageInput{
			ImageId: &images[n], DiskImageFormat: types.DiskImageFormatVmdk, RoleName: aws.String("theirs-vmimport"), TagSpecifications: []types.TagSpecification{tagSpec(types.ResourceTypeExportImageTask, tag)},
			S3ExportLocation: &types.ExportTaskS3LocationRequest{S3Bucket: aws.String(decoyBucket), S3Prefix: aws.String("armfree/")},
		}
		wait(func() bool {
			d, err := e.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{images[n]}})
			must(err)
			return d.Images[0].State == types.ImageStateAvailable
		})
		x, err := e.ExportImage(ctx, in)
		must(err)
		wait(func() bool {
			d, err := e.DescribeExportImageTasks(ctx, &ec2.DescribeExportImageTasksInput{ExportImageTaskIds: []string{*x.ExportImageTaskId}})
			must(err)
			return *d.ExportImageTasks[0].Status == "completed"
		})
	}
}
