// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/limits"
	"github.com/oracle/oci-go-sdk/v65/workrequests"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

func (k *kit) faults(faults ...ocisim.Fault) {
	k.t.Helper()
	k.cloud.ResetFaults()
	if err := k.cloud.AddFaults(faults...); err != nil {
		k.t.Fatal(err)
	}
}

// home is the inventory of the build tenancy's home region.
func (k *kit) home() ocisim.RegionInventory {
	return k.cloud.Inventory().Tenancies[indexOf(k, "build")].Regions[0]
}

func (k *kit) terminate(c core.ComputeClient, id *string) {
	k.t.Helper()
	if _, err := c.TerminateInstance(context.Background(), core.TerminateInstanceRequest{InstanceId: id}); err != nil {
		k.t.Fatal(err)
	}
	k.reaches(c, *id, core.InstanceLifecycleStateTerminated)
}

// TestCapacity scripts scarcity by place, size and count, and asks the
// capacity report about it.
func TestCapacity(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	ads := k.build.AvailabilityDomains(homeRegion)
	at := func(ad int, fd string, ocpus float32) core.LaunchInstanceRequest {
		return k.launchRequest(func(d *core.LaunchInstanceDetails) {
			d.AvailabilityDomain, d.ShapeConfig.Ocpus = &ads[ad], &ocpus
			if fd != "" {
				d.FaultDomain = &fd
			}
		})
	}
	launch := func(r core.LaunchInstanceRequest) (core.Instance, error) {
		resp, err := c.LaunchInstance(ctx, r)
		return resp.Instance, err
	}
	status := func(ad int, fd *string, ocpus float32) string {
		resp, err := c.CreateComputeCapacityReport(ctx, core.CreateComputeCapacityReportRequest{RequestMetadata: once(),
			CreateComputeCapacityReportDetails: core.CreateComputeCapacityReportDetails{CompartmentId: &k.build.ID, AvailabilityDomain: &ads[ad],
				ShapeAvailabilities: []core.CreateCapacityReportShapeAvailabilityDetails{{InstanceShape: common.String(a1), FaultDomain: fd,
					InstanceShapeConfig: &core.CapacityReportInstanceShapeConfig{Ocpus: &ocpus}}}}})
		if err != nil {
			t.Fatal(err)
		}
		row := resp.ShapeAvailabilities[0]
		if len(resp.ShapeAvailabilities) != 1 || row.AvailableCount != nil || (fd == nil) != (row.FaultDomain == nil) {
			t.Errorf("the report's row is %+v", row)
		}
		return string(row.AvailabilityStatus)
	}
	k.faults(
		ocisim.Fault{Kind: ocisim.FaultCapacity, AD: "AD-1"},
		ocisim.Fault{Kind: ocisim.FaultCapacity, AD: "AD-2", FaultDomain: "FAULT-DOMAIN-1"},
		ocisim.Fault{Kind: ocisim.FaultCapacity, AD: "AD-2", MinOCPUs: 4},
		ocisim.Fault{Kind: ocisim.FaultCapacity, AD: "AD-3", Skip: 1, Times: 1},
		ocisim.Fault{Kind: ocisim.FaultShapeAbsent, Region: "us-phoenix-1"},
	)
	_, err := launch(at(0, "", 2))
	wantServiceError(t, err, 500, "InternalError", "Out of host capacity.")
	_, err = launch(at(1, "FAULT-DOMAIN-1", 2))
	wantServiceError(t, err, 500, "InternalError", "Out of host capacity.")
	_, err = launch(at(1, "", 4))
	wantServiceError(t, err, 500, "InternalError", "Out of host capacity.")
	if i, err := launch(at(1, "", 2)); err != nil || *i.FaultDomain == "FAULT-DOMAIN-1" {
		t.Errorf("the system chose %v, %v", i.FaultDomain, err)
	}
	for n, want := range []bool{true, false, true} {
		if _, err := launch(at(2, "", 2)); (err == nil) != want {
			t.Errorf("attempt %d in AD-3: %v", n+1, err)
		}
	}
	fd1 := common.String("FAULT-DOMAIN-1")
	for _, tc := range []struct {
		ad    int
		fd    *string
		ocpus float32
		want  string
	}{{0, nil, 2, "OUT_OF_HOST_CAPACITY"}, {1, nil, 2, "AVAILABLE"}, {1, fd1, 2, "OUT_OF_HOST_CAPACITY"}, {1, nil, 4, "OUT_OF_HOST_CAPACITY"}, {2, nil, 2, "AVAILABLE"}} {
		if got := status(tc.ad, tc.fd, tc.ocpus); got != tc.want {
			t.Errorf("report on %+v: %s", tc, got)
		}
	}
	k.build.NoCapacityReports = true
	_, err = c.CreateComputeCapacityReport(ctx, core.CreateComputeCapacityReportRequest{RequestMetadata: once(),
		CreateComputeCapacityReportDetails: core.CreateComputeCapacityReportDetails{CompartmentId: &k.build.ID, AvailabilityDomain: &ads[0],
			ShapeAvailabilities: []core.CreateCapacityReportShapeAvailabilityDetails{{InstanceShape: common.String(a1)}}}})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
}

