// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// limitSpec is one service limit.
type limitSpec struct {
	service, name string
	scope         string // AD or REGION
	paid, free    int64  // default values by kind of account
}

// limitSpecs lists the limits that the simulator keeps, in the order in which
// an error message names them.
func limitSpecs() []limitSpec {
	return []limitSpec{
		{"compute", "standard-a1-memory-count", "AD", 512, 12},
		{"compute", "standard-a1-memory-regional-count", "REGION", 512, 12},
		{"compute", "standard-a1-core-count", "AD", 80, 2},
		{"compute", "standard-a1-core-regional-count", "REGION", 80, 2},
		{"compute", "standard-a2-core-count", "AD", 16, 0},
		{"compute", "standard-a2-memory-count", "AD", 128, 0},
		{"compute", "standard-a4-core-count", "AD", 16, 0},
		{"compute", "standard-a4-memory-count", "AD", 128, 0},
		{"compute", "standard-e4-core-count", "AD", 16, 0},
		{"compute", "standard-e4-memory-count", "AD", 256, 0},
		{"compute", "standard-e5-core-count", "AD", 16, 0},
		{"compute", "standard-e5-memory-count", "AD", 256, 0},
		{"compute", "vm-standard-e2-1-micro-count", "AD", 2, 2},
		{"compute", "custom-image-count", "REGION", 100, 25},
		{"block-storage", "total-storage-gb", "AD", 30000, 200},
		{"block-storage", "volume-count", "AD", 1000, 10},
		{"block-storage", "backup-count", "REGION", 1000, 5},
	}
}

func lookUpLimit(service, name string) (limitSpec, bool) {
	for _, l := range limitSpecs() {
		if l.service == service && l.name == name {
			return l, true
		}
	}
	return limitSpec{}, false
}

// limitValue is a limit's value for a tenancy, in an availability domain if
// the limit is of that scope.
func (c *Cloud) limitValue(at place, ad string, l limitSpec) int64 {
	for _, f := range c.faults {
		t := target{tenancy: at.tenancy.Name, region: at.region.name, ad: ad}
		if f.Kind == FaultLimitValue && f.Limit == l.name && f.matches(t) && f.inTime() {
			return f.Value
		}
	}
	if value, set := at.tenancy.Limits[l.name]; set {
		return value
	}
	if at.tenancy.AlwaysFree {
		return l.free
	}
	return l.paid
}

// used is how much of a limit a tenancy uses. An instance counts until it is
// TERMINATED.
func (c *Cloud) used(at place, ad string, l limitSpec) int64 {
	var sum float64
	inScope := func(p place, resourceAD string) bool {
		return p.tenancy == at.tenancy && p.region.name == at.region.name && (l.scope == "REGION" || resourceAD == ad)
	}
	for _, i := range c.instances.all() {
		if !inScope(i.place, i.body.AvailabilityDomain) || i.body.LifecycleState == "TERMINATED" || i.seat.reservation != nil {
			continue // what is reserved counts as such
		}
		spec, _ := lookUpShape(i.body.Shape)
		sum += spec.counts(l.name, i.size)
	}
	for _, r := range c.reservations.all() {
		if inScope(r.place, r.body.AvailabilityDomain) && !r.is("DELETED") {
			sum += r.counts(l.name)
		}
	}
	for _, img := range c.images.all() {
		if l.name == "custom-image-count" && inScope(img.place, "") && img.body.LifecycleState != "DELETED" {
			sum++
		}
	}
	for _, v := range c.volumes.all() {
		if inScope(v.place, v.body.AvailabilityDomain) && v.body.LifecycleState != "TERMINATED" {
			sum += volumeCounts(l.name, v.body.SizeInGBs)
		}
	}
	return int64(sum)
}

