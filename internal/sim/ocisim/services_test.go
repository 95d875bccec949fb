// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/identity"
	"github.com/oracle/oci-go-sdk/v65/limits"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// TestIdentity asks where a tenancy can be.
func TestIdentity(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.identity(k.build, homeRegion)
	ads, err := c.ListAvailabilityDomains(ctx, identity.ListAvailabilityDomainsRequest{CompartmentId: &k.build.ID})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, ad := range ads.Items {
		names = append(names, *ad.Name)
	}
	if !slices.Equal(names, k.build.AvailabilityDomains(homeRegion)) || !strings.HasSuffix(names[2], ":US-ASHBURN-AD-3") {
		t.Errorf("availability domains: %v", names)
	}
	if names[0] == k.stranger.AvailabilityDomains(homeRegion)[0] {
		t.Error("two tenancies call an availability domain by the same name")
	}
	fds, err := c.ListFaultDomains(ctx, identity.ListFaultDomainsRequest{CompartmentId: &k.build.ID, AvailabilityDomain: &names[1]})
	if err != nil || len(fds.Items) != 3 || *fds.Items[2].Name != "FAULT-DOMAIN-3" {
		t.Errorf("fault domains: %+v, %v", fds.Items, err)
	}
	regions, err := c.ListRegionSubscriptions(ctx, identity.ListRegionSubscriptionsRequest{TenancyId: &k.build.ID})
	if err != nil || len(regions.Items) != 2 || *regions.Items[0].RegionKey != "IAD" || !*regions.Items[0].IsHomeRegion || *regions.Items[1].IsHomeRegion {
		t.Errorf("regions: %+v, %v", regions.Items, err)
	}
	own, err := c.GetTenancy(ctx, identity.GetTenancyRequest{TenancyId: &k.build.ID})
	if err != nil || *own.HomeRegionKey != "IAD" {
		t.Errorf("tenancy: %+v, %v", own.Tenancy, err)
	}
	_, err = c.GetTenancy(ctx, identity.GetTenancyRequest{TenancyId: &k.production.ID, RequestMetadata: once()})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	children, err := c.ListCompartments(ctx, identity.ListCompartmentsRequest{CompartmentId: &k.build.ID})
	if err != nil || len(children.Items) != 1 || *children.Items[0].Id != k.build.CompartmentID {
		t.Errorf("compartments: %+v, %v", children.Items, err)
	}
	if one, err := c.GetCompartment(ctx, identity.GetCompartmentRequest{CompartmentId: &k.build.CompartmentID}); err != nil || *one.CompartmentId != k.build.ID {
		t.Errorf("compartment: %+v, %v", one.Compartment, err)
	}
	l := k.limits(k.build, homeRegion)
	definitions, err := l.ListLimitDefinitions(ctx, limits.ListLimitDefinitionsRequest{CompartmentId: &k.build.ID, Name: common.String("custom-image-count")})
	if err != nil || len(definitions.Items) != 1 || definitions.Items[0].ScopeType != "REGION" {
		t.Errorf("limit definitions: %+v, %v", definitions.Items, err)
	}
	if services, err := l.ListServices(ctx, limits.ListServicesRequest{CompartmentId: &k.build.ID}); err != nil || len(services.Items) != 2 {
		t.Errorf("services: %+v, %v", services.Items, err)
	}
}

