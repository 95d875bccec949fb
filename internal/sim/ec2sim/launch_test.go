// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// run launches and returns the error alone.
func (k *kit) run(change func(*ec2.RunInstancesInput)) error {
	k.t.Helper()
	_, err := k.client.RunInstances(k.t.Context(), k.launch(change))
	return err
}

func TestLaunchIsChecked(t *testing.T) {
	k := newKit(t, func(c *ec2sim.Config) { c.Accounts[0].InstanceProfiles = []string{"builder"} })
	amd64 := k.cloud.ImageID(region, strings.Replace(debian, "arm64", "amd64", 1))
	theirs := must[*ec2.CreateSecurityGroupOutput](t)(k.clientOf(k.other, region).CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{
		GroupName: aws.String("theirs"), Description: aws.String("theirs")}))
	root := func(ebs types.EbsBlockDevice) func(in *ec2.RunInstancesInput) {
		return func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &ebs}}
		}
	}
	spotOf := func(o types.SpotMarketOptions) func(in *ec2.RunInstancesInput) {
		return func(in *ec2.RunInstancesInput) {
			in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot, SpotOptions: &o}
		}
	}
	for name, c := range map[string]struct {
		change     func(*ec2.RunInstancesInput)
		code, text string
	}{
		"no image":     {func(in *ec2.RunInstancesInput) { in.ImageId = nil }, "MissingParameter", "ImageId"},
		"bad image":    {func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("debian") }, "InvalidAMIID.Malformed", "debian"},
		"no type":      {func(in *ec2.RunInstancesInput) { in.InstanceType = "" }, "InvalidParameterValue", "m1.small"},
		"unknown type": {func(in *ec2.RunInstancesInput) { in.InstanceType = "t9g.huge" }, "InvalidParameterValue", "t9g.huge"},
		"architecture": {func(in *ec2.RunInstancesInput) { in.ImageId = &amd64 }, "InvalidParameterValue", "The architecture 'arm64' of the specified instance type does not match the architecture 'x86_64'"},
		"x86 type":     {func(in *ec2.RunInstancesInput) { in.InstanceType = types.InstanceTypeT3Micro }, "InvalidParameterValue", "The architecture 'x86_64' of the specified instance type"},
		"zone": {func(in *ec2.RunInstancesInput) {
			in.Placement = &types.Placement{AvailabilityZone: aws.String("eu-west-1a")}
		}, "InvalidParameterValue", "eu-west-1a"},
		"key":   {func(in *ec2.RunInstancesInput) { in.KeyName = aws.String("nobody") }, "InvalidKeyPair.NotFound", "nobody"},
		"group": {func(in *ec2.RunInstancesInput) { in.SecurityGroupIds = []string{*theirs.GroupId} }, "InvalidGroup.NotFound", *theirs.GroupId},
		"profile": {func(in *ec2.RunInstancesInput) {
			in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: aws.String("nobody")}
		}, "InvalidParameterValue", "Invalid IAM Instance Profile name"},
		"counts":    {func(in *ec2.RunInstancesInput) { in.MinCount = aws.Int32(2) }, "InvalidParameterValue", "MinCount"},
		"user data": {func(in *ec2.RunInstancesInput) { in.UserData = aws.String("#!/bin/sh") }, "InvalidUserData.Malformed", "BASE64"},
		"long data": {func(in *ec2.RunInstancesInput) {
			in.UserData = aws.String(base64.StdEncoding.EncodeToString(make([]byte, 16385)))
		}, "InvalidParameterValue", "16384"},
		"hops": {func(in *ec2.RunInstancesInput) {
			in.MetadataOptions = &types.InstanceMetadataOptionsRequest{HttpPutResponseHopLimit: aws.Int32(65)}
		}, "InvalidParameterValue", "HopLimit"},
		"no metadata": {func(in *ec2.RunInstancesInput) {
			in.MetadataOptions = &types.InstanceMetadataOptionsRequest{HttpEndpoint: "disabled", HttpTokens: "required"}
		}, "InvalidParameterCombination", "HttpEndpoint"},
		"credits": {func(in *ec2.RunInstancesInput) {
			in.InstanceType, in.CreditSpecification = types.InstanceTypeC7gMedium, &types.CreditSpecificationRequest{CpuCredits: aws.String("standard")}
		}, "InvalidParameterCombination", "credits"},
		"tag type": {func(in *ec2.RunInstancesInput) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: []types.Tag{{Key: aws.String("a")}}}}
		}, "InvalidParameterValue", "'image' is not a valid taggable"},
		"spot tags": {func(in *ec2.RunInstancesInput) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeSpotInstancesRequest, Tags: []types.Tag{{Key: aws.String("a")}}}}
		}, "InvalidParameterValue", "spot-instances-request"},
		"small root":  {root(types.EbsBlockDevice{VolumeSize: aws.Int32(4)}), "InvalidBlockDeviceMapping", "smaller than snapshot"},
		"large root":  {root(types.EbsBlockDevice{VolumeSize: aws.Int32(20000)}), "InvalidParameterValue", "16384"},
		"volume type": {root(types.EbsBlockDevice{VolumeType: "gp9"}), "InvalidParameterValue", "gp9"},
		"few iops":    {root(types.EbsBlockDevice{VolumeType: "gp3", Iops: aws.Int32(100)}), "InvalidParameterValue", "Iops must be between 3000"},
		"many iops":   {root(types.EbsBlockDevice{VolumeType: "gp3", Iops: aws.Int32(5000)}), "InvalidParameterValue", "Iops"},
		"throughput":  {root(types.EbsBlockDevice{VolumeType: "gp3", Throughput: aws.Int32(1000)}), "InvalidParameterValue", "Throughput"},
		"gp2's iops":  {root(types.EbsBlockDevice{VolumeType: "gp2", Iops: aws.Int32(3000)}), "InvalidParameterCombination", "gp2"},
		"key alone":   {root(types.EbsBlockDevice{KmsKeyId: aws.String("alias/aws/ebs")}), "InvalidParameterDependency", "Encrypted"},
		"unknown key": {root(types.EbsBlockDevice{Encrypted: aws.Bool(true), KmsKeyId: aws.String("alias/mine")}), "InvalidParameterValue", "KMS"},
		"device twice": {func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(1)}},
				{DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(1)}}}
		}, "InvalidBlockDeviceMapping", "/dev/sdb"},
		"two subnets": {func(in *ec2.RunInstancesInput) {
			in.SubnetId = aws.String("subnet-0123456789abcdef0")
			in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0)}}
		}, "InvalidParameterCombination", "subnet ID"},
		"two sets of groups": {func(in *ec2.RunInstancesInput) {
			in.SecurityGroupIds = []string{"sg-0123456789abcdef0"}
			in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0)}}
		}, "InvalidParameterCombination", "security groups"},
		"price":      {spotOf(types.SpotMarketOptions{MaxPrice: aws.String("cheap")}), "InvalidParameterValue", "cheap"},
		"low price":  {spotOf(types.SpotMarketOptions{MaxPrice: aws.String("0.0001")}), "SpotMaxPriceTooLow", "0.0001"},
		"block":      {spotOf(types.SpotMarketOptions{BlockDurationMinutes: aws.Int32(60)}), "InvalidParameterValue", "BlockDurationMinutes"},
		"hibernates": {spotOf(types.SpotMarketOptions{InstanceInterruptionBehavior: types.InstanceInterruptionBehaviorStop}), "InvalidParameterCombination", "persistent"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, k.run(c.change), 400, c.code, c.text) })
	}
	if left := k.cloud.Left(); len(left) != 1 {
		t.Errorf("refused launches have left %q", left)
	}
	wantError(t, k.run(func(in *ec2.RunInstancesInput) { in.DryRun = aws.Bool(true) }), 412, "DryRunOperation", "would have succeeded")
	wantError(t, k.run(func(in *ec2.RunInstancesInput) {
		in.HibernationOptions = &types.HibernationOptionsRequest{Configured: aws.Bool(true)}
	}), 501, "NotImplemented", "hibernation")
}

