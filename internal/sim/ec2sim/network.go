// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Machines listen on loopback. A VPC's block is a /16 in 127.96.0.0/10, and
// public addresses are from 127.160.0.1 on.
const (
	routerIP    = "127.95.0.1" // no instance has it
	firstVPC    = 96
	maxVPCs     = 64
	firstPublic = 160
)

// vpc is a virtual network.
type vpc struct {
	resourceBase
	cidr      netip.Prefix
	isDefault bool
	subnets   int // made so far
}

// subnet is a part of a VPC, in one zone.
type subnet struct {
	resourceBase
	vpc       *vpc
	az        zone
	cidr      netip.Prefix
	isDefault bool
	public    bool // instances get public addresses unless they say otherwise
	used      map[netip.Addr]bool
}

// network is what an account has in a region from the start.
type network struct {
	vpc     *vpc // nil without a default VPC
	subnets []*subnet
}

// ensureNetwork makes the default VPC of an account in a region at the first
// look. The cloud's lock is held.
func (c *Cloud) ensureNetwork(h home) (*network, error) {
	if n := c.networks[h]; n != nil {
		return n, nil
	}
	n := &network{}
	c.networks[h] = n
	if slices.Contains(h.account.NoDefaultVPC, h.region.name) {
		return n, nil
	}
	v, err := c.newVPC(h, true)
	if err != nil {
		return nil, err
	}
	n.vpc = v
	for _, z := range h.region.zones {
		s, err := c.newSubnet(v, z, 20, true)
		if err != nil {
			return nil, err
		}
		s.isDefault = true
		n.subnets = append(n.subnets, s)
	}
	return n, nil
}

func seeded(h home, kind string) resourceBase {
	return resourceBase{home: h, id: newID(kinds()[kind].prefix), kind: kind, tags: tagMap{}, created: time.Now()}
}

func (c *Cloud) newVPC(h home, isDefault bool) (*vpc, error) {
	if c.vpcs >= maxVPCs {
		return nil, fmt.Errorf("the simulator has no addresses for more than %d VPCs", maxVPCs)
	}
	v := &vpc{resourceBase: seeded(h, "vpc"), isDefault: isDefault,
		cidr: netip.PrefixFrom(netip.AddrFrom4([4]byte{127, byte(firstVPC + c.vpcs), 0, 0}), 16)}
	c.vpcs++
	c.resources.put(v)
	c.resources.put(newGroup(seeded(h, "security-group"), v, "default", "default VPC security group"))
	return v, nil
}

// newSubnet takes the next /20 of a VPC, or a smaller block in it.
func (c *Cloud) newSubnet(v *vpc, z zone, bits int, public bool) (*subnet, error) {
	if v.subnets >= 16 || bits < 20 || bits > 28 {
		return nil, fmt.Errorf("the VPC has no room for another subnet of /%d", bits)
	}
	first := v.cidr.Addr().As4()
	first[2] = byte(v.subnets * 16)
	v.subnets++
	s := &subnet{resourceBase: seeded(v.home, "subnet"), vpc: v, az: z, public: public,
		cidr: netip.PrefixFrom(netip.AddrFrom4(first), bits), used: map[netip.Addr]bool{}}
	c.resources.put(s)
	return s, nil
}

// free is how many addresses are left. Five of each block are Amazon's.
func (s *subnet) free() int { return 1<<(32-s.cidr.Bits()) - 5 - len(s.used) }

// lease takes an address: the wanted one, or the first that is free.
func (s *subnet) lease(wanted string) (netip.Addr, error) {
	first := s.cidr.Addr()
	for range 4 {
		first = first.Next()
	}
	if wanted != "" {
		a, err := netip.ParseAddr(wanted)
		switch {
		case err != nil:
			return a, errValue("Value (%s) for parameter privateIpAddress is invalid.", wanted)
		case !s.cidr.Contains(a) || a.Less(first):
			return a, errValue("Address does not fall within the subnet's address range")
		case s.used[a]:
			return a, refuse("InvalidIPAddress.InUse", "Address %s is in use.", wanted)
		}
		s.used[a] = true
		return a, nil
	}
	for a := first; s.cidr.Contains(a.Next()); a = a.Next() { // the last one is for broadcasts
		if !s.used[a] {
			s.used[a] = true
			return a, nil
		}
	}
	return netip.Addr{}, s.errFull()
}

func (s *subnet) errFull() *apiError {
	return refuse("InsufficientFreeAddressesInSubnet",
		"There are not enough free addresses in subnet '%s' to satisfy the requested number of instances.", s.id)
}

// nextPublic is a public address that nobody had before.
func (c *Cloud) nextPublic() netip.Addr {
	c.public++
	n := c.public
	return netip.AddrFrom4([4]byte{127, byte(firstPublic + n>>16), byte(n >> 8), byte(n)})
}

