// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

func (k *kit) faults(faults ...ec2sim.Fault) {
	k.t.Helper()
	if err := k.cloud.AddFaults(faults...); err != nil {
		k.t.Fatal(err)
	}
}

func inZone(az string) func(in *ec2.RunInstancesInput) {
	return func(in *ec2.RunInstancesInput) { in.Placement = &types.Placement{AvailabilityZone: &az} }
}

func onSpot(in *ec2.RunInstancesInput) {
	in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
}

func TestFaultCapacity(t *testing.T) {
	k := newKit(t, nil)
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultCapacity, AZ: "us-east-1a", Type: "t4g.*"}, ec2sim.Fault{Kind: ec2sim.FaultCapacity, AZ: "use1-az3"},
		ec2sim.Fault{Kind: ec2sim.FaultCapacity, Market: "spot"})
	wantError(t, k.run(inZone("us-east-1a")), 500, "InsufficientInstanceCapacity", "We currently do not have sufficient t4g.micro capacity in the Availability "+
		"Zone you requested (us-east-1a). Our system will be working on provisioning additional capacity. You can currently get t4g.micro capacity by "+
		"not specifying an Availability Zone in your request or choosing us-east-1c, us-east-1d, us-east-1f.")
	// The zone with the id use1-az3 is us-east-1b, and what is out there is
	// everything.
	wantError(t, k.run(inZone("us-east-1b")), 500, "InsufficientInstanceCapacity", "")
	wantError(t, k.run(onSpot), 500, "InsufficientInstanceCapacity", "no Spot capacity")
	if i := k.launched(nil); *i.Placement.AvailabilityZone != "us-east-1c" {
		t.Errorf("launched in %s", *i.Placement.AvailabilityZone)
	}
	if err := k.run(func(in *ec2.RunInstancesInput) {
		inZone("us-east-1a")(in)
		in.InstanceType = types.InstanceTypeC7gMedium
	}); err != nil {
		t.Error(err)
	}
	k.cloud.ResetFaults()
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultCapacity, Skip: 1, Times: 2, NoHint: true})
	if err := k.run(nil); err != nil {
		t.Error(err)
	}
	for range 2 {
		err := k.run(inZone("us-east-1a"))
		wantError(t, err, 500, "InsufficientInstanceCapacity", "")
		if strings.Contains(err.Error(), "choosing") {
			t.Errorf("a hint in %v", err)
		}
	}
	if err := k.run(nil); err != nil {
		t.Error(err)
	}
	if f := k.cloud.Faults(); f[0].Matched != 4 {
		t.Errorf("matched %d times", f[0].Matched)
	}
}

func TestFaultsOfLaunches(t *testing.T) {
	k := newKit(t, nil)
	for _, c := range []struct {
		fault      ec2sim.Fault
		status     int
		code, text string
	}{
		{ec2sim.Fault{Kind: ec2sim.FaultVolumeCapacity}, 500, "InsufficientVolumeCapacity", "EBS volume"},
		{ec2sim.Fault{Kind: ec2sim.FaultUnsupported, AZ: "us-east-1a"}, 400, "Unsupported", "choosing us-east-1b, us-east-1c"},
		{ec2sim.Fault{Kind: ec2sim.FaultQuota, Quota: ec2sim.QuotaOnDemand, Value: 1}, 400, "VcpuLimitExceeded", "limit of 1"},
		{ec2sim.Fault{Kind: ec2sim.FaultFreePlan, Type: "t4g.micro"}, 400, "InvalidParameterCombination", "not eligible for Free Tier"},
		{ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "RunInstances", AZ: "us-east-1a", Status: 400, Code: "PendingVerification", Message: "wait"}, 400, "PendingVerification", "wait"},
	} {
		k.faults(c.fault)
		wantError(t, k.run(inZone("us-east-1a")), c.status, c.code, c.text)
		k.cloud.ResetFaults()
	}
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultUnsupported, AZ: "us-east-1a", Type: "t4g.micro"})
	out := must[*ec2.DescribeInstanceTypeOfferingsOutput](t)(k.client.DescribeInstanceTypeOfferings(t.Context(), &ec2.DescribeInstanceTypeOfferingsInput{
		LocationType: "availability-zone", Filters: []types.Filter{{Name: aws.String("instance-type"), Values: []string{"t4g.micro"}}}}))
	if len(out.InstanceTypeOfferings) != 4 {
		t.Errorf("offered in %d zones", len(out.InstanceTypeOfferings))
	}
	if len(k.left()) != 0 {
		t.Errorf("left: %q", k.left())
	}
}

