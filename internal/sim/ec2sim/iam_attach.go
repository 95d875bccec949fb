// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"maps"
	"net/http"
	"slices"
)

// ownerIn names the user or role that has policies.
type ownerIn struct{ UserName, RoleName string }

// owner is a user or role that has policies.
type owner struct {
	*iamIdentity
	kind  string // user or role
	limit int    // of the size of all inline policies
}

// ownerOf finds the owner and asks IAM about the operation.
func (c *Cloud) ownerOf(q *call, kind string, name ownerIn, policyARN string) (owner, error) {
	in := c.iamOf(q)
	o := owner{kind: kind, limit: 2048}
	arn := in.arn("user", "/", name.UserName)
	wanted, other := name.UserName, name.RoleName
	var tags tagMap
	if u := in.users[name.UserName]; kind == "user" && u != nil {
		o.iamIdentity, arn, tags = &u.iamIdentity, in.userARN(u), u.tags
	}
	if kind == "role" {
		wanted, other = name.RoleName, name.UserName
		o.limit, arn = 10240, in.arn("role", "/", wanted)
		if r := in.roles[wanted]; r != nil {
			o.iamIdentity, arn, tags = &r.iamIdentity, in.roleARN(r), r.tags
		}
	}
	if wanted == "" || other != "" {
		return o, refuse("ValidationError", "1 validation error detected: Value null at '%sName' failed to satisfy constraint: Member must not be null", kind)
	}
	x := iamResource(arn, tags, nil)
	if policyARN != "" {
		x.Context["iam:PolicyARN"] = []string{policyARN}
	}
	if err := c.may(q, x); err != nil {
		return o, err
	}
	if o.iamIdentity == nil {
		return o, errNoEntity("The %s with name %s cannot be found.", kind, wanted)
	}
	return o, nil
}

// policyOps are the operations about the policies of users, or of roles.
func (c *Cloud) policyOps(kind, name string) []*operation {
	return []*operation{
		iamOp("Put"+name+"Policy", func(q *call, in *struct {
			ownerIn
			PolicyName     string `aws:",required"`
			PolicyDocument string `aws:",required"`
		}) (any, error) {
			o, err := c.ownerOf(q, kind, in.ownerIn, "")
			if err != nil {
				return nil, err
			}
			return nil, o.put(in.PolicyName, in.PolicyDocument)
		}),
		iamOp("Get"+name+"Policy", func(q *call, in *struct {
			ownerIn
			PolicyName string `aws:",required"`
		}) (any, error) {
			o, err := c.ownerOf(q, kind, in.ownerIn, "")
			if err != nil {
				return nil, err
			}
			p := o.inline[in.PolicyName]
			if p == nil {
				return nil, errNoEntity("The %s policy with name %s cannot be found.", kind, in.PolicyName)
			}
			return struct {
				UserName       string `xml:",omitempty"`
				RoleName       string `xml:",omitempty"`
				PolicyName     string
				PolicyDocument string
			}{in.UserName, in.RoleName, in.PolicyName, document(p.text)}, nil
		}),
		iamOp("List"+name+"Policies", func(q *call, in *struct {
			ownerIn
			paged
		}) (any, error) {
			o, err := c.ownerOf(q, kind, in.ownerIn, "")
			if err != nil {
				return nil, err
			}
			return struct {
				PolicyNames memberSet[string]
				whole
			}{memberSet[string]{slices.Sorted(maps.Keys(o.inline))}, whole{}}, nil
		}),
		iamOp("Delete"+name+"Policy", func(q *call, in *struct {
			ownerIn
			PolicyName string `aws:",required"`
		}) (any, error) {
			o, err := c.ownerOf(q, kind, in.ownerIn, "")
			if err != nil {
				return nil, err
			}
			if o.inline[in.PolicyName] == nil {
				return nil, errNoEntity("The %s policy with name %s cannot be found.", kind, in.PolicyName)
			}
			delete(o.inline, in.PolicyName)
			return nil, nil
		}),
		iamOp("Attach"+name+"Policy", func(q *call, in *attachIn) (any, error) {
			o, err := c.ownerOf(q, kind, in.ownerIn, in.PolicyARN)
			if err != nil {
				return nil, err
			}
			m := c.iamOf(q).policies[in.PolicyARN]
			switch {
			case m == nil:
				return nil, errNoEntity("Policy %s does not exist or is not attachable.", in.PolicyARN)
			case slices.Contains(o.attached, m):
			case len(o.attached) >= 10:
				return nil, fail(http.StatusConflict, "LimitExceeded", "Cannot exceed quota for PoliciesPer%s: 10", name)
			default:
				o.attached = append(o.attached, m)
			}
			return nil, nil
		}),
		iamOp("Detach"+name+"Policy", func(q *call, in *attachIn) (any, error) {
			o, err := c.ownerOf(q, kind, in.ownerIn, in.PolicyARN)
			if err != nil {
				return nil, err
			}
			at := slices.IndexFunc(o.attached, func(m *managedPolicy) bool { return m.arn == in.PolicyARN })
			if at < 0 {
				return nil, errNoEntity("Policy %s was not found.", in.PolicyARN)
			}
			o.attached = slices.Delete(o.attached, at, at+1)
			return nil, nil
		}),
		iamOp("ListAttached"+name+"Policies", func(q *call, in *struct {
			ownerIn
			PathPrefix string
			paged
		}) (any, error) {
			o, err := c.ownerOf(q, kind, in.ownerIn, "")
			if err != nil {
				return nil, err
			}
			type row struct {
				PolicyName string
				PolicyArn  string
			}
			var out memberSet[row]
			for _, m := range o.attached {
				out.Items = append(out.Items, row{m.name, m.arn})
			}
			return struct {
				AttachedPolicies memberSet[row]
				whole
			}{out, whole{}}, nil
		}),
	}
}

type attachIn struct {
	ownerIn
	PolicyARN string `aws:"PolicyArn,required"`
}

// put gives the owner an inline policy, or another text to one that it has.
func (o owner) put(name, text string) error {
	if err := checkName("policyName", name, 128); err != nil {
		return err
	}
	p, err := parsePolicy(name, text, identityPolicy)
	if err != nil {
		return err
	}
	texts := []string{text}
	for other, has := range o.inline {
		if other != name {
			texts = append(texts, has.text)
		}
	}
	if err := checkPolicySize(o.kind, o.name, o.limit, texts...); err != nil {
		return err
	}
	o.inline[name] = &inlinePolicy{text, p}
	return nil
}