// TestNetwork reads what is there and follows an instance's address.
func TestNetwork(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.network(k.build, homeRegion)
	vcns, err := c.ListVcns(ctx, core.ListVcnsRequest{CompartmentId: &k.build.CompartmentID})
	if err != nil || len(vcns.Items) != 1 {
		t.Fatalf("VCNs: %+v, %v", vcns.Items, err)
	}
	if _, err := c.GetVcn(ctx, core.GetVcnRequest{VcnId: vcns.Items[0].Id}); err != nil {
		t.Error(err)
	}
	subnets, err := c.ListSubnets(ctx, core.ListSubnetsRequest{CompartmentId: &k.build.CompartmentID, VcnId: vcns.Items[0].Id})
	if err != nil || len(subnets.Items) != 5 {
		t.Fatalf("subnets: %+v, %v", subnets.Items, err)
	}
	private, err := c.GetSubnet(ctx, core.GetSubnetRequest{SubnetId: common.String(k.build.PrivateSubnetID(homeRegion))})
	if err != nil || !*private.ProhibitPublicIpOnVnic {
		t.Errorf("private subnet: %+v, %v", private.Subnet, err)
	}
	_, err = c.GetSubnet(ctx, core.GetSubnetRequest{SubnetId: common.String(k.stranger.SubnetID(homeRegion))})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")

	compute := k.compute(k.build, homeRegion)
	i, err := compute.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
		d.CreateVnicDetails = &core.CreateVnicDetails{SubnetId: private.Id, HostnameLabel: common.String("builder")}
	}))
	if err != nil {
		t.Fatal(err)
	}
	attached := func() (a core.VnicAttachment) {
		list, err := compute.ListVnicAttachments(ctx, core.ListVnicAttachmentsRequest{CompartmentId: i.CompartmentId, InstanceId: i.Id})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("attachments: %+v, %v", list.Items, err)
		}
		return list.Items[0]
	}
	if a := attached(); a.LifecycleState != "ATTACHING" || a.VnicId != nil {
		t.Errorf("at first the attachment is %+v", a)
	}
	eventually(t, "the VNIC is attached", func() bool { return attached().LifecycleState == "ATTACHED" })
	vnic, err := c.GetVnic(ctx, core.GetVnicRequest{VnicId: attached().VnicId})
	if err != nil || vnic.PublicIp != nil || *vnic.HostnameLabel != "builder" {
		t.Fatalf("VNIC: %+v, %v", vnic.Vnic, err)
	}
	ips, err := c.ListPrivateIps(ctx, core.ListPrivateIpsRequest{VnicId: vnic.Id})
	if err != nil || len(ips.Items) != 1 || *ips.Items[0].IpAddress != *vnic.PrivateIp {
		t.Fatalf("private IPs: %+v, %v", ips.Items, err)
	}
	if _, err := c.GetPrivateIp(ctx, core.GetPrivateIpRequest{PrivateIpId: ips.Items[0].Id}); err != nil {
		t.Error(err)
	}
	volumes := k.volumes(k.build, homeRegion)
	boots, err := volumes.ListBootVolumes(ctx, core.ListBootVolumesRequest{CompartmentId: i.CompartmentId, AvailabilityDomain: i.AvailabilityDomain})
	if err != nil || len(boots.Items) != 1 {
		t.Fatalf("boot volumes: %+v, %v", boots.Items, err)
	}
	_, err = volumes.DeleteBootVolume(ctx, core.DeleteBootVolumeRequest{BootVolumeId: boots.Items[0].Id})
	wantServiceError(t, err, 409, "Conflict", "currently attached")
	k.terminate(compute, i.Id)
	if gone, err := volumes.GetBootVolume(ctx, core.GetBootVolumeRequest{BootVolumeId: boots.Items[0].Id}); err != nil || gone.LifecycleState != "TERMINATED" {
		t.Errorf("the boot volume is %s, %v", gone.LifecycleState, err)
	}
	_, err = c.GetVnic(ctx, core.GetVnicRequest{VnicId: vnic.Id})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
}