func TestFaultLaunchFails(t *testing.T) {
	k := newKit(t, nil)
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultLaunchFails, Times: 1}, ec2sim.Fault{Kind: ec2sim.FaultLaunchFails, Code: "Client.VolumeLimitExceeded", Message: "Client.VolumeLimitExceeded: Volume limit exceeded"})
	for _, code := range []string{"Server.InsufficientInstanceCapacity", "Client.VolumeLimitExceeded"} {
		out := must[*ec2.RunInstancesOutput](t)(k.client.RunInstances(t.Context(), k.launch(nil)))
		if out.Instances[0].State.Name != types.InstanceStateNamePending {
			t.Errorf("launched as %s", out.Instances[0].State.Name)
		}
		i := k.reaches(k.client, *out.Instances[0].InstanceId, types.InstanceStateNameTerminated)
		if *i.StateReason.Code != code || !strings.HasPrefix(*i.StateReason.Message, code) {
			t.Errorf("reason %s %q", *i.StateReason.Code, *i.StateReason.Message)
		}
	}
	eventually(t, "nothing is left", func() bool { return len(k.left()) == 0 })
}

func TestFaultAnswers(t *testing.T) {
	k := newKit(t, nil)
	in := func(token string) *ec2.RunInstancesInput {
		return k.launch(func(in *ec2.RunInstancesInput) { in.ClientToken = &token })
	}
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultStatusAfterEffect, Op: "RunInstances", Status: 503, Code: "Unavailable", Times: 1})
	_, err := k.client.RunInstances(t.Context(), in("a"))
	wantError(t, err, 503, "Unavailable", "")
	k.cloud.ResetFaults()
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultCutAfterEffect, Op: "RunInstances", Times: 1})
	_, err = k.client.RunInstances(t.Context(), in("b"))
	var api smithy.APIError
	if err == nil || errors.As(err, &api) {
		t.Errorf("a reply that was cut: %v", err)
	}
	// Both launches took place: whoever looks finds them.
	for _, token := range []string{"a", "b"} {
		must[*ec2.RunInstancesOutput](t)(k.client.RunInstances(t.Context(), in(token)))
	}
	found := must[*ec2.DescribeInstancesOutput](t)(k.client.DescribeInstances(t.Context(), nil))
	if len(found.Reservations) != 2 {
		t.Errorf("%d reservations", len(found.Reservations))
	}
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "DescribeVpcs", Status: 502})
	if _, err = k.client.DescribeVpcs(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("a gateway's page: %v", err)
	}
	log := k.cloud.Requests()
	last := log[len(log)-1]
	if last.Fault != "status" || last.Status != 502 || last.Op != "DescribeVpcs" || last.Account != "build" || last.Region != region || last.Service != "ec2" {
		t.Errorf("logged %+v", last)
	}
}

func TestFaultThrottle(t *testing.T) {
	k := newKit(t, nil)
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultThrottle, Every: ec2sim.Duration(300 * time.Millisecond), Burst: 2, Account: "build"})
	ask := func() error { _, err := k.client.DescribeVpcs(t.Context(), nil); return err }
	for range 2 {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, ask(), 503, "RequestLimitExceeded", "Request limit exceeded.")
	must[*ec2.DescribeVpcsOutput](t)(k.clientOf(k.other, region).DescribeVpcs(t.Context(), nil))
	must[*ec2.DescribeVpcsOutput](t)(k.clientOf(k.build, "eu-west-1").DescribeVpcs(t.Context(), nil))
	eventually(t, "there is a token again", func() bool { return ask() == nil })
}

