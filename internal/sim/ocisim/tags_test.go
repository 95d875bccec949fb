// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/core"
)

// TestDefinedTags: on instances, network interfaces and images they are kept
// as they were given if their keys exist, and refused if not.
func TestDefinedTags(t *testing.T) {
	k := newKit(t, nil)
	k.build.TagNamespaces = map[string][]string{"Operations": {"CostCenter", "Count", "Live"}}
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	good := map[string]map[string]any{"Operations": {"CostCenter": "42", "Count": 7.0, "Live": true}}
	i, err := c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) { d.DefinedTags = good }))
	if err != nil || !reflect.DeepEqual(i.DefinedTags, good) {
		t.Fatalf("the instance has %v, %v", i.DefinedTags, err)
	}
	k.reaches(c, *i.Id, core.InstanceLifecycleStateRunning)
	img, err := c.CreateImage(ctx, core.CreateImageRequest{CreateImageDetails: core.CreateImageDetails{
		CompartmentId: &k.build.CompartmentID, InstanceId: i.Id, DefinedTags: good}})
	if err != nil || !reflect.DeepEqual(img.DefinedTags, good) {
		t.Fatalf("the image has %v, %v", img.DefinedTags, err)
	}
	k.imageReaches(c, *img.Id, core.ImageLifecycleStateAvailable)

	many := map[string]any{}
	for n := range 65 {
		key := fmt.Sprintf("k%d", n)
		k.build.TagNamespaces["Operations"] = append(k.build.TagNamespaces["Operations"], key)
		many[key] = "x"
	}
	for _, tc := range []struct {
		name string
		tags map[string]map[string]any
		code string
		part string
	}{
		{"a namespace that is not there", map[string]map[string]any{"Finance": {"CostCenter": "42"}}, "RelatedResourceNotAuthorizedOrNotFound",
			"The following tag namespaces / keys are not authorized or not found: TagNamespace Finance does not exists."},
		{"a key that is not there", map[string]map[string]any{"Operations": {"Colour": "red"}}, "RelatedResourceNotAuthorizedOrNotFound", "TagDefinition Operations.Colour"},
		{"a long value", map[string]map[string]any{"Operations": {"CostCenter": strings.Repeat("x", 257)}}, "InvalidParameter", "too long"},
		{"a list", map[string]map[string]any{"Operations": {"CostCenter": []string{"a"}}}, "InvalidParameter", "not a string"},
		{"an object", map[string]map[string]any{"Operations": {"CostCenter": map[string]string{"a": "b"}}}, "InvalidParameter", "not a string"},
		{"too many", map[string]map[string]any{"Operations": many}, "InvalidParameter", "at most 64"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) { d.DefinedTags = tc.tags }))
			wantServiceError(t, err, 400, tc.code, tc.part)
			_, err = c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) { d.CreateVnicDetails.DefinedTags = tc.tags }))
			wantServiceError(t, err, 400, tc.code, tc.part)
			_, err = c.CreateImage(ctx, core.CreateImageRequest{RequestMetadata: once(), CreateImageDetails: core.CreateImageDetails{
				CompartmentId: &k.build.CompartmentID, InstanceId: i.Id, DefinedTags: tc.tags}})
			wantServiceError(t, err, 400, tc.code, tc.part)
			_, err = c.UpdateImage(ctx, core.UpdateImageRequest{ImageId: img.Id, UpdateImageDetails: core.UpdateImageDetails{DefinedTags: tc.tags}})
			wantServiceError(t, err, 400, tc.code, tc.part)
		})
	}
	// Another tenancy's namespaces are not this one's.
	_, err = k.compute(k.stranger, homeRegion).CreateComputeCapacityReservation(ctx, core.CreateComputeCapacityReservationRequest{RequestMetadata: once(),
		CreateComputeCapacityReservationDetails: core.CreateComputeCapacityReservationDetails{CompartmentId: &k.stranger.CompartmentID,
			AvailabilityDomain: &k.stranger.AvailabilityDomains(homeRegion)[0], DefinedTags: good}})
	wantServiceError(t, err, 400, "RelatedResourceNotAuthorizedOrNotFound", "Operations")
}
