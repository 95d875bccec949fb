// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Bounds of the Bastion service's API description.
const (
	minSessionTTL, maxSessionTTL = 1800, 10800 // seconds
	maxClientBlocks              = 20
	bastionPage                  = 10 // the default size of a page
	maxBastions                  = 5  // of a tenancy in a region, by default
	maxBastionSessions           = 20 // of one bastion
)

// bastion is a way from the Internet into a subnet, for the sessions it has.
type bastion struct {
	place
	revision
	body bastionBody
}

type bastionBody struct {
	tags
	ID                string    `json:"id"`
	BastionType       string    `json:"bastionType"`
	Name              string    `json:"name"`
	CompartmentID     string    `json:"compartmentId"`
	TargetVCNID       string    `json:"targetVcnId"`
	TargetSubnetID    string    `json:"targetSubnetId"`
	PhoneBookEntry    *string   `json:"phoneBookEntry"`
	ClientBlocks      []string  `json:"clientCidrBlockAllowList"`
	StaticJumpHosts   []string  `json:"staticJumpHostIpAddresses"`
	PrivateEndpointIP string    `json:"privateEndpointIpAddress"`
	MaxSessionTTL     int       `json:"maxSessionTtlInSeconds"`
	MaxSessions       int       `json:"maxSessionsAllowed"`
	DNSProxyStatus    string    `json:"dnsProxyStatus"`
	LifecycleState    string    `json:"lifecycleState"`
	LifecycleDetails  *string   `json:"lifecycleDetails"`
	TimeCreated       wireTime  `json:"timeCreated"`
	TimeUpdated       *wireTime `json:"timeUpdated"`
}

func (b *bastion) alive() bool { return b.body.LifecycleState != "DELETED" }

// become is a change of state.
func (b *bastion) become(state string) {
	now := wireNow()
	b.body.LifecycleState, b.body.TimeUpdated = state, &now
	b.touch()
}

func (c *Cloud) bastionRoutes() []route {
	const all, one = "/20210331/bastions", "/20210331/bastions/{id}"
	const sessions, session = "/20210331/sessions", "/20210331/sessions/{id}"
	return []route{
		op("CreateBastion", "POST "+all, c.createBastion),
		op("GetBastion", "GET "+one, c.getBastion),
		op("ListBastions", "GET "+all, c.listBastions, "compartmentId!", "bastionLifecycleState", "bastionId", "name",
			"limit", "page", "sortOrder", "sortBy").enum("sortBy", "timeCreated", "name").
			enum("bastionLifecycleState", "CREATING", "UPDATING", "ACTIVE", "DELETING", "DELETED", "FAILED"),
		op("DeleteBastion", "DELETE "+one, c.deleteBastion),
		op("CreateSession", "POST "+sessions, c.createJumpSession),
		op("GetSession", "GET "+session, c.getJumpSession),
		op("ListSessions", "GET "+sessions, c.listJumpSessions, "bastionId!", "displayName", "sessionLifecycleState", "sessionId",
			"limit", "page", "sortOrder", "sortBy").enum("sortBy", "timeCreated", "displayName").
			enum("sessionLifecycleState", "CREATING", "ACTIVE", "DELETING", "DELETED", "FAILED"),
		op("DeleteSession", "DELETE "+session, c.deleteJumpSession),
		op("ListWorkRequests", "GET /20210331/workRequests", c.listWorkRequests, "compartmentId!", "limit", "page"),
		op("GetWorkRequest", "GET /20210331/workRequests/{id}", c.getWorkRequest),
		op("ListWorkRequestErrors", "GET /20210331/workRequests/{id}/errors", c.listWorkRequestErrors, "limit", "page"),
		op("ListWorkRequestLogs", "GET /20210331/workRequests/{id}/logs", c.listWorkRequestLogs, "limit", "page"),
	}
}

// newBastionWork accepts an operation on a bastion or a session of one.
func (c *Cloud) newBastionWork(at place, operation, compartment, kind, id string) *workRequest {
	uri := "/" + strings.ToLower(kind) + "s/" + id
	work := &workRequest{place: at, of: bastions, body: workRequestBody{
		ID: newOCID("bastionworkrequest", at.region.ocid), OperationType: operation, Status: "ACCEPTED",
		CompartmentID: compartment, TimeAccepted: wireNow(),
		Resources: []workRequestResourceBody{{ActionType: "IN_PROGRESS", EntityType: kind + "Resource", Identifier: id, EntityURI: &uri}},
	}}
	work.note("Work request accepted")
	c.workRequests.put(work.body.ID, work)
	return work
}

