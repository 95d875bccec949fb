// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// TestWholePath takes an image from an instance in one tenancy to an instance
// in another one, through the real SDK, and follows the bytes.
func TestWholePath(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	build := k.compute(k.build, homeRegion)

	instance := k.launched()
	launchSpec := k.driver.last().spec
	if launchSpec.Firmware != machine.UEFI64 || launchSpec.CPUs != 2 || launchSpec.MemoryMB != 12*1024 || launchSpec.Cloud != machine.OCI {
		t.Errorf("the machine is %+v", launchSpec)
	}

	// The way to the machine: attachment, then VNIC, then its address.
	var attachment core.VnicAttachment
	eventually(t, "VNIC is attached", func() bool {
		list, err := build.ListVnicAttachments(ctx, core.ListVnicAttachmentsRequest{CompartmentId: instance.CompartmentId, InstanceId: instance.Id})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%d attachments, %v", len(list.Items), err)
		}
		attachment = list.Items[0]
		return attachment.LifecycleState == core.VnicAttachmentLifecycleStateAttached
	})
	vnic, err := k.network(k.build, homeRegion).GetVnic(ctx, core.GetVnicRequest{VnicId: attachment.VnicId})
	if err != nil {
		t.Fatal(err)
	}
	if address, _, _ := strings.Cut(launchSpec.SSH, ":"); *vnic.PublicIp != address || *vnic.PrivateIp != address ||
		!strings.HasPrefix(address, "127.80.") {
		t.Errorf("addresses %s and %s, the machine listens on %s", *vnic.PublicIp, *vnic.PrivateIp, launchSpec.SSH)
	}
	boots, err := build.ListBootVolumeAttachments(ctx, core.ListBootVolumeAttachmentsRequest{
		AvailabilityDomain: instance.AvailabilityDomain, CompartmentId: instance.CompartmentId, InstanceId: instance.Id})
	if err != nil || len(boots.Items) != 1 || boots.Items[0].LifecycleState != core.BootVolumeAttachmentLifecycleStateAttached {
		t.Fatalf("boot volume attachments: %+v, %v", boots.Items, err)
	}

	// An image of the running instance.
	created, err := build.CreateImage(ctx, core.CreateImageRequest{CreateImageDetails: core.CreateImageDetails{
		CompartmentId: &k.build.CompartmentID, InstanceId: instance.Id, DisplayName: common.String("golden"),
		FreeformTags: map[string]string{"kept": "no"}}, RequestMetadata: once()})
	if err != nil {
		t.Fatal(err)
	}
	if created.LifecycleState != core.ImageLifecycleStateProvisioning || created.OpcWorkRequestId == nil {
		t.Errorf("CreateImage answered %+v", created)
	}
	img := k.imageReaches(build, *created.Id, core.ImageLifecycleStateAvailable)
	if *img.BaseImageId != k.base || *img.OperatingSystem != "Debian" || img.LaunchOptions.Firmware != core.LaunchOptionsFirmwareUefi64 {
		t.Errorf("the image is %+v", img)
	}
	if w := k.workEnds(k.work(k.build, homeRegion), created.OpcWorkRequestId); w.Status != "SUCCEEDED" || *w.Resources[0].Identifier != *img.Id {
		t.Errorf("the work request is %+v", w)
	}
	// Oracle starts the instance again.
	k.reaches(build, *instance.Id, core.InstanceLifecycleStateRunning)
	if _, err := build.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: instance.Id}); err != nil {
		t.Fatal(err)
	}
	k.reaches(build, *instance.Id, core.InstanceLifecycleStateTerminated)

	// Export through a pre-authenticated request, read back through another.
	store := k.storage(k.build, homeRegion)
	k.bucket(store, k.build, "images")
	write := k.par(store, k.build, "images", "golden.oci", objectstorage.CreatePreauthenticatedRequestDetailsAccessTypeObjectwrite)
	exported, err := build.ExportImage(ctx, core.ExportImageRequest{ImageId: img.Id, RequestMetadata: once(),
		ExportImageDetails: core.ExportImageViaObjectStorageUriDetails{DestinationUri: &write}})
	if err != nil {
		t.Fatal(err)
	}
	if exported.LifecycleState != core.ImageLifecycleStateExporting {
		t.Errorf("ExportImage answered %+v", exported)
	}
	_, err = build.DeleteImage(ctx, core.DeleteImageRequest{ImageId: img.Id})
	wantServiceError(t, err, 409, "Conflict", "EXPORTING")
	if w := k.workEnds(k.work(k.build, homeRegion), exported.OpcWorkRequestId); w.Status != "SUCCEEDED" {
		t.Fatalf("the export ended %+v", w)
	}
	k.imageReaches(build, *img.Id, core.ImageLifecycleStateAvailable)
	read := k.par(store, k.build, "images", "golden.oci", objectstorage.CreatePreauthenticatedRequestDetailsAccessTypeObjectread)

	// Import in the other tenancy and region.
	prod := k.compute(k.production, prodRegion)
	imported, err := prod.CreateImage(ctx, core.CreateImageRequest{CreateImageDetails: core.CreateImageDetails{
		CompartmentId: &k.production.CompartmentID, DisplayName: common.String("golden-copy"),
		ImageSourceDetails: core.ImageSourceViaObjectStorageUriDetails{SourceUri: &read}}, RequestMetadata: once()})
	if err != nil {
		t.Fatal(err)
	}
	if imported.LifecycleState != core.ImageLifecycleStateImporting {
		t.Errorf("the import began as %s", imported.LifecycleState)
	}
	twin := k.imageReaches(prod, *imported.Id, core.ImageLifecycleStateAvailable)
	if *twin.OperatingSystem != "Debian" || twin.LaunchOptions.Firmware != core.LaunchOptionsFirmwareUefi64 || len(twin.FreeformTags) != 0 {
		t.Errorf("the copy is %+v", twin)
	}

	// It needs the A1 entry before it can be launched.
	launch := core.LaunchInstanceRequest{RequestMetadata: once(), LaunchInstanceDetails: core.LaunchInstanceDetails{
		AvailabilityDomain: common.String(k.production.AvailabilityDomains(prodRegion)[1]), CompartmentId: &k.production.CompartmentID,
		Shape: common.String(a1), ShapeConfig: &core.LaunchInstanceShapeConfigDetails{Ocpus: common.Float32(1)},
		SourceDetails:     core.InstanceSourceViaImageDetails{ImageId: twin.Id},
		CreateVnicDetails: &core.CreateVnicDetails{SubnetId: common.String(k.production.PrivateSubnetID(prodRegion))}}}
	_, err = prod.LaunchInstance(ctx, launch)
	wantServiceError(t, err, 400, "InvalidParameter", "Shape VM.Standard.A1.Flex is not valid for image "+*twin.Id)
	if _, err := prod.AddImageShapeCompatibilityEntry(ctx, core.AddImageShapeCompatibilityEntryRequest{ImageId: twin.Id, ShapeName: common.String(a1),
		AddImageShapeCompatibilityEntryDetails: core.AddImageShapeCompatibilityEntryDetails{
			OcpuConstraints: &core.ImageOcpuConstraints{Min: common.Int(1), Max: common.Int(4)}}}); err != nil {
		t.Fatal(err)
	}
	copyInstance, err := prod.LaunchInstance(ctx, launch)
	if err != nil {
		t.Fatal(err)
	}
	k.reaches(prod, *copyInstance.Id, core.InstanceLifecycleStateRunning)

	// The bytes that the first guest wrote when it shut down have arrived.
	bytesOf, err := os.ReadFile(k.driver.last().spec.Disk)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasSuffix(bytesOf, []byte(shutdownMark)) {
		t.Error("the copy's disk is not what the first guest left behind")
	}
	if *copyInstance.ShapeConfig.MemoryInGBs != 6 {
		t.Errorf("memory defaults to %v GB for one OCPU, want 6", *copyInstance.ShapeConfig.MemoryInGBs)
	}

	// The log tells it all once more, in the order in which it was.
	became := map[string][]string{}
	changes := k.cloud.Changes()
	for n, change := range changes {
		became[change.ID] = append(became[change.ID], change.State)
		if n > 0 && change.Time.Before(changes[n-1].Time) {
			t.Errorf("change %d is before the one before it", n)
		}
	}
	for id, want := range map[string]string{
		*instance.Id:     "PROVISIONING RUNNING STOPPING CREATING_IMAGE STOPPED STARTING RUNNING TERMINATING TERMINATED",
		*img.Id:          "PROVISIONING AVAILABLE EXPORTING AVAILABLE",
		*twin.Id:         "IMPORTING AVAILABLE",
		*copyInstance.Id: "PROVISIONING RUNNING",
	} {
		if got := strings.Join(became[id], " "); got != want {
			t.Errorf("%s became %s, want %s", id, got, want)
		}
	}
	for _, r := range k.cloud.Requests() {
		if r.Time.IsZero() || r.Answered.Before(r.Time) {
			t.Errorf("%s arrived at %s and was answered at %s", r.Op, r.Time, r.Answered)
		}
	}

	// Everything else is gone from the build tenancy but what was not deleted.
	home := k.cloud.Inventory().Tenancies[indexOf(k, "build")].Regions[0]
	if len(home.Instances)+len(home.BootVolumes)+len(home.Machines) != 0 {
		t.Errorf("left in the build tenancy: %+v", home)
	}
	if len(home.Images) != 2 || len(home.Buckets) != 1 || len(home.Buckets[0].Objects) != 1 || len(home.Buckets[0].PARs) != 2 {
		t.Errorf("the inventory misses what was left on purpose: %+v", home)
	}
}

