// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

func (c *Cloud) iamProfileOps() []*operation {
	return []*operation{
		iamOp("CreateInstanceProfile", c.createInstanceProfile), iamOp("GetInstanceProfile", c.getInstanceProfile),
		iamOp("AddRoleToInstanceProfile", c.addRoleToInstanceProfile), iamOp("RemoveRoleFromInstanceProfile", c.removeRoleFromInstanceProfile),
		iamOp("DeleteInstanceProfile", c.deleteInstanceProfile), iamOp("ListInstanceProfilesForRole", c.listInstanceProfilesForRole),
		iamOp("ListInstanceProfiles", c.listInstanceProfiles),
	}
}

type iamProfileXML struct {
	Path       string
	Name       string `xml:"InstanceProfileName"`
	ID         string `xml:"InstanceProfileId"`
	ARN        string `xml:"Arn"`
	CreateDate string
	Roles      memberSet[roleXML]
	Tags       *memberSet[iamTagXML] `xml:"Tags,omitempty"`
}

func (in *iamAccount) iamProfileXML(p *instanceProfile) iamProfileXML {
	row := iamProfileXML{p.path, p.name, p.id, in.profileARN(p), iamTime(p.created), memberSet[roleXML]{}, iamTagList(p.tags)}
	if p.role != nil {
		role := in.roleXML(p.role)
		role.Tags = nil
		row.Roles.Items = append(row.Roles.Items, role)
	}
	return row
}

// listInstanceProfiles lists profiles, without their tags, as IAM does.
func (c *Cloud) listInstanceProfiles(q *call, in *pathIn) (any, error) {
	of := c.iamOf(q)
	if err := c.may(q, iamResource(of.arn("instance-profile", "/", ""), nil, nil)); err != nil {
		return nil, err
	}
	var out memberSet[iamProfileXML]
	for _, name := range slices.Sorted(maps.Keys(of.profiles)) {
		if p := of.profiles[name]; strings.HasPrefix(p.path, in.PathPrefix) {
			row := of.iamProfileXML(p)
			row.Tags = nil
			out.Items = append(out.Items, row)
		}
	}
	return struct {
		InstanceProfiles memberSet[iamProfileXML]
		whole
	}{out, whole{}}, nil
}

type profileIn struct {
	Name string `aws:"InstanceProfileName,required"`
}

// profile finds an instance profile and asks IAM about the operation.
func (c *Cloud) profile(q *call, name string) (*iamAccount, *instanceProfile, error) {
	in := c.iamOf(q)
	p := in.profiles[name]
	x := iamResource(in.arn("instance-profile", "/", name), nil, nil)
	if p != nil {
		x = iamResource(in.profileARN(p), p.tags, nil)
	}
	if err := c.may(q, x); err != nil {
		return nil, nil, err
	}
	if p == nil {
		return nil, nil, errNoEntity("Instance Profile %s cannot be found.", name)
	}
	return in, p, nil
}

func (c *Cloud) createInstanceProfile(q *call, in *struct {
	profileIn
	Path string
	Tags memberTags
}) (any, error) {
	tags, err := in.Tags.read()
	if err != nil {
		return nil, err
	}
	if err := checkName("instanceProfileName", in.Name, 128); err != nil {
		return nil, err
	}
	if err := checkPath(&in.Path); err != nil {
		return nil, err
	}
	of := c.iamOf(q)
	x := iamResource(of.arn("instance-profile", in.Path, in.Name), nil, tags)
	if err := c.may(q, x); err != nil {
		return nil, err
	}
	if len(tags) > 0 {
		if err := c.allows(q, Access{q.who, "iam:TagInstanceProfile", []AccessResource{x}, q.accessContext()}); err != nil {
			return nil, err
		}
	}
	if of.profiles[in.Name] != nil {
		return nil, errExists("Instance Profile %s already exists.", in.Name)
	}
	p := &instanceProfile{name: in.Name, path: in.Path, id: "AIPA" + randomUpper(17), created: time.Now(), visible: c.visibleFrom(q), tags: tags}
	of.profiles[in.Name] = p
	return struct{ InstanceProfile iamProfileXML }{of.iamProfileXML(p)}, nil
}

func (c *Cloud) getInstanceProfile(q *call, in *profileIn) (any, error) {
	of, p, err := c.profile(q, in.Name)
	if err != nil {
		return nil, err
	}
	return struct{ InstanceProfile iamProfileXML }{of.iamProfileXML(p)}, nil
}

type profileRoleIn struct {
	profileIn
	RoleName string `aws:",required"`
}

func (c *Cloud) addRoleToInstanceProfile(q *call, in *profileRoleIn) (any, error) {
	of, p, err := c.profile(q, in.Name)
	if err != nil {
		return nil, err
	}
	r := of.roles[in.RoleName]
	switch {
	case r == nil:
		return nil, errNoEntity("The role with name %s cannot be found.", in.RoleName)
	case p.role != nil:
		return nil, fail(http.StatusConflict, "LimitExceeded", "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
	}
	// Whoever puts a role into a profile hands it to a service.
	pass := Access{q.who, "iam:PassRole", []AccessResource{iamResource(of.roleARN(r), r.tags, nil)}, q.accessContext()}
	if err := c.allows(q, pass); err != nil {
		return nil, err
	}
	p.role = r
	return nil, nil
}

func (c *Cloud) removeRoleFromInstanceProfile(q *call, in *profileRoleIn) (any, error) {
	_, p, err := c.profile(q, in.Name)
	if err != nil {
		return nil, err
	}
	if p.role == nil || p.role.name != in.RoleName {
		return nil, errNoEntity("The role with name %s cannot be found.", in.RoleName)
	}
	p.role = nil
	return nil, nil
}

func (c *Cloud) deleteInstanceProfile(q *call, in *profileIn) (any, error) {
	of, p, err := c.profile(q, in.Name)
	if err != nil {
		return nil, err
	}
	if p.role != nil {
		return nil, errConflict("Cannot delete entity, must remove roles from instance profile first.")
	}
	delete(of.profiles, p.name)
	return nil, nil
}

func (c *Cloud) listInstanceProfilesForRole(q *call, in *struct {
	roleIn
	paged
}) (any, error) {
	of, r, err := c.role(q, in.RoleName, nil)
	if err != nil {
		return nil, err
	}
	var out memberSet[iamProfileXML]
	for _, p := range of.profilesOf(r) {
		out.Items = append(out.Items, of.iamProfileXML(p))
	}
	return struct {
		InstanceProfiles memberSet[iamProfileXML]
		whole
	}{out, whole{}}, nil
}
