// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import "slices"

// seat is an instance's place in a reservation; the zero value is none.
type seat struct {
	reservation *reservation
	config      int
}

// reservationUse counts the instances in each configuration of a reservation.
// An instance gives its place back when it is TERMINATED.
func (c *Cloud) reservationUse(r *reservation) []int64 {
	used := make([]int64, len(r.configs))
	for _, i := range c.instances.all() {
		if i.seat.reservation == r && !i.is("TERMINATED") {
			used[i.seat.config]++
		}
	}
	return used
}

// planSeat finds the place in the reservation that a launch names. Which codes
// Oracle's service answers with is documented nowhere: what cannot fit at all
// is a wrong parameter here, and what is full has no capacity. All texts but
// that of the 404 are our wording.
func (c *Cloud) planSeat(q *call, p *launchPlan) error {
	d := p.details
	id := orElse(d.CapacityReservationID, "") // "" opts out of a default reservation, of which there is none
	if id == "" {
		return nil
	}
	r, err := c.findReservation(q, id)
	if err != nil {
		return err
	}
	switch {
	case r.is("DELETED"):
		return errNotFound()
	case !r.is("ACTIVE"):
		return errState("Capacity reservation %s is %s", id, r.body.LifecycleState)
	case r.body.AvailabilityDomain != d.AvailabilityDomain:
		return errInvalid("Capacity reservation %s is in availability domain %s, and the instance would be in %s", id,
			r.body.AvailabilityDomain, d.AvailabilityDomain)
	}
	used, fits := c.reservationUse(r), false
	for n, config := range r.configs {
		if !config.holds(p) {
			continue
		}
		fits = true
		if used[n] < config.reserved {
			p.seat, p.faultDomain = seat{r, n}, orElse(config.faultDomain, faultDomains()[0])
			return nil
		}
	}
	if !fits {
		return errInvalid("Capacity reservation %s holds no capacity for shape %s with %v OCPUs and %v GB in %s", id, p.spec.name,
			p.size.ocpus, p.size.memory, orElse(d.FaultDomain, "any fault domain"))
	}
	return fail(500, "InternalError", "Out of capacity: capacity reservation %s has no room left for shape %s", id, p.spec.name)
}

// holds tells whether a launch is one of those that a configuration is for.
// Capacity without a fault domain "is available for an instance that does not
// specify a fault domain"; both must say the same.
func (config reservationConfig) holds(p *launchPlan) bool {
	return config.shape == p.spec.name && config.size == p.size &&
		orElse(config.faultDomain, "") == orElse(p.details.FaultDomain, "")
}

// checkReservable refuses a reservation that limits do not allow, or for which
// there is no hardware.
func (c *Cloud) checkReservable(q *call, r *reservation) error {
	var exceeded []string
	for _, l := range limitSpecs() {
		asked := r.counts(l.name)
		if asked > 0 && c.used(q.here(), r.body.AvailabilityDomain, l)+int64(asked) > c.limitValue(q.here(), r.body.AvailabilityDomain, l) {
			exceeded = append(exceeded, l.name)
		}
	}
	if len(exceeded) > 0 {
		return errLimit(exceeded)
	}
	named := slices.DeleteFunc(slices.Clone(c.faults), func(f *activeFault) bool { return f.Op != q.op })
	for _, config := range r.configs {
		t := q.target()
		t.ad, t.shape, t.ocpus, t.memory = r.body.AvailabilityDomain, config.shape, config.size.ocpus, config.size.memory
		candidates := faultDomains()
		if config.faultDomain != nil {
			candidates = []string{*config.faultDomain}
		}
		if len(named.freeFaultDomains(t, candidates, true)) == 0 {
			return errCapacity()
		}
	}
	return nil
}

// counts is how much a reservation takes of a limit, whether it is used or not.
func (r *reservation) counts(limit string) (sum float64) {
	for _, config := range r.configs {
		spec, _ := lookUpShape(config.shape)
		sum += float64(config.reserved) * spec.counts(limit, config.size)
	}
	return sum
}
