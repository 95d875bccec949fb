// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"net/http"
	"slices"
)

// createCapacityReport tells what the script of capacity faults holds for an
// availability domain, without counting as an attempt. As the real one it is
// only advice: a launch counts its own attempts.
func (c *Cloud) createCapacityReport(q *call) (*reply, error) {
	type shapeConfig struct {
		OCPUs    *float64 `json:"ocpus"`
		Memory   *float64 `json:"memoryInGBs"`
		NVMEs    *int     `json:"nvmes"`
		Baseline *string  `json:"baselineOcpuUtilization"`
	}
	type row struct {
		InstanceShape string       `json:"instanceShape" oci:"required"`
		FaultDomain   *string      `json:"faultDomain"`
		ShapeConfig   *shapeConfig `json:"instanceShapeConfig"`
	}
	var details struct {
		CompartmentID       string `json:"compartmentId" oci:"required"`
		AvailabilityDomain  string `json:"availabilityDomain" oci:"required"`
		ShapeAvailabilities []row  `json:"shapeAvailabilities" oci:"required"`
	}
	if err := q.decode(&details); err != nil {
		return nil, err
	}
	if q.tenancy().NoCapacityReports || !q.tenancy().hasAD(q.region(), details.AvailabilityDomain) {
		return nil, errNotFound()
	}
	if err := q.compartment(details.CompartmentID); err != nil {
		return nil, err
	}
	if details.CompartmentID != q.tenancy().ID {
		return nil, errInvalid("compartmentId must be the root compartment")
	}
	if len(details.ShapeAvailabilities) == 0 {
		return nil, errInvalid("shapeAvailabilities must not be empty")
	}

	type answer struct {
		row
		AvailableCount     *int64 `json:"availableCount"`
		AvailabilityStatus string `json:"availabilityStatus"`
	}
	answers := []answer{}
	for _, r := range details.ShapeAvailabilities {
		candidates := faultDomains()
		if r.FaultDomain != nil {
			if !slices.Contains(candidates, *r.FaultDomain) {
				return nil, errInvalid("Unknown faultDomain %s", *r.FaultDomain)
			}
			candidates = []string{*r.FaultDomain}
		}
		spec, known := lookUpShape(r.InstanceShape)
		if !known {
			return nil, errInvalid("Unknown shape %s", r.InstanceShape)
		}
		if r.ShapeConfig != nil {
			if err := checkEnums(enumField{"baselineOcpuUtilization", r.ShapeConfig.Baseline, baselines()}); err != nil {
				return nil, err
			}
		}
		asked := size{spec.ocpus, spec.memory}
		if r.ShapeConfig != nil && r.ShapeConfig.OCPUs != nil {
			var err error
			if asked, err = spec.sizeFor(r.ShapeConfig.OCPUs, r.ShapeConfig.Memory); err != nil {
				return nil, err
			}
		}
		t := q.target()
		t.ad, t.shape, t.ocpus, t.memory = details.AvailabilityDomain, spec.name, asked.ocpus, asked.memory
		t.op = "LaunchInstance" // capacity faults that name an operation name this one
		a := answer{row: r, AvailabilityStatus: "AVAILABLE"}
		switch free := c.faults.freeFaultDomains(t, candidates, false); {
		case !c.shapeIn(q, details.AvailabilityDomain, spec.name):
			a.AvailabilityStatus = "HARDWARE_NOT_SUPPORTED"
		case len(free) == 0:
			a.AvailabilityStatus = "OUT_OF_HOST_CAPACITY"
		}
		t.op, t.faultDomain = q.op, orElse(r.FaultDomain, "")
		if forced := c.faults.hit(t, FaultCapacityReport); forced != nil {
			a.AvailabilityStatus = forced.Availability
		}
		if c.cfg.Switches.CountAvailable {
			count := int64(0)
			if a.AvailabilityStatus == "AVAILABLE" {
				count = 1
			}
			a.AvailableCount = &count
		}
		answers = append(answers, a)
	}
	return &reply{status: http.StatusOK, body: map[string]any{"compartmentId": details.CompartmentID,
		"availabilityDomain": details.AvailabilityDomain, "shapeAvailabilities": answers, "timeCreated": wireNow()}}, nil
}
