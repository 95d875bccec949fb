// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"maps"
	"regexp"
	"slices"
	"time"
)

// home is where a resource exists: in one account and one region.
type home struct {
	account *Account
	region  *region
}

// tagMap is the tags of a resource.
type tagMap map[string]string

// resource is anything with an id and tags.
type resource interface{ base() *resourceBase }

// resourceBase is what all resources have.
type resourceBase struct {
	home
	id      string
	kind    string // as in ARNs and TagSpecifications, such as instance
	tags    tagMap
	created time.Time
	visible time.Time // from when on its id is known everywhere
}

func (b *resourceBase) base() *resourceBase { return b }

// newBase is a new resource of the caller, with an id of its own.
func (c *Cloud) newBase(q *call, kind string, tags tagMap) resourceBase {
	b := resourceBase{home: q.home(), id: newID(kinds()[kind].prefix), kind: kind, tags: tagMap{}, created: time.Now()}
	maps.Copy(b.tags, tags)
	if !q.made { // a request that makes several things counts once
		q.made, q.hides = true, c.faults.hit(q.target(), FaultInvisible)
	}
	if q.hides != nil {
		b.visible = b.created.Add(time.Duration(q.hides.Delay))
	}
	return b
}

// table holds resources by id and remembers in which order they came.
type table struct {
	byID  map[string]resource
	order []string
}

func (t *table) put(r resource) {
	if t.byID == nil {
		t.byID = map[string]resource{}
	}
	id := r.base().id
	if _, exists := t.byID[id]; !exists {
		t.order = append(t.order, id)
	}
	t.byID[id] = r
}

func (t *table) remove(id string) {
	delete(t.byID, id)
	t.order = slices.DeleteFunc(t.order, func(other string) bool { return other == id })
}

// all lists the resources of a type, oldest first.
func all[T resource](c *Cloud) []T {
	var found []T
	for _, id := range c.resources.order {
		if r, is := c.resources.byID[id].(T); is {
			found = append(found, r)
		}
	}
	return found
}

// own lists the caller's resources of a type in the request's region. What is
// not visible yet is left out.
func own[T resource](c *Cloud, q *call) []T {
	return slices.DeleteFunc(all[T](c), func(r T) bool { return !r.base().seenBy(q) })
}

// taken lists the caller's resources of a type in the request's region, what is not
// visible yet included: whether a name is free does not depend on that.
func taken[T resource](c *Cloud, q *call) []T {
	return slices.DeleteFunc(all[T](c), func(r T) bool { return r.base().home != q.home() })
}

func (b *resourceBase) seenBy(q *call) bool {
	return b.home == q.home() && !time.Now().Before(b.visible)
}

func (q *call) home() home { return home{q.who.Account, q.region} }

// kindInfo is what EC2 says about ids of a kind.
type kindInfo struct {
	prefix    string
	malformed string // code
	notFound  string // code
	text      string // of notFound
}

func kinds() map[string]kindInfo {
	return map[string]kindInfo{
		"instance":          {"i", "InvalidInstanceID.Malformed", "InvalidInstanceID.NotFound", "The instance ID '%s' does not exist"},
		"image":             {"ami", "InvalidAMIID.Malformed", "InvalidAMIID.NotFound", "The image id '[%s]' does not exist"},
		"snapshot":          {"snap", "InvalidSnapshotID.Malformed", "InvalidSnapshot.NotFound", "The snapshot '%s' does not exist."},
		"volume":            {"vol", "InvalidVolumeID.Malformed", "InvalidVolume.NotFound", "The volume '%s' does not exist."},
		"network-interface": {"eni", "InvalidNetworkInterfaceId.Malformed", "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '%s' does not exist"},
		"security-group":    {"sg", "InvalidGroupId.Malformed", "InvalidGroup.NotFound", "The security group '%s' does not exist"},
		"security-group-rule": {"sgr", "InvalidSecurityGroupRuleId.Malformed", "InvalidSecurityGroupRuleId.NotFound",
			"The security group rule ID '%s' does not exist"},
		"subnet":   {"subnet", "InvalidSubnetID.Malformed", "InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist"},
		"vpc":      {"vpc", "InvalidVpcID.Malformed", "InvalidVpcID.NotFound", "The vpc ID '%s' does not exist"},
		"key-pair": {"key", "InvalidKeyPairId.Malformed", "InvalidKeyPair.NotFound", "The key pair '%s' does not exist"},
		"launch-template": {"lt", "InvalidLaunchTemplateId.Malformed", "InvalidLaunchTemplateId.NotFound",
			"The specified launch template, with template ID %s, does not exist."},
		"spot-instances-request": {"sir", "InvalidSpotInstanceRequestID.Malformed", "InvalidSpotInstanceRequestID.NotFound",
			"The spot instance request ID '%s' does not exist"},
		"fleet":             {"fleet", "InvalidFleetId.Malformed", "InvalidFleetId.NotFound", "The fleet ID '%s' does not exist"},
		"export-image-task": {"export-ami", "InvalidExportTaskID.Malformed", "InvalidExportTaskID.NotFound", "The specified export task ID '%s' cannot be found"},
		"reservation":       {"r", "", "", ""},
	}
}

// idForm is what follows the prefix of an id.
var idForm = regexp.MustCompile(`^[a-z]+(-[a-z]+)?-([0-9a-f]{8}|[0-9a-f]{17})$`)

// checkID refuses an id that cannot be one of the kind.
func checkID(kind, id string) error {
	k := kinds()[kind]
	if !idForm.MatchString(id) || id[:len(k.prefix)+1] != k.prefix+"-" {
		return refuse(k.malformed, `Invalid id: "%s" (expecting "%s-...")`, id, k.prefix)
	}
	return nil
}

func errUnknownID(kind, id string) *apiError {
	return refuse(kinds()[kind].notFound, kinds()[kind].text, id)
}

// find looks up one of the caller's resources by id.
func find[T resource](c *Cloud, q *call, kind, id string) (T, error) {
	var none T
	if err := checkID(kind, id); err != nil {
		return none, err
	}
	r, is := c.resources.byID[id].(T)
	if !is || !r.base().seenBy(q) {
		return none, errUnknownID(kind, id)
	}
	return r, nil
}

// pick is a list of the caller's resources: those with the ids, in the
// caller's order, or all of them. Each id must exist.
func pick[T resource](c *Cloud, q *call, kind string, ids []string) ([]T, error) {
	if len(ids) == 0 {
		return own[T](c, q), nil
	}
	found := make([]T, 0, len(ids))
	for _, id := range ids {
		r, err := find[T](c, q, kind, id)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(found, func(other T) bool { return other.base() == r.base() }) {
			found = append(found, r)
		}
	}
	return found, nil
}
