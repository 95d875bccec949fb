// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/limits"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// available asks a counter of the build tenancy; ad is an index, or -1.
func (k *kit) available(limit string, ad int) int64 {
	k.t.Helper()
	r := limits.GetResourceAvailabilityRequest{ServiceName: common.String("compute"), LimitName: &limit, CompartmentId: &k.build.ID, RequestMetadata: once()}
	if ad >= 0 {
		r.AvailabilityDomain = &k.build.AvailabilityDomains(homeRegion)[ad]
	}
	a, err := k.limits(k.build, homeRegion).GetResourceAvailability(context.Background(), r)
	if err != nil {
		k.t.Fatal(err)
	}
	return *a.Available
}

// TestPhantom: a limit that own use does not explain is in one availability
// domain, for an hour, and the counters there lie with it.
func TestPhantom(t *testing.T) {
	if _, err := testTenancies(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		c := k.compute(k.build, homeRegion)
		launch := func(ad int) error {
			_, err := c.LaunchInstance(context.Background(), k.launchRequest(func(d *core.LaunchInstanceDetails) {
				d.AvailabilityDomain = &k.build.AvailabilityDomains(homeRegion)[ad]
			}))
			return err
		}
		k.faults(ocisim.Fault{Kind: ocisim.FaultLimit, AD: "AD-1", Until: ocisim.Duration(time.Hour)})
		for range 2 {
			wantServiceError(t, launch(0), 400, "LimitExceeded", "exceeded: standard-a1-memory-count, standard-a1-memory-regional-count, standard-a1-core-count, standard-a1-core-regional-count. ")
			time.Sleep(time.Minute)
		}
		for limit, ad := range map[string]int{"standard-a1-core-count": 0, "standard-a1-core-regional-count": -1} {
			if n := k.available(limit, ad); n != 0 {
				t.Errorf("%s has %d available", limit, n)
			}
		}
		if n := k.available("standard-a1-core-count", 1); n != 80 {
			t.Errorf("elsewhere there are %d available", n)
		}
		if err := launch(1); err != nil {
			t.Errorf("elsewhere: %v", err)
		}
		time.Sleep(time.Hour)
		if err := launch(0); err != nil || k.available("standard-a1-core-count", 0) != 78 {
			t.Errorf("an hour later: %v", err)
		}
		time.Sleep(time.Minute)
	})
}

// TestPhantomOfOneLimit names only that limit, and leaves alone whom it does
// not concern.
func TestPhantomOfOneLimit(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	k.faults(
		ocisim.Fault{Kind: ocisim.FaultLimit, Limit: "standard-a1-core-count", Times: 1},
		ocisim.Fault{Kind: ocisim.FaultLimit, Limit: "standard-a2-core-count", Times: 1},
		ocisim.Fault{Kind: ocisim.FaultLimit, Limit: "custom-image-count", Times: 1},
	)
	if core, memory, images := k.available("standard-a1-core-count", 0), k.available("standard-a1-memory-count", 0),
		k.available("custom-image-count", -1); core != 0 || memory != 512 || images != 0 {
		t.Errorf("available: %d cores, %d GB, %d images", core, memory, images)
	}
	_, err := c.LaunchInstance(ctx, k.launchRequest(nil))
	wantServiceError(t, err, 400, "LimitExceeded", "exceeded: standard-a1-core-count. ")
	i := k.launched() // the phantom of A2 was not for this one
	_, err = c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) { d.Shape = common.String("VM.Standard.A2.Flex") }))
	wantServiceError(t, err, 400, "LimitExceeded", "exceeded: standard-a2-core-count. ")
	image := core.CreateImageRequest{RequestMetadata: once(), CreateImageDetails: core.CreateImageDetails{CompartmentId: &k.build.CompartmentID, InstanceId: i.Id}}
	_, err = c.CreateImage(ctx, image)
	wantServiceError(t, err, 400, "LimitExceeded", "exceeded: custom-image-count. ")
	made, err := c.CreateImage(ctx, image)
	if err != nil {
		t.Fatal(err)
	}
	k.imageReaches(c, *made.Id, core.ImageLifecycleStateAvailable)
	if err := k.cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultLimit, Limit: "standard-a1-cores"}); err == nil {
		t.Error("a limit that does not exist is accepted")
	}
}

// TestListLimitValues filters and sorts as the API defines it.
func TestListLimitValues(t *testing.T) {
	k := newKit(t, nil)
	c := k.limits(k.build, homeRegion)
	ads := k.build.AvailabilityDomains(homeRegion)
	type request = limits.ListLimitValuesRequest
	list := func(r request) ([]limits.LimitValueSummary, error) {
		r.CompartmentId, r.ServiceName, r.RequestMetadata = &k.build.ID, common.String("compute"), once()
		resp, err := c.ListLimitValues(context.Background(), r)
		return resp.Items, err
	}
	cores := common.String("standard-a1-core-count")
	regional := common.String("standard-a1-core-regional-count")
	for _, tc := range []struct {
		name    string
		request request
		want    []string // availability domains
	}{
		{"each availability domain", request{Name: cores}, ads},
		{"one", request{Name: cores, AvailabilityDomain: &ads[1]}, ads[1:2]},
		{"descending", request{Name: cores, SortBy: limits.ListLimitValuesSortByName, SortOrder: limits.ListLimitValuesSortOrderDesc}, []string{ads[2], ads[1], ads[0]}},
		{"of the region", request{Name: regional}, []string{""}},
		{"of the region in an availability domain", request{Name: regional, AvailabilityDomain: &ads[0]}, nil},
		{"of another scope", request{Name: cores, ScopeType: limits.ListLimitValuesScopeTypeRegion}, nil},
		{"global", request{ScopeType: limits.ListLimitValuesScopeTypeGlobal}, nil},
	} {
		items, err := list(tc.request)
		var got []string
		for _, v := range items {
			got = append(got, coalesce(v.AvailabilityDomain))
		}
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, %v", tc.name, got, err)
		}
	}
	_, err := list(request{AvailabilityDomain: common.String("xyzw:US-ASHBURN-AD-1")})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	for _, wrong := range []string{"scopeType=WORLD", "sortBy=value", "sortOrder=DOWN"} {
		status, body, _ := k.rawFor(k.build, "GET", "https://limits.us-ashburn-1.oci.oraclecloud.com/20190729/limitValues?serviceName=compute&compartmentId="+k.build.ID+"&"+wrong, "").send(k)
		if status != 400 {
			t.Errorf("%s: got %d %s", wrong, status, body)
		}
	}
}

// coalesce is the text that a pointer names, or no text.
func coalesce(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
