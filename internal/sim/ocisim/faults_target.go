// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// target is what a fault may match.
type target struct {
	op, tenancy, region, ad, faultDomain, shape, state string
	ocpus, memory                                      float64
}

func (q *call) target() target {
	t := target{op: q.op, region: q.region().name}
	if q.tenancy() != nil {
		t.tenancy = q.tenancy().Name
	}
	return t
}

// requestTarget is target with what a request says about place and size in its
// body or query, before anybody has checked it.
func (q *call) requestTarget() target {
	t := q.target()
	t.ad = q.param("availabilityDomain")
	var said struct {
		AvailabilityDomain string
		FaultDomain        string
		Shape              string
		ShapeConfig        struct{ OCPUs, MemoryInGBs *float64 }
	}
	if len(q.body) == 0 || json.Unmarshal(q.body, &said) != nil {
		return t
	}
	if said.AvailabilityDomain != "" {
		t.ad = said.AvailabilityDomain
	}
	t.faultDomain, t.shape = said.FaultDomain, said.Shape
	if spec, known := lookUpShape(said.Shape); known {
		if asked, err := spec.sizeFor(said.ShapeConfig.OCPUs, said.ShapeConfig.MemoryInGBs); err == nil {
			t.ocpus, t.memory = asked.ocpus, asked.memory
		}
	}
	return t
}

func (f Fault) matches(t target) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(f.Op, t.op) && is(f.Tenancy, t.tenancy) && is(f.Region, t.region) && is(f.Shape, t.shape) &&
		is(f.FaultDomain, t.faultDomain) && is(f.State, t.state) && strings.HasSuffix(t.ad, f.AD) &&
		t.ocpus >= f.MinOCPUs && (f.MaxOCPUs == 0 || t.ocpus <= f.MaxOCPUs) &&
		t.memory >= f.MinMemory && (f.MaxMemory == 0 || t.memory <= f.MaxMemory)
}

// checkFault refuses a fault that could never do anything, because of what it
// says or because it is about what this cloud does not have.
func (c *Cloud) checkFault(f Fault) error {
	if err := f.validate(); err != nil {
		return err
	}
	if f.Op != "" && !c.hasOperation(f.Op) {
		return fmt.Errorf("fault %s: there is no operation %q", f.Kind, f.Op)
	}
	if f.Tenancy != "" && !slices.ContainsFunc(c.cfg.Tenancies, func(t *Tenancy) bool { return t.Name == f.Tenancy }) {
		return fmt.Errorf("fault %s: there is no tenancy %q", f.Kind, f.Tenancy)
	}
	if f.Limit != "" && !slices.ContainsFunc(limitSpecs(), func(l limitSpec) bool { return l.name == f.Limit }) {
		return fmt.Errorf("fault %s: there is no limit %q", f.Kind, f.Limit)
	}
	if f.Region != "" {
		if _, err := lookUpRegion(f.Region); err != nil {
			return fmt.Errorf("fault %s: %w", f.Kind, err)
		}
	}
	return nil
}

func (c *Cloud) hasOperation(name string) bool {
	for _, routes := range c.routes {
		if slices.ContainsFunc(routes, func(r route) bool { return r.op == name }) {
			return true
		}
	}
	return false
}

// validate refuses a fault that would do nothing in any cloud.
func (f Fault) validate() error {
	switch {
	case !slices.Contains(faultKinds(), f.Kind):
		return fmt.Errorf("unknown kind of fault %q", f.Kind)
	case (f.Kind == FaultStatus || f.Kind == FaultStatusAfterEffect) && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("fault %s needs a status between 400 and 599", f.Kind)
	case (f.Kind == FaultStatus || f.Kind == FaultStatusAfterEffect || f.Kind == FaultCutAfterEffect ||
		f.Kind == FaultMalformedHeader) && f.Op == "":
		return fmt.Errorf("fault %s needs an operation", f.Kind)
	case f.Kind == FaultLimitValue && f.Limit == "":
		return fmt.Errorf("fault %s needs the name of a limit", f.Kind)
	case f.Kind == FaultSlow && (f.State == "" || f.Delay <= 0):
		return fmt.Errorf("fault %s needs a state and a delay", f.Kind)
	case f.Kind == FaultLate && (f.Op != "UploadPart" || f.Delay <= 0):
		return fmt.Errorf("fault %s needs the operation UploadPart and a delay", f.Kind)
	case f.Kind == FaultCapacityReport && f.Availability == "":
		return fmt.Errorf("fault %s needs an availability", f.Kind)
	case f.Kind == FaultThrottle && (f.Every <= 0 || f.Burst < 1):
		return fmt.Errorf("fault %s needs a time to wait for every token and a burst of at least one", f.Kind)
	case f.Kind == FaultThrottle && (f.Skip != 0 || f.Times != 0):
		return fmt.Errorf("fault %s has its bucket instead of skip and times", f.Kind)
	case f.schedule().Never():
		return fmt.Errorf("fault %s is never due", f.Kind)
	}
	return nil
}
