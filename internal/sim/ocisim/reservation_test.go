// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/workrequests"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// room is a configuration for instances of 2 OCPUs and 12 GB.
func room(count int64, fd string) core.InstanceReservationConfigDetails {
	d := core.InstanceReservationConfigDetails{InstanceShape: common.String(a1), ReservedCount: &count,
		InstanceShapeConfig: &core.InstanceReservationShapeConfigDetails{Ocpus: common.Float32(2), MemoryInGBs: common.Float32(12)}}
	if fd != "" {
		d.FaultDomain = &fd
	}
	return d
}

func (k *kit) reserve(ad int, configs ...core.InstanceReservationConfigDetails) (core.CreateComputeCapacityReservationResponse, error) {
	c := k.compute(k.build, homeRegion)
	return c.CreateComputeCapacityReservation(context.Background(), core.CreateComputeCapacityReservationRequest{RequestMetadata: once(),
		CreateComputeCapacityReservationDetails: core.CreateComputeCapacityReservationDetails{CompartmentId: &k.build.CompartmentID,
			AvailabilityDomain: &k.build.AvailabilityDomains(homeRegion)[ad], DisplayName: common.String("for builds"), InstanceReservationConfigs: configs}})
}

// reserved makes a reservation and waits until it is ACTIVE.
func (k *kit) reserved(ad int, configs ...core.InstanceReservationConfigDetails) string {
	k.t.Helper()
	made, err := k.reserve(ad, configs...)
	if err != nil {
		k.t.Fatal(err)
	}
	if w := k.workEnds(k.work(k.build, homeRegion), made.OpcWorkRequestId); w.Status != workrequests.WorkRequestStatusSucceeded {
		k.t.Fatalf("the reservation's work request ended %s", w.Status)
	}
	return *made.Id
}

func (k *kit) reservation(id string) core.ComputeCapacityReservation {
	k.t.Helper()
	resp, err := k.compute(k.build, homeRegion).GetComputeCapacityReservation(context.Background(),
		core.GetComputeCapacityReservationRequest{CapacityReservationId: &id})
	if err != nil {
		k.t.Fatal(err)
	}
	return resp.ComputeCapacityReservation
}

// launchInto launches into a reservation.
func (k *kit) launchInto(id string, change func(*core.LaunchInstanceDetails)) (core.Instance, error) {
	resp, err := k.compute(k.build, homeRegion).LaunchInstance(context.Background(), k.launchRequest(func(d *core.LaunchInstanceDetails) {
		d.CapacityReservationId = &id
		if change != nil {
			change(d)
		}
	}))
	return resp.Instance, err
}

