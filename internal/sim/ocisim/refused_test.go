// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/limits"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// TestMoreLaunchesRefused has a wrong client for each of the rarer rules of a
// launch.
func TestMoreLaunchesRefused(t *testing.T) {
	k := newKit(t, nil)
	c := k.compute(k.build, homeRegion)
	many := map[string]string{}
	for i := range 11 {
		many[fmt.Sprint(i)] = "x"
	}
	type details = core.LaunchInstanceDetails
	tests := []struct {
		name   string
		change func(*details)
		part   string
	}{
		{"volume performance", func(d *details) {
			d.SourceDetails = core.InstanceSourceViaImageDetails{ImageId: &k.base, BootVolumeVpusPerGB: common.Int64(15)}
		}, "bootVolumeVpusPerGB"},
		{"burstable Ampere", func(d *details) {
			d.ShapeConfig.BaselineOcpuUtilization = core.LaunchInstanceShapeConfigDetailsBaselineOcpuUtilization8
		}, "baselineOcpuUtilization"},
		{"eleven tags", func(d *details) { d.FreeformTags = many }, "at most 10"},
		{"a long tag key", func(d *details) { d.FreeformTags = map[string]string{strings.Repeat("k", 101): "v"} }, "too long"},
		{"a long tag value", func(d *details) { d.FreeformTags = map[string]string{"k": strings.Repeat("v", 257)} }, "too long"},
		{"a long name", func(d *details) { d.DisplayName = common.String(strings.Repeat("n", 256)) }, "displayName"},
		{"an empty name", func(d *details) { d.DisplayName = common.String("") }, "displayName"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			_, err := c.LaunchInstance(context.Background(), k.launchRequest(tc.change))
			wantServiceError(t, err, 400, "InvalidParameter", tc.part)
		})
	}
	if n := len(k.home().Instances); n != 0 {
		t.Errorf("refused launches left %d instances", n)
	}
}