// TestWhatIsLaunched sends what Packer's plugin for Amazon and a good builder
// send, and reads it back.
func TestWhatIsLaunched(t *testing.T) {
	k := newKit(t, func(c *ec2sim.Config) { c.Accounts[0].InstanceProfiles = []string{"builder"} })
	subnets := must[*ec2.DescribeSubnetsOutput](t)(k.client.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{Filters: []types.Filter{
		{Name: aws.String("availabilityZone"), Values: []string{"us-east-1b"}}}}))
	subnet := subnets.Subnets[0]
	group := k.openGroup("g", callerCIDR)
	k.keyPair("k", types.KeyTypeRsa)
	tags := []types.Tag{{Key: aws.String("armfree:build"), Value: aws.String("b1")}}
	i := k.launched(func(in *ec2.RunInstancesInput) {
		in.ClientToken, in.KeyName = aws.String("token"), aws.String("k")
		in.Placement = &types.Placement{AvailabilityZone: aws.String("us-east-1b")}
		in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: aws.String("builder")}
		in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0), SubnetId: subnet.SubnetId,
			AssociatePublicIpAddress: aws.Bool(true), DeleteOnTermination: aws.Bool(true), Groups: []string{group}}}
		in.EbsOptimized, in.EnclaveOptions = aws.Bool(false), &types.EnclaveOptionsRequest{Enabled: aws.Bool(false)}
		in.CreditSpecification = &types.CreditSpecificationRequest{CpuCredits: aws.String("standard")}
		in.MetadataOptions = &types.InstanceMetadataOptionsRequest{HttpEndpoint: "enabled", HttpTokens: "required", HttpPutResponseHopLimit: aws.Int32(2), InstanceMetadataTags: "enabled"}
		in.InstanceInitiatedShutdownBehavior = types.ShutdownBehaviorTerminate
		in.CapacityReservationSpecification = &types.CapacityReservationSpecification{CapacityReservationPreference: "none"}
		in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(10),
			VolumeType: "gp3", Iops: aws.Int32(3000), Throughput: aws.Int32(125), Encrypted: aws.Bool(true), DeleteOnTermination: aws.Bool(true)}}}
		for _, kind := range []types.ResourceType{"instance", "volume", "network-interface"} {
			in.TagSpecifications = append(in.TagSpecifications, types.TagSpecification{ResourceType: kind, Tags: tags})
		}
	})
	if *i.Placement.AvailabilityZone != "us-east-1b" || *i.SubnetId != *subnet.SubnetId || *i.KeyName != "k" || *i.ClientToken != "token" ||
		i.MetadataOptions.HttpTokens != "required" || *i.MetadataOptions.HttpPutResponseHopLimit != 2 || *i.Tags[0].Value != "b1" ||
		i.Architecture != "arm64" || i.PublicIpAddress == nil || i.PrivateIpAddress == nil || i.BootMode != "" || i.CurrentInstanceBootMode != "uefi" || *i.SecurityGroups[0].GroupId != group ||
		!strings.HasSuffix(*i.IamInstanceProfile.Arn, ":instance-profile/builder") || i.InstanceLifecycle != "" {
		t.Errorf("got %+v", i)
	}
	volumes := must[*ec2.DescribeVolumesOutput](t)(k.client.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: []types.Filter{
		{Name: aws.String("tag:armfree:build"), Values: []string{"b1"}}}})).Volumes
	if len(volumes) != 1 || *volumes[0].Size != 10 || volumes[0].VolumeType != "gp3" || !*volumes[0].Encrypted ||
		!strings.HasSuffix(*volumes[0].KmsKeyId, ":alias/aws/ebs") || *volumes[0].Attachments[0].InstanceId != *i.InstanceId {
		t.Errorf("volumes %+v", volumes)
	}
	cards := must[*ec2.DescribeNetworkInterfacesOutput](t)(k.client.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{
		Filters: []types.Filter{{Name: aws.String("tag:armfree:build"), Values: []string{"b1"}}}})).NetworkInterfaces
	if len(cards) != 1 || *cards[0].Attachment.InstanceId != *i.InstanceId || *cards[0].Association.PublicIp != *i.PublicIpAddress {
		t.Errorf("interfaces %+v", cards)
	}
	credits := must[*ec2.DescribeInstanceCreditSpecificationsOutput](t)(k.client.DescribeInstanceCreditSpecifications(t.Context(),
		&ec2.DescribeInstanceCreditSpecificationsInput{InstanceIds: []string{*i.InstanceId}}))
	if *credits.InstanceCreditSpecifications[0].CpuCredits != "standard" {
		t.Error("not standard credits")
	}
	now := must[*ec2.DescribeSubnetsOutput](t)(k.client.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{SubnetIds: []string{*subnet.SubnetId}})).Subnets[0]
	if *now.AvailableIpAddressCount != *subnet.AvailableIpAddressCount-1 {
		t.Errorf("%d addresses, before the launch %d", *now.AvailableIpAddressCount, *subnet.AvailableIpAddressCount)
	}
}

