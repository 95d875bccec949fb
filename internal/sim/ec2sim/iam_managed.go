// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

func (c *Cloud) iamPolicyOps() []*operation {
	return slices.Concat(c.policyOps("user", "User"), c.policyOps("role", "Role"), []*operation{
		iamOp("CreatePolicy", c.createPolicy), iamOp("GetPolicy", c.getPolicy), iamOp("GetPolicyVersion", c.getPolicyVersion),
		iamOp("ListPolicyVersions", c.listPolicyVersions), iamOp("DeletePolicy", c.deletePolicy),
		iamOp("ListPolicies", c.listPolicies), iamOp("CreatePolicyVersion", c.createPolicyVersion), iamOp("DeletePolicyVersion", c.deletePolicyVersion),
	})
}

type policyXML struct {
	PolicyName                    string
	PolicyID                      string `xml:"PolicyId"`
	ARN                           string `xml:"Arn"`
	Path                          string
	DefaultVersionID              string `xml:"DefaultVersionId"`
	AttachmentCount               int
	PermissionsBoundaryUsageCount int
	IsAttachable                  bool
	Description                   string `xml:",omitempty"`
	CreateDate                    string
	UpdateDate                    string
	Tags                          *memberSet[iamTagXML] `xml:"Tags,omitempty"`
}

// attachments counts who has a managed policy.
func (in *iamAccount) attachments(m *managedPolicy) int {
	n := 0
	for _, u := range in.users {
		if slices.Contains(u.attached, m) {
			n++
		}
	}
	for _, r := range in.roles {
		if slices.Contains(r.attached, m) {
			n++
		}
	}
	return n
}

func (in *iamAccount) policyXML(m *managedPolicy) policyXML {
	return policyXML{m.name, m.id, m.arn, m.path, m.current().id, in.attachments(m), 0, true, m.description, iamTime(m.created), iamTime(m.current().created), iamTagList(m.tags)}
}

// managed finds a managed policy and asks IAM about the operation.
func (c *Cloud) managed(q *call, arn string) (*iamAccount, *managedPolicy, error) {
	in := c.iamOf(q)
	if !strings.HasPrefix(arn, "arn:aws:iam::") {
		return nil, nil, refuse("InvalidInput", "ARN %s is not valid.", arn)
	}
	m := in.policies[arn]
	x := iamResource(arn, nil, nil)
	if m != nil {
		x = iamResource(arn, m.tags, nil)
	}
	if err := c.may(q, x); err != nil {
		return nil, nil, err
	}
	if m == nil {
		return nil, nil, errNoEntity("Policy %s was not found.", arn)
	}
	return in, m, nil
}

func (c *Cloud) createPolicy(q *call, in *struct {
	PolicyName     string `aws:",required"`
	PolicyDocument string `aws:",required"`
	Path           string
	Description    string
	Tags           memberTags
}) (any, error) {
	tags, err := in.Tags.read()
	if err != nil {
		return nil, err
	}
	if err := checkName("policyName", in.PolicyName, 128); err != nil {
		return nil, err
	}
	if err := checkPath(&in.Path); err != nil {
		return nil, err
	}
	of := c.iamOf(q)
	arn := of.arn("policy", in.Path, in.PolicyName)
	if err := c.may(q, iamResource(arn, nil, tags)); err != nil {
		return nil, err
	}
	p, err := parsePolicy(in.PolicyName, in.PolicyDocument, identityPolicy)
	if err != nil {
		return nil, err
	}
	if err := checkPolicySize("policy", in.PolicyName, 6144, in.PolicyDocument); err != nil {
		return nil, err
	}
	if of.policies[arn] != nil {
		return nil, errExists("A policy called %s already exists. Duplicate names are not allowed.", in.PolicyName)
	}
	m := &managedPolicy{arn: arn, id: "ANPA" + randomUpper(17), path: in.Path, description: in.Description, created: time.Now(), tags: tags,
		inlinePolicy: inlinePolicy{in.PolicyDocument, p}}
	m.versions = []policyVersion{{"v1", m.inlinePolicy, m.created}}
	of.policies[arn] = m
	return struct{ Policy policyXML }{of.policyXML(m)}, nil
}

type policyIn struct {
	PolicyARN string `aws:"PolicyArn,required"`
}

func (c *Cloud) getPolicy(q *call, in *policyIn) (any, error) {
	of, m, err := c.managed(q, in.PolicyARN)
	if err != nil {
		return nil, err
	}
	return struct{ Policy policyXML }{of.policyXML(m)}, nil
}

func (c *Cloud) deletePolicy(q *call, in *policyIn) (any, error) {
	of, m, err := c.managed(q, in.PolicyARN)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(m.arn, "arn:aws:iam::aws:") {
		return nil, fail(http.StatusForbidden, "AccessDenied", "Policy is outside your own account.")
	}
	if of.attachments(m) > 0 {
		return nil, errConflict("Cannot delete a policy attached to entities.")
	}
	if len(m.versions) > 1 {
		return nil, errConflict("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	}
	delete(of.policies, m.arn)
	return nil, nil
}