// storage is an Object Storage client of a tenancy in a region.
func (k *kit) storage(t *tenancy, regionName string) objectstorage.ObjectStorageClient {
	client, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(provider(t, regionName))
	if err != nil {
		k.t.Fatal(err)
	}
	client.HTTPClient = k.http
	return client
}

func (k *kit) bucket(c objectstorage.ObjectStorageClient, t *tenancy, name string) {
	k.t.Helper()
	if _, err := c.CreateBucket(context.Background(), objectstorage.CreateBucketRequest{NamespaceName: &t.Namespace,
		CreateBucketDetails: objectstorage.CreateBucketDetails{Name: &name, CompartmentId: &t.CompartmentID}}); err != nil {
		k.t.Fatal(err)
	}
}

// par makes a pre-authenticated request and returns its URL.
func (k *kit) par(c objectstorage.ObjectStorageClient, t *tenancy, bucket, object string,
	access objectstorage.CreatePreauthenticatedRequestDetailsAccessTypeEnum) string {
	k.t.Helper()
	resp, err := c.CreatePreauthenticatedRequest(context.Background(), objectstorage.CreatePreauthenticatedRequestRequest{
		NamespaceName: &t.Namespace, BucketName: &bucket,
		CreatePreauthenticatedRequestDetails: objectstorage.CreatePreauthenticatedRequestDetails{Name: common.String("copy"),
			ObjectName: &object, AccessType: access, TimeExpires: &common.SDKTime{Time: time.Now().Add(time.Hour)}}})
	if err != nil {
		k.t.Fatal(err)
	}
	return "https://objectstorage." + t.HomeRegion + ".oraclecloud.com" + *resp.AccessUri
}

// upload puts a file into a bucket.
func (k *kit) upload(c objectstorage.ObjectStorageClient, t *tenancy, bucket, object, path string) {
	k.t.Helper()
	f, err := os.Open(path)
	if err != nil {
		k.t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		k.t.Fatal(err)
	}
	if _, err := c.PutObject(context.Background(), objectstorage.PutObjectRequest{NamespaceName: &t.Namespace, BucketName: &bucket,
		ObjectName: &object, ContentLength: common.Int64(info.Size()), PutObjectBody: f}); err != nil {
		k.t.Fatal(err)
	}
}