type vpcXML struct {
	ID              string      `xml:"vpcId"`
	OwnerID         string      `xml:"ownerId"`
	State           string      `xml:"state"`
	CIDR            string      `xml:"cidrBlock"`
	DHCPOptionsID   string      `xml:"dhcpOptionsId"`
	InstanceTenancy string      `xml:"instanceTenancy"`
	IsDefault       bool        `xml:"isDefault"`
	Tags            set[tagXML] `xml:"tagSet"`
}

func (c *Cloud) describeVpcs(q *call, in *struct {
	IDs     []string `aws:"VpcId"`
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	list, err := pick[*vpc](c, q, "vpc", in.IDs)
	if err == nil {
		list, err = narrow(list, in.Filters, attributes[*vpc]{
			"vpc-id": func(v *vpc) []string { return one(v.id) }, "state": func(*vpc) []string { return one("available") },
			"cidr": func(v *vpc) []string { return one(v.cidr.String()) }, "cidr-block": func(v *vpc) []string { return one(v.cidr.String()) },
			"owner-id":   func(v *vpc) []string { return one(v.account.ID) },
			"is-default": func(v *vpc) []string { return truth(v.isDefault) }, "isDefault": func(v *vpc) []string { return truth(v.isDefault) },
		})
	}
	if err != nil {
		return nil, err
	}
	cut, next, err := page(list, in.paging, 5)
	if err != nil {
		return nil, err
	}
	rows := []vpcXML{}
	for _, v := range cut {
		rows = append(rows, vpcXML{v.id, v.account.ID, "available", v.cidr.String(), "default", "default", v.isDefault, v.tags.xml()})
	}
	return struct {
		Vpcs set[vpcXML] `xml:"vpcSet"`
		Next string      `xml:"nextToken,omitempty"`
	}{setOf(rows), next}, nil
}

type subnetXML struct {
	ID                string      `xml:"subnetId"`
	ARN               string      `xml:"subnetArn"`
	State             string      `xml:"state"`
	OwnerID           string      `xml:"ownerId"`
	VpcID             string      `xml:"vpcId"`
	CIDR              string      `xml:"cidrBlock"`
	Free              int         `xml:"availableIpAddressCount"`
	AZ                string      `xml:"availabilityZone"`
	AZID              string      `xml:"availabilityZoneId"`
	DefaultForAZ      bool        `xml:"defaultForAz"`
	MapPublicOnLaunch bool        `xml:"mapPublicIpOnLaunch"`
	Tags              set[tagXML] `xml:"tagSet"`
}

func subnetFilters() attributes[*subnet] {
	az, azID := func(s *subnet) []string { return one(s.az.name) }, func(s *subnet) []string { return one(s.az.id) }
	vpcID := func(s *subnet) []string { return one(s.vpc.id) }
	isDefault := func(s *subnet) []string { return truth(s.isDefault) }
	cidr := func(s *subnet) []string { return one(s.cidr.String()) }
	return attributes[*subnet]{
		"availability-zone": az, "availabilityZone": az, "availability-zone-id": azID, "availabilityZoneId": azID,
		"vpc-id": vpcID, "state": func(*subnet) []string { return one("available") },
		"subnet-id":      func(s *subnet) []string { return one(s.id) },
		"default-for-az": isDefault, "defaultForAz": isDefault, "cidr": cidr, "cidr-block": cidr, "cidrBlock": cidr,
		"map-public-ip-on-launch":    func(s *subnet) []string { return truth(s.public) },
		"available-ip-address-count": func(s *subnet) []string { return one(strconv.Itoa(s.free())) },
		"owner-id":                   func(s *subnet) []string { return one(s.account.ID) },
	}
}

func (c *Cloud) describeSubnets(q *call, in *struct {
	IDs     []string `aws:"SubnetId"`
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	list, err := pick[*subnet](c, q, "subnet", in.IDs)
	if err == nil {
		list, err = narrow(list, in.Filters, subnetFilters())
	}
	if err != nil {
		return nil, err
	}
	cut, next, err := page(list, in.paging, 5)
	if err != nil {
		return nil, err
	}
	rows := []subnetXML{}
	for _, s := range cut {
		rows = append(rows, subnetXML{s.id, ec2ARN(s.region.name, s.account.ID, "subnet", s.id), "available", s.account.ID, s.vpc.id,
			s.cidr.String(), s.free(), s.az.name, s.az.id, s.isDefault, s.public, s.tags.xml()})
	}
	return struct {
		Subnets set[subnetXML] `xml:"subnetSet"`
		Next    string         `xml:"nextToken,omitempty"`
	}{setOf(rows), next}, nil
}