// counts is how much an instance of a size adds to a limit.
func (s shapeSpec) counts(limit string, of size) float64 {
	switch {
	case slices.Contains(s.coreLimits, limit):
		return of.ocpus
	case slices.Contains(s.memoryLimits, limit):
		return of.memory
	case slices.Contains(s.countLimits, limit):
		return 1
	}
	return 0
}

func volumeCounts(limit string, sizeGB int64) float64 {
	switch limit {
	case "total-storage-gb":
		return float64(sizeGB)
	case "volume-count":
		return 1
	}
	return 0
}

// checkLimits refuses a launch that limits or quotas do not allow, with the
// names of all limits that it would exceed.
func (c *Cloud) checkLimits(q *call, p *launchPlan) error {
	ad, t := p.details.AvailabilityDomain, q.target()
	t.ad, t.shape, t.ocpus, t.memory = ad, p.spec.name, p.size.ocpus, p.size.memory
	adds := func(limit string) int64 {
		add := volumeCounts(limit, p.volumeGB)
		if p.seat.reservation == nil { // else the reservation counts already
			add += p.spec.counts(limit, p.size)
		}
		return int64(add)
	}
	phantom := c.faults.hitLimit(t, func(limit string) bool { return (limit == "" && p.seat.reservation == nil) || adds(limit) > 0 })

	var exceeded, overQuota []string
	for _, l := range limitSpecs() {
		add := adds(l.name)
		if add == 0 {
			continue
		}
		used := c.used(q.here(), ad, l)
		if used+add > c.limitValue(q.here(), ad, l) || phantom.about(l, l.service == "compute") {
			exceeded = append(exceeded, l.name)
		}
		if quota, set := q.tenancy().Quotas[l.name]; set && used+add > quota {
			overQuota = append(overQuota, l.name)
		}
	}
	if len(exceeded) > 0 {
		return errLimit(exceeded)
	}
	if len(overQuota) > 0 {
		return fail(http.StatusBadRequest, "QuotaExceeded", "The following compartment quotas were exceeded: %s. "+
			"Request a quota increase from your administrator.", strings.Join(overQuota, ", "))
	}
	return nil
}

// errLimit is worded as Oracle's, trailing space included.
func errLimit(names []string) *apiError {
	return fail(http.StatusBadRequest, "LimitExceeded", "The following service limits were exceeded: %s. "+
		"Request a service limit increase from the service limits page in the console. ", strings.Join(names, ", "))
}

func (c *Cloud) limitRoutes() []route {
	return []route{
		op("GetResourceAvailability", "GET /20190729/services/{service}/limits/{limit}/resourceAvailability",
			c.getResourceAvailability, "compartmentId!", "availabilityDomain", "subscriptionId", "externalLocation"),
		op("ListLimitValues", "GET /20190729/limitValues", c.listLimitValues, "compartmentId!", "serviceName!",
			"scopeType", "availabilityDomain", "name", "sortBy", "sortOrder", "limit", "page", "subscriptionId", "externalLocation").
			enum("scopeType", "GLOBAL", "REGION", "AD").enum("sortBy", "name"),
		op("ListLimitDefinitions", "GET /20190729/limitDefinitions", c.listLimitDefinitions, "compartmentId!", "serviceName",
			"name", "sortBy", "sortOrder", "limit", "page", "subscriptionId").enum("sortBy", "name", "description"),
		op("ListServices", "GET /20190729/services", c.listServices, "compartmentId!", "sortBy", "sortOrder", "limit", "page",
			"subscriptionId").enum("sortBy", "name", "description"),
	}
}

