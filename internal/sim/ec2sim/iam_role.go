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

func (c *Cloud) iamRoleOps() []*operation {
	return []*operation{
		iamOp("CreateRole", c.createRole), iamOp("GetRole", c.getRole), iamOp("DeleteRole", c.deleteRole),
		iamOp("UpdateAssumeRolePolicy", c.updateAssumeRolePolicy), iamOp("UpdateRole", c.updateRole), iamOp("TagRole", c.tagRole),
		iamOp("CreateServiceLinkedRole", c.createServiceLinkedRole), iamOp("ListRoles", c.listRoles),
	}
}

type roleXML struct {
	Path                     string
	RoleName                 string
	ID                       string `xml:"RoleId"`
	ARN                      string `xml:"Arn"`
	CreateDate               string
	AssumeRolePolicyDocument string
	Description              string `xml:",omitempty"`
	MaxSessionDuration       int
	Tags                     *memberSet[iamTagXML] `xml:"Tags,omitempty"`
}

func (in *iamAccount) roleXML(r *iamRole) roleXML {
	return roleXML{r.path, r.name, r.id, in.roleARN(r), iamTime(r.created), document(r.trust.text), r.description, int(r.maxSession.Seconds()), iamTagList(r.tags)}
}

type pathIn struct {
	PathPrefix string
	paged
}

// listRoles lists roles, without their tags, as IAM does.
func (c *Cloud) listRoles(q *call, in *pathIn) (any, error) {
	of := c.iamOf(q)
	if err := c.may(q, iamResource(of.arn("role", "/", ""), nil, nil)); err != nil {
		return nil, err
	}
	var out memberSet[roleXML]
	for _, name := range slices.Sorted(maps.Keys(of.roles)) {
		if r := of.roles[name]; strings.HasPrefix(r.path, in.PathPrefix) {
			row := of.roleXML(r)
			row.Tags = nil
			out.Items = append(out.Items, row)
		}
	}
	return struct {
		Roles memberSet[roleXML]
		whole
	}{out, whole{}}, nil
}

type roleIn struct {
	RoleName string `aws:",required"`
}

// role finds a role and asks IAM about the operation.
func (c *Cloud) role(q *call, name string, gets tagMap) (*iamAccount, *iamRole, error) {
	in := c.iamOf(q)
	r := in.roles[name]
	x := iamResource(in.arn("role", "/", name), nil, gets)
	if r != nil {
		x = iamResource(in.roleARN(r), r.tags, gets)
	}
	if err := c.may(q, x); err != nil {
		return nil, nil, err
	}
	if r == nil {
		return nil, nil, errNoEntity("The role with name %s cannot be found.", name)
	}
	return in, r, nil
}

// sessionLimit reads how long sessions of a role may last.
func sessionLimit(seconds *int) (time.Duration, error) {
	if seconds == nil {
		return time.Hour, nil
	}
	if *seconds < 3600 || *seconds > 43200 {
		return 0, refuse("ValidationError", "1 validation error detected: Value '%d' at 'maxSessionDuration' failed to satisfy constraint: "+
			"Member must have value between 3600 and 43200", *seconds)
	}
	return time.Duration(*seconds) * time.Second, nil
}

func (c *Cloud) createRole(q *call, in *struct {
	roleIn
	Trust               string `aws:"AssumeRolePolicyDocument,required"`
	Path                string
	Description         string
	MaxSessionDuration  *int
	PermissionsBoundary string
	Tags                memberTags
}) (any, error) {
	tags, err := in.Tags.read()
	if err != nil {
		return nil, err
	}
	if err := checkName("roleName", in.RoleName, 64); err != nil {
		return nil, err
	}
	if err := checkPath(&in.Path); err != nil {
		return nil, err
	}
	limit, err := sessionLimit(in.MaxSessionDuration)
	if err != nil {
		return nil, err
	}
	of := c.iamOf(q)
	x := iamResource(of.arn("role", in.Path, in.RoleName), nil, tags)
	if err := c.may(q, x); err != nil {
		return nil, err
	}
	if len(tags) > 0 {
		if err := c.allows(q, Access{q.who, "iam:TagRole", []AccessResource{x}, q.accessContext()}); err != nil {
			return nil, err
		}
	}
	if in.PermissionsBoundary != "" {
		return nil, errNotSimulated("permissions boundaries")
	}
	trust, err := parsePolicy(in.RoleName, in.Trust, trustPolicy)
	if err != nil {
		return nil, err
	}
	if of.roles[in.RoleName] != nil {
		return nil, errExists("Role with name %s already exists.", in.RoleName)
	}
	r := of.newRole(in.RoleName, in.Path)
	r.description, r.maxSession, r.tags, r.trust = in.Description, limit, tags, inlinePolicy{in.Trust, trust}
	return struct{ Role roleXML }{of.roleXML(r)}, nil
}

func (c *Cloud) getRole(q *call, in *roleIn) (any, error) {
	of, r, err := c.role(q, in.RoleName, nil)
	if err != nil {
		return nil, err
	}
	return struct{ Role roleXML }{of.roleXML(r)}, nil
}

