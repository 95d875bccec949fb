// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// TestLaunchRefused refuses launches that the real service refuses, each with
// its code and before anything exists.
func TestLaunchRefused(t *testing.T) {
	k := newKit(t, nil)
	k.build.Limits["standard-a1-core-count"] = 4
	k.build.Limits["standard-a1-core-regional-count"] = 4
	k.build.Quotas["standard-a1-memory-count"] = 24
	c := k.compute(k.build, homeRegion)
	subnet := func(id string, public *bool) *core.CreateVnicDetails {
		return &core.CreateVnicDetails{SubnetId: &id, AssignPublicIp: public}
	}
	flex := func(ocpus, memory float32) *core.LaunchInstanceShapeConfigDetails {
		return &core.LaunchInstanceShapeConfigDetails{Ocpus: &ocpus, MemoryInGBs: &memory}
	}
	image := func(id string, gb int64) core.InstanceSourceViaImageDetails {
		return core.InstanceSourceViaImageDetails{ImageId: &id, BootVolumeSizeInGBs: &gb}
	}
	tests := []struct {
		name   string
		change func(*core.LaunchInstanceDetails)
		status int
		code   string
		part   string
	}{
		{"another tenancy's compartment", func(d *core.LaunchInstanceDetails) { d.CompartmentId = &k.stranger.CompartmentID }, 404, "NotAuthorizedOrNotFound", ""},
		{"another tenancy's name of the AD", func(d *core.LaunchInstanceDetails) {
			d.AvailabilityDomain = common.String(k.stranger.AvailabilityDomains(homeRegion)[0])
		}, 404, "NotAuthorizedOrNotFound", ""},
		{"unknown fault domain", func(d *core.LaunchInstanceDetails) { d.FaultDomain = common.String("FAULT-DOMAIN-4") }, 400, "InvalidParameter", "faultDomain"},
		{"unknown shape", func(d *core.LaunchInstanceDetails) { d.Shape = common.String("VM.Standard.Z1.Flex") }, 404, "NotAuthorizedOrNotFound", "shape VM.Standard.Z1.Flex not found"},
		{"no shape", func(d *core.LaunchInstanceDetails) { d.Shape = nil }, 400, "MissingParameter", "shape"},
		{"x86 shape", func(d *core.LaunchInstanceDetails) {
			d.Shape, d.ShapeConfig = common.String("VM.Standard.E2.1.Micro"), nil
		}, 400, "InvalidParameter", "is not valid for image " + k.base},
		{"flexible without size", func(d *core.LaunchInstanceDetails) { d.ShapeConfig = nil }, 400, "InvalidParameter", "ocpus is required"},
		{"half a core", func(d *core.LaunchInstanceDetails) { d.ShapeConfig = flex(0.5, 1) }, 400, "InvalidParameter", "ocpus"},
		{"too little memory", func(d *core.LaunchInstanceDetails) { d.ShapeConfig = flex(4, 2) }, 400, "InvalidParameter", "memoryInGBs"},
		{"too much memory", func(d *core.LaunchInstanceDetails) { d.ShapeConfig = flex(1, 65) }, 400, "InvalidParameter", "memoryInGBs"},
		{"no subnet", func(d *core.LaunchInstanceDetails) { d.CreateVnicDetails = nil }, 400, "MissingParameter", "subnetId"},
		{"another tenancy's subnet", func(d *core.LaunchInstanceDetails) {
			d.CreateVnicDetails = subnet(k.stranger.SubnetID(homeRegion), nil)
		}, 404, "NotAuthorizedOrNotFound", ""},
		{"public address in a private subnet", func(d *core.LaunchInstanceDetails) {
			d.CreateVnicDetails = subnet(k.build.PrivateSubnetID(homeRegion), common.Bool(true))
		}, 400, "InvalidParameter", "assignPublicIp"},
		{"no image", func(d *core.LaunchInstanceDetails) { d.SourceDetails = nil }, 400, "MissingParameter", "imageId"},
		{"unknown image", func(d *core.LaunchInstanceDetails) { d.SourceDetails = image("ocid1.image.oc1.iad.no", 50) }, 404, "NotAuthorizedOrNotFound", ""},
		{"small boot volume", func(d *core.LaunchInstanceDetails) { d.SourceDetails = image(k.base, 49) }, 400, "InvalidParameter", "bootVolumeSizeInGBs"},
		{"other firmware", func(d *core.LaunchInstanceDetails) {
			d.LaunchOptions = &core.LaunchOptions{Firmware: core.LaunchOptionsFirmwareBios}
		}, 400, "InvalidParameter", "Firmware"},
		{"user data that is no base64", func(d *core.LaunchInstanceDetails) { d.Metadata["user_data"] = "#!/bin/sh" }, 400, "InvalidParameter", "base64"},
		{"metadata too large", func(d *core.LaunchInstanceDetails) { d.Metadata["x"] = strings.Repeat("x", 32000) }, 400, "InvalidParameter", "Metadata"},
		{"unknown tag namespace", func(d *core.LaunchInstanceDetails) {
			d.DefinedTags = map[string]map[string]any{"ops": {"a": "b"}}
		}, 400, "RelatedResourceNotAuthorizedOrNotFound", "TagNamespace ops does not exists."},
		{"over the limits", func(d *core.LaunchInstanceDetails) { d.ShapeConfig = flex(5, 12) }, 400, "LimitExceeded",
			"The following service limits were exceeded: standard-a1-core-count, standard-a1-core-regional-count. Request a service limit increase"},
		{"over the quota", func(d *core.LaunchInstanceDetails) { d.ShapeConfig = flex(4, 25) }, 400, "QuotaExceeded", "standard-a1-memory-count"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			_, err := c.LaunchInstance(context.Background(), k.launchRequest(tc.change))
			wantServiceError(t, err, tc.status, tc.code, tc.part)
		})
	}
	if left := k.cloud.Inventory().Tenancies[indexOf(k, "build")].Regions[0]; len(left.Instances)+len(left.BootVolumes) != 0 {
		t.Errorf("a refused launch left something: %+v", left)
	}
}

