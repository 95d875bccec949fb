// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"fmt"
	"maps"
)

// Inventory is everything that exists. A build that cleans up behind itself
// leaves it as it was.
type Inventory struct {
	Accounts []AccountInventory `json:"accounts"`
}

// AccountInventory is what one account has.
type AccountInventory struct {
	Name    string            `json:"name"`
	ID      string            `json:"id"`
	Regions []RegionInventory `json:"regions"`
	IAM     []Resource        `json:"iam"` // that clients have made
}

// RegionInventory is what one account has in one region, beyond what it had
// from the start. Regions without anything are left out; lists are in the
// order of creation.
type RegionInventory struct {
	Region    string     `json:"region"`
	Resources []Resource `json:"resources"`
	Machines  []string   `json:"machines"` // ids of instances whose machine has power
}

// Resource is one thing that exists.
type Resource struct {
	Kind  string            `json:"kind"` // as in ARNs, such as instance
	ID    string            `json:"id"`
	Name  string            `json:"name,omitempty"`
	State string            `json:"state,omitempty"`
	Tags  map[string]string `json:"tags"`
}

// row shows a resource; false for what everybody has and for what is over.
func row(r resource) (Resource, bool) {
	b := r.base()
	out := Resource{Kind: b.kind, ID: b.id, Tags: maps.Clone(b.tags)}
	switch x := r.(type) {
	case *instance:
		out.State = x.state
		return out, !x.is(terminated)
	case *image:
		out.Name, out.State = x.name, x.state
		return out, !x.seeded
	case *snapshot:
		out.State = x.state
		return out, !x.kept
	case *volume:
		out.State = x.state
	case *networkInterface:
		out.State = x.state
	case *securityGroup:
		out.Name = x.name
		return out, x.name != "default"
	case *keyPair:
		out.Name = x.name
	case *launchTemplate:
		out.Name = x.name
	case *exportTask: // what is over stays listed for a while, as on EC2, and costs nothing
		out.Name, out.State = x.prefix, x.state
		return out, x.state == "active" || x.state == "deleting"
	case *spotRequest:
		out.State = x.state
		return out, x.state == "active"
	case *vpc, *subnet:
		return out, false
	}
	return out, true
}

// Inventory lists what exists now.
func (c *Cloud) Inventory() Inventory {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Inventory{Accounts: []AccountInventory{}}
	for _, a := range c.cfg.Accounts {
		of := AccountInventory{Name: a.Name, ID: a.ID, Regions: []RegionInventory{}, IAM: c.iam.of(a).inventory()}
		for _, r := range c.regions {
			in := RegionInventory{Region: r.name, Resources: []Resource{}, Machines: []string{}}
			for _, x := range all[resource](c) {
				if x.base().home != (home{a, r}) {
					continue
				}
				if shown, exists := row(x); exists {
					in.Resources = append(in.Resources, shown)
				}
				if i, is := x.(*instance); is && i.machine != nil {
					in.Machines = append(in.Machines, i.id)
				}
			}
			in.Resources = append(in.Resources, c.storedObjects(home{a, r})...)
			if len(in.Resources)+len(in.Machines) > 0 {
				of.Regions = append(of.Regions, in)
			}
		}
		out.Accounts = append(out.Accounts, of)
	}
	return out
}

// Left lists what exists beyond what accounts had from the start and the ids
// of keep, one line each; empty means that nothing was left behind.
func (c *Cloud) Left(keep ...string) []string {
	kept := map[string]bool{}
	for _, id := range keep {
		kept[id] = true
	}
	var left []string
	for _, a := range c.Inventory().Accounts {
		for _, x := range a.IAM {
			if !kept[x.ID] {
				left = append(left, fmt.Sprintf("%s %s of account %s", x.Kind, x.Name, a.Name))
			}
		}
		for _, r := range a.Regions {
			for _, x := range r.Resources {
				if !kept[x.ID] {
					left = append(left, fmt.Sprintf("%s %s %s in %s of account %s (%s)", x.Kind, x.ID, x.Name, r.Region, a.Name, x.State))
				}
			}
			for _, id := range r.Machines {
				if !kept[id] {
					left = append(left, fmt.Sprintf("running machine %s in %s of account %s", id, r.Region, a.Name))
				}
			}
		}
	}
	return left
}
