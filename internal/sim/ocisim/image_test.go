// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"
	"github.com/oracle/oci-go-sdk/v65/workrequests"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// exported exports the base image and returns a URL from which to import it.
func (k *kit) exported() string {
	k.t.Helper()
	store := k.storage(k.build, homeRegion)
	k.bucket(store, k.build, "images")
	c := k.compute(k.build, homeRegion)
	resp, err := c.ExportImage(context.Background(), core.ExportImageRequest{ImageId: &k.base, RequestMetadata: once(),
		ExportImageDetails: core.ExportImageViaObjectStorageTupleDetails{BucketName: common.String("images"),
			NamespaceName: &k.build.Namespace, ObjectName: common.String("base.oci")}})
	if err != nil {
		k.t.Fatal(err)
	}
	if w := k.workEnds(k.work(k.build, homeRegion), resp.OpcWorkRequestId); w.Status != workrequests.WorkRequestStatusSucceeded {
		k.t.Fatalf("the export ended %s", w.Status)
	}
	return k.par(store, k.build, "images", "base.oci", objectstorage.CreatePreauthenticatedRequestDetailsAccessTypeObjectread)
}

// importFrom starts an import in the production tenancy.
func (k *kit) importFrom(source core.ImageSourceDetails) (core.CreateImageResponse, error) {
	return k.compute(k.production, prodRegion).CreateImage(context.Background(), core.CreateImageRequest{RequestMetadata: once(),
		CreateImageDetails: core.CreateImageDetails{CompartmentId: &k.production.CompartmentID, ImageSourceDetails: source}})
}

// TestImportEnds covers how an import can end.
func TestImportEnds(t *testing.T) {
	k := newKit(t, nil)
	c := k.compute(k.production, prodRegion)
	w := k.work(k.production, prodRegion)
	url := k.exported()
	raw := core.ImageSourceDetailsSourceImageTypeQcow2
	tests := []struct {
		name   string
		fault  *ocisim.Fault
		source core.ImageSourceDetails
		reason string // of a failure; "" for success
	}{
		{"as documented", nil, core.ImageSourceViaObjectStorageUriDetails{SourceUri: &url}, ""},
		{"fails", &ocisim.Fault{Kind: ocisim.FaultImportFails}, core.ImageSourceViaObjectStorageUriDetails{SourceUri: &url}, "could not be imported"},
		{"archive as raw disk", nil, core.ImageSourceViaObjectStorageUriDetails{SourceUri: &url, SourceImageType: raw}, "not a qcow2 image"},
		{"no such request", nil, core.ImageSourceViaObjectStorageUriDetails{SourceUri: common.String(
			"https://objectstorage." + homeRegion + ".oraclecloud.com/p/none/n/" + k.build.Namespace + "/b/images/o/base.oci")}, "Object Storage answered 4"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			k.cloud.ResetFaults()
			if tc.fault != nil {
				k.faults(*tc.fault)
			}
			resp, err := k.importFrom(tc.source)
			if err != nil {
				t.Fatal(err)
			}
			k.workEnds(w, resp.OpcWorkRequestId)
			img := k.imageReaches(c, *resp.Id, map[bool]core.ImageLifecycleStateEnum{true: "AVAILABLE", false: "DELETED"}[tc.reason == ""])
			reasons, err := w.ListWorkRequestErrors(context.Background(), workrequests.ListWorkRequestErrorsRequest{WorkRequestId: resp.OpcWorkRequestId})
			if err != nil {
				t.Fatal(err)
			}
			if tc.reason == "" {
				if len(reasons.Items) != 0 || img.LaunchOptions.Firmware != core.LaunchOptionsFirmwareUefi64 {
					t.Errorf("errors %v, image %+v", reasons.Items, img)
				}
				return
			}
			if len(reasons.Items) != 1 || !strings.Contains(*reasons.Items[0].Message, tc.reason) {
				t.Errorf("errors %v, want %q", reasons.Items, tc.reason)
			}
		})
	}
	// Another tenancy's bucket cannot be named, only reached by its URL.
	_, err := k.importFrom(core.ImageSourceViaObjectStorageTupleDetails{BucketName: common.String("images"),
		NamespaceName: &k.build.Namespace, ObjectName: common.String("base.oci")})
	wantServiceError(t, err, 400, "InvalidParameter", "Invalid objectName: Specified object or bucket or namespace")
	for _, r := range k.cloud.Requests() {
		if strings.HasPrefix(r.Path, "/p/") && !strings.HasPrefix(r.Path, "/p/…/") {
			t.Errorf("the log shows a secret path: %s", r.Path)
		}
	}
}