// finish ends a work request of the Bastion service.
func (w *workRequest) finish(done string) {
	w.body.Resources = slices.Clone(w.body.Resources)
	w.body.Resources[0].ActionType = done
	w.end("SUCCEEDED")
}

type createBastionDetails struct {
	tags
	BastionType     string          `json:"bastionType" oci:"required"`
	CompartmentID   string          `json:"compartmentId" oci:"required"`
	TargetSubnetID  string          `json:"targetSubnetId" oci:"required"`
	Name            *string         `json:"name"`
	PhoneBookEntry  *string         `json:"phoneBookEntry"`
	StaticJumpHosts []string        `json:"staticJumpHostIpAddresses"`
	ClientBlocks    []string        `json:"clientCidrBlockAllowList"`
	MaxSessionTTL   *int            `json:"maxSessionTtlInSeconds"`
	DNSProxyStatus  *string         `json:"dnsProxyStatus"`
	MissingSecurity json.RawMessage `json:"securityAttributes"`
}

// bastionName is the pattern of the API's description.
var bastionName = regexp.MustCompile(`^[a-zA-Z_](-?[a-zA-Z_0-9])*$`)

func (d createBastionDetails) check() error {
	switch {
	case !strings.EqualFold(d.BastionType, "standard"):
		return errInvalid("Unknown bastionType %q", d.BastionType)
	case d.Name != nil && (len(*d.Name) > 255 || !bastionName.MatchString(*d.Name)):
		return errInvalid("name %q does not match %s", *d.Name, bastionName)
	case d.PhoneBookEntry != nil || d.StaticJumpHosts != nil:
		return errInvalid("phoneBookEntry and staticJumpHostIpAddresses are not applicable to standard bastions")
	case d.MaxSessionTTL != nil && (*d.MaxSessionTTL < minSessionTTL || *d.MaxSessionTTL > maxSessionTTL):
		return errInvalid("maxSessionTtlInSeconds must be between %d and %d", minSessionTTL, maxSessionTTL)
	case d.ClientBlocks != nil && (len(d.ClientBlocks) < 1 || len(d.ClientBlocks) > maxClientBlocks):
		return errInvalid("clientCidrBlockAllowList must have between 1 and %d entries", maxClientBlocks)
	case !absent(d.MissingSecurity):
		return errNotSimulated("securityAttributes")
	}
	for _, block := range d.ClientBlocks {
		if p, err := netip.ParsePrefix(block); err != nil || !p.Addr().Is4() {
			return errInvalid("clientCidrBlockAllowList: %q is not an IPv4 CIDR block", block)
		}
	}
	return checkEnums(enumField{"dnsProxyStatus", d.DNSProxyStatus, []string{"DISABLED", "ENABLED"}})
}