func TestClientToken(t *testing.T) {
	k := newKit(t, nil)
	once := func(in *ec2.RunInstancesInput) { in.ClientToken = aws.String("build-1") }
	first := must[*ec2.RunInstancesOutput](t)(k.client.RunInstances(t.Context(), k.launch(once)))
	again := must[*ec2.RunInstancesOutput](t)(k.client.RunInstances(t.Context(), k.launch(once)))
	if *first.ReservationId != *again.ReservationId || *first.Instances[0].InstanceId != *again.Instances[0].InstanceId {
		t.Error("the same token made another instance")
	}
	wantError(t, k.run(func(in *ec2.RunInstancesInput) { once(in); in.InstanceType = types.InstanceTypeT4gSmall }), 400, "IdempotentParameterMismatch", "build-1")
	wantError(t, k.run(func(in *ec2.RunInstancesInput) { in.ClientToken = aws.String(strings.Repeat("x", 65)) }), 400, "InvalidParameterValue", "64")
	found := must[*ec2.DescribeInstancesOutput](t)(k.client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{Filters: []types.Filter{
		{Name: aws.String("client-token"), Values: []string{"build-1"}}}}))
	if len(found.Reservations) != 1 {
		t.Errorf("%d reservations with the token", len(found.Reservations))
	}
	// Another region, another scope.
	west := k.clientOf(k.build, "us-west-2")
	in := k.launch(once)
	in.ImageId = aws.String(k.cloud.ImageID("us-west-2", debian))
	must[*ec2.RunInstancesOutput](t)(west.RunInstances(t.Context(), in))
}