// TestImportShapes covers which shapes an import starts with.
func TestImportShapes(t *testing.T) {
	for name, tc := range map[string]struct {
		switches ocisim.Switches
		fault    *ocisim.Fault
		a1       bool
		none     bool
	}{
		"A1 must be added":       {},
		"archive registers them": {switches: ocisim.Switches{ImportRegistersShapes: true}, a1: true},
		"empty list":             {fault: &ocisim.Fault{Kind: ocisim.FaultNoShapes, Tenancy: "production"}, none: true},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t, func(c *ocisim.Config) { c.Switches = tc.switches })
			url := k.exported()
			if tc.fault != nil {
				k.faults(*tc.fault)
			}
			resp, err := k.importFrom(core.ImageSourceViaObjectStorageUriDetails{SourceUri: &url})
			if err != nil {
				t.Fatal(err)
			}
			c := k.compute(k.production, prodRegion)
			k.imageReaches(c, *resp.Id, core.ImageLifecycleStateAvailable)
			list, err := c.ListImageShapeCompatibilityEntries(context.Background(), core.ListImageShapeCompatibilityEntriesRequest{ImageId: resp.Id})
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, e := range list.Items {
				found = found || *e.Shape == a1
			}
			if found != tc.a1 || (len(list.Items) == 0) != tc.none {
				t.Errorf("shapes: %+v", list.Items)
			}
		})
	}
}

// TestRawImport imports a bare disk: BIOS, unless the undocumented launch
// options say otherwise.
func TestRawImport(t *testing.T) {
	k := newKit(t, nil)
	store := k.storage(k.production, prodRegion)
	k.bucket(store, k.production, "images")
	disk := t.TempDir() + "/raw.qcow2"
	if err := machine.FastDisk(disk, nil); err != nil {
		t.Fatal(err)
	}
	k.upload(store, k.production, "images", "raw.qcow2", disk)
	c := k.compute(k.production, prodRegion)
	source := fmt.Sprintf(`{"sourceType":"objectStorageTuple","bucketName":"images","namespaceName":%q,"objectName":"raw.qcow2","sourceImageType":"QCOW2"}`, k.production.Namespace)
	for launch, want := range map[string]core.LaunchOptionsFirmwareEnum{
		`"launchMode":"PARAVIRTUALIZED"`: core.LaunchOptionsFirmwareBios,
		`"launchMode":"CUSTOM","launchOptions":{"firmware":"UEFI_64","bootVolumeType":"PARAVIRTUALIZED","networkType":"PARAVIRTUALIZED",` +
			`"remoteDataVolumeType":"PARAVIRTUALIZED","isPvEncryptionInTransitEnabled":false,"isConsistentVolumeNamingEnabled":false}`: core.LaunchOptionsFirmwareUefi64,
	} {
		id, _ := k.importRaw(c, source, launch)
		img := k.imageReaches(c, id, core.ImageLifecycleStateAvailable)
		if img.LaunchOptions.Firmware != want {
			t.Errorf("%s gives %s", launch, img.LaunchOptions.Firmware)
		}
	}
}

// importRaw starts an import in the production tenancy with what the SDK has no fields for.
func (k *kit) importRaw(c core.ComputeClient, source, launch string) (image string, work *string) {
	k.t.Helper()
	body := fmt.Sprintf(`{"compartmentId":%q,"displayName":"raw","imageSourceDetails":%s,%s}`, k.production.ID, source, launch)
	c.Host = "https://iaas." + prodRegion + ".oraclecloud.com"
	req := common.MakeDefaultHTTPRequest(http.MethodPost, "/images")
	req.Header.Set("Content-Type", "application/json")
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	resp, err := c.Call(context.Background(), &req)
	if err != nil {
		k.t.Fatal(err)
	}
	defer resp.Body.Close()
	var created bytes.Buffer
	_, _ = created.ReadFrom(resp.Body)
	return between(created.String(), `"id":"`, `"`), new(resp.Header.Get("Opc-Work-Request-Id"))
}

func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}