// TestReservation lives through the life of one: it has capacity where there
// is none otherwise.
func TestReservation(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	k.faults(ocisim.Fault{Kind: ocisim.FaultCapacity})
	made, err := k.reserve(0, room(1, ""), room(2, "FAULT-DOMAIN-3"))
	if err != nil || made.LifecycleState != "CREATING" || *made.ReservedInstanceCount != 3 || made.Etag == nil || !strings.HasSuffix(*made.Location, *made.Id) {
		t.Fatalf("made %+v, %v", made, err)
	}
	k.workEnds(k.work(k.build, homeRegion), made.OpcWorkRequestId)
	id := *made.Id

	_, err = c.LaunchInstance(ctx, k.launchRequest(nil))
	wantServiceError(t, err, 500, "InternalError", "Out of host capacity.")
	first, err := k.launchInto(id, nil)
	if err != nil || *first.CapacityReservationId != id {
		t.Fatalf("launched %+v, %v", first, err)
	}
	_, err = k.launchInto(id, nil)
	wantServiceError(t, err, 500, "InternalError", "Out of capacity")
	second, err := k.launchInto(id, func(d *core.LaunchInstanceDetails) { d.FaultDomain = common.String("FAULT-DOMAIN-3") })
	if err != nil || *second.FaultDomain != "FAULT-DOMAIN-3" {
		t.Fatalf("launched %+v, %v", second, err)
	}
	r := k.reservation(id)
	if a, b := r.InstanceReservationConfigs[0], r.InstanceReservationConfigs[1]; r.LifecycleState != "ACTIVE" || *r.UsedInstanceCount != 2 ||
		*a.UsedCount != 1 || *b.UsedCount != 1 || *b.ReservedCount != 2 || *b.FaultDomain != "FAULT-DOMAIN-3" || *a.InstanceShapeConfig.Ocpus != 2 {
		t.Errorf("the reservation is %+v", r)
	}
	in, err := c.ListInstances(ctx, core.ListInstancesRequest{CompartmentId: &k.build.CompartmentID, CapacityReservationId: &id})
	if err != nil || len(in.Items) != 2 {
		t.Errorf("instances in it: %+v, %v", in.Items, err)
	}
	list, err := c.ListComputeCapacityReservations(ctx, core.ListComputeCapacityReservationsRequest{CompartmentId: &k.build.CompartmentID,
		LifecycleState: core.ComputeCapacityReservationLifecycleStateActive, DisplayName: common.String("for builds"),
		AvailabilityDomain: r.AvailabilityDomain, SortBy: core.ListComputeCapacityReservationsSortByDisplayname})
	if err != nil || len(list.Items) != 1 || *list.Items[0].UsedInstanceCount != 2 || *list.Items[0].ReservedInstanceCount != 3 {
		t.Errorf("list: %+v, %v", list.Items, err)
	}
	if left := k.home().Reservations; len(left) != 1 || left[0].ID != id {
		t.Errorf("the inventory has %+v", left)
	}

	remove := core.DeleteComputeCapacityReservationRequest{CapacityReservationId: &id, IfMatch: common.String("not this one")}
	_, err = c.DeleteComputeCapacityReservation(ctx, remove)
	wantServiceError(t, err, 412, "NoEtagMatch", "")
	remove.IfMatch = nil
	_, err = c.DeleteComputeCapacityReservation(ctx, remove)
	wantServiceError(t, err, 409, "Conflict", "used by instances")
	k.terminate(c, first.Id)
	if n := *k.reservation(id).UsedInstanceCount; n != 1 {
		t.Errorf("%d instances use it", n)
	}
	if again, err := k.launchInto(id, nil); err != nil { // there is room again
		t.Error(err)
	} else {
		k.terminate(c, again.Id)
	}
	k.terminate(c, second.Id)
	k.faults(ocisim.Fault{Kind: ocisim.FaultSlow, State: "DELETING", Delay: ocisim.Duration(time.Second)})
	gone, err := c.DeleteComputeCapacityReservation(ctx, remove)
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.launchInto(id, nil)
	wantServiceError(t, err, 409, "IncorrectState", "DELETING")
	k.workEnds(k.work(k.build, homeRegion), gone.OpcWorkRequestId)
	if state := k.reservation(id).LifecycleState; state != "DELETED" || len(k.home().Reservations) != 0 {
		t.Errorf("in the end it is %s", state)
	}
	_, err = c.DeleteComputeCapacityReservation(ctx, remove)
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	_, err = k.launchInto(id, nil)
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
}

// TestReservationDoesNotFit has launches that a reservation is not for.
func TestReservationDoesNotFit(t *testing.T) {
	k := newKit(t, nil)
	k.build.Limits["standard-a1-core-count"], k.build.Limits["standard-a1-core-regional-count"] = 200, 200
	id := k.reserved(0, room(1, "FAULT-DOMAIN-1"), core.InstanceReservationConfigDetails{
		InstanceShape: common.String("BM.Standard.A1.160"), ReservedCount: common.Int64(1)}) // a whole machine has no size
	type details = core.LaunchInstanceDetails
	fd1 := func(d *details) { d.FaultDomain = common.String("FAULT-DOMAIN-1") }
	for name, change := range map[string]func(*details){
		"shape": func(d *details) { fd1(d); d.Shape = common.String("VM.Standard.A2.Flex") },
		"size":  func(d *details) { fd1(d); d.ShapeConfig.Ocpus = common.Float32(1) },
		"memory": func(d *details) {
			fd1(d)
			d.ShapeConfig.MemoryInGBs = common.Float32(13)
		},
		"fault domain":    func(d *details) { d.FaultDomain = common.String("FAULT-DOMAIN-2") },
		"no fault domain": func(*details) {},
		"availability domain": func(d *details) {
			fd1(d)
			d.AvailabilityDomain = &k.build.AvailabilityDomains(homeRegion)[1]
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := k.launchInto(id, change)
			wantServiceError(t, err, 400, "InvalidParameter", "reservation")
		})
	}
	_, err := k.compute(k.stranger, homeRegion).GetComputeCapacityReservation(context.Background(),
		core.GetComputeCapacityReservationRequest{CapacityReservationId: &id})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	_, err = k.launchInto("ocid1.capacityreservation.oc1.iad.none", nil)
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	if i, err := k.launchInto(id, fd1); err != nil {
		t.Error(err)
	} else if n := *k.reservation(id).UsedInstanceCount; n != 1 {
		t.Errorf("%d instances use it, and %s does", n, *i.Id)
	}
	if _, err := k.launchInto("", nil); err != nil { // no reservation, not even a default one
		t.Error(err)
	}
	k.faults(ocisim.Fault{Kind: ocisim.FaultSlow, Op: "CreateComputeCapacityReservation", State: "CREATING", Delay: 1 << 40})
	young, err := k.reserve(1, room(1, ""))
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.launchInto(*young.Id, func(d *details) { d.AvailabilityDomain = young.AvailabilityDomain })
	wantServiceError(t, err, 409, "IncorrectState", "CREATING")
	_, err = k.compute(k.build, homeRegion).DeleteComputeCapacityReservation(context.Background(),
		core.DeleteComputeCapacityReservationRequest{CapacityReservationId: young.Id})
	wantServiceError(t, err, 409, "IncorrectState", "CREATING")
}