// TestImagesRefused has wrong clients for images: how they are made, imported
// and exported.
func TestImagesRefused(t *testing.T) {
	k := newKit(t, nil)
	const iaas = "https://iaas.us-ashburn-1.oraclecloud.com/20160918"
	const url = `"imageSourceDetails":{"sourceType":"objectStorageUri","sourceUri":"https://objectstorage.us-ashburn-1.oraclecloud.com/p/x/n/n/b/b/o/o"}`
	image := func(rest string) string { return fmt.Sprintf(`{"compartmentId":%q,%s}`, k.build.ID, rest) }
	tests := []struct{ name, path, body, part string }{
		{"unknown launchMode", "/images", image(`"launchMode":"WARP",` + url), "launchMode"},
		{"launchOptions without CUSTOM", "/images", image(`"launchMode":"PARAVIRTUALIZED","launchOptions":{"firmware":"UEFI_64"},` + url), "launchOptions"},
		{"unknown firmware", "/images", image(`"launchMode":"CUSTOM","launchOptions":{"firmware":"COREBOOT","bootVolumeType":"PARAVIRTUALIZED","networkType":"PARAVIRTUALIZED","remoteDataVolumeType":"PARAVIRTUALIZED"},` + url), "firmware"},
		{"a port in the source", "/images", image(`"imageSourceDetails":{"sourceType":"objectStorageUri","sourceUri":"https://objectstorage.us-ashburn-1.oraclecloud.com:8443/p/x"}`), "sourceUri"},
		{"a link to a bucket", "/images/" + k.base + "/actions/export",
			`{"destinationType":"objectStorageUri","destinationUri":"https://objectstorage.us-ashburn-1.oraclecloud.com/p/abc/n/ns/b/images/o/"}`, "names no object"},
		{"too large a body", "/images", image(`"displayName":"` + strings.Repeat("x", 2<<20) + `",` + url), ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			status, body, _ := k.rawFor(k.build, http.MethodPost, iaas+tc.path, tc.body).send(k)
			if status < 400 || status >= 500 || !strings.Contains(body, tc.part) {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
	if n := len(k.home().Images); n != 1 {
		t.Errorf("refused requests left %d images", n)
	}
}

// TestOnlyOneExportAtATime refuses a second export, and a launch from an image
// that is still being made.
func TestOnlyOneExportAtATime(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	k.bucket(k.storage(k.build, homeRegion), k.build, "images")
	k.faults( // so that states last long enough to be met
		ocisim.Fault{Kind: ocisim.FaultSlow, State: "EXPORTING", Delay: ocisim.Duration(time.Second)},
		ocisim.Fault{Kind: ocisim.FaultSlow, Op: "CreateImage", State: "PROVISIONING", Delay: ocisim.Duration(time.Second)},
	)
	export := core.ExportImageRequest{ImageId: &k.base, RequestMetadata: once(),
		ExportImageDetails: core.ExportImageViaObjectStorageTupleDetails{BucketName: common.String("images"),
			NamespaceName: &k.build.Namespace, ObjectName: common.String("one.oci")}}
	if _, err := c.ExportImage(ctx, export); err != nil {
		t.Fatal(err)
	}
	_, err := c.ExportImage(ctx, export)
	wantServiceError(t, err, 409, "Conflict", "another image operation")
	k.imageReaches(c, k.base, core.ImageLifecycleStateAvailable)

	i := k.launched()
	made, err := c.CreateImage(ctx, core.CreateImageRequest{RequestMetadata: once(), CreateImageDetails: core.CreateImageDetails{
		CompartmentId: &k.build.CompartmentID, InstanceId: i.Id}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
		d.SourceDetails = core.InstanceSourceViaImageDetails{ImageId: made.Id}
	}))
	wantServiceError(t, err, 409, "IncorrectState", "PROVISIONING")
	k.imageReaches(c, *made.Id, core.ImageLifecycleStateAvailable)
}

// TestTerminatingStillCounts: an instance on its way out holds its share of the
// limits until it is gone.
func TestTerminatingStillCounts(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	k.build.Limits["standard-a1-core-count"] = 2
	c := k.compute(k.build, homeRegion)
	i := k.launched()
	k.faults(ocisim.Fault{Kind: ocisim.FaultSlow, State: "TERMINATING", Delay: ocisim.Duration(time.Second)})
	if _, err := c.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: i.Id}); err != nil {
		t.Fatal(err)
	}
	_, err := c.LaunchInstance(ctx, k.launchRequest(nil))
	wantServiceError(t, err, 400, "LimitExceeded", "standard-a1-core-count")
	k.reaches(c, *i.Id, core.InstanceLifecycleStateTerminated)
	if _, err := c.LaunchInstance(ctx, k.launchRequest(nil)); err != nil {
		t.Errorf("after it is gone: %v", err)
	}
}

// TestLimitsAreTheTenancys: limit values are asked of the root compartment.
func TestLimitsAreTheTenancys(t *testing.T) {
	k := newKit(t, nil)
	_, err := k.limits(k.build, homeRegion).ListLimitValues(context.Background(), limits.ListLimitValuesRequest{
		CompartmentId: &k.build.CompartmentID, ServiceName: common.String("compute"), RequestMetadata: once()})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
}

// TestCopyStaysInTheTenancy: without policies on both sides an object cannot be
// copied into another tenancy's namespace.
func TestCopyStaysInTheTenancy(t *testing.T) {
	k := newKit(t, nil)
	store := k.storage(k.build, homeRegion)
	k.bucket(store, k.build, "images")
	name := "there"
	_, err := store.CopyObject(context.Background(), objectstorage.CopyObjectRequest{
		NamespaceName: &k.build.Namespace, BucketName: common.String("images"), RequestMetadata: once(),
		CopyObjectDetails: objectstorage.CopyObjectDetails{SourceObjectName: common.String("no"), DestinationRegion: common.String(homeRegion),
			DestinationNamespace: &k.stranger.Namespace, DestinationBucket: common.String("images"), DestinationObjectName: &name}})
	wantServiceError(t, err, 404, "BucketNotFound", k.stranger.Namespace)
}
