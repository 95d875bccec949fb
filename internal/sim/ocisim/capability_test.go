// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// TestSchemaDecides: what an image's own schema says is what its machines get,
// and all that a launch may choose from.
func TestSchemaDecides(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	global, err := c.ListComputeGlobalImageCapabilitySchemas(ctx, core.ListComputeGlobalImageCapabilitySchemasRequest{})
	if err != nil || len(global.Items) != 1 {
		t.Fatalf("global schemas: %+v, %v", global.Items, err)
	}
	descriptor := func(source, fallback string, values ...string) core.EnumStringImageCapabilitySchemaDescriptor {
		return core.EnumStringImageCapabilitySchemaDescriptor{Source: core.ImageCapabilitySchemaDescriptorSourceEnum(source),
			DefaultValue: &fallback, Values: values}
	}
	create := func(data map[string]core.ImageCapabilitySchemaDescriptor) (core.CreateComputeImageCapabilitySchemaResponse, error) {
		return c.CreateComputeImageCapabilitySchema(ctx, core.CreateComputeImageCapabilitySchemaRequest{RequestMetadata: once(),
			CreateComputeImageCapabilitySchemaDetails: core.CreateComputeImageCapabilitySchemaDetails{CompartmentId: &k.build.CompartmentID,
				ComputeGlobalImageCapabilitySchemaVersionName: global.Items[0].CurrentVersionName, ImageId: &k.base, SchemaData: data}})
	}
	// It can be made to fail, as for users without the permission.
	if err := k.cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CreateComputeImageCapabilitySchema", Status: 404,
		Code: "NotAuthorizedOrNotFound", Times: 1}); err != nil {
		t.Fatal(err)
	}
	data := map[string]core.ImageCapabilitySchemaDescriptor{
		"Network.AttachmentType":         descriptor("IMAGE", "VFIO", "VFIO", "PARAVIRTUALIZED"),
		"Storage.BootVolumeType":         descriptor("GLOBAL", "ISCSI", "ISCSI", "PARAVIRTUALIZED"), // not about this image
		"Compute.Firmware":               descriptor("IMAGE", "UEFI_64", "UEFI_64"),
		"Storage.ConsistentVolumeNaming": core.BooleanImageCapabilitySchemaDescriptor{Source: "IMAGE", DefaultValue: common.Bool(true)},
	}
	_, err = create(data)
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	if left := k.home().CapabilitySchemas; len(left) != 0 {
		t.Errorf("a refused request left %+v", left)
	}
	made, err := create(data)
	if err != nil {
		t.Fatal(err)
	}
	launch := func(network core.LaunchOptionsNetworkTypeEnum) (core.LaunchInstanceResponse, error) {
		return c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
			if network != "" {
				d.LaunchOptions = &core.LaunchOptions{NetworkType: network}
			}
		}))
	}
	i, err := launch("")
	if err != nil || i.LaunchOptions.NetworkType != "VFIO" || i.LaunchOptions.BootVolumeType != "PARAVIRTUALIZED" ||
		i.LaunchOptions.Firmware != "UEFI_64" || !*i.LaunchOptions.IsConsistentVolumeNamingEnabled {
		t.Errorf("launched with %+v, %v", i.LaunchOptions, err)
	}
	if i, err = launch("PARAVIRTUALIZED"); err != nil || i.LaunchOptions.NetworkType != "PARAVIRTUALIZED" {
		t.Errorf("launched with %+v, %v", i.LaunchOptions, err)
	}
	_, err = launch("E1000")
	wantServiceError(t, err, 400, "InvalidParameter", "does not have the capability Network.AttachmentType E1000")

	merged, err := c.GetComputeImageCapabilitySchema(ctx, core.GetComputeImageCapabilitySchemaRequest{ComputeImageCapabilitySchemaId: made.Id, IsMergeEnabled: common.Bool(true)})
	if err != nil || len(merged.SchemaData) <= len(data) || merged.SchemaData["Network.AttachmentType"].GetSource() != "IMAGE" {
		t.Errorf("merged: %+v, %v", merged.SchemaData, err)
	}
	if got, err := c.GetComputeImageCapabilitySchema(ctx, core.GetComputeImageCapabilitySchemaRequest{ComputeImageCapabilitySchemaId: made.Id}); err != nil || len(got.SchemaData) != len(data) {
		t.Errorf("alone: %+v, %v", got.SchemaData, err)
	}
	list, err := c.ListComputeImageCapabilitySchemas(ctx, core.ListComputeImageCapabilitySchemasRequest{ImageId: &k.base, CompartmentId: &k.build.CompartmentID})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("listed %+v, %v", list.Items, err)
	}
	_, err = c.ListComputeImageCapabilitySchemas(ctx, core.ListComputeImageCapabilitySchemasRequest{ImageId: &k.base, CompartmentId: &k.stranger.CompartmentID, RequestMetadata: once()})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	// Every key that the documentation names exists.
	version, err := c.GetComputeGlobalImageCapabilitySchemaVersion(ctx, core.GetComputeGlobalImageCapabilitySchemaVersionRequest{
		ComputeGlobalImageCapabilitySchemaId: global.Items[0].Id, ComputeGlobalImageCapabilitySchemaVersionName: global.Items[0].CurrentVersionName})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range strings.Fields("Compute.Firmware Compute.LaunchMode Storage.BootVolumeType Network.AttachmentType Storage.RemoteDataVolumeType Storage.ConsistentVolumeNaming") {
		if version.SchemaData[key] == nil {
			t.Errorf("the global schema lacks %s", key)
		}
	}
}
