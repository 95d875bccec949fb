// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

func (c *Cloud) identityRoutes() []route {
	return []route{
		op("ListAvailabilityDomains", "GET /20160918/availabilityDomains", c.listAvailabilityDomains, "compartmentId!"),
		op("ListFaultDomains", "GET /20160918/faultDomains", c.listFaultDomains, "compartmentId!", "availabilityDomain!"),
		op("ListRegionSubscriptions", "GET /20160918/tenancies/{id}/regionSubscriptions", c.listRegionSubscriptions),
		op("GetTenancy", "GET /20160918/tenancies/{id}", c.getTenancy),
		op("GetCompartment", "GET /20160918/compartments/{id}", c.getCompartment),
		op("ListCompartments", "GET /20160918/compartments", c.listCompartments, "compartmentId!", "page", "limit",
			"accessLevel", "compartmentIdInSubtree", "name", "sortBy", "sortOrder", "lifecycleState").
			enum("accessLevel", "ANY", "ACCESSIBLE").enum("compartmentIdInSubtree", "true", "false").
			enum("sortBy", "TIMECREATED", "NAME"),
	}
}

func (c *Cloud) listAvailabilityDomains(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	type body struct {
		Name          string `json:"name"`
		ID            string `json:"id"`
		CompartmentID string `json:"compartmentId"`
	}
	found := []body{}
	for _, name := range q.region().availabilityDomains(q.tenancy().adPrefix) {
		found = append(found, body{name, "ocid1.availabilitydomain.oc1.." + name, q.tenancy().ID})
	}
	return paginate(q, found)
}

func (c *Cloud) listFaultDomains(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	ad := q.param("availabilityDomain")
	if !q.tenancy().hasAD(q.region(), ad) {
		return nil, errNotFound()
	}
	type body struct {
		Name               string `json:"name"`
		ID                 string `json:"id"`
		CompartmentID      string `json:"compartmentId"`
		AvailabilityDomain string `json:"availabilityDomain"`
	}
	found := []body{}
	for _, name := range faultDomains() {
		found = append(found, body{name, "ocid1.faultdomain.oc1.." + ad + "." + name, q.param("compartmentId"), ad})
	}
	return paginate(q, found)
}

func (c *Cloud) listRegionSubscriptions(q *call) (*reply, error) {
	t := q.tenancy()
	if q.vars["id"] != t.ID {
		return nil, errNotFound()
	}
	type body struct {
		RegionKey    string `json:"regionKey"`
		RegionName   string `json:"regionName"`
		Status       string `json:"status"`
		IsHomeRegion bool   `json:"isHomeRegion"`
	}
	found := []body{}
	for _, name := range t.Regions {
		r, err := lookUpRegion(name)
		if err != nil {
			return nil, err
		}
		found = append(found, body{r.key, r.name, "READY", name == t.HomeRegion})
	}
	return paginate(q, found)
}

func (c *Cloud) getTenancy(q *call) (*reply, error) {
	t := q.tenancy()
	if q.vars["id"] != t.ID {
		return nil, errNotFound()
	}
	home, err := lookUpRegion(t.HomeRegion)
	if err != nil {
		return nil, err
	}
	return ok(map[string]any{"id": t.ID, "name": t.Name, "description": t.Name, "homeRegionKey": home.key,
		"freeformTags": map[string]string{}, "definedTags": map[string]any{}}), nil
}
