// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"crypto/sha256"
	"encoding/base32"
	"maps"
	"slices"
	"strings"
)

// tagNamespaceBody is a namespace of defined tags as lists show it; all of a
// tenancy's are in its root compartment.
type tagNamespaceBody struct {
	tags
	ID             string   `json:"id"`
	CompartmentID  string   `json:"compartmentId"`
	Name           string   `json:"name"`
	Description    string   `json:"description"`
	IsRetired      bool     `json:"isRetired"`
	LifecycleState string   `json:"lifecycleState"`
	TimeCreated    wireTime `json:"timeCreated"`
}

// tagBody is a key of a namespace as lists show it.
type tagBody struct {
	tagNamespaceBody
	IsCostTracking bool `json:"isCostTracking"`
}

func (c *Cloud) tagRoutes() []route {
	return []route{
		op("ListTagNamespaces", "GET /20160918/tagNamespaces", c.listTagNamespaces, "compartmentId!", "page", "limit",
			"includeSubcompartments", "lifecycleState").enum("includeSubcompartments", "true", "false"),
		op("ListTags", "GET /20160918/tagNamespaces/{id}/tags", c.listTags, "page", "limit", "lifecycleState"),
	}
}

// namespaceID is the OCID of a namespace: the same for as long as it exists.
func (t *Tenancy) namespaceID(name string) string { return t.tagOCID("tagnamespace", name) }

func (t *Tenancy) tagOCID(kind string, names ...string) string {
	sum := sha256.Sum256([]byte(t.ID + "/" + strings.ToLower(strings.Join(names, "/"))))
	return "ocid1." + kind + ".oc1..a" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
}

func (t *Tenancy) tagSummary(id, name string) tagNamespaceBody {
	return tagNamespaceBody{tags: tags{}.normal(), ID: id, CompartmentID: t.ID, Name: name, Description: name, LifecycleState: "ACTIVE",
		TimeCreated: schemaEpoch()}
}

// inTagState says whether a list of what is ACTIVE has anything: a state is the
// same in any case of letters.
func inTagState(q *call) (bool, error) {
	state := strings.ToUpper(q.param("lifecycleState"))
	if !slices.Contains([]string{"", "ACTIVE", "INACTIVE", "DELETING", "DELETED"}, state) {
		return false, errInvalid("Unknown lifecycleState %s", q.param("lifecycleState"))
	}
	return state == "" || state == "ACTIVE", nil
}

func (c *Cloud) listTagNamespaces(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	active, err := inTagState(q)
	if err != nil {
		return nil, err
	}
	t, found := q.tenancy(), []tagNamespaceBody{}
	if active && q.param("compartmentId") == t.ID {
		for _, name := range slices.Sorted(maps.Keys(t.TagNamespaces)) {
			found = append(found, t.tagSummary(t.namespaceID(name), name))
		}
	}
	return paginate(q, found)
}

func (c *Cloud) listTags(q *call) (*reply, error) {
	active, err := inTagState(q)
	if err != nil {
		return nil, err
	}
	t := q.tenancy()
	for namespace, keys := range t.TagNamespaces {
		if t.namespaceID(namespace) != q.vars["id"] {
			continue
		}
		found := []tagBody{}
		for _, key := range keys {
			if active {
				found = append(found, tagBody{tagNamespaceBody: t.tagSummary(t.tagOCID("tagdefinition", namespace, key), key)})
			}
		}
		return paginate(q, found)
	}
	return nil, errNotFound()
}