// TestCapabilitySchema does what packer-plugin-oracle does to every image: it
// copies the global schema, then changes two entries.
func TestCapabilitySchema(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	none, err := c.ListComputeImageCapabilitySchemas(ctx, core.ListComputeImageCapabilitySchemasRequest{ImageId: &k.base})
	if err != nil || len(none.Items) != 0 {
		t.Fatalf("schemas: %+v, %v", none.Items, err)
	}
	global, err := c.ListComputeGlobalImageCapabilitySchemas(ctx, core.ListComputeGlobalImageCapabilitySchemasRequest{})
	if err != nil || len(global.Items) != 1 {
		t.Fatalf("global schemas: %+v, %v", global.Items, err)
	}
	version, err := c.GetComputeGlobalImageCapabilitySchemaVersion(ctx, core.GetComputeGlobalImageCapabilitySchemaVersionRequest{
		ComputeGlobalImageCapabilitySchemaId: global.Items[0].Id, ComputeGlobalImageCapabilitySchemaVersionName: global.Items[0].CurrentVersionName})
	if err != nil || len(version.SchemaData) == 0 {
		t.Fatalf("global schema: %+v, %v", version, err)
	}
	enum := func(fallback string, values ...string) core.EnumStringImageCapabilitySchemaDescriptor {
		return core.EnumStringImageCapabilitySchemaDescriptor{Source: "IMAGE", DefaultValue: &fallback, Values: values}
	}
	create := func(data map[string]core.ImageCapabilitySchemaDescriptor) (core.CreateComputeImageCapabilitySchemaResponse, error) {
		return c.CreateComputeImageCapabilitySchema(ctx, core.CreateComputeImageCapabilitySchemaRequest{RequestMetadata: once(),
			CreateComputeImageCapabilitySchemaDetails: core.CreateComputeImageCapabilitySchemaDetails{CompartmentId: &k.build.CompartmentID,
				ComputeGlobalImageCapabilitySchemaVersionName: version.Name, ImageId: &k.base, SchemaData: data}})
	}
	for name, bad := range map[string]map[string]core.ImageCapabilitySchemaDescriptor{
		"unknown capability": {"Compute.Colour": enum("RED", "RED")},
		"unknown value":      {"Compute.Firmware": enum("UEFI_32", "UEFI_32")},
		"default not listed": {"Compute.Firmware": enum("BIOS", "UEFI_64")},
		"wrong kind":         {"Compute.Firmware": core.BooleanImageCapabilitySchemaDescriptor{Source: "IMAGE"}},
	} {
		if _, err := create(bad); err == nil || !strings.Contains(err.Error(), "InvalidParameter") {
			t.Errorf("%s: %v", name, err)
		}
	}
	made, err := create(version.SchemaData)
	if err != nil {
		t.Fatal(err)
	}
	_, err = create(version.SchemaData)
	wantServiceError(t, err, 409, "Conflict", "already has")
	data := made.SchemaData
	data["Compute.LaunchMode"] = enum("PARAVIRTUALIZED", "NATIVE", "EMULATED", "PARAVIRTUALIZED", "CUSTOM")
	updated, err := c.UpdateComputeImageCapabilitySchema(ctx, core.UpdateComputeImageCapabilitySchemaRequest{ComputeImageCapabilitySchemaId: made.Id,
		UpdateComputeImageCapabilitySchemaDetails: core.UpdateComputeImageCapabilitySchemaDetails{SchemaData: data, FreeformTags: map[string]string{"a": "b"}}})
	if err != nil || updated.FreeformTags["a"] != "b" {
		t.Fatalf("updated: %+v, %v", updated, err)
	}
	if got, err := c.GetComputeImageCapabilitySchema(ctx, core.GetComputeImageCapabilitySchemaRequest{ComputeImageCapabilitySchemaId: made.Id}); err != nil ||
		len(got.SchemaData["Compute.LaunchMode"].(core.EnumStringImageCapabilitySchemaDescriptor).Values) != 4 {
		t.Errorf("got %+v, %v", got, err)
	}
	if left := k.home().CapabilitySchemas; len(left) != 1 {
		t.Errorf("the inventory has %+v", left)
	}
	if _, err := c.DeleteComputeImageCapabilitySchema(ctx, core.DeleteComputeImageCapabilitySchemaRequest{ComputeImageCapabilitySchemaId: made.Id}); err != nil {
		t.Fatal(err)
	}
	if left := k.home().CapabilitySchemas; len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

// TestInstanceDetails updates an instance and reads its console.
func TestInstanceDetails(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	i := k.launched()
	updated, err := c.UpdateInstance(ctx, core.UpdateInstanceRequest{InstanceId: i.Id, UpdateInstanceDetails: core.UpdateInstanceDetails{
		DisplayName: common.String("renamed"), FreeformTags: map[string]string{"x": "y"}}})
	if err != nil || *updated.DisplayName != "renamed" || updated.FreeformTags["owner"] != "" {
		t.Errorf("updated: %+v, %v", updated.Instance, err)
	}
	_, err = c.UpdateInstance(ctx, core.UpdateInstanceRequest{InstanceId: i.Id, UpdateInstanceDetails: core.UpdateInstanceDetails{
		Metadata: map[string]string{"ssh_authorized_keys": "ssh-ed25519 BBBB"}}})
	wantServiceError(t, err, 400, "InvalidParameter", "ssh_authorized_keys")
	k.faults(ocisim.Fault{Kind: ocisim.FaultSlow, State: "GETTING-HISTORY", Delay: ocisim.Duration(time.Second)})
	history, err := c.CaptureConsoleHistory(ctx, core.CaptureConsoleHistoryRequest{
		CaptureConsoleHistoryDetails: core.CaptureConsoleHistoryDetails{InstanceId: i.Id}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.GetConsoleHistoryContent(ctx, core.GetConsoleHistoryContentRequest{InstanceConsoleHistoryId: history.Id})
	wantServiceError(t, err, 409, "IncorrectState", "")
	k.historyEnds(c, history.Id)
	list, err := c.ListConsoleHistories(ctx, core.ListConsoleHistoriesRequest{CompartmentId: &k.build.CompartmentID, InstanceId: i.Id})
	if err != nil || len(list.Items) != 1 || *list.Items[0].Id != *history.Id {
		t.Errorf("histories: %+v, %v", list.Items, err)
	}
	text, err := c.GetConsoleHistoryContent(ctx, core.GetConsoleHistoryContentRequest{InstanceConsoleHistoryId: history.Id, Length: common.Int(7)})
	if err != nil || *text.Value != "booting" || *text.OpcBytesRemaining != len("\nlogin: ") {
		t.Errorf("console: %+v, %v", text, err)
	}
	if _, err := c.DeleteConsoleHistory(ctx, core.DeleteConsoleHistoryRequest{InstanceConsoleHistoryId: history.Id}); err != nil {
		t.Error(err)
	}
	_, err = c.GetConsoleHistory(ctx, core.GetConsoleHistoryRequest{InstanceConsoleHistoryId: history.Id})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
}

// TestImageLists filters and sorts, and edits shape entries.
func TestImageLists(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	list := func(change func(*core.ListImagesRequest)) (names []string) {
		request := core.ListImagesRequest{CompartmentId: &k.build.CompartmentID, SortBy: core.ListImagesSortByDisplayname, SortOrder: core.ListImagesSortOrderAsc}
		change(&request)
		resp, err := c.ListImages(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		for _, img := range resp.Items {
			names = append(names, *img.DisplayName)
		}
		return names
	}
	const ubuntu = "Canonical-Ubuntu-24.04-aarch64-2026.01.01-0"
	for _, tc := range []struct {
		name   string
		change func(*core.ListImagesRequest)
		want   []string
	}{
		{"all", func(*core.ListImagesRequest) {}, []string{ubuntu, "debian-12"}},
		{"descending", func(r *core.ListImagesRequest) { r.SortOrder = core.ListImagesSortOrderDesc }, []string{"debian-12", ubuntu}},
		{"by system", func(r *core.ListImagesRequest) {
			r.OperatingSystem, r.OperatingSystemVersion = common.String("Canonical Ubuntu"), common.String("24.04")
		}, []string{ubuntu}},
		{"by shape", func(r *core.ListImagesRequest) { r.Shape = common.String("VM.Standard.E4.Flex") }, nil},
		{"by name", func(r *core.ListImagesRequest) { r.DisplayName = common.String("debian-12") }, []string{"debian-12"}},
	} {
		if got := list(tc.change); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
	entry := core.GetImageShapeCompatibilityEntryRequest{ImageId: &k.base, ShapeName: common.String(a1), RequestMetadata: once()}
	if _, err := c.GetImageShapeCompatibilityEntry(ctx, entry); err != nil {
		t.Error(err)
	}
	_, err := c.AddImageShapeCompatibilityEntry(ctx, core.AddImageShapeCompatibilityEntryRequest{ImageId: &k.base, ShapeName: common.String("VM.Nonsense")})
	wantServiceError(t, err, 400, "InvalidParameter", "Unknown shape")
	if _, err := c.RemoveImageShapeCompatibilityEntry(ctx, core.RemoveImageShapeCompatibilityEntryRequest{ImageId: &k.base, ShapeName: common.String(a1)}); err != nil {
		t.Fatal(err)
	}
	_, err = c.GetImageShapeCompatibilityEntry(ctx, entry)
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	_, err = c.LaunchInstance(ctx, k.launchRequest(nil))
	wantServiceError(t, err, 400, "InvalidParameter", "is not valid for image")
	// An entry's bounds hold, too.
	if _, err := c.AddImageShapeCompatibilityEntry(ctx, core.AddImageShapeCompatibilityEntryRequest{ImageId: &k.base, ShapeName: common.String(a1),
		AddImageShapeCompatibilityEntryDetails: core.AddImageShapeCompatibilityEntryDetails{OcpuConstraints: &core.ImageOcpuConstraints{Max: common.Int(1)}}}); err != nil {
		t.Fatal(err)
	}
	_, err = c.LaunchInstance(ctx, k.launchRequest(nil))
	wantServiceError(t, err, 400, "InvalidParameter", "is not valid for image")
	if _, err := c.ChangeImageCompartment(ctx, core.ChangeImageCompartmentRequest{ImageId: &k.base, RequestMetadata: once(),
		ChangeImageCompartmentDetails: core.ChangeImageCompartmentDetails{CompartmentId: &k.build.ID}}); err != nil {
		t.Fatal(err)
	}
	if got := list(func(*core.ListImagesRequest) {}); !slices.Equal(got, []string{ubuntu}) {
		t.Errorf("after the move: %q", got)
	}
	if _, err := c.DeleteImage(ctx, core.DeleteImageRequest{ImageId: &k.base}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteImage(ctx, core.DeleteImageRequest{ImageId: &k.base})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	k.imageReaches(c, k.base, core.ImageLifecycleStateDeleted)
}

// TestOtherSwitches turns the switches that no other test turns.
func TestOtherSwitches(t *testing.T) {
	k := newKit(t, func(c *ocisim.Config) {
		c.Switches = ocisim.Switches{CountAvailable: true, RemembersFailedTokens: true}
	})
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	k.faults(ocisim.Fault{Kind: ocisim.FaultCapacity, Times: 1})
	report, err := c.CreateComputeCapacityReport(ctx, core.CreateComputeCapacityReportRequest{RequestMetadata: once(),
		CreateComputeCapacityReportDetails: core.CreateComputeCapacityReportDetails{CompartmentId: &k.build.ID,
			AvailabilityDomain:  common.String(k.build.AvailabilityDomains(homeRegion)[0]),
			ShapeAvailabilities: []core.CreateCapacityReportShapeAvailabilityDetails{{InstanceShape: common.String(a1)}}}})
	if err != nil || report.ShapeAvailabilities[0].AvailableCount == nil || *report.ShapeAvailabilities[0].AvailableCount != 0 {
		t.Errorf("report: %+v, %v", report.ShapeAvailabilities, err)
	}
	request := k.launchRequest(nil)
	request.OpcRetryToken = common.String("kept")
	for range 2 { // the fault hits once, the token repeats it
		_, err = c.LaunchInstance(ctx, request)
		wantServiceError(t, err, 500, "InternalError", "Out of host capacity.")
	}
}

// TestOverlayDisks makes and flattens overlays with qemu-img.
func TestOverlayDisks(t *testing.T) {
	disks, err := ocisim.NewOverlayDisks()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	ctx := context.Background()
	if err := machine.FastDisk(dir+"/image.qcow2", nil); err != nil {
		t.Fatal(err)
	}
	k := newKit(t, func(c *ocisim.Config) { c.Disks = disks })
	compute := k.compute(k.build, homeRegion)
	i := k.launched()
	img, err := compute.CreateImage(ctx, core.CreateImageRequest{RequestMetadata: once(),
		CreateImageDetails: core.CreateImageDetails{CompartmentId: &k.build.CompartmentID, InstanceId: i.Id}})
	if err != nil {
		t.Fatal(err)
	}
	k.imageReaches(compute, *img.Id, core.ImageLifecycleStateAvailable)
	k.terminate(compute, i.Id)
	// The image outlives the disk it was made of, and a disk the image.
	k.base = *img.Id
	second := k.launched()
	if _, err := compute.DeleteImage(ctx, core.DeleteImageRequest{ImageId: img.Id}); err != nil {
		t.Fatal(err)
	}
	if err := disks.Image(ctx, k.driver.last().spec.Disk, dir+"/flat.qcow2"); err != nil {
		t.Error(err)
	}
	k.terminate(compute, second.Id)
	if err := disks.BootVolume(ctx, dir+"/missing.qcow2", dir+"/volume.qcow2", 0); err == nil {
		t.Error("a volume of a missing image was made")
	}
}
