// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
)

// reservation is compute capacity that is held for a tenancy in one
// availability domain.
type reservation struct {
	place
	revision
	body    reservationBody
	configs []reservationConfig
}

type reservationBody struct {
	tags
	ID                 string    `json:"id"`
	AvailabilityDomain string    `json:"availabilityDomain"`
	CompartmentID      string    `json:"compartmentId"`
	DisplayName        string    `json:"displayName"`
	LifecycleState     string    `json:"lifecycleState"`
	IsDefault          bool      `json:"isDefaultReservation"`
	Reserved           int64     `json:"reservedInstanceCount"`
	Used               int64     `json:"usedInstanceCount"`
	TimeCreated        wireTime  `json:"timeCreated"`
	TimeUpdated        *wireTime `json:"timeUpdated,omitempty"`
}

// reservationConfig is room for instances of one shape and size, in the fault
// domain that it names.
type reservationConfig struct {
	shape       string
	size        size
	sized       bool // the shape's size was asked for
	faultDomain *string
	reserved    int64
}

type reservationConfigBody struct {
	InstanceShape string                  `json:"instanceShape"`
	ShapeConfig   *reservationShapeConfig `json:"instanceShapeConfig"`
	FaultDomain   *string                 `json:"faultDomain"`
	ReservedCount int64                   `json:"reservedCount"`
	UsedCount     int64                   `json:"usedCount"`
}

type reservationShapeConfig struct {
	OCPUs              *float64        `json:"ocpus"`
	Memory             *float64        `json:"memoryInGBs"`
	ResourceManagement json.RawMessage `json:"resourceManagement,omitempty"`
}

type reservationConfigDetails struct {
	InstanceShape string                  `json:"instanceShape" oci:"required"`
	ReservedCount *int64                  `json:"reservedCount" oci:"required"`
	ShapeConfig   *reservationShapeConfig `json:"instanceShapeConfig"`
	FaultDomain   *string                 `json:"faultDomain"`

	MissingCluster        json.RawMessage `json:"clusterConfig"`
	MissingPlacementGroup json.RawMessage `json:"clusterPlacementGroupId"`
}

func (c *Cloud) reservationRoutes() []route {
	const all = "/20160918/computeCapacityReservations"
	return []route{
		op("CreateComputeCapacityReservation", "POST "+all, c.createReservation),
		op("GetComputeCapacityReservation", "GET "+all+"/{id}", c.getReservation),
		op("ListComputeCapacityReservations", "GET "+all, c.listReservations, "compartmentId!", "availabilityDomain",
			"lifecycleState", "displayName", "limit", "page", "sortBy", "sortOrder").
			enum("lifecycleState", "ACTIVE", "CREATING", "UPDATING", "MOVING", "DELETED", "DELETING"),
		op("DeleteComputeCapacityReservation", "DELETE "+all+"/{id}", c.deleteReservation),
	}
}

// createReservation finds capacity unless a capacity fault names this very
// operation. What is reserved counts for limits from now on, used or not.
func (c *Cloud) createReservation(q *call) (*reply, error) {
	var d struct {
		tags
		CompartmentID      string                     `json:"compartmentId" oci:"required"`
		AvailabilityDomain string                     `json:"availabilityDomain" oci:"required"`
		DisplayName        *string                    `json:"displayName"`
		IsDefault          *bool                      `json:"isDefaultReservation"`
		Configs            []reservationConfigDetails `json:"instanceReservationConfigs"`
	}
	if err := q.decode(&d); err != nil {
		return nil, err
	}
	if err := q.compartment(d.CompartmentID); err != nil {
		return nil, err
	}
	if !q.tenancy().hasAD(q.region(), d.AvailabilityDomain) || q.tenancy().AlwaysFree {
		// "Capacity reservations aren't available with Free Tier accounts";
		// that it is a 404, as for all that a user may not do, is our guess.
		return nil, errNotFound()
	}
	if err := checkName(d.DisplayName); err != nil {
		return nil, err
	}
	if err := d.tags.check(q.tenancy()); err != nil {
		return nil, err
	}
	if orElse(d.IsDefault, false) {
		return nil, errNotSimulated("isDefaultReservation")
	}
	r := &reservation{place: q.here(), body: reservationBody{
		tags: d.tags.normal(), ID: newOCID("capacityreservation", q.region().ocid), AvailabilityDomain: d.AvailabilityDomain,
		CompartmentID: d.CompartmentID, DisplayName: nameOr(d.DisplayName, "capacityreservation"), LifecycleState: "CREATING",
		TimeCreated: wireNow(),
	}}
	for _, asked := range d.Configs {
		config, err := c.reservationConfig(q, d.AvailabilityDomain, asked)
		if err != nil {
			return nil, err
		}
		r.configs = append(r.configs, config)
		r.body.Reserved += config.reserved
	}
	if err := c.checkReservable(q, r); err != nil {
		return nil, err
	}
	r.touch()
	c.reservations.put(r.body.ID, r)
	work := c.newWork(r.place, "CreateComputeCapacityReservation", r.body.CompartmentID, "computeCapacityReservation", r.body.ID, "CREATED")
	work.begin()
	c.background(func(ctx context.Context) { c.moveReservation(ctx, r, work, "ACTIVE") })

	render := func() *reply {
		return withEtag(c.reservationView(r), r.revision).with("Opc-Work-Request-Id", work.body.ID).
			with("Location", "https://iaas."+r.region.name+".oraclecloud.com/20160918/computeCapacityReservations/"+r.body.ID)
	}
	result := render()
	result.again = func() (*reply, error) {
		if r.is("DELETING", "DELETED") {
			return nil, errInvalidatedToken()
		}
		return render(), nil
	}
	return result, nil
}

