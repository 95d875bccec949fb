// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"net/http"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
)

// Report implements cloud.Reporter with exactly one request, which covers every
// size and fault domain of an availability domain.
func (c *Client) Report(ctx context.Context, q capacity.Ask) capacity.Reply {
	d := core.CreateComputeCapacityReportDetails{CompartmentId: &c.Tenancy, AvailabilityDomain: &q.Zone}
	for _, o := range q.Offers {
		row := core.CreateCapacityReportShapeAvailabilityDetails{InstanceShape: &o.Shape, FaultDomain: optional(o.FaultDomain)}
		if o.OCPUs > 0 {
			row.InstanceShapeConfig = &core.CapacityReportInstanceShapeConfig{Ocpus: &o.OCPUs, MemoryInGBs: &o.MemoryGB}
		}
		d.ShapeAvailabilities = append(d.ShapeAvailabilities, row)
	}
	r, err := c.compute.CreateComputeCapacityReport(shield(ctx), core.CreateComputeCapacityReportRequest{
		CreateComputeCapacityReportDetails: d, RequestMetadata: once(),
	})
	if err != nil {
		return noReport(wrap("ask for a capacity report", q.Zone, err))
	}
	hints := make([]capacity.Hint, len(q.Offers))
	for i, row := range r.ShapeAvailabilities {
		if n := offerOf(q.Offers, row, i, len(r.ShapeAvailabilities)); n >= 0 {
			hints[n] = hintOf(row.AvailabilityStatus)
		}
	}
	return capacity.Reply{Hints: hints}
}

// noReport says what it means that there is no report.
func noReport(err error) capacity.Reply {
	r := capacity.Reply{Outcome: capacity.Rejected, Reason: err.Error()}
	var e *Error
	if !errors.As(err, &e) {
		return r
	}
	r.Reason = e.Reason()
	switch {
	case e.Status == http.StatusTooManyRequests:
		r.Outcome = capacity.Throttled
	case passing(err), lost(err), unsent(e.Cause):
		r.Outcome = capacity.Transient
	case missing(err):
		r.Reason = "this user may not ask for capacity reports, so machines are asked for without knowing (allow it to manage compute-capacity-reports in the tenancy): " + r.Reason
	}
	return r
}

// offerOf finds the offer that a row of a report is about. The service answers
// one row for each that was asked for, in their order; what a row says of
// itself counts more than its place.
func offerOf(offers []capacity.Offer, row core.CapacityReportShapeAvailability, i, rows int) int {
	for n, o := range offers {
		if text(row.FaultDomain) != o.FaultDomain || text(row.InstanceShape) != o.Shape {
			continue
		}
		if c := row.InstanceShapeConfig; o.OCPUs == 0 || c != nil && number(c.Ocpus) == o.OCPUs && number(c.MemoryInGBs) == o.MemoryGB {
			return n
		}
	}
	if rows != len(offers) || row.InstanceShapeConfig != nil || text(row.InstanceShape) != offers[i].Shape || text(row.FaultDomain) != offers[i].FaultDomain {
		return -1
	}
	return i
}

func hintOf(s core.CapacityReportShapeAvailabilityAvailabilityStatusEnum) capacity.Hint {
	switch s {
	case core.CapacityReportShapeAvailabilityAvailabilityStatusAvailable:
		return capacity.Free
	case core.CapacityReportShapeAvailabilityAvailabilityStatusOutOfHostCapacity:
		return capacity.Full
	case core.CapacityReportShapeAvailabilityAvailabilityStatusHardwareNotSupported:
		return capacity.Missing
	}
	return capacity.Unknown
}
