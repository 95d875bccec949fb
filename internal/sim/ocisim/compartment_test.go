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
	"github.com/oracle/oci-go-sdk/v65/identity"
	"github.com/oracle/oci-go-sdk/v65/limits"
)

// TestCompartments lists them in every way that the API has.
func TestCompartments(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.identity(k.build, homeRegion)
	root, main, below := k.build.ID, k.build.CompartmentID, k.build.ChildCompartmentID
	type request = identity.ListCompartmentsRequest
	list := func(r request) ([]identity.Compartment, error) {
		r.RequestMetadata = once()
		resp, err := c.ListCompartments(ctx, r)
		return resp.Items, err
	}
	k.build.NoAccess = nil
	for _, tc := range []struct {
		name     string
		noAccess []string
		request  request
		want     []string
	}{
		{"children of the root", nil, request{CompartmentId: &root}, []string{main}},
		{"children of the child", nil, request{CompartmentId: &main}, []string{below}},
		{"children of the grandchild", nil, request{CompartmentId: &below}, nil},
		{"all", nil, request{CompartmentId: &root, CompartmentIdInSubtree: common.Bool(true)}, []string{main, below}},
		{"all but not below", nil, request{CompartmentId: &main, CompartmentIdInSubtree: common.Bool(false)}, []string{below}},
		{"by name", nil, request{CompartmentId: &root, CompartmentIdInSubtree: common.Bool(true), Name: common.String("below")}, []string{below}},
		{"the newest first", nil, request{CompartmentId: &root, CompartmentIdInSubtree: common.Bool(true),
			SortBy: identity.ListCompartmentsSortByTimecreated}, []string{below, main}},
		{"by name, descending", nil, request{CompartmentId: &root, CompartmentIdInSubtree: common.Bool(true),
			SortBy: identity.ListCompartmentsSortByName, SortOrder: identity.ListCompartmentsSortOrderDesc}, []string{main, below}},
		{"another state", nil, request{CompartmentId: &root, LifecycleState: identity.CompartmentLifecycleStateDeleted}, nil},
		{"without permission", []string{below}, request{CompartmentId: &root, CompartmentIdInSubtree: common.Bool(true)}, []string{main, below}},
		{"with permission only", []string{below}, request{CompartmentId: &root, CompartmentIdInSubtree: common.Bool(true),
			AccessLevel: identity.ListCompartmentsAccessLevelAccessible}, []string{main}},
		{"with permission below", []string{main}, request{CompartmentId: &root, CompartmentIdInSubtree: common.Bool(true),
			AccessLevel: identity.ListCompartmentsAccessLevelAccessible}, []string{main, below}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k.build.NoAccess = tc.noAccess
			items, err := list(tc.request)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, one := range items {
				got = append(got, *one.Id)
				if asked := tc.request.AccessLevel != ""; asked != (one.IsAccessible != nil) {
					t.Errorf("isAccessible is %v", one.IsAccessible)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	k.build.NoAccess = nil
	_, err := list(request{CompartmentId: &main, CompartmentIdInSubtree: common.Bool(true)})
	wantServiceError(t, err, 400, "InvalidParameter", "root compartment")
	_, err = list(request{CompartmentId: &k.stranger.ID})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	for _, wrong := range []string{"accessLevel=SOME", "compartmentIdInSubtree=yes", "sortBy=DISPLAYNAME", "sortOrder=UP"} {
		status, body, _ := k.rawFor(k.build, "GET", "https://identity.us-ashburn-1.oraclecloud.com/20160918/compartments?compartmentId="+root+"&"+wrong, "").send(k)
		if name, _, _ := strings.Cut(wrong, "="); status != 400 || !strings.Contains(body, "InvalidParameter") || !strings.Contains(body, name) {
			t.Errorf("%s: got %d %s", wrong, status, body)
		}
	}
}

// TestChildCompartment: what runs below counts for the limits of the whole
// tenancy, and no list of another compartment has it.
func TestChildCompartment(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	k.build.Limits["standard-a1-core-count"] = 3
	k.build.NoAccess = nil
	below := &k.build.ChildCompartmentID
	i, err := c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) { d.CompartmentId = below }))
	if err != nil {
		t.Fatal(err)
	}
	for compartment, want := range map[*string]int{below: 1, &k.build.CompartmentID: 0, &k.build.ID: 0} {
		list, err := c.ListInstances(ctx, core.ListInstancesRequest{CompartmentId: compartment})
		if err != nil || len(list.Items) != want {
			t.Errorf("%d instances in %s, %v", len(list.Items), *compartment, err)
		}
	}
	_, err = c.LaunchInstance(ctx, k.launchRequest(nil))
	wantServiceError(t, err, 400, "LimitExceeded", "exceeded: standard-a1-core-count.")
	used, err := k.limits(k.build, homeRegion).GetResourceAvailability(ctx, limits.GetResourceAvailabilityRequest{
		ServiceName: common.String("compute"), LimitName: common.String("standard-a1-core-count"), CompartmentId: &k.build.ID,
		AvailabilityDomain: i.AvailabilityDomain})
	if err != nil || *used.Used != 2 {
		t.Errorf("used: %+v, %v", used.ResourceAvailability, err)
	}
	if one, err := k.identity(k.build, homeRegion).GetCompartment(ctx, identity.GetCompartmentRequest{CompartmentId: below}); err != nil ||
		*one.CompartmentId != k.build.CompartmentID {
		t.Errorf("compartment: %+v, %v", one.Compartment, err)
	}
	k.terminate(c, i.Id)

	k.build.NoAccess = []string{*below}
	_, err = c.ListInstances(ctx, core.ListInstancesRequest{CompartmentId: below})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	_, err = c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) { d.CompartmentId = below }))
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
}