func (c *Cloud) getResourceAvailability(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	l, known := lookUpLimit(q.vars["service"], q.vars["limit"])
	if !known {
		return nil, errNotFound()
	}
	ad := q.param("availabilityDomain")
	switch {
	case l.scope == "AD" && ad == "":
		return nil, errInvalid("Parameter 'availabilityDomain' should not be null for this limit's scope type")
	case l.scope != "AD" && ad != "":
		return nil, errInvalid("Parameter 'availabilityDomain' should be null for this limit's scope type")
	case ad != "" && !q.tenancy().hasAD(q.region(), ad):
		return nil, errNotFound()
	}
	value, used := c.limitValue(q.here(), ad, l), c.used(q.here(), ad, l)
	t := q.target()
	t.op, t.ad = "LaunchInstance", ad
	if l.name == "custom-image-count" {
		t.op = "CreateImage"
	}
	if c.faults.peekLimit(t, l) {
		used = value // the counters lie as well while the phantom lasts
	}
	available := max(value-used, 0)
	return ok(map[string]any{"used": used, "available": available, "fractionalUsage": float64(used),
		"fractionalAvailability": float64(available), "effectiveQuotaValue": nil}), nil
}

func (c *Cloud) listLimitValues(q *call) (*reply, error) {
	if err := q.rootCompartment(); err != nil {
		return nil, err
	}
	type body struct {
		Name               string  `json:"name"`
		ScopeType          string  `json:"scopeType"`
		AvailabilityDomain *string `json:"availabilityDomain"`
		Value              int64   `json:"value"`
	}
	if ad := q.param("availabilityDomain"); ad != "" && !q.tenancy().hasAD(q.region(), ad) {
		return nil, errNotFound()
	}
	found := []body{}
	for _, l := range limitSpecs() {
		if !q.selects("serviceName", l.service) || !q.selects("name", l.name) || !q.selects("scopeType", l.scope) {
			continue
		}
		if l.scope != "AD" {
			if q.param("availabilityDomain") == "" {
				found = append(found, body{l.name, l.scope, nil, c.limitValue(q.here(), "", l)})
			}
			continue
		}
		for _, ad := range q.region().availabilityDomains(q.tenancy().adPrefix) {
			if q.selects("availabilityDomain", ad) {
				found = append(found, body{l.name, l.scope, &ad, c.limitValue(q.here(), ad, l)})
			}
		}
	}
	byName(q, found, func(b body) string { return b.Name + " " + orElse(b.AvailabilityDomain, "") })
	return paginate(q, found)
}

// byName sorts a list of the Limits service if it is asked to: ascending unless
// sortOrder says otherwise. What can also be sorted by its description has its
// name there.
func byName[T any](q *call, items []T, name func(T) string) {
	if q.param("sortBy") == "" && q.param("sortOrder") == "" {
		return
	}
	slices.SortStableFunc(items, func(a, b T) int {
		if q.param("sortOrder") == "DESC" {
			a, b = b, a
		}
		return strings.Compare(name(a), name(b))
	})
}

// rootCompartment checks that the compartment is the tenancy itself, which is
// where limits live.
func (q *call) rootCompartment() error {
	if q.param("compartmentId") != q.tenancy().ID {
		return errNotFound()
	}
	return nil
}

func (c *Cloud) listLimitDefinitions(q *call) (*reply, error) {
	if err := q.rootCompartment(); err != nil {
		return nil, err
	}
	found := []map[string]any{}
	for _, l := range limitSpecs() {
		if q.selects("serviceName", l.service) && q.selects("name", l.name) {
			found = append(found, map[string]any{"name": l.name, "serviceName": l.service, "description": l.name,
				"scopeType": l.scope, "areQuotasSupported": true, "isResourceAvailabilitySupported": true,
				"isDeprecated": false, "isEligibleForLimitIncrease": true, "isDynamic": false})
		}
	}
	byName(q, found, func(b map[string]any) string { return fmt.Sprint(b["name"]) })
	return paginate(q, found)
}

func (c *Cloud) listServices(q *call) (*reply, error) {
	if err := q.rootCompartment(); err != nil {
		return nil, err
	}
	found := []map[string]string{
		{"name": "block-storage", "description": "Block Volume"}, {"name": "compute", "description": "Compute"},
	}
	byName(q, found, func(b map[string]string) string { return b["name"] })
	return paginate(q, found)
}
