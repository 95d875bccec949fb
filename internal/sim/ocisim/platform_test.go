// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

const newestUbuntu = "Canonical-Ubuntu-24.04-aarch64-2026.01.31-0"

// withPlatformImages adds Oracle's images to a kit.
func withPlatformImages(cfg *ocisim.Config) {
	cfg.Images = append(cfg.Images[:1], ocisim.PlatformImages(cfg.Images[0].Path)...)
}

// TestPlatformImagesListed finds a base image as builders do.
func TestPlatformImagesListed(t *testing.T) {
	k := newKit(t, withPlatformImages)
	for _, tc := range []struct {
		name    string
		tenancy *tenancy
		region  string
		change  func(*core.ListImagesRequest)
		want    []string
	}{
		{"by system, version and shape, newest first", k.build, homeRegion, func(r *core.ListImagesRequest) {
			r.OperatingSystem, r.OperatingSystemVersion, r.Shape = common.String("Canonical Ubuntu"), common.String("24.04"), common.String(a1)
			r.SortBy, r.SortOrder, r.LifecycleState = core.ListImagesSortByTimecreated, core.ListImagesSortOrderDesc, core.ImageLifecycleStateAvailable
		}, []string{newestUbuntu, "Canonical-Ubuntu-24.04-aarch64-2025.12.31-0", "Canonical-Ubuntu-24.04-aarch64-2025.11.30-0"}},
		{"oldest first", k.build, homeRegion, func(r *core.ListImagesRequest) {
			r.OperatingSystem, r.Shape = common.String("Oracle Linux"), common.String("VM.Standard.E4.Flex")
			r.SortBy, r.SortOrder = core.ListImagesSortByTimecreated, core.ListImagesSortOrderAsc
		}, []string{"Oracle-Linux-9.7-2025.11.30-0", "Oracle-Linux-9.7-2025.12.31-0", "Oracle-Linux-9.7-2026.01.31-0"}},
		{"by name", k.build, homeRegion, func(r *core.ListImagesRequest) { r.DisplayName = common.String(newestUbuntu) }, []string{newestUbuntu}},
		{"in another region", k.build, "us-phoenix-1", func(r *core.ListImagesRequest) { r.DisplayName = common.String(newestUbuntu) }, []string{newestUbuntu}},
		{"by another tenancy", k.production, prodRegion, func(r *core.ListImagesRequest) { r.DisplayName = common.String(newestUbuntu) }, []string{newestUbuntu}},
		{"of nobody's making", k.build, homeRegion, func(r *core.ListImagesRequest) { r.OperatingSystem = common.String("Plan 9") }, nil},
		{"Debian is none", k.stranger, homeRegion, func(r *core.ListImagesRequest) { r.OperatingSystem = common.String("Debian") }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := k.compute(tc.tenancy, tc.region)
			// One by one, so that paging is in it.
			r := core.ListImagesRequest{CompartmentId: &tc.tenancy.CompartmentID, Limit: common.Int(1), RequestMetadata: once()}
			tc.change(&r)
			var got []string
			for {
				resp, err := c.ListImages(context.Background(), r)
				if err != nil {
					t.Fatal(err)
				}
				for _, i := range resp.Items {
					got = append(got, *i.DisplayName)
					if i.CompartmentId != nil {
						t.Errorf("%s is in compartment %s", *i.DisplayName, *i.CompartmentId)
					}
				}
				if r.Page = resp.OpcNextPage; r.Page == nil {
					break
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestPlatformImagesAreOracles: they can be launched, and an image of such a
// machine is the builder's own; they themselves are nobody's.
func TestPlatformImagesAreOracles(t *testing.T) {
	k := newKit(t, withPlatformImages)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	id := k.cloud.ImageID(k.build, homeRegion, newestUbuntu)
	launched, err := c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
		d.SourceDetails = core.InstanceSourceViaImageDetails{ImageId: &id}
	}))
	if err != nil {
		t.Fatal(err)
	}
	k.reaches(c, *launched.Id, core.InstanceLifecycleStateRunning)
	create := func(name string) (core.CreateImageResponse, error) {
		return c.CreateImage(ctx, core.CreateImageRequest{RequestMetadata: once(), CreateImageDetails: core.CreateImageDetails{
			CompartmentId: &k.build.CompartmentID, InstanceId: launched.Id, DisplayName: &name}})
	}
	_, err = create(newestUbuntu)
	wantServiceError(t, err, 400, "InvalidParameter", "You cannot use a platform image name as a custom image name.")
	made, err := create("mine")
	if err != nil {
		t.Fatal(err)
	}
	own := k.imageReaches(c, *made.Id, core.ImageLifecycleStateAvailable)
	if *own.BaseImageId != id || *own.OperatingSystem != "Canonical Ubuntu" || *own.CompartmentId != k.build.CompartmentID {
		t.Errorf("the image is %+v", own)
	}
	rename := core.UpdateImageRequest{ImageId: made.Id, UpdateImageDetails: core.UpdateImageDetails{DisplayName: common.String(newestUbuntu)}}
	_, err = c.UpdateImage(ctx, rename)
	wantServiceError(t, err, 400, "InvalidParameter", "platform image name")
	rename.ImageId, rename.DisplayName = &id, common.String("theirs")
	_, err = c.UpdateImage(ctx, rename)
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	_, err = c.DeleteImage(ctx, core.DeleteImageRequest{ImageId: &id})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	_, err = c.ExportImage(ctx, core.ExportImageRequest{ImageId: &id, RequestMetadata: once(),
		ExportImageDetails: core.ExportImageViaObjectStorageUriDetails{DestinationUri: common.String("https://objectstorage.us-ashburn-1.oraclecloud.com/p/t/n/n/b/b/o/o")}})
	wantServiceError(t, err, 400, "InvalidParameter", "cannot be exported")
	// An image for another processor does not fit.
	x86 := k.cloud.ImageID(k.build, homeRegion, "Canonical-Ubuntu-24.04-2026.01.31-0")
	_, err = c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
		d.SourceDetails = core.InstanceSourceViaImageDetails{ImageId: &x86}
	}))
	wantServiceError(t, err, 400, "InvalidParameter", "is not valid for image "+x86)
	for _, i := range k.home().Images {
		if strings.HasPrefix(i.Name, "Canonical") || strings.HasPrefix(i.Name, "Oracle") {
			t.Errorf("the tenancy has %s in its inventory", i.Name)
		}
	}
}
