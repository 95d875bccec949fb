// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/limits"
)

// TestStrictRequests sends well-signed requests that the API does not define.
func TestStrictRequests(t *testing.T) {
	k := newKit(t, nil)
	ad := k.build.AvailabilityDomains(homeRegion)[0]
	entry := func(s string) string {
		return fmt.Sprintf(`{"compartmentId":%q,"availabilityDomain":%q,"shapeAvailabilities":[%s]}`, k.build.ID, ad, s)
	}
	tests := []struct {
		name, method, path, body string
		status                   int
		code                     string
	}{
		{"right", "POST", "/computeCapacityReports", entry(`{"instanceShape":"VM.Standard.A1.Flex"}`), 200, ""},
		{"null is absent", "POST", "/computeCapacityReports", entry(`{"instanceShape":"VM.Standard.A1.Flex","faultDomain":null}`), 200, ""},
		{"unknown field", "POST", "/computeCapacityReports", entry(`{"instanceShape":"VM.Standard.A1.Flex","size":1}`), 400, "CannotParseRequest"},
		{"wrong case", "POST", "/computeCapacityReports", entry(`{"instanceshape":"VM.Standard.A1.Flex"}`), 400, ""},
		{"a name twice", "POST", "/computeCapacityReports", entry(`{"instanceShape":"a","instanceShape":"VM.Standard.A1.Flex"}`), 400, "CannotParseRequest"},
		{"wrong type", "POST", "/computeCapacityReports", entry(`{"instanceShape":1}`), 400, "CannotParseRequest"},
		{"mandatory null", "POST", "/computeCapacityReports", entry(`{"instanceShape":null}`), 400, "MissingParameter"},
		{"mandatory missing", "POST", "/computeCapacityReports", entry(`{}`), 400, "MissingParameter"},
		{"not JSON", "POST", "/computeCapacityReports", `hello`, 400, "CannotParseRequest"},
		{"two values", "POST", "/computeCapacityReports", entry(`{"instanceShape":"VM.Standard.A1.Flex"}`) + "{}", 400, "CannotParseRequest"},
		{"report not for the root", "POST", "/computeCapacityReports",
			strings.Replace(entry(`{"instanceShape":"VM.Standard.A1.Flex"}`), k.build.ID, k.build.CompartmentID, 1), 400, "InvalidParameter"},
		{"launch without compartment", "POST", "/instances", fmt.Sprintf(`{"availabilityDomain":%q}`, ad), 400, "MissingParameter"},
		{"launch with what the simulator lacks", "POST", "/instances",
			fmt.Sprintf(`{"availabilityDomain":%q,"compartmentId":%q,"ipxeScript":"x"}`, ad, k.build.ID), 501, "NotImplemented"},
		{"unknown discriminator", "POST", "/images",
			fmt.Sprintf(`{"compartmentId":%q,"imageSourceDetails":{"sourceType":"ftp"}}`, k.build.ID), 400, "InvalidParameter"},
		{"no discriminator", "POST", "/images",
			fmt.Sprintf(`{"compartmentId":%q,"imageSourceDetails":{"sourceUri":"x"}}`, k.build.ID), 400, "MissingParameter"},
		{"import from elsewhere", "POST", "/images",
			fmt.Sprintf(`{"compartmentId":%q,"imageSourceDetails":{"sourceType":"objectStorageUri","sourceUri":"https://example.com/p/x"}}`, k.build.ID), 400, "InvalidParameter"},
		{"import by an unencrypted URL", "POST", "/images",
			fmt.Sprintf(`{"compartmentId":%q,"imageSourceDetails":{"sourceType":"objectStorageUri","sourceUri":"http://objectstorage.us-ashburn-1.oraclecloud.com/p/x"}}`, k.build.ID), 400, "InvalidParameter"},
		{"launchMode CUSTOM alone", "POST", "/images",
			fmt.Sprintf(`{"compartmentId":%q,"launchMode":"CUSTOM","imageSourceDetails":{"sourceType":"objectStorageUri","sourceUri":"x"}}`, k.build.ID), 400, "InvalidParameter"},
		{"image of nothing", "POST", "/images", fmt.Sprintf(`{"compartmentId":%q}`, k.build.ID), 400, "InvalidParameter"},
		{"unknown query parameter", "GET", "/instances?compartmentId=" + k.build.ID + "&color=red", "", 400, "InvalidParameter"},
		{"query parameter twice", "GET", "/instances?compartmentId=" + k.build.ID + "&limit=1&limit=2", "", 400, "InvalidParameter"},
		{"mandatory query parameter missing", "GET", "/instances", "", 400, "MissingParameter"},
		{"bad limit", "GET", "/instances?limit=0&compartmentId=" + k.build.ID, "", 400, "InvalidParameter"},
		{"bad page", "GET", "/instances?page=7&compartmentId=" + k.build.ID, "", 400, "InvalidParameter"},
		{"bad sort", "GET", "/instances?sortBy=AGE&compartmentId=" + k.build.ID, "", 400, "InvalidParameter"},
		{"wrong method", "PUT", "/instances", "{}", 405, "MethodNotAllowed"},
		{"unknown path", "GET", "/instance", "", 404, "NotFound"},
		{"identity at the Compute host", "GET", "/availabilityDomains?compartmentId=" + k.build.ID, "", 404, "NotFound"},
		{"boot volume attachments without AD", "GET", "/bootVolumeAttachments?compartmentId=" + k.build.ID, "", 400, "MissingParameter"},
		{"unknown action", "POST", "/instances/x?action=JUMP", "", 404, "NotAuthorizedOrNotFound"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			status, body, _ := k.rawFor(k.build, tc.method, iaas+tc.path, tc.body).send(k)
			if status != tc.status || !strings.Contains(body, tc.code) {
				t.Errorf("got %d %s, want %d %s", status, body, tc.status, tc.code)
			}
		})
	}
	if left := k.cloud.Inventory().Tenancies[indexOf(k, "build")].Regions[0]; len(left.Instances)+len(left.BootVolumes) != 0 || len(left.Images) != 1 {
		t.Errorf("refused requests left something: %+v", left)
	}
}