// TestRetryToken launches once per token.
func TestRetryToken(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	request := k.launchRequest(nil)
	request.OpcRetryToken = common.String("token-1")
	first, err := c.LaunchInstance(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.LaunchInstance(ctx, request)
	if err != nil || *second.Id != *first.Id {
		t.Fatalf("the same token gave %v, %v, want the first instance", second.Id, err)
	}
	changed := k.launchRequest(func(d *core.LaunchInstanceDetails) { d.DisplayName = common.String("other") })
	changed.OpcRetryToken = request.OpcRetryToken
	_, err = c.LaunchInstance(ctx, changed)
	wantServiceError(t, err, 409, "InvalidatedRetryToken", "")
	if _, err := c.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: first.Id}); err != nil {
		t.Fatal(err)
	}
	_, err = c.LaunchInstance(ctx, request)
	wantServiceError(t, err, 409, "InvalidatedRetryToken", "")
	k.reaches(c, *first.Id, core.InstanceLifecycleStateTerminated)
	// A failed request does not use its token up.
	bad := k.launchRequest(func(d *core.LaunchInstanceDetails) { d.Shape = common.String("VM.Standard.Z1.Flex") })
	bad.OpcRetryToken = common.String("token-2")
	_, err = c.LaunchInstance(ctx, bad)
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	request.OpcRetryToken = common.String("token-2")
	if _, err := c.LaunchInstance(ctx, request); err != nil {
		t.Error(err)
	}
	request.OpcRetryToken = common.String(strings.Repeat("x", 65))
	_, err = c.LaunchInstance(ctx, request)
	wantServiceError(t, err, 400, "InvalidParameter", "64")
}

