// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/core"
)

// reservation is what a capacity reservation holds for us.
type reservation struct {
	domain string
	rooms  []room
}

// room is one of its configurations that has room for a machine.
type room struct {
	size        Size
	faultDomain string // "" is any
}

// checkReservation looks at the capacity reservation, if there is one.
func (s *survey) checkReservation(ctx context.Context) {
	b, id := s.b, s.b.cfg.Reservation
	if id == "" {
		return
	}
	var r core.ComputeCapacityReservation
	err := repeat(ctx, "get capacity reservation", id, func(ctx context.Context) error {
		a, err := b.compute.GetComputeCapacityReservation(shield(ctx), core.GetComputeCapacityReservationRequest{CapacityReservationId: &id, RequestMetadata: once()})
		r = a.ComputeCapacityReservation
		return err
	})
	switch {
	case missing(err):
		s.problem(fmt.Errorf("capacity_reservation_ocid: there is no capacity reservation %s in %s that this user may see: %w", id, b.Region, err))
		return
	case err != nil:
		s.problem(fmt.Errorf("capacity_reservation_ocid: %w", err))
		return
	case r.LifecycleState != core.ComputeCapacityReservationLifecycleStateActive:
		s.problem(fmt.Errorf("capacity_reservation_ocid: reservation %s is %s, it must be ACTIVE", id, r.LifecycleState))
	}
	s.booked = &reservation{domain: text(r.AvailabilityDomain)}
	for _, c := range r.InstanceReservationConfigs {
		if c.InstanceShape == nil || c.ReservedCount == nil || c.UsedCount == nil || *c.UsedCount >= *c.ReservedCount {
			continue
		}
		size := Size{Shape: *c.InstanceShape}
		if c.InstanceShapeConfig != nil {
			size.OCPUs, size.MemoryGB = number(c.InstanceShapeConfig.Ocpus), number(c.InstanceShapeConfig.MemoryInGBs)
		}
		s.booked.rooms = append(s.booked.rooms, room{size, text(c.FaultDomain)})
	}
	for _, size := range b.cfg.Sizes {
		if len(s.booked.domainsFor(size)) > 0 {
			return
		}
	}
	var wanted, has []string
	for _, size := range b.cfg.Sizes {
		wanted = append(wanted, size.String())
	}
	for _, room := range s.booked.rooms {
		has = append(has, room.size.String())
	}
	what := "it is full"
	if len(has) > 0 {
		what = "it has room for " + strings.Join(has, ", ")
	}
	s.problem(fmt.Errorf("capacity_reservation_ocid: reservation %s has no room for %s; %s", id, strings.Join(wanted, " or "), what))
}

// domainsFor are the fault domains in which there is room for a size; "" is
// any.
func (r *reservation) domainsFor(s Size) (list []string) {
	for _, room := range r.rooms {
		if room.size.same(s) && !slices.Contains(list, room.faultDomain) {
			list = append(list, room.faultDomain)
		}
	}
	return list
}

// faultDomains are those to name in offers of a size in a place: "" first, for
// OCI to choose, then each.
func (s *survey) faultDomains(at place, size Size) []string {
	if s.booked != nil {
		return s.booked.domainsFor(size)
	}
	return append([]string{""}, at.faultDomains...)
}
