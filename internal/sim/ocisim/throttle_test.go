// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/identity"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// TestThrottle has clients that are too fast for the service and one that
// keeps its pace.
func TestThrottle(t *testing.T) {
	if _, err := testTenancies(); err != nil { // outside, as others share them
		t.Fatal(err)
	}
	const every = 10 * time.Second
	ctx := context.Background()
	get := func(k *kit, who *ocisim.Tenancy, region string) error {
		_, err := k.compute(who, region).ListInstances(ctx, core.ListInstancesRequest{CompartmentId: &who.ID})
		return err
	}
	refused := func(t *testing.T, err error) {
		t.Helper()
		wantServiceError(t, err, 429, "TooManyRequests", "Too many requests for the user")
	}
	fine := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	bubble := func(name string, fault ocisim.Fault, run func(*testing.T, *kit)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKit(t, nil)
				fault.Kind, fault.Every = ocisim.FaultThrottle, ocisim.Duration(every)
				k.faults(fault)
				run(t, k)
			})
		})
	}
	bubble("a bucket", ocisim.Fault{Burst: 2}, func(t *testing.T, k *kit) {
		fine(t, get(k, k.build, homeRegion))
		fine(t, get(k, k.build, homeRegion))
		refused(t, get(k, k.build, homeRegion))
		time.Sleep(every - 1)
		refused(t, get(k, k.build, homeRegion))
		time.Sleep(time.Nanosecond) // a refused request has taken nothing
		fine(t, get(k, k.build, homeRegion))
		refused(t, get(k, k.build, homeRegion))
		time.Sleep(100 * every) // it does not overflow
		fine(t, get(k, k.build, homeRegion))
		fine(t, get(k, k.build, homeRegion))
		refused(t, get(k, k.build, homeRegion))
		if got := k.cloud.Faults()[0].Matched; got != 9 {
			t.Errorf("%d requests concerned it", got)
		}
	})
	bubble("at the right pace for an hour", ocisim.Fault{Burst: 1, Op: "LaunchInstance"}, func(t *testing.T, k *kit) {
		k.build.Limits["standard-a1-core-count"] = 0
		c := k.compute(k.build, homeRegion)
		for range 300 {
			_, err := c.LaunchInstance(ctx, k.launchRequest(nil))
			wantServiceError(t, err, 400, "LimitExceeded", "")
			time.Sleep(every)
		}
	})
	bubble("to each user and region its own, of compute only", ocisim.Fault{Burst: 1}, func(t *testing.T, k *kit) {
		fine(t, get(k, k.build, homeRegion))
		refused(t, get(k, k.build, homeRegion))
		fine(t, get(k, k.build, "us-phoenix-1"))
		fine(t, get(k, k.stranger, homeRegion))
		refused(t, get(k, k.stranger, homeRegion))
		for range 3 {
			_, err := k.identity(k.build, homeRegion).ListAvailabilityDomains(ctx, identity.ListAvailabilityDomainsRequest{
				CompartmentId: &k.build.ID, RequestMetadata: once()})
			fine(t, err)
		}
	})
	bubble("one operation, for an hour", ocisim.Fault{Burst: 1, Op: "LaunchInstance", Until: ocisim.Duration(time.Hour)}, func(t *testing.T, k *kit) {
		c := k.compute(k.build, homeRegion)
		first, err := c.LaunchInstance(ctx, k.launchRequest(nil))
		fine(t, err)
		second := k.launchRequest(nil)
		second.OpcRetryToken = common.String("second")
		_, err = c.LaunchInstance(ctx, second)
		refused(t, err)
		fine(t, get(k, k.build, homeRegion))
		if n := len(k.home().Instances); n != 1 {
			t.Errorf("a refused launch had an effect: %d instances", n)
		}
		time.Sleep(every) // the refusal is not remembered with the token
		again, err := c.LaunchInstance(ctx, second)
		fine(t, err)
		time.Sleep(time.Hour)
		for range 3 {
			fine(t, get(k, k.build, homeRegion))
		}
		k.terminate(c, first.Id)
		k.terminate(c, again.Id)
	})
}

