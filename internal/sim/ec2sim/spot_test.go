// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

func TestSpot(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultSpotInterrupt, Times: 1, Delay: ec2sim.Duration(200 * time.Millisecond)})
	i := k.launched(func(in *ec2.RunInstancesInput) {
		onSpot(in)
		in.TagSpecifications = []types.TagSpecification{{ResourceType: "spot-instances-request", Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}
	})
	if i.InstanceLifecycle != "spot" || i.SpotInstanceRequestId == nil {
		t.Errorf("launched %+v", i)
	}
	_, err := k.client.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{*i.InstanceId}})
	wantError(t, err, 400, "UnsupportedOperation", "one-time Spot Instance request")
	requests := must[*ec2.DescribeSpotInstanceRequestsOutput](t)(k.client.DescribeSpotInstanceRequests(ctx, &ec2.DescribeSpotInstanceRequestsInput{
		SpotInstanceRequestIds: []string{*i.SpotInstanceRequestId}})).SpotInstanceRequests
	if requests[0].State != "active" || *requests[0].InstanceId != *i.InstanceId || *requests[0].Tags[0].Value != "b" {
		t.Errorf("request %+v", requests[0])
	}
	gone := k.reaches(k.client, *i.InstanceId, "terminated")
	if *gone.StateReason.Code != "Server.SpotInstanceTermination" {
		t.Errorf("reason %+v", gone.StateReason)
	}
	i = k.launched(onSpot) // the fault has had its turn
	if err := k.cloud.InterruptSpot(*i.InstanceId); err != nil {
		t.Fatal(err)
	}
	k.reaches(k.client, *i.InstanceId, "terminated")
	i = k.launched(onSpot)
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultSpotInterrupt, Type: "t4g.micro"}) // those that run already as well
	k.reaches(k.client, *i.InstanceId, "terminated")
	eventually(t, "nothing is left", func() bool { return len(k.left()) == 0 })

	prices := must[*ec2.DescribeSpotPriceHistoryOutput](t)(k.client.DescribeSpotPriceHistory(ctx, &ec2.DescribeSpotPriceHistoryInput{
		InstanceTypes: []types.InstanceType{"t4g.micro"}, ProductDescriptions: []string{"Linux/UNIX"}})).SpotPriceHistory
	if len(prices) != 5 || *prices[0].SpotPrice != "0.002520" {
		t.Errorf("prices %+v", prices)
	}
}

func TestFleet(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	k.keyPair("k", types.KeyTypeEd25519)
	template := func(change func(*types.RequestLaunchTemplateData)) error {
		data := &types.RequestLaunchTemplateData{ImageId: &k.ami, KeyName: aws.String("k"),
			CreditSpecification: &types.CreditSpecificationRequest{CpuCredits: aws.String("standard")},
			MetadataOptions:     &types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: "required"},
			BlockDeviceMappings: []types.LaunchTemplateBlockDeviceMappingRequest{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: aws.Int32(9), DeleteOnTermination: aws.Bool(true)}}},
			TagSpecifications:   []types.LaunchTemplateTagSpecificationRequest{{ResourceType: "instance", Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}}
		if change != nil {
			change(data)
		}
		_, err := k.client.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("packer"), LaunchTemplateData: data})
		return err
	}
	if err := template(nil); err != nil {
		t.Fatal(err)
	}
	wantError(t, template(nil), 400, "InvalidLaunchTemplateName.AlreadyExistsException", "already in use")
	fleet := func(token string, overrides ...types.FleetLaunchTemplateOverridesRequest) *ec2.CreateFleetOutput {
		t.Helper()
		return must[*ec2.CreateFleetOutput](t)(k.client.CreateFleet(ctx, &ec2.CreateFleetInput{Type: "instant", ClientToken: &token,
			TargetCapacitySpecification: &types.TargetCapacitySpecificationRequest{TotalTargetCapacity: aws.Int32(1), DefaultTargetCapacityType: "spot"},
			LaunchTemplateConfigs: []types.FleetLaunchTemplateConfigRequest{{Overrides: overrides,
				LaunchTemplateSpecification: &types.FleetLaunchTemplateSpecificationRequest{LaunchTemplateName: aws.String("packer"), Version: aws.String("1")}}}}))
	}
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultCapacity, Type: "t4g.micro", Market: "spot"})
	out := fleet("1", types.FleetLaunchTemplateOverridesRequest{InstanceType: "t4g.small"}, types.FleetLaunchTemplateOverridesRequest{InstanceType: "t4g.micro"},
		types.FleetLaunchTemplateOverridesRequest{InstanceType: "t3.micro"})
	if len(out.Errors) != 2 || *out.Errors[0].ErrorCode != "InvalidParameterValue" || *out.Errors[1].ErrorCode != "InsufficientInstanceCapacity" || out.Errors[1].Lifecycle != "spot" {
		t.Errorf("errors %+v", out.Errors)
	}
	if len(out.Instances) != 1 || out.Instances[0].InstanceType != "t4g.small" {
		t.Fatalf("instances %+v", out.Instances)
	}
	i := k.reaches(k.client, out.Instances[0].InstanceIds[0], "running")
	if i.InstanceLifecycle != "spot" || i.MetadataOptions.HttpTokens != "required" || *i.KeyName != "k" {
		t.Errorf("launched %+v", i)
	}
	if none := fleet("2", types.FleetLaunchTemplateOverridesRequest{InstanceType: "t4g.micro"}); len(none.Instances) != 0 || *none.Errors[0].ErrorCode != "InsufficientInstanceCapacity" {
		t.Errorf("out of capacity: %+v", none)
	}
	// The same token is the same answer, whatever has changed.
	k.cloud.ResetFaults()
	if again := fleet("2", types.FleetLaunchTemplateOverridesRequest{InstanceType: "t4g.micro"}); len(again.Instances) != 0 {
		t.Errorf("again: %+v", again)
	}
	launched := must[*ec2.RunInstancesOutput](t)(k.client.RunInstances(ctx, &ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: "t4g.nano",
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("packer")}}))
	if got := launched.Instances[0]; got.InstanceType != "t4g.nano" || *got.KeyName != "k" || *got.Tags[0].Value != "b" {
		t.Errorf("from the template: %+v", got)
	}
	must[*ec2.DeleteLaunchTemplateOutput](t)(k.client.DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String("packer")}))
	_, err := k.client.DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String("packer")})
	wantError(t, err, 400, "InvalidLaunchTemplateName.NotFoundException", "packer")
}
