// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import "slices"

// IAMUse is something that somebody has asked to do, and IAM's answer.
type IAMUse struct {
	Principal string  `json:"principal"` // ARN
	Action    string  `json:"action"`
	Resource  string  `json:"resource"` // ARN
	Allowed   bool    `json:"allowed"`
	Grants    []Grant `json:"grants,omitempty"` // who allows it
	Reason    string  `json:"reason,omitempty"` // of a refusal
	Times     int     `json:"times"`

	identity string
}

// record remembers an answer.
func (s *iamState) record(a Access, r AccessResource, grants []Grant, refused error) {
	use := IAMUse{Principal: a.Principal.ARN, Action: a.Action, Resource: r.ARN, Allowed: refused == nil, Grants: grants, Times: 1,
		identity: identityName(a.Principal)}
	if refused != nil {
		use.Reason = refused.Error()
	}
	for i, old := range s.uses {
		if old.Principal == use.Principal && old.Action == use.Action && old.Resource == use.Resource && old.Reason == use.Reason &&
			slices.Equal(old.Grants, use.Grants) {
			s.uses[i].Times++
			return
		}
	}
	s.uses = append(s.uses, use)
}

// IAMUses lists what an account's user or role has asked to do, in the order
// in which it asked first.
func (c *Cloud) IAMUses(a *Account, userOrRole string) []IAMUse {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.usesOf(a, userOrRole)
}

func (c *Cloud) usesOf(a *Account, userOrRole string) []IAMUse {
	var list []IAMUse
	for _, u := range c.iam.uses {
		if u.identity == a.ID+"/"+userOrRole {
			list = append(list, u)
		}
	}
	return list
}

// IAMRefusals lists what an account's user or role wanted to do and may not:
// empty if its policies are enough for what it does.
func (c *Cloud) IAMRefusals(a *Account, userOrRole string) []IAMUse {
	return slices.DeleteFunc(c.IAMUses(a, userOrRole), func(u IAMUse) bool { return u.Allowed })
}

// UnusedGrants lists the actions of the policies of an account's user or role
// that nothing needed so far, because it was not asked for or because another
// statement allows it as well.
func (c *Cloud) UnusedGrants(a *Account, userOrRole string) []Grant {
	c.mu.Lock()
	defer c.mu.Unlock()
	needed := map[Grant]bool{}
	for _, u := range c.usesOf(a, userOrRole) {
		if u.Allowed && len(u.Grants) > 0 {
			needed[u.Grants[0]] = true
		}
	}
	var unused []Grant
	for _, p := range c.iam.of(a).documents(userOrRole) {
		for _, r := range p.rules {
			if r.deny || r.notActions {
				continue
			}
			for _, action := range r.actions {
				if g := (Grant{p.name, r.id, action}); !needed[g] {
					unused = append(unused, g)
				}
			}
		}
	}
	return unused
}