// TestReportFault: a report says what it is told to, but a launch does not
// care.
func TestReportFault(t *testing.T) {
	k := newKit(t, func(c *ocisim.Config) { c.Switches.CountAvailable = true })
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	ads := k.build.AvailabilityDomains(homeRegion)
	type row = core.CreateCapacityReportShapeAvailabilityDetails
	report := func(ad int, rows ...row) string {
		t.Helper()
		resp, err := c.CreateComputeCapacityReport(ctx, core.CreateComputeCapacityReportRequest{RequestMetadata: once(),
			CreateComputeCapacityReportDetails: core.CreateComputeCapacityReportDetails{CompartmentId: &k.build.ID,
				AvailabilityDomain: &ads[ad], ShapeAvailabilities: rows}})
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, r := range resp.ShapeAvailabilities {
			said = append(said, string(r.AvailabilityStatus))
			if available := r.AvailabilityStatus == "AVAILABLE"; available != (*r.AvailableCount > 0) {
				t.Errorf("%s, but %d of them", r.AvailabilityStatus, *r.AvailableCount)
			}
		}
		return strings.Join(said, " ")
	}
	of := func(shape string, ocpus float32, fd string) row {
		r := row{InstanceShape: &shape, InstanceShapeConfig: &core.CapacityReportInstanceShapeConfig{Ocpus: &ocpus}}
		if fd != "" {
			r.FaultDomain = &fd
		}
		return r
	}
	k.faults(
		ocisim.Fault{Kind: ocisim.FaultCapacityReport, Op: "CreateComputeCapacityReport", AD: "AD-1", Shape: a1, MinOCPUs: 4, Availability: "CONSTRAINT_ERROR"},
		ocisim.Fault{Kind: ocisim.FaultCapacityReport, AD: "AD-1", FaultDomain: "FAULT-DOMAIN-2", Availability: "HARDWARE_NOT_SUPPORTED"},
		ocisim.Fault{Kind: ocisim.FaultCapacityReport, AD: "AD-2", Availability: "OUT_OF_HOST_CAPACITY", Times: 1},
		ocisim.Fault{Kind: ocisim.FaultCapacity, AD: "AD-3"},
		ocisim.Fault{Kind: ocisim.FaultCapacityReport, AD: "AD-3", Availability: "AVAILABLE"},
	)
	const a2 = "VM.Standard.A2.Flex"
	for _, tc := range []struct {
		ad   int
		rows []row
		want string
	}{
		{0, []row{of(a1, 4, ""), of(a1, 2, ""), of(a2, 4, "")}, "CONSTRAINT_ERROR AVAILABLE AVAILABLE"},
		{0, []row{of(a1, 2, "FAULT-DOMAIN-1"), of(a1, 2, "FAULT-DOMAIN-2")}, "AVAILABLE HARDWARE_NOT_SUPPORTED"},
		{1, []row{of(a1, 2, ""), of(a1, 2, "")}, "OUT_OF_HOST_CAPACITY AVAILABLE"},
		{2, []row{of(a1, 2, "")}, "AVAILABLE"},
	} {
		if got := report(tc.ad, tc.rows...); got != tc.want {
			t.Errorf("AD-%d: got %s, want %s", tc.ad+1, got, tc.want)
		}
	}
	_, err := c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) { d.AvailabilityDomain = &ads[2] }))
	wantServiceError(t, err, 500, "InternalError", "Out of host capacity.")
	if _, err := c.LaunchInstance(ctx, k.launchRequest(nil)); err != nil {
		t.Errorf("in AD-1: %v", err)
	}
}