func TestQuotas(t *testing.T) {
	k := newKit(t, func(c *ec2sim.Config) {
		c.Accounts[0].Quotas = map[string]float64{ec2sim.QuotaOnDemand: 4, "us-west-2/" + ec2sim.QuotaOnDemand: 0, ec2sim.QuotaSpot: 2}
	})
	spot := func(in *ec2.RunInstancesInput) {
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
	}
	k.launched(nil)
	i := k.launched(nil)
	wantError(t, k.run(nil), 400, "VcpuLimitExceeded", "current vCPU limit of 4 allows")
	k.launched(spot)
	wantError(t, k.run(spot), 400, "MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
	west := k.clientOf(k.build, "us-west-2")
	in := k.launch(nil)
	in.ImageId = aws.String(k.cloud.ImageID("us-west-2", debian))
	_, err := west.RunInstances(t.Context(), in)
	wantError(t, err, 400, "VcpuLimitExceeded", "limit of 0")
	must[*ec2.TerminateInstancesOutput](t)(k.client.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}}))
	k.reaches(k.client, *i.InstanceId, "terminated")
	k.launched(nil)
}

func TestPlaces(t *testing.T) {
	k := newKit(t, func(c *ec2sim.Config) { c.Accounts[1].NoDefaultVPC = []string{region} })
	in := func(az string) func(in *ec2.RunInstancesInput) {
		return func(in *ec2.RunInstancesInput) { in.Placement = &types.Placement{AvailabilityZone: &az} }
	}
	wantError(t, k.run(in("us-east-1e")), 400, "Unsupported", "Your requested instance type (t4g.micro) is not supported in your requested Availability Zone "+
		"(us-east-1e). Please retry your request by not specifying an Availability Zone or choosing us-east-1a, us-east-1b, us-east-1c, us-east-1d, us-east-1f.")
	_, err := k.clientOf(k.other, region).RunInstances(t.Context(), k.launch(nil))
	wantError(t, err, 400, "VPCIdNotSpecified", "No default VPC")

	small, err := k.cloud.AddSubnet(k.build, region, ec2sim.Subnet{AZ: "us-east-1a", Bits: 28})
	if err != nil {
		t.Fatal(err)
	}
	use := func(in *ec2.RunInstancesInput) {
		in.SubnetId, in.MinCount, in.MaxCount = &small, aws.Int32(11), aws.Int32(11)
	}
	if err := k.run(func(in *ec2.RunInstancesInput) { use(in); in.InstanceType = types.InstanceTypeC7gMedium }); err != nil {
		t.Fatal(err)
	}
	wantError(t, k.run(func(in *ec2.RunInstancesInput) { in.SubnetId = &small }), 400, "InsufficientFreeAddressesInSubnet", small)

	// A VPC of its own: groups must be of it.
	vpc, err := k.cloud.AddVPC(k.build, region)
	if err != nil {
		t.Fatal(err)
	}
	own, err := k.cloud.AddSubnet(k.build, region, ec2sim.Subnet{VPC: vpc, AZ: "us-east-1a", Bits: 24})
	if err != nil {
		t.Fatal(err)
	}
	group := k.openGroup("of the default VPC", callerCIDR)
	wantError(t, k.run(func(in *ec2.RunInstancesInput) { in.SubnetId, in.SecurityGroupIds = &own, []string{group} }), 400, "InvalidParameter", "different networks")
	if i := k.launched(func(in *ec2.RunInstancesInput) { in.SubnetId = &own }); i.PublicIpAddress != nil || *i.VpcId != vpc {
		t.Errorf("in a private subnet: %+v", i)
	}
}

// TestFreePlan launches nothing that the free plan does not have.
func TestFreePlan(t *testing.T) {
	k := newKit(t, func(c *ec2sim.Config) {
		c.Accounts[0].FreePlan = true
		c.Images = append(c.Images, ec2sim.BaseImage{Name: "marketplace", Path: c.Images[0].Path, NotFreeTier: true})
	})
	paid := k.cloud.ImageID(region, "marketplace")
	wantError(t, k.run(func(in *ec2.RunInstancesInput) { in.InstanceType = types.InstanceTypeC7gMedium }), 400, "InvalidParameterCombination",
		"The specified instance type is not eligible for Free Tier")
	wantError(t, k.run(func(in *ec2.RunInstancesInput) { in.ImageId = &paid }), 400, "InvalidParameterCombination", "The specified image is not eligible for Free Tier")
	k.launched(nil)
}
