// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"crypto/sha256"
	"maps"
	"slices"
)

// tokenKey says in which scope a client token is unique.
type tokenKey struct {
	home
	op, token string
}

// tokenUse is what became of the request that a client token came with first.
type tokenUse struct {
	params [32]byte
	asks   []Access // what IAM was asked, and is asked again
	again  func() (any, error)
}

// withToken runs an operation at most once per ClientToken: a repetition with
// the same parameters gets the answer of the first request, in the light of
// what has happened since; one with other parameters is refused. The cloud's
// lock is held.
func (c *Cloud) withToken(q *call, token string, run func() (again func() (any, error), err error)) (any, error) {
	if len(token) > 64 {
		return nil, errValue("Client token is too long: at most 64 characters are allowed")
	}
	key := tokenKey{q.home(), q.op.name, token}
	sum := q.params.digest("ClientToken")
	if use := c.tokens[key]; token != "" && use != nil {
		if use.params != sum {
			return nil, refuse("IdempotentParameterMismatch",
				"Client token used in an earlier request, but the parameters do not match those of that request: %s", token)
		}
		q.asked = true
		for _, a := range use.asks {
			a.Principal = q.who
			if err := c.allows(q, a); err != nil {
				return nil, err
			}
		}
		if q.dryRun {
			return nil, errDryRun()
		}
		return use.again()
	}
	again, err := run()
	if err != nil {
		return nil, err
	}
	if token != "" {
		c.tokens[key] = &tokenUse{sum, q.asks, again}
	}
	return again()
}

// digest tells parameters apart, whatever their order.
func (p *params) digest(except ...string) [32]byte {
	h := sha256.New()
	var walk func(p *params)
	walk = func(p *params) {
		if p.value != nil {
			h.Write([]byte(p.path + "\x00" + *p.value + "\x00"))
		}
		for _, name := range slices.Sorted(maps.Keys(p.members)) {
			if p.path != "" || !slices.Contains(except, name) {
				walk(p.members[name])
			}
		}
	}
	walk(p)
	return [32]byte(h.Sum(nil))
}