// TestStatusFaultsByPlace: what fails a request by its operation sees where
// the request wants to go, and how big it is.
func TestStatusFaultsByPlace(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	ads := k.build.AvailabilityDomains(homeRegion)
	const down = "AD-2 is down"
	k.faults(
		ocisim.Fault{Kind: ocisim.FaultStatus, Op: "LaunchInstance", AD: "AD-2", Status: 503, Code: "ServiceUnavailable", Message: down},
		ocisim.Fault{Kind: ocisim.FaultStatus, Op: "LaunchInstance", Shape: a1, MinMemory: 20, Status: 500, Code: "InternalError", Message: "too big"},
		ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CreateComputeCapacityReport", AD: "AD-2", Status: 503, Code: "ServiceUnavailable", Message: down},
		ocisim.Fault{Kind: ocisim.FaultStatus, Op: "ListFaultDomains", AD: "AD-2", Status: 503, Code: "ServiceUnavailable", Message: down},
	)
	for ad, name := range ads {
		_, launch := c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) { d.AvailabilityDomain = &name }))
		_, report := c.CreateComputeCapacityReport(ctx, core.CreateComputeCapacityReportRequest{RequestMetadata: once(),
			CreateComputeCapacityReportDetails: core.CreateComputeCapacityReportDetails{CompartmentId: &k.build.ID, AvailabilityDomain: &name,
				ShapeAvailabilities: []core.CreateCapacityReportShapeAvailabilityDetails{{InstanceShape: common.String(a1)}}}})
		_, list := k.identity(k.build, homeRegion).ListFaultDomains(ctx, identity.ListFaultDomainsRequest{CompartmentId: &k.build.ID,
			AvailabilityDomain: &name, RequestMetadata: once()})
		for op, err := range map[string]error{"launch": launch, "report": report, "list": list} {
			if ad == 1 {
				wantServiceError(t, err, 503, "ServiceUnavailable", down)
			} else if err != nil {
				t.Errorf("%s in %s: %v", op, name, err)
			}
		}
	}
	_, err := c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
		d.ShapeConfig = &core.LaunchInstanceShapeConfigDetails{Ocpus: common.Float32(4)} // 24 GB unless it says otherwise
	}))
	wantServiceError(t, err, 500, "InternalError", "too big")
}

// TestFaultsRefused: a fault with a spelling mistake would never do anything.
func TestFaultsRefused(t *testing.T) {
	k := newKit(t, nil)
	minute := ocisim.Duration(time.Minute)
	for _, tc := range []struct {
		fault ocisim.Fault
		part  string
	}{
		{ocisim.Fault{Kind: ocisim.FaultStatus, Op: "LaunchInstances", Status: 500}, `"LaunchInstances"`},
		{ocisim.Fault{Kind: ocisim.FaultCapacity, Tenancy: "bild"}, `"bild"`},
		{ocisim.Fault{Kind: ocisim.FaultCapacity, Region: "eu-frankfort-1"}, "eu-frankfort-1"},
		{ocisim.Fault{Kind: ocisim.FaultCapacityReport}, "availability"},
		{ocisim.Fault{Kind: ocisim.FaultThrottle, Burst: 1}, "token"},
		{ocisim.Fault{Kind: ocisim.FaultLate, Op: "PutObject", Delay: minute}, "UploadPart"},
		{ocisim.Fault{Kind: ocisim.FaultLate, Op: "UploadPart"}, "delay"},
		{ocisim.Fault{Kind: ocisim.FaultThrottle, Every: minute}, "burst"},
		{ocisim.Fault{Kind: ocisim.FaultThrottle, Every: minute, Burst: 1, Times: 3}, "bucket"},
	} {
		if err := k.cloud.AddFaults(tc.fault); err == nil || !strings.Contains(err.Error(), tc.part) {
			t.Errorf("%+v: got %v", tc.fault, err)
		}
	}
	if n := len(k.cloud.Faults()); n != 0 {
		t.Errorf("%d faults were added", n)
	}
	if err := k.cloud.AddFaultsJSON([]byte(`{"kind":"throttle","every":"10s","burst":2,"region":"us-ashburn-1","tenancy":"build"}`)); err != nil {
		t.Error(err)
	}
}