// TestLaunchFaults breaks launches in all other ways.
func TestLaunchFaults(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	launch := func() (core.LaunchInstanceResponse, error) { return c.LaunchInstance(ctx, k.launchRequest(nil)) }

	t.Run("phantom limit", func(t *testing.T) {
		k.faults(ocisim.Fault{Kind: ocisim.FaultLimit, Times: 1})
		a, err := k.limits(k.build, homeRegion).GetResourceAvailability(ctx, limits.GetResourceAvailabilityRequest{CompartmentId: &k.build.ID,
			ServiceName: common.String("compute"), LimitName: common.String("standard-a1-core-regional-count")})
		if err != nil || *a.Available != 0 || *a.Used == 0 {
			t.Errorf("the counters say %+v, %v", a.ResourceAvailability, err)
		}
		_, err = launch()
		wantServiceError(t, err, 400, "LimitExceeded", "standard-a1-memory-count, standard-a1-memory-regional-count, standard-a1-core-count, standard-a1-core-regional-count")
	})
	t.Run("shape absent", func(t *testing.T) {
		k.faults(ocisim.Fault{Kind: ocisim.FaultShapeAbsent, AD: "AD-1", Shape: a1})
		_, err := launch()
		wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "shape VM.Standard.A1.Flex not found")
		list, err := c.ListShapes(ctx, core.ListShapesRequest{CompartmentId: &k.build.ID, ImageId: &k.base,
			AvailabilityDomain: common.String(k.build.AvailabilityDomains(homeRegion)[0])})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list.Items {
			if *s.Shape == a1 || strings.HasPrefix(*s.Shape, "VM.Standard.E") {
				t.Errorf("%s is listed", *s.Shape)
			}
		}
	})
	t.Run("throttled, broken, bad gateway", func(t *testing.T) {
		k.faults(
			ocisim.Fault{Kind: ocisim.FaultStatus, Op: "LaunchInstance", Times: 1, Status: 429, Code: "TooManyRequests", Message: "Too many requests for the user"},
			ocisim.Fault{Kind: ocisim.FaultStatus, Op: "LaunchInstance", Skip: 1, Times: 1, Status: 500, Code: "InternalError", Message: "Internal Server Error"},
			ocisim.Fault{Kind: ocisim.FaultStatus, Op: "LaunchInstance", Skip: 2, Times: 1, Status: 502},
		)
		_, err := launch()
		wantServiceError(t, err, 429, "TooManyRequests", "Too many requests for the user")
		_, err = launch()
		wantServiceError(t, err, 500, "InternalError", "Internal Server Error")
		_, err = launch()
		wantServiceError(t, err, 502, "BadErrorResponse", "")
	})
	if left := k.home(); len(left.Instances) != 0 {
		t.Fatalf("a refused launch left %+v", left.Instances)
	}
	for name, tc := range map[string]struct {
		fault ocisim.Fault
		want  string
	}{
		"502 after the effect": {ocisim.Fault{Kind: ocisim.FaultStatusAfterEffect, Op: "LaunchInstance", Status: 502, Times: 1}, "502"},
		"cut after the effect": {ocisim.Fault{Kind: ocisim.FaultCutAfterEffect, Op: "LaunchInstance", Times: 1}, "EOF"},
		"malformed header":     {ocisim.Fault{Kind: ocisim.FaultMalformedHeader, Op: "LaunchInstance", Times: 1}, "malformed MIME header line"},
	} {
		t.Run(name, func(t *testing.T) {
			k.faults(tc.fault)
			request := k.launchRequest(nil)
			request.OpcRetryToken = common.String(strings.ReplaceAll(name, " ", "-"))
			_, err := c.LaunchInstance(ctx, request)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v", err)
			}
			lost := k.home().Instances
			if len(lost) != 1 {
				t.Fatalf("instances: %+v", lost)
			}
			// The token finds what the lost reply was about.
			again, err := c.LaunchInstance(ctx, request)
			if err != nil || *again.Id != lost[0].ID {
				t.Fatalf("again: %v, %v", again.Id, err)
			}
			k.terminate(c, again.Id)
		})
	}
	t.Run("accepted, then terminated", func(t *testing.T) {
		k.faults(ocisim.Fault{Kind: ocisim.FaultLaunchFails})
		accepted, err := launch()
		if err != nil {
			t.Fatal(err)
		}
		w := k.work(k.build, homeRegion)
		if ended := k.workEnds(w, accepted.OpcWorkRequestId); ended.Status != workrequests.WorkRequestStatusFailed {
			t.Errorf("the work request ended %s", ended.Status)
		}
		reasons, err := w.ListWorkRequestErrors(ctx, workrequests.ListWorkRequestErrorsRequest{WorkRequestId: accepted.OpcWorkRequestId})
		if err != nil || len(reasons.Items) != 1 || *reasons.Items[0].Message != "Out of host capacity." {
			t.Errorf("errors: %+v, %v", reasons.Items, err)
		}
		k.reaches(c, *accepted.Id, core.InstanceLifecycleStateTerminated)
	})
	t.Run("stuck", func(t *testing.T) {
		k.faults(ocisim.Fault{Kind: ocisim.FaultLaunchStuck})
		stuck, err := launch()
		if err != nil {
			t.Fatal(err)
		}
		list, err := c.ListBootVolumeAttachments(ctx, core.ListBootVolumeAttachmentsRequest{AvailabilityDomain: stuck.AvailabilityDomain,
			CompartmentId: stuck.CompartmentId, InstanceId: stuck.Id})
		if err != nil || len(list.Items) != 0 {
			t.Errorf("attachments: %+v, %v", list.Items, err)
		}
		k.terminate(c, stuck.Id)
	})
	if left := k.home(); len(left.Instances)+len(left.BootVolumes)+len(left.Machines) != 0 {
		t.Errorf("left: %+v", left)
	}
}