func (c *Cloud) createBastion(q *call) (*reply, error) {
	var d createBastionDetails
	if err := q.decode(&d); err != nil {
		return nil, err
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	if err := q.compartment(d.CompartmentID); err != nil {
		return nil, err
	}
	subnet, err := q.subnet(d.TargetSubnetID)
	if err != nil {
		return nil, err
	}
	if err := d.tags.check(q.tenancy()); err != nil {
		return nil, err
	}
	count := int64(0)
	for _, b := range c.bastions.all() {
		if b.ownedBy(q) && b.alive() {
			count++
		}
	}
	limit, set := q.tenancy().Limits["bastion-count"]
	if !set {
		limit = maxBastions
	}
	if count >= limit {
		return nil, errLimit([]string{"bastion-count"})
	}
	address, err := c.nextAddress()
	if err != nil {
		return nil, err
	}
	b := &bastion{place: q.here(), body: bastionBody{tags: d.tags.normal(), ID: newOCID("bastion", q.region().ocid),
		BastionType: "STANDARD", Name: nameOr(d.Name, "bastion"), CompartmentID: d.CompartmentID, TargetVCNID: subnet.VCNID,
		TargetSubnetID: subnet.ID, ClientBlocks: d.ClientBlocks, PrivateEndpointIP: address,
		MaxSessionTTL: orElse(d.MaxSessionTTL, maxSessionTTL), MaxSessions: maxBastionSessions,
		DNSProxyStatus: orElse(d.DNSProxyStatus, "DISABLED"), LifecycleState: "CREATING", TimeCreated: wireNow()}}
	b.touch()
	c.bastions.put(b.body.ID, b)
	work := c.newBastionWork(b.place, "CREATE_BASTION", d.CompartmentID, "Bastion", b.body.ID)
	c.background(func(ctx context.Context) {
		c.bastionStep(ctx, work, b.place, "CreateBastion", "CREATING", "CREATED", c.delays.Bastion, func() { b.become("ACTIVE") })
	})
	return created(b.body, b.revision, work), nil
}

// created is the answer to a request for something that will be.
func created(body any, v revision, work *workRequest) *reply {
	return (&reply{status: http.StatusCreated, body: body}).with("Etag", v.etag).with("Opc-Work-Request-Id", work.body.ID).
		with("Location", "/20210331"+*work.body.Resources[0].EntityURI)
}

// bastionStep lets one state last and ends it.
func (c *Cloud) bastionStep(ctx context.Context, work *workRequest, at place, op, state, done string, d time.Duration, end func()) {
	c.mu.Lock()
	work.begin()
	c.mu.Unlock()
	if c.spend(ctx, at, op, state, d) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	end()
	work.finish(done)
}

// findBastion also finds DELETED ones, which stay visible.
func (c *Cloud) findBastion(q *call, id string) (*bastion, error) {
	b, exists := c.bastions.get(id)
	if !exists || !b.ownedBy(q) {
		return nil, errNotFound()
	}
	return b, nil
}

func (c *Cloud) getBastion(q *call) (*reply, error) {
	b, err := c.findBastion(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	return withEtag(b.body, b.revision), nil
}

// listBastions shows less of each than GetBastion.
func (c *Cloud) listBastions(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	type summary struct {
		tags
		ID               string    `json:"id"`
		BastionType      string    `json:"bastionType"`
		Name             string    `json:"name"`
		CompartmentID    string    `json:"compartmentId"`
		TargetVCNID      string    `json:"targetVcnId"`
		TargetSubnetID   string    `json:"targetSubnetId"`
		DNSProxyStatus   string    `json:"dnsProxyStatus"`
		LifecycleState   string    `json:"lifecycleState"`
		LifecycleDetails *string   `json:"lifecycleDetails"`
		TimeCreated      wireTime  `json:"timeCreated"`
		TimeUpdated      *wireTime `json:"timeUpdated"`
	}
	found := []summary{}
	for _, one := range c.bastions.all() {
		b := one.body
		if one.ownedBy(q) && q.selects("compartmentId", b.CompartmentID) && q.selects("bastionId", b.ID) && q.selects("name", b.Name) &&
			q.selects("bastionLifecycleState", b.LifecycleState) {
			found = append(found, summary{b.tags, b.ID, b.BastionType, b.Name, b.CompartmentID, b.TargetVCNID, b.TargetSubnetID,
				b.DNSProxyStatus, b.LifecycleState, b.LifecycleDetails, b.TimeCreated, b.TimeUpdated})
		}
	}
	sortBastions(q, found, func(s summary) (string, wireTime) { return s.Name, s.TimeCreated })
	return paginateBy(q, found, bastionPage)
}

// sortBastions sorts as the Bastion service's lists are: by age, the newest
// first, or by name.
func sortBastions[T any](q *call, items []T, key func(T) (string, wireTime)) {
	byName := q.param("sortBy") != "" && q.param("sortBy") != "timeCreated"
	descending := q.param("sortOrder") == "DESC" || (q.param("sortOrder") == "" && !byName)
	slices.SortStableFunc(items, func(a, b T) int {
		if descending {
			a, b = b, a
		}
		aName, aTime := key(a)
		bName, bTime := key(b)
		if byName {
			return strings.Compare(aName, bName)
		}
		return aTime.Compare(bTime.Time)
	})
}

// deleteBastion ends the sessions with it. Whether Oracle's service refuses
// instead while there are some is not documented.
func (c *Cloud) deleteBastion(q *call) (*reply, error) {
	b, err := c.findBastion(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	if err := b.ifMatch(q); err != nil {
		return nil, err
	}
	switch b.body.LifecycleState {
	case "DELETED":
		return nil, errNotFound()
	case "ACTIVE", "FAILED":
	default:
		return nil, errState("Bastion %s is %s", b.body.ID, b.body.LifecycleState)
	}
	b.become("DELETING")
	for _, s := range c.jumps.all() {
		if s.body.BastionID == b.body.ID && !s.is("DELETED") {
			s.become("DELETING")
		}
	}
	work := c.newBastionWork(b.place, "DELETE_BASTION", b.body.CompartmentID, "Bastion", b.body.ID)
	c.background(func(ctx context.Context) {
		c.bastionStep(ctx, work, b.place, "DeleteBastion", "DELETING", "DELETED", c.delays.Bastion, func() {
			b.become("DELETED")
			for _, s := range c.jumps.all() {
				if s.body.BastionID == b.body.ID && !s.is("DELETED") {
					s.become("DELETED")
				}
			}
		})
	})
	return (&reply{status: http.StatusAccepted}).with("Opc-Work-Request-Id", work.body.ID), nil
}
