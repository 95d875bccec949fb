// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func (k *kit) sshAddr(address string) string {
	return net.JoinHostPort(address, strconv.Itoa(k.cloud.SSHPort()))
}

// TestWholePath is what a builder does, with nothing but the SDK and SSH.
func TestWholePath(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	key := k.keyPair("packer", types.KeyTypeEd25519)
	group := k.openGroup("packer", callerCIDR)
	i := k.launched(func(in *ec2.RunInstancesInput) {
		in.KeyName, in.SecurityGroupIds = aws.String("packer"), []string{group}
		in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"),
			Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(10), VolumeType: types.VolumeTypeGp3, DeleteOnTermination: aws.Bool(true)}}}
	})
	machine := k.login(*i.PublicIpAddress, key)
	k.shell(machine, "echo built here | sudo tee /etc/armfree")

	image := *must[*ec2.CreateImageOutput](t)(k.client.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: i.InstanceId, Name: aws.String("made")})).ImageId
	img := k.imageReaches(k.client, image, types.ImageStateAvailable)
	k.snapshotReaches(k.client, *img.BlockDeviceMappings[0].Ebs.SnapshotId, types.SnapshotStateCompleted)
	must[*ec2.TerminateInstancesOutput](t)(k.client.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}}))
	k.reaches(k.client, *i.InstanceId, types.InstanceStateNameTerminated)

	copied := k.launched(func(in *ec2.RunInstancesInput) {
		in.ImageId, in.KeyName, in.SecurityGroupIds = &image, aws.String("packer"), []string{group}
	})
	if got := k.shell(k.login(*copied.PublicIpAddress, key), "cat /etc/armfree"); got != "built here\n" {
		t.Errorf("the image has %q", got)
	}
	must[*ec2.TerminateInstancesOutput](t)(k.client.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*copied.InstanceId}}))
	k.reaches(k.client, *copied.InstanceId, types.InstanceStateNameTerminated)
	must[*ec2.DeleteSecurityGroupOutput](t)(k.client.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &group}))
	must[*ec2.DeleteKeyPairOutput](t)(k.client.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: aws.String("packer")}))
	eventually(t, "only the image is left", func() bool { return len(k.left()) == 2 })
}