// TestSlowScarcity lives through hours of it in no time: the whole cloud works
// in a synctest bubble.
func TestSlowScarcity(t *testing.T) {
	if _, err := testTenancies(); err != nil { // outside, as others share them
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, func(c *ocisim.Config) { c.Delays = ocisim.RealisticDelays() })
		c := k.compute(k.build, homeRegion)
		k.faults(
			ocisim.Fault{Kind: ocisim.FaultCapacity, Until: ocisim.Duration(5 * time.Hour)},
			ocisim.Fault{Kind: ocisim.FaultSlow, Op: "LaunchInstance", State: "PROVISIONING", Delay: ocisim.Duration(time.Hour)},
		)
		start := time.Now()
		attempts := 0
		var id string
		for {
			attempts++
			resp, err := c.LaunchInstance(context.Background(), k.launchRequest(nil))
			if err == nil {
				id = *resp.Id
				break
			}
			wantServiceError(t, err, 500, "InternalError", "Out of host capacity.")
			time.Sleep(20 * time.Minute)
		}
		if attempts != 16 || time.Since(start) != 5*time.Hour {
			t.Errorf("%d attempts in %s", attempts, time.Since(start))
		}
		time.Sleep(time.Hour)
		k.reaches(c, id, core.InstanceLifecycleStateRunning)
		if took := time.Since(start); took < 6*time.Hour+4*time.Second || took > 6*time.Hour+time.Minute {
			t.Errorf("it was RUNNING after %s", took)
		}
		// A clock that a client did not set is refused, and tokens expire.
		k.cloud.ResetFaults()
	})
}

// TestControl drives the cloud by JSON.
func TestControl(t *testing.T) {
	k := newKit(t, nil)
	server := httptest.NewServer(k.cloud.Control())
	t.Cleanup(server.Close)
	call := func(method, path, body string) (int, []byte) {
		req, err := http.NewRequestWithContext(context.Background(), method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, text
	}
	for _, tc := range []struct {
		body string
		want int
	}{
		{`{"kind":"capacity","ad":"AD-1","until":"1h30m"}`, 200},
		{`[{"kind":"status","op":"GetImage","status":503,"code":"ServiceUnavailable","times":1},{"kind":"limit"}]`, 200},
		{`{"kind":"bad-weather"}`, 400},
		{`{"kind":"capacity","AD":"AD-1"}`, 400},
		{`{"kind":"status","status":503}`, 400},
		{`{"kind":"status","op":"GetImage","status":200}`, 400},
		{`{"kind":"slow","op":"LaunchInstance"}`, 400},
		{`{"kind":"capacity","from":"2h","until":"1h"}`, 400},
		{`{"kind":"limit-value"}`, 400},
		{`[{"kind":"capacity"},{"kind":"x"}]`, 400},
		{`7`, 400},
	} {
		if status, text := call("POST", "/faults", tc.body); status != tc.want {
			t.Errorf("%s: got %d %s", tc.body, status, text)
		}
	}
	if got := k.cloud.Faults(); len(got) != 3 {
		t.Errorf("faults: %+v", got)
	}
	c := k.compute(k.build, homeRegion)
	_, err := c.GetImage(context.Background(), core.GetImageRequest{ImageId: &k.base, RequestMetadata: once()})
	wantServiceError(t, err, 503, "ServiceUnavailable", "Service Unavailable")
	if status, text := call("GET", "/requests", ""); status != 200 || !bytes.Contains(text, []byte(`"fault": "status"`)) {
		t.Errorf("requests: %d %s", status, text)
	}
	var inventory ocisim.Inventory
	if status, text := call("GET", "/", ""); status != 200 || json.Unmarshal(text, &inventory) != nil || len(inventory.Tenancies) != 3 {
		t.Errorf("inventory: %d %s", status, text)
	}
	if status, _ := call("POST", "/reset-faults", ""); status != 204 || len(k.cloud.Faults()) != 0 {
		t.Errorf("reset: %d", status)
	}
}