// TestImageFaults covers conflicts, limits and exports that get lost.
func TestImageFaults(t *testing.T) {
	k := newKit(t, func(c *ocisim.Config) { c.Delays.Capture = 2 * time.Second })
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	i := k.launched()
	create := func() (core.CreateImageResponse, error) {
		return c.CreateImage(ctx, core.CreateImageRequest{RequestMetadata: once(),
			CreateImageDetails: core.CreateImageDetails{CompartmentId: &k.build.CompartmentID, InstanceId: i.Id}})
	}
	k.faults(ocisim.Fault{Kind: ocisim.FaultImageConflict, Times: 1},
		ocisim.Fault{Kind: ocisim.FaultMalformedHeader, Op: "CreateImage", Skip: 1, Times: 1})
	_, err := create()
	wantServiceError(t, err, 409, "Conflict", "Conflict with another image operation, try again later")
	// The malformed header hides an image that has been made all the same.
	if _, err = create(); err == nil || !strings.Contains(err.Error(), "malformed MIME header") {
		t.Fatalf("got %v", err)
	}
	_, err = create()
	wantServiceError(t, err, 409, "Conflict", "")
	k.reaches(c, *i.Id, core.InstanceLifecycleStateRunning)
	if images := k.home().Images; len(images) != 2 || images[1].State != "AVAILABLE" {
		t.Fatalf("images: %+v", images)
	}
	k.faults(ocisim.Fault{Kind: ocisim.FaultLimitValue, Limit: "custom-image-count", Value: 0})
	_, err = create()
	wantServiceError(t, err, 400, "LimitExceeded", "custom-image-count")

	k.bucket(k.storage(k.build, homeRegion), k.build, "images")
	for message, want := range map[string]workrequests.WorkRequestStatusEnum{
		"":           workrequests.WorkRequestStatusSucceeded, // nothing but the absence tells
		"disk is on": workrequests.WorkRequestStatusFailed,
	} {
		k.faults(ocisim.Fault{Kind: ocisim.FaultExportLost, Message: message})
		resp, err := c.ExportImage(ctx, core.ExportImageRequest{ImageId: &k.base, RequestMetadata: once(),
			ExportImageDetails: core.ExportImageViaObjectStorageTupleDetails{BucketName: common.String("images"),
				NamespaceName: &k.build.Namespace, ObjectName: common.String("lost.oci")}})
		if err != nil {
			t.Fatal(err)
		}
		if w := k.workEnds(k.work(k.build, homeRegion), resp.OpcWorkRequestId); w.Status != want {
			t.Errorf("%q: the work request is %s", message, w.Status)
		}
		k.imageReaches(c, k.base, core.ImageLifecycleStateAvailable)
	}
	if objects := k.home().Buckets[0].Objects; len(objects) != 0 {
		t.Errorf("objects: %+v", objects)
	}
	// A request that cannot be written ends the export the same way.
	read := k.par(k.storage(k.build, homeRegion), k.build, "images", "x.oci", objectstorage.CreatePreauthenticatedRequestDetailsAccessTypeObjectread)
	k.cloud.ResetFaults()
	resp, err := c.ExportImage(ctx, core.ExportImageRequest{ImageId: &k.base, RequestMetadata: once(),
		ExportImageDetails: core.ExportImageViaObjectStorageUriDetails{DestinationUri: &read}})
	if err != nil {
		t.Fatal(err)
	}
	if w := k.workEnds(k.work(k.build, homeRegion), resp.OpcWorkRequestId); w.Status != workrequests.WorkRequestStatusFailed {
		t.Errorf("an export through a read-only request ended %s", w.Status)
	}
}

// TestTerminateWhileImaging keeps the image: it is made of a disk that is
// already at rest.
func TestTerminateWhileImaging(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	i := k.launched()
	k.faults(ocisim.Fault{Kind: ocisim.FaultSlow, Op: "CreateImage", State: "PROVISIONING", Delay: ocisim.Duration(time.Second)})
	img, err := c.CreateImage(ctx, core.CreateImageRequest{RequestMetadata: once(),
		CreateImageDetails: core.CreateImageDetails{CompartmentId: &k.build.CompartmentID, InstanceId: i.Id}})
	if err != nil {
		t.Fatal(err)
	}
	k.terminate(c, i.Id)
	k.imageReaches(c, *img.Id, core.ImageLifecycleStateAvailable)
	if n := k.driver.started(); n != 1 {
		t.Errorf("%d machines were started, want no second one for an instance that ends", n)
	}
	if left := k.home(); len(left.Instances)+len(left.BootVolumes)+len(left.Machines) != 0 {
		t.Errorf("left: %+v", left)
	}
}

// TestWorkRequestsLate answers 404 to the first look, if the switch says so.
func TestWorkRequestsLate(t *testing.T) {
	k := newKit(t, func(c *ocisim.Config) { c.Switches.WorkRequestsLate = true })
	launched, err := k.compute(k.build, homeRegion).LaunchInstance(context.Background(), k.launchRequest(nil))
	if err != nil {
		t.Fatal(err)
	}
	w := k.work(k.build, homeRegion)
	_, err = w.GetWorkRequest(context.Background(), workrequests.GetWorkRequestRequest{WorkRequestId: launched.OpcWorkRequestId})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	k.workEnds(w, launched.OpcWorkRequestId)
}