func TestFaultInvisible(t *testing.T) {
	k := newKit(t, nil)
	for _, op := range []string{"RunInstances", "CreateSecurityGroup", "CreateImage"} {
		k.faults(ec2sim.Fault{Kind: ec2sim.FaultInvisible, Op: op, Delay: ec2sim.Duration(time.Second)})
	}
	out := must[*ec2.RunInstancesOutput](t)(k.client.RunInstances(t.Context(), k.launch(nil)))
	id := *out.Instances[0].InstanceId
	look := func() error {
		_, err := k.client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		return err
	}
	wantError(t, look(), 400, "InvalidInstanceID.NotFound", "The instance ID '"+id+"' does not exist")
	if all := must[*ec2.DescribeInstancesOutput](t)(k.client.DescribeInstances(t.Context(), nil)); len(all.Reservations) != 0 {
		t.Error("the list has it")
	}
	group := must[*ec2.CreateSecurityGroupOutput](t)(k.client.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{
		GroupName: aws.String("g"), Description: aws.String("d")}))
	wantError(t, k.run(func(in *ec2.RunInstancesInput) { in.SecurityGroupIds = []string{*group.GroupId} }), 400, "InvalidGroup.NotFound", *group.GroupId)
	// A name is taken all the same.
	_, err := k.client.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("d")})
	wantError(t, err, 400, "InvalidGroup.Duplicate", "'g' already exists")
	eventually(t, "it is visible", func() bool { return look() == nil })
	for _, f := range k.cloud.Faults() {
		if want := map[string]int{"RunInstances": 1, "CreateSecurityGroup": 1}[f.Op]; f.Matched != want {
			t.Errorf("the fault of %s matched %d times", f.Op, f.Matched)
		}
	}
	k.reaches(k.client, id, "running")
	img := must[*ec2.CreateImageOutput](t)(k.client.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: &id, Name: aws.String("img")}))
	_, err = k.client.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{*img.ImageId}})
	wantError(t, err, 400, "InvalidAMIID.NotFound", "The image id '["+*img.ImageId+"]' does not exist")
	eventually(t, "the image is visible", func() bool {
		_, err = k.client.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{*img.ImageId}})
		return err == nil
	})
}

func TestFaultsOfImages(t *testing.T) {
	k := newKit(t, nil)
	i := k.launched(nil)
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultImageFails, Op: "CreateImage", Code: "Server.Internal", Message: "bad day"})
	made := must[*ec2.CreateImageOutput](t)(k.client.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: i.InstanceId, Name: aws.String("one")}))
	if img := k.imageReaches(k.client, *made.ImageId, types.ImageStateFailed); *img.StateReason.Code != "Server.Internal" || *img.StateReason.Message != "bad day" {
		t.Errorf("reason %+v", img.StateReason)
	}
	k.cloud.ResetFaults()
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultSnapshotFails, Op: "CreateSnapshot", Message: "no"},
		ec2sim.Fault{Kind: ec2sim.FaultSlow, Op: "CreateImage", State: "pending", Delay: ec2sim.Duration(500 * time.Millisecond)})
	volume := i.BlockDeviceMappings[0].Ebs.VolumeId
	s := must[*ec2.CreateSnapshotOutput](t)(k.client.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: volume}))
	if s := k.snapshotReaches(k.client, *s.SnapshotId, types.SnapshotStateError); *s.StateMessage != "no" {
		t.Errorf("message %q", *s.StateMessage)
	}
	begun := time.Now()
	made = must[*ec2.CreateImageOutput](t)(k.client.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: i.InstanceId, Name: aws.String("two")}))
	img := k.imageReaches(k.client, *made.ImageId, types.ImageStatePending)
	seen := map[string]bool{}
	eventually(t, "the snapshot makes progress", func() bool {
		out := must[*ec2.DescribeSnapshotsOutput](t)(k.client.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{
			SnapshotIds: []string{*img.BlockDeviceMappings[0].Ebs.SnapshotId}}))
		seen[*out.Snapshots[0].Progress] = true
		return *out.Snapshots[0].Progress == "100%"
	})
	k.imageReaches(k.client, *made.ImageId, types.ImageStateAvailable)
	if took := time.Since(begun); took < 500*time.Millisecond || len(seen) < 4 {
		t.Errorf("took %s, progress %v", took, seen)
	}
}