// TestPower stops, starts and terminates, and checks what each state allows.
func TestPower(t *testing.T) {
	k := newKit(t, func(c *ocisim.Config) {
		// States that the test wants to see last long enough on a busy machine.
		c.Delays.Start, c.Delays.Stop = 2*time.Second, 2*time.Second
	})
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	i := k.launched()
	act := func(action core.InstanceActionActionEnum) error {
		_, err := c.InstanceAction(ctx, core.InstanceActionRequest{InstanceId: i.Id, Action: action})
		return err
	}
	wantServiceError(t, act(core.InstanceActionActionStart), 409, "IncorrectState", "RUNNING")
	if err := act(core.InstanceActionActionSoftstop); err != nil {
		t.Fatal(err)
	}
	wantServiceError(t, act(core.InstanceActionActionStop), 409, "IncorrectState", "STOPPING")
	k.reaches(c, *i.Id, core.InstanceLifecycleStateStopped)
	if k.driver.running() != 0 {
		t.Error("a stopped instance's machine runs")
	}
	if err := act(core.InstanceActionActionStart); err != nil {
		t.Fatal(err)
	}
	k.reaches(c, *i.Id, core.InstanceLifecycleStateRunning)
	if err := act(core.InstanceActionActionReset); err != nil {
		t.Fatal(err)
	}
	k.reaches(c, *i.Id, core.InstanceLifecycleStateStarting)
	k.reaches(c, *i.Id, core.InstanceLifecycleStateRunning)
	if n := k.driver.started(); n != 3 {
		t.Errorf("%d machines were started, want 3", n)
	}
	// A guest that powers itself off stops its instance.
	if err := k.driver.last().Kill(); err != nil {
		t.Fatal(err)
	}
	k.reaches(c, *i.Id, core.InstanceLifecycleStateStopped)

	if _, err := c.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: i.Id, PreserveBootVolume: common.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	k.reaches(c, *i.Id, core.InstanceLifecycleStateTerminated)
	volumes := k.volumes(k.build, homeRegion)
	kept := k.cloud.Inventory().Tenancies[indexOf(k, "build")].Regions[0].BootVolumes
	if len(kept) != 1 {
		t.Fatalf("boot volumes: %+v", kept)
	}
	if _, err := volumes.DeleteBootVolume(ctx, core.DeleteBootVolumeRequest{BootVolumeId: &kept[0].ID}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "boot volume is gone", func() bool {
		return len(k.cloud.Inventory().Tenancies[indexOf(k, "build")].Regions[0].BootVolumes) == 0
	})
	_, err := c.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: i.Id})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
}

// indexOf is a tenancy's place in the inventory.
func indexOf(k *kit, name string) int {
	for n, t := range k.cloud.Inventory().Tenancies {
		if t.Name == name {
			return n
		}
	}
	return -1
}

// TestTerminateOnTheWayUp ends an instance that is still PROVISIONING.
func TestTerminateOnTheWayUp(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	launched, err := c.LaunchInstance(ctx, k.launchRequest(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: launched.Id}); err != nil {
		t.Fatal(err)
	}
	k.reaches(c, *launched.Id, core.InstanceLifecycleStateTerminated)
	in := k.cloud.Inventory().Tenancies[indexOf(k, "build")].Regions[0]
	if len(in.BootVolumes)+len(in.Machines)+len(in.Instances) != 0 {
		t.Errorf("left: %+v", in)
	}
}

// TestPages follows opc-next-page.
func TestPages(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	for range 3 {
		if _, err := c.LaunchInstance(ctx, k.launchRequest(nil)); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	request := core.ListInstancesRequest{CompartmentId: &k.build.CompartmentID, Limit: common.Int(2)}
	pages := 0
	for {
		resp, err := c.ListInstances(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, i := range resp.Items {
			seen[*i.Id] = true
		}
		if resp.OpcNextPage == nil {
			break
		}
		request.Page = resp.OpcNextPage
	}
	if pages != 2 || len(seen) != 3 {
		t.Errorf("%d pages with %d instances, want 2 with 3", pages, len(seen))
	}
}

// TestEtags refuses a change to something that has changed meanwhile.
func TestEtags(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	seen, err := c.GetImage(ctx, core.GetImageRequest{ImageId: &k.base})
	if err != nil {
		t.Fatal(err)
	}
	update := core.UpdateImageRequest{ImageId: &k.base, IfMatch: seen.Etag,
		UpdateImageDetails: core.UpdateImageDetails{DisplayName: common.String("renamed")}}
	if _, err := c.UpdateImage(ctx, update); err != nil {
		t.Fatal(err)
	}
	_, err = c.UpdateImage(ctx, update)
	wantServiceError(t, err, 412, "NoEtagMatch", "")
	update.IfMatch, update.DisplayName = nil, common.String("Canonical-Ubuntu-24.04-aarch64-2026.01.01-0")
	_, err = c.UpdateImage(ctx, update)
	wantServiceError(t, err, 400, "InvalidParameter", "platform image")
}