func (c *Cloud) deleteRole(q *call, in *roleIn) (any, error) {
	of, r, err := c.role(q, in.RoleName, nil)
	if err != nil {
		return nil, err
	}
	switch {
	case r.service != "":
		return nil, refuse("UnmodifiableEntity", "Cannot perform the operation on the protected role '%s' - this role is only modifiable by AWS", r.name)
	case len(of.profilesOf(r)) > 0:
		return nil, errConflict("Cannot delete entity, must remove roles from instance profile first.")
	case len(r.inline) > 0:
		return nil, errConflict("Cannot delete entity, must delete policies first.")
	case len(r.attached) > 0:
		return nil, errConflict("Cannot delete entity, must detach all policies first.")
	}
	delete(of.roles, r.name)
	return nil, nil
}

func (c *Cloud) updateAssumeRolePolicy(q *call, in *struct {
	roleIn
	PolicyDocument string `aws:",required"`
}) (any, error) {
	_, r, err := c.role(q, in.RoleName, nil)
	if err != nil {
		return nil, err
	}
	trust, err := parsePolicy(in.RoleName, in.PolicyDocument, trustPolicy)
	if err != nil {
		return nil, err
	}
	r.trust = inlinePolicy{in.PolicyDocument, trust}
	return nil, nil
}

func (c *Cloud) updateRole(q *call, in *struct {
	roleIn
	Description        *string
	MaxSessionDuration *int
}) (any, error) {
	limit, err := sessionLimit(in.MaxSessionDuration)
	if err != nil {
		return nil, err
	}
	_, r, err := c.role(q, in.RoleName, nil)
	if err != nil {
		return nil, err
	}
	if in.MaxSessionDuration != nil {
		r.maxSession = limit
	}
	if in.Description != nil {
		r.description = *in.Description
	}
	return struct{}{}, nil
}

func (c *Cloud) tagRole(q *call, in *struct {
	roleIn
	Tags memberTags
}) (any, error) {
	tags, err := in.Tags.read()
	if err != nil {
		return nil, err
	}
	_, r, err := c.role(q, in.RoleName, tags)
	if err != nil {
		return nil, err
	}
	maps.Copy(r.tags, tags)
	return nil, nil
}

// serviceLinkedRoles are the services that have roles of their own here.
func serviceLinkedRoles() map[string]string {
	return map[string]string{
		"spot.amazonaws.com": "AWSServiceRoleForEC2Spot", "ec2fleet.amazonaws.com": "AWSServiceRoleForEC2Fleet",
		"spotfleet.amazonaws.com": "AWSServiceRoleForEC2SpotFleet",
	}
}

func (c *Cloud) createServiceLinkedRole(q *call, in *struct {
	AWSServiceName string `aws:",required"`
	Description    string
	CustomSuffix   string
}) (any, error) {
	of := c.iamOf(q)
	name, known := serviceLinkedRoles()[in.AWSServiceName]
	path := "/aws-service-role/" + in.AWSServiceName + "/"
	x := iamResource(of.arn("role", path, name), nil, nil)
	if err := c.may(q, x.with("iam:AWSServiceName", in.AWSServiceName)); err != nil {
		return nil, err
	}
	switch {
	case !known:
		return nil, errNoEntity("Service role template %s does not exist", in.AWSServiceName)
	case in.CustomSuffix != "":
		return nil, refuse("InvalidInput", "Custom suffix is not allowed for %s", in.AWSServiceName)
	case of.roles[name] != nil:
		return nil, refuse("InvalidInput", "Service role name %s has been taken in this account, please try a different suffix.", name)
	}
	return struct{ Role roleXML }{of.roleXML(of.linkRole(in.AWSServiceName))}, nil
}

// linkRole makes the role of a service.
func (in *iamAccount) linkRole(service string) *iamRole {
	name := serviceLinkedRoles()[service]
	r := in.newRole(name, "/aws-service-role/"+service+"/")
	r.service = service
	text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`
	r.trust = inlinePolicy{text, mustPolicy(name, text, trustPolicy)}
	return r
}

// profilesOf are the instance profiles that have a role.
func (in *iamAccount) profilesOf(r *iamRole) []*instanceProfile {
	var found []*instanceProfile
	for _, name := range slices.Sorted(maps.Keys(in.profiles)) {
		if in.profiles[name].role == r {
			found = append(found, in.profiles[name])
		}
	}
	return found
}

// needRole makes the role that a service needs to act for an account, unless it
// is there, if the caller may make it.
func (c *Cloud) needRole(q *call, service string) error {
	of := c.iamOf(q)
	name := serviceLinkedRoles()[service]
	if of.roles[name] != nil {
		return nil
	}
	x := iamResource(of.arn("role", "/aws-service-role/"+service+"/", name), nil, nil).with("iam:AWSServiceName", service)
	if c.allows(q, Access{q.who, "iam:CreateServiceLinkedRole", []AccessResource{x}, q.accessContext()}) != nil {
		return fail(http.StatusForbidden, "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
			"The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.")
	}
	if !q.dryRun {
		of.linkRole(service)
	}
	return nil
}