func TestFaultSlow(t *testing.T) {
	k := newKit(t, nil)
	i := k.launched(nil)
	for op, states := range ec2sim.SlowStates() {
		for _, state := range states {
			k.faults(ec2sim.Fault{Kind: ec2sim.FaultSlow, Op: op, State: state, Delay: ec2sim.Duration(250 * time.Millisecond)})
		}
	}
	slowly := func(what string, begin func() error, state types.InstanceStateName) {
		t.Helper()
		begun := time.Now()
		if err := begin(); err != nil {
			t.Fatal(err)
		}
		k.reaches(k.client, *i.InstanceId, state)
		if took := time.Since(begun); took < 250*time.Millisecond {
			t.Errorf("%s took %s", what, took)
		}
	}
	ids := []string{*i.InstanceId}
	slowly("stop", func() error {
		_, err := k.client.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: ids})
		return err
	}, "stopped")
	slowly("start", func() error {
		_, err := k.client.StartInstances(t.Context(), &ec2.StartInstancesInput{InstanceIds: ids})
		return err
	}, "running")
	slowly("terminate", func() error {
		_, err := k.client.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: ids})
		return err
	}, "terminated")
}

func TestFaultSSHClosed(t *testing.T) {
	k := newKit(t, nil)
	key := k.keyPair("k", types.KeyTypeEd25519)
	group := k.openGroup("g", callerCIDR)
	k.faults(ec2sim.Fault{Kind: ec2sim.FaultSSHClosed})
	i := k.launched(func(in *ec2.RunInstancesInput) { in.KeyName, in.SecurityGroupIds = aws.String("k"), []string{group} })
	if k.reachable(*i.PublicIpAddress) {
		t.Error("reachable")
	}
	k.cloud.ResetFaults()
	k.login(*i.PublicIpAddress, key)
}

// TestFaultsAreChecked refuses what could never have an effect.
func TestFaultsAreChecked(t *testing.T) {
	k := newKit(t, nil)
	for _, c := range []struct{ fault, part string }{
		{`{"kind": "gremlins"}`, "unknown kind"},
		{`{"kind": "capacity", "zone": "us-east-1a"}`, "zone"},
		{`{"kind": "capacity", "az": "us-east-1z"}`, "no availability zone"},
		{`{"kind": "capacity", "az": "us-east-1a", "region": "us-west-2"}`, "no availability zone"},
		{`{"kind": "capacity", "type": "t9g.*"}`, "no instance type"},
		{`{"kind": "capacity", "account": "nobody"}`, "no account"},
		{`{"kind": "capacity", "region": "mars-1"}`, "mars-1"},
		{`{"kind": "capacity", "market": "free"}`, "market"},
		{`{"kind": "capacity", "op": "DescribeVpcs"}`, "not about the operation"},
		{`{"kind": "capacity", "until": "1s", "from": "2s"}`, "never due"},
		{`{"kind": "capacity", "state": "pending"}`, "state"},
		{`{"kind": "status", "op": "RunInstances"}`, "status"},
		{`{"kind": "status", "status": 500}`, "operation"},
		{`{"kind": "status", "op": "RunAway", "status": 500}`, "no operation"},
		{`{"kind": "cut-after-effect"}`, "operation"},
		{`{"kind": "invisible", "op": "RunInstances"}`, "delay"},
		{`{"kind": "invisible", "op": "DescribeVpcs", "delay": "1s"}`, "not about"},
		{`{"kind": "slow", "op": "RunInstances", "delay": "1s"}`, "state"},
		{`{"kind": "slow", "op": "RunInstances", "state": "stopping", "delay": "1s"}`, "state"},
		{`{"kind": "quota"}`, "code"},
		{`{"kind": "quota", "quota": "L-0"}`, "no quota"},
		{`{"kind": "quota", "quota": "L-1216C47A", "type": "t4g.micro"}`, "region as a whole"},
		{`{"kind": "spot-interrupt", "market": "on-demand"}`, "spot"},
		{`{"kind": "throttle"}`, "token"},
		{`{"kind": "throttle", "every": "1s", "burst": 1, "times": 2}`, "bucket"},
		{`[]`, "not an array"},
		{`{"kind": "capacity"} x`, "not a"},
	} {
		if err := k.cloud.AddFaultsJSON([]byte(c.fault)); err == nil || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: got %v", c.fault, err)
		}
	}
	if n := len(k.cloud.Faults()); n != 0 {
		t.Errorf("%d faults were added", n)
	}
	if err := k.cloud.AddFaultsJSON([]byte(`[{"kind": "capacity", "az": "use1-az1", "until": "1m"}, {"kind": "quota", "quota": "L-34B43A08"}]`)); err != nil {
		t.Error(err)
	}
}
