// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"slices"
	"strings"
	"time"
)

type compartmentBody struct {
	tags
	ID             string   `json:"id"`
	CompartmentID  *string  `json:"compartmentId"` // of the parent; null for the root
	Name           string   `json:"name"`
	Description    string   `json:"description"`
	LifecycleState string   `json:"lifecycleState"`
	IsAccessible   *bool    `json:"isAccessible"`
	TimeCreated    wireTime `json:"timeCreated"`
}

// compartments are the tenancy's root, its child and its grandchild, each
// before what is below it.
func (t *Tenancy) compartments() []compartmentBody {
	one := func(id string, parent *string, name string, age time.Duration) compartmentBody {
		return compartmentBody{tags: tags{}.normal(), ID: id, CompartmentID: parent, Name: name, Description: name,
			LifecycleState: "ACTIVE", TimeCreated: wireTime{schemaEpoch().Add(age)}}
	}
	return []compartmentBody{
		one(t.ID, nil, t.Name, 0),
		one(t.CompartmentID, &t.ID, "main", time.Hour),
		one(t.ChildCompartmentID, &t.CompartmentID, "below", 2*time.Hour),
	}
}

// may tells whether the tenancy's user has permissions in a compartment of it.
func (t *Tenancy) may(compartment string) bool {
	return t.owns(compartment) && !slices.Contains(t.NoAccess, compartment)
}

// mayBelow tells whether the user has permissions in a compartment below one.
func (t *Tenancy) mayBelow(compartment string) bool {
	return slices.ContainsFunc(t.compartments(), func(b compartmentBody) bool {
		return b.CompartmentID != nil && *b.CompartmentID == compartment && (t.may(b.ID) || t.mayBelow(b.ID))
	})
}

func (c *Cloud) getCompartment(q *call) (*reply, error) {
	for _, body := range q.tenancy().compartments() {
		if body.ID == q.vars["id"] && q.tenancy().may(body.ID) {
			return ok(body), nil
		}
	}
	return nil, errNotFound()
}

// listCompartments lists the children of a compartment, and with
// compartmentIdInSubtree all that is below the root. It checks the caller's
// permissions only if accessLevel says so: by default compartments are in the
// list in which nothing else can be seen.
func (c *Cloud) listCompartments(q *call) (*reply, error) {
	t, parent := q.tenancy(), q.param("compartmentId")
	whole := q.param("compartmentIdInSubtree") == "true"
	switch {
	case !t.owns(parent):
		return nil, errNotFound()
	case !oneOf(strings.ToUpper(q.param("lifecycleState")), []string{"", "CREATING", "ACTIVE", "INACTIVE", "DELETING", "DELETED"}):
		return nil, errInvalid("Unknown lifecycleState %s", q.param("lifecycleState")) // in any case of letters
	case whole && parent != t.ID: // our wording
		return nil, errInvalid("compartmentIdInSubtree can only be true for the root compartment")
	}
	found := []compartmentBody{}
	for _, body := range t.compartments() {
		below := body.CompartmentID != nil && (whole || *body.CompartmentID == parent)
		state := q.param("lifecycleState")
		if !below || !q.selects("name", body.Name) || (state != "" && !strings.EqualFold(state, body.LifecycleState)) {
			continue
		}
		if q.param("accessLevel") == "ACCESSIBLE" {
			yes := true
			switch {
			case t.may(body.ID):
				body.IsAccessible = &yes
			case t.mayBelow(body.ID): // a restricted set of fields
				body = compartmentBody{ID: body.ID, CompartmentID: body.CompartmentID, Name: body.Name,
					LifecycleState: body.LifecycleState, IsAccessible: &yes, TimeCreated: body.TimeCreated}
			default:
				continue
			}
		}
		found = append(found, body)
	}
	if q.param("sortBy") == "" && q.param("sortOrder") == "" {
		return paginate(q, found)
	}
	descending := q.param("sortOrder") == "DESC" || (q.param("sortOrder") == "" && q.param("sortBy") == "TIMECREATED")
	slices.SortStableFunc(found, func(a, b compartmentBody) int {
		order := a.TimeCreated.Compare(b.TimeCreated.Time)
		if q.param("sortBy") == "NAME" {
			order = strings.Compare(a.Name, b.Name)
		}
		if descending {
			return -order
		}
		return order
	})
	return paginate(q, found)
}
