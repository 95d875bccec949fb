// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"fmt"
	"slices"
)

// Grant is one action of an allowing statement, as the author of the policy
// wrote it.
type Grant struct{ Policy, Statement, Action string }

func (g Grant) String() string { return g.Policy + " " + g.Statement + " " + g.Action }

// denial is why somebody may not do something.
type denial struct {
	access   Access
	resource AccessResource
	explicit bool
	where    string // kind of the policies that decided
}

func (d *denial) Error() string {
	if d.explicit {
		return fmt.Sprintf("with an explicit deny in %s policy", d.where)
	}
	return fmt.Sprintf("no %s policy allows the %s action", d.where, d.access.Action)
}

// decide is IAM's answer: each resource must be allowed by the policies of the
// principal, and by those of its session if there are any. The cloud's lock is
// held.
func (c *Cloud) decide(a Access) error {
	own, session := c.policiesOf(a.Principal)
	for _, r := range a.Resources {
		keys := keysOf(a.Context, r.Context)
		grants, deny := judge(own, a.Action, r.ARN, keys)
		no := &denial{access: a, resource: r, explicit: deny, where: "identity-based"}
		if deny {
			no.where = "an identity-based"
		}
		err := error(nil)
		if deny || len(grants) == 0 {
			err = no
		} else if len(session) > 0 {
			allowed, deny := judge(session, a.Action, r.ARN, keys)
			if deny || len(allowed) == 0 {
				no.explicit, no.where = deny, "session"
				if deny {
					no.where = "a session"
				}
				err = no
			}
		}
		c.iam.record(a, r, grants, err)
		if err != nil {
			return err
		}
	}
	return nil
}

// judge asks policies about an action on a resource: who grants it, and does
// anybody deny it?
func judge(policies []*policy, action, arn string, keys conditionKeys) (grants []Grant, deny bool) {
	for _, p := range policies {
		for _, r := range p.rules {
			pattern, fits := r.fits(p, action, arn, keys)
			switch {
			case !fits:
			case r.deny:
				deny = true
			default:
				grants = append(grants, Grant{p.name, r.id, pattern})
			}
		}
	}
	return grants, deny
}

// fits tells whether a statement is about a request, and which of its actions
// is.
func (r policyRule) fits(p *policy, action, arn string, keys conditionKeys) (pattern string, ok bool) {
	at := slices.IndexFunc(r.actions, func(a string) bool { return likeAction(a, action) })
	if (at >= 0) == r.notActions {
		return "", false
	}
	if pattern = "NotAction"; at >= 0 {
		pattern = r.actions[at]
	}
	if r.resources != nil {
		about := slices.ContainsFunc(r.resources, func(x string) bool {
			text, known := keys.expand(x, p.variables)
			return known && likeARN(text, arn)
		})
		if about == r.notRes {
			return "", false
		}
	}
	for _, c := range r.conditions {
		if !c.holds(keys, p.variables) {
			return "", false
		}
	}
	return pattern, true
}

// trusts asks a trust policy about somebody. explicit says whether the policy
// names the principal itself rather than its account.
func (p *policy) trusts(action string, who policyPrincipal, accountID string, keys conditionKeys) (allowed, explicit bool) {
	for _, r := range p.rules {
		itself, account := false, false
		for _, x := range r.principals {
			switch {
			case x.kind != who.kind:
			case x.id == who.id:
				itself = true
			case who.kind == "AWS" && (x.id == "*" || x.id == accountID || x.id == "arn:aws:iam::"+accountID+":root"):
				account = true
			}
		}
		if !itself && !account {
			continue
		}
		if _, fits := r.fits(p, action, "*", keys); !fits {
			continue
		}
		if r.deny {
			return false, false
		}
		allowed, explicit = true, explicit || itself
	}
	return allowed, explicit
}
