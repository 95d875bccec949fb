// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// policyVersion is one text of a managed policy. The newest is the last.
type policyVersion struct {
	id string
	inlinePolicy
	created time.Time
}

// maxPolicyVersions is how many texts of a policy are kept.
const maxPolicyVersions = 5

// current is the version that counts: its text is the policy's.
func (m *managedPolicy) current() policyVersion {
	for _, v := range m.versions {
		if v.policy == m.policy {
			return v
		}
	}
	return policyVersion{"v1", m.inlinePolicy, m.created} // of those that AWS manages
}

type policyVersionXML struct {
	Document   string `xml:",omitempty"`
	VersionID  string `xml:"VersionId"`
	IsDefault  bool   `xml:"IsDefaultVersion"`
	CreateDate string
}

func (m *managedPolicy) versionXML(v policyVersion, text string) policyVersionXML {
	return policyVersionXML{text, v.id, v.policy == m.policy, iamTime(v.created)}
}

// version finds a version of a policy.
func (m *managedPolicy) version(id string) (policyVersion, error) {
	for _, v := range append(slices.Clone(m.versions), m.current()) {
		if v.id == id {
			return v, nil
		}
	}
	return policyVersion{}, errNoEntity("Policy %s version %s does not exist or is not attachable.", m.arn, id)
}

type versionIn struct {
	policyIn
	VersionID string `aws:"VersionId,required"`
}

func (c *Cloud) getPolicyVersion(q *call, in *versionIn) (any, error) {
	_, m, err := c.managed(q, in.PolicyARN)
	if err != nil {
		return nil, err
	}
	v, err := m.version(in.VersionID)
	if err != nil {
		return nil, err
	}
	return struct{ PolicyVersion policyVersionXML }{m.versionXML(v, document(v.text))}, nil
}

func (c *Cloud) listPolicyVersions(q *call, in *struct {
	policyIn
	paged
}) (any, error) {
	_, m, err := c.managed(q, in.PolicyARN)
	if err != nil {
		return nil, err
	}
	var out memberSet[policyVersionXML]
	for _, v := range m.versions {
		out.Items = append(out.Items, m.versionXML(v, ""))
	}
	if len(m.versions) == 0 {
		out.Items = append(out.Items, m.versionXML(m.current(), ""))
	}
	return struct {
		Versions memberSet[policyVersionXML]
		whole
	}{out, whole{}}, nil
}

func (c *Cloud) createPolicyVersion(q *call, in *struct {
	policyIn
	PolicyDocument string `aws:",required"`
	SetAsDefault   bool
}) (any, error) {
	_, m, err := c.managed(q, in.PolicyARN)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(m.arn, "arn:aws:iam::aws:") {
		return nil, fail(http.StatusForbidden, "AccessDenied", "Policy is outside your own account.")
	}
	p, err := parsePolicy(m.name, in.PolicyDocument, identityPolicy)
	if err != nil {
		return nil, err
	}
	if err := checkPolicySize("policy", m.name, 6144, in.PolicyDocument); err != nil {
		return nil, err
	}
	if len(m.versions) >= maxPolicyVersions {
		return nil, fail(http.StatusConflict, "LimitExceeded", "A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxPolicyVersions)
	}
	m.made++
	v := policyVersion{fmt.Sprintf("v%d", m.made+1), inlinePolicy{in.PolicyDocument, p}, time.Now()}
	m.versions = append(m.versions, v)
	if in.SetAsDefault {
		m.inlinePolicy = v.inlinePolicy
	}
	return struct{ PolicyVersion policyVersionXML }{m.versionXML(v, "")}, nil
}

func (c *Cloud) deletePolicyVersion(q *call, in *versionIn) (any, error) {
	_, m, err := c.managed(q, in.PolicyARN)
	if err != nil {
		return nil, err
	}
	v, err := m.version(in.VersionID)
	if err != nil {
		return nil, err
	}
	if v.policy == m.policy {
		return nil, errConflict("Cannot delete the default version of a policy.")
	}
	m.versions = slices.DeleteFunc(m.versions, func(x policyVersion) bool { return x.id == v.id })
	return nil, nil
}

// listPolicies lists managed policies, without their tags.
func (c *Cloud) listPolicies(q *call, in *struct {
	Scope             string `aws:",enum=All|AWS|Local"`
	OnlyAttached      bool
	PathPrefix        string
	PolicyUsageFilter string `aws:",enum=PermissionsPolicy|PermissionsBoundary"`
	paged
}) (any, error) {
	of := c.iamOf(q)
	if err := c.may(q, iamResource(of.arn("policy", "/", "*"), nil, nil)); err != nil {
		return nil, err
	}
	var out memberSet[policyXML]
	for _, arn := range slices.Sorted(maps.Keys(of.policies)) {
		m := of.policies[arn]
		aws := strings.HasPrefix(arn, "arn:aws:iam::aws:")
		if in.Scope == "AWS" && !aws || in.Scope == "Local" && aws || !strings.HasPrefix(m.path, in.PathPrefix) ||
			in.OnlyAttached && of.attachments(m) == 0 || in.PolicyUsageFilter == "PermissionsBoundary" {
			continue
		}
		row := of.policyXML(m)
		row.Tags = nil
		out.Items = append(out.Items, row)
	}
	return struct {
		Policies memberSet[policyXML]
		whole
	}{out, whole{}}, nil
}