// TestHosts refuses host names that Oracle does not have.
func TestHosts(t *testing.T) {
	k := newKit(t, nil)
	for host, want := range map[string]int{
		"identity.us-ashburn-1.oraclecloud.com":     401, // exists, but the request is not signed
		"identity.us-ashburn-1.oci.oraclecloud.com": 401,
		"iaas.us-ashburn-1.oci.oraclecloud.com":     404,
		"limits.us-ashburn-1.oraclecloud.com":       404,
		"iaas.us-nowhere-1.oraclecloud.com":         404,
		"database.us-ashburn-1.oraclecloud.com":     404,
		"iaas.us-ashburn-1.example.com":             404,
	} {
		req, err := http.NewRequestWithContext(context.Background(), "GET", "https://"+host+"/20160918/availabilityDomains?compartmentId=x", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := k.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want || (want == 404 && !strings.Contains(string(body), "no such host")) {
			t.Errorf("%s: got %d %s, want %d", host, resp.StatusCode, body, want)
		}
	}
}

// TestBoundaries shows nobody what belongs to another tenancy or region.
func TestBoundaries(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	instance := k.launched()
	const notFound = "Authorization failed or requested resource not found."

	other := k.compute(k.stranger, homeRegion)
	for _, c := range []core.ComputeClient{other, k.compute(k.build, "us-phoenix-1")} {
		_, err := c.GetInstance(ctx, core.GetInstanceRequest{InstanceId: instance.Id})
		wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", notFound)
		_, err = c.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: instance.Id})
		wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", notFound)
		_, err = c.GetImage(ctx, core.GetImageRequest{ImageId: &k.base, RequestMetadata: once()})
		wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", notFound)
		_, err = c.AddImageShapeCompatibilityEntry(ctx, core.AddImageShapeCompatibilityEntryRequest{ImageId: &k.base, ShapeName: common.String(a1)})
		wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", notFound)
	}
	_, err := other.ListInstances(ctx, core.ListInstancesRequest{CompartmentId: &k.build.CompartmentID})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", notFound)
	// A region that the tenancy does not subscribe to does not know its user.
	_, err = k.compute(k.build, "uk-london-1").ListInstances(ctx, core.ListInstancesRequest{CompartmentId: &k.build.CompartmentID})
	wantServiceError(t, err, 401, "NotAuthenticated", "")
	// Platform images are everybody's, but nobody's to change or export.
	platform := k.cloud.ImageID(k.stranger, homeRegion, "Canonical-Ubuntu-24.04-aarch64-2026.01.01-0")
	if _, err := other.GetImage(ctx, core.GetImageRequest{ImageId: &platform}); err != nil {
		t.Error(err)
	}
	_, err = other.DeleteImage(ctx, core.DeleteImageRequest{ImageId: &platform})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", notFound)
	uri := "https://objectstorage.us-ashburn-1.oraclecloud.com/p/t/n/n/b/b/o/o"
	_, err = other.ExportImage(ctx, core.ExportImageRequest{ImageId: &platform, RequestMetadata: once(),
		ExportImageDetails: core.ExportImageViaObjectStorageUriDetails{DestinationUri: &uri}})
	wantServiceError(t, err, 400, "InvalidParameter", "cannot be exported")
}

// TestLimitsService holds the client to the scope rule of limits.
func TestLimitsService(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.limits(k.build, homeRegion)
	ad := common.String(k.build.AvailabilityDomains(homeRegion)[0])
	ask := func(name string, ad *string) (limits.GetResourceAvailabilityResponse, error) {
		return c.GetResourceAvailability(ctx, limits.GetResourceAvailabilityRequest{ServiceName: common.String("compute"), LimitName: &name,
			CompartmentId: &k.build.ID, AvailabilityDomain: ad, RequestMetadata: once()})
	}
	k.build.Limits["standard-a1-core-count"] = 4
	k.launched()
	if got, err := ask("standard-a1-core-count", ad); err != nil || *got.Used != 2 || *got.Available != 2 {
		t.Errorf("got %+v, %v", got.ResourceAvailability, err)
	}
	if got, err := ask("custom-image-count", nil); err != nil || *got.Used != 1 || *got.Available != 99 {
		t.Errorf("got %+v, %v", got.ResourceAvailability, err)
	}
	_, err := ask("custom-image-count", ad)
	wantServiceError(t, err, 400, "InvalidParameter", "should be null for this limit's scope type")
	_, err = ask("standard-a1-core-count", nil)
	wantServiceError(t, err, 400, "InvalidParameter", "availabilityDomain")
	_, err = ask("standard-z9-core-count", ad)
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	values, err := c.ListLimitValues(ctx, limits.ListLimitValuesRequest{CompartmentId: &k.build.ID, ServiceName: common.String("compute"),
		Name: common.String("standard-a1-core-count")})
	if err != nil || len(values.Items) != 3 || *values.Items[0].Value != 4 {
		t.Errorf("got %+v, %v", values.Items, err)
	}
}
