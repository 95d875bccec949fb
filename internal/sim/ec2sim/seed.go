// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import "fmt"

// Subnet is a subnet that a test wants.
type Subnet struct {
	VPC    string // id; "" for the default VPC
	AZ     string // name or id
	Bits   int    // size of its block, 20 to 28; default 24
	Public bool   // instances get public addresses
}

// AddSubnet makes a subnet and returns its id.
func (c *Cloud) AddSubnet(a *Account, regionName string, s Subnet) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.lookUpRegion(regionName)
	if err != nil {
		return "", err
	}
	n, err := c.ensureNetwork(home{a, r})
	if err != nil {
		return "", err
	}
	v := n.vpc
	if s.VPC != "" {
		v, _ = c.resources.byID[s.VPC].(*vpc)
	}
	z, known := r.zone(s.AZ)
	if v == nil || v.home != (home{a, r}) || !known {
		return "", fmt.Errorf("there is no VPC %q or no zone %q", s.VPC, s.AZ)
	}
	if s.Bits == 0 {
		s.Bits = 24
	}
	made, err := c.newSubnet(v, z, s.Bits, s.Public)
	if err != nil {
		return "", err
	}
	return made.id, nil
}

// AddVPC makes a VPC without subnets and returns its id.
func (c *Cloud) AddVPC(a *Account, regionName string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.lookUpRegion(regionName)
	if err != nil {
		return "", err
	}
	v, err := c.newVPC(home{a, r}, false)
	if err != nil {
		return "", err
	}
	return v.id, nil
}

// DefaultSubnet is the id of the default subnet in a zone, "" if there is none.
func (c *Cloud) DefaultSubnet(a *Account, regionName, az string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.lookUpRegion(regionName)
	if err != nil {
		return ""
	}
	n, err := c.ensureNetwork(home{a, r})
	if err != nil {
		return ""
	}
	for _, s := range n.subnets {
		if s.az.name == az || s.az.id == az {
			return s.id
		}
	}
	return ""
}