func (c *Cloud) reservationConfig(q *call, ad string, d reservationConfigDetails) (config reservationConfig, err error) {
	if !absent(d.MissingCluster) || !absent(d.MissingPlacementGroup) {
		return config, errNotSimulated("a cluster in a reservation")
	}
	spec, known := lookUpShape(d.InstanceShape)
	if !known || !c.shapeIn(q, ad, d.InstanceShape) {
		return config, errInvalid("Unknown instanceShape %s", d.InstanceShape)
	}
	asked := orElse(d.ShapeConfig, reservationShapeConfig{})
	if !absent(asked.ResourceManagement) {
		return config, errNotSimulated("resourceManagement")
	}
	config = reservationConfig{shape: spec.name, sized: d.ShapeConfig != nil, faultDomain: d.FaultDomain, reserved: *d.ReservedCount}
	if config.size, err = spec.sizeFor(asked.OCPUs, asked.Memory); err != nil {
		return config, err
	}
	if config.reserved < 1 {
		return config, errInvalid("reservedCount must be at least 1")
	}
	if d.FaultDomain != nil && !slices.Contains(faultDomains(), *d.FaultDomain) {
		return config, errInvalid("Unknown faultDomain %s", *d.FaultDomain)
	}
	return config, nil
}

// moveReservation takes a reservation on to the next state after a while.
func (c *Cloud) moveReservation(ctx context.Context, r *reservation, work *workRequest, to string) {
	if c.spend(ctx, r.place, work.body.OperationType, r.state(c), c.delays.Reserve) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := wireNow()
	r.body.LifecycleState, r.body.TimeUpdated = to, &now
	work.end("SUCCEEDED")
}

func (r *reservation) state(c *Cloud) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.body.LifecycleState
}

func (r *reservation) is(states ...string) bool {
	return slices.Contains(states, r.body.LifecycleState)
}

// reservationView is a reservation as clients see it, with the use that is
// made of it now.
func (c *Cloud) reservationView(r *reservation) any {
	used := c.reservationUse(r)
	view := struct {
		reservationBody
		Configs []reservationConfigBody `json:"instanceReservationConfigs"`
	}{r.body, []reservationConfigBody{}}
	for n, config := range r.configs {
		body := reservationConfigBody{InstanceShape: config.shape, FaultDomain: config.faultDomain,
			ReservedCount: config.reserved, UsedCount: used[n]}
		if config.sized {
			body.ShapeConfig = &reservationShapeConfig{OCPUs: &config.size.ocpus, Memory: &config.size.memory}
		}
		view.Configs = append(view.Configs, body)
		view.Used += used[n]
	}
	return view
}

func (c *Cloud) findReservation(q *call, id string) (*reservation, error) {
	r, exists := c.reservations.get(id)
	if !exists || !r.ownedBy(q) {
		return nil, errNotFound()
	}
	return r, nil
}

func (c *Cloud) getReservation(q *call) (*reply, error) {
	r, err := c.findReservation(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	return withEtag(c.reservationView(r), r.revision), nil
}

// listReservations lists summaries, which say nothing about shapes.
func (c *Cloud) listReservations(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	found := []reservationBody{}
	for _, r := range c.reservations.all() {
		b := r.body
		if r.ownedBy(q) && q.selects("compartmentId", b.CompartmentID) && q.selects("availabilityDomain", b.AvailabilityDomain) &&
			q.selects("lifecycleState", b.LifecycleState) && q.selects("displayName", b.DisplayName) {
			for _, n := range c.reservationUse(r) {
				b.Used += n
			}
			b.TimeUpdated = nil
			found = append(found, b)
		}
	}
	sortResources(q, found, func(b reservationBody) (string, wireTime) { return b.DisplayName, b.TimeCreated })
	return paginate(q, found)
}

// deleteReservation refuses to take capacity away from instances. Whether
// Oracle does is not documented; the code is our guess.
func (c *Cloud) deleteReservation(q *call) (*reply, error) {
	r, err := c.findReservation(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	if err := r.ifMatch(q); err != nil {
		return nil, err
	}
	switch {
	case r.is("DELETED"):
		return nil, errNotFound()
	case !r.is("ACTIVE"):
		return nil, errState("Capacity reservation %s is %s", r.body.ID, r.body.LifecycleState)
	case slices.Max(append(c.reservationUse(r), 0)) > 0:
		return nil, fail(http.StatusConflict, "Conflict", "Capacity reservation %s is used by instances", r.body.ID)
	}
	r.body.LifecycleState = "DELETING"
	r.touch()
	work := c.newWork(r.place, "DeleteComputeCapacityReservation", r.body.CompartmentID, "computeCapacityReservation", r.body.ID, "DELETED")
	work.begin()
	c.background(func(ctx context.Context) { c.moveReservation(ctx, r, work, "DELETED") })
	return noContent().with("Opc-Work-Request-Id", work.body.ID), nil
}