// TestReservationLimits: what is reserved counts, once, and needs hardware.
func TestReservationLimits(t *testing.T) {
	k := newKit(t, nil)
	k.build.Limits["standard-a1-core-count"] = 5
	id := k.reserved(0, room(2, ""))
	oneCore := func() {
		t.Helper()
		if n := k.available("standard-a1-core-count", 0); n != 1 {
			t.Errorf("%d cores are available", n)
		}
	}
	oneCore()
	_, err := k.compute(k.build, homeRegion).LaunchInstance(context.Background(), k.launchRequest(nil))
	wantServiceError(t, err, 400, "LimitExceeded", "standard-a1-core-count")
	_, err = k.reserve(0, room(1, ""))
	wantServiceError(t, err, 400, "LimitExceeded", "standard-a1-core-count")
	k.faults(ocisim.Fault{Kind: ocisim.FaultLimit}) // the service has promised
	for range 2 {
		if _, err := k.launchInto(id, nil); err != nil {
			t.Error(err)
		}
	}
	k.cloud.ResetFaults()
	oneCore()
	k.faults(ocisim.Fault{Kind: ocisim.FaultCapacity, Op: "CreateComputeCapacityReservation", AD: "AD-2", MinOCPUs: 2})
	_, err = k.reserve(1, room(1, ""))
	wantServiceError(t, err, 500, "InternalError", "Out of host capacity.")
	k.build.AlwaysFree = true
	_, err = k.reserve(2)
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
}

// TestReservationsRefused has wrong clients.
func TestReservationsRefused(t *testing.T) {
	k := newKit(t, nil)
	const all = iaas + "/computeCapacityReservations"
	with := func(config string) string {
		return fmt.Sprintf(`{"compartmentId":%q,"availabilityDomain":%q,"instanceReservationConfigs":[%s]}`, k.build.ID,
			k.build.AvailabilityDomains(homeRegion)[0], config)
	}
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		part                     string
	}{
		{"without compartment", "POST", "", `{"availabilityDomain":"x"}`, 400, "compartmentId"},
		{"without availability domain", "POST", "", `{"compartmentId":"x"}`, 400, "availabilityDomain"},
		{"elsewhere", "POST", "", fmt.Sprintf(`{"compartmentId":%q,"availabilityDomain":"x"}`, k.build.ID), 404, ""},
		{"unknown field", "POST", "", with(`{"instanceShape":"VM.Standard.A1.Flex","reservedCount":1,"count":1}`), 400, "CannotParseRequest"},
		{"without count", "POST", "", with(`{"instanceShape":"BM.Standard.A1.160"}`), 400, "reservedCount"},
		{"of none", "POST", "", with(`{"instanceShape":"BM.Standard.A1.160","reservedCount":0}`), 400, "reservedCount"},
		{"without shape", "POST", "", with(`{"reservedCount":1}`), 400, "instanceShape"},
		{"unknown shape", "POST", "", with(`{"instanceShape":"VM.Standard.Z9.Flex","reservedCount":1}`), 400, "VM.Standard.Z9.Flex"},
		{"flexible without size", "POST", "", with(`{"instanceShape":"VM.Standard.A1.Flex","reservedCount":1}`), 400, "ocpus"},
		{"unknown fault domain", "POST", "", with(`{"instanceShape":"BM.Standard.A1.160","reservedCount":1,"faultDomain":"FD-1"}`), 400, "FD-1"},
		{"a cluster", "POST", "", with(`{"instanceShape":"BM.Standard.A1.160","reservedCount":1,"clusterConfig":{}}`), 501, ""},
		{"unknown state", "GET", "?lifecycleState=RESERVED&compartmentId=" + k.build.ID, "", 400, "lifecycleState"},
		{"unknown query parameter", "GET", "?shape=x&compartmentId=" + k.build.ID, "", 400, "shape"},
		{"list without compartment", "GET", "", "", 400, "compartmentId"},
		{"one that is not", "GET", "/ocid1.capacityreservation.oc1.iad.none", "", 404, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body, _ := k.rawFor(k.build, tc.method, all+tc.path, tc.body).send(k)
			if status != tc.status || !strings.Contains(body, tc.part) {
				t.Errorf("got %d %s, want %d %s", status, body, tc.status, tc.part)
			}
		})
	}
	if left := k.home().Reservations; len(left) != 0 {
		t.Errorf("refused requests left %+v", left)
	}
}
