// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// zone is an availability zone. Its name means another zone to each account
// at Amazon; the id does not. Here all accounts have the same names, and the
// ids are in another order, so that nobody gets away with mixing them up.
type zone struct{ name, id string }

// region is one of Amazon's commercial regions.
type region struct {
	name  string
	short string // of its zones' ids, such as use1
	zones []zone
	optIn bool // an account must have enabled it
}

func newRegion(name, short, letters string) *region {
	r := &region{name: name, short: short}
	for i, letter := range letters {
		number := (i+1)%len(letters) + 1
		r.zones = append(r.zones, zone{name + string(letter), fmt.Sprintf("%s-az%d", short, number)})
	}
	return r
}

// regions lists the regions that the simulator knows.
func regions() []*region {
	optIn := func(r *region) *region { r.optIn = true; return r }
	return []*region{
		newRegion("us-east-1", "use1", "abcdef"), newRegion("us-east-2", "use2", "abc"),
		newRegion("us-west-1", "usw1", "ac"), newRegion("us-west-2", "usw2", "abcd"),
		newRegion("ca-central-1", "cac1", "abd"), newRegion("sa-east-1", "sae1", "abc"),
		newRegion("eu-central-1", "euc1", "abc"), newRegion("eu-west-1", "euw1", "abc"),
		newRegion("eu-west-2", "euw2", "abc"), newRegion("eu-west-3", "euw3", "abc"), newRegion("eu-north-1", "eun1", "abc"),
		newRegion("ap-northeast-1", "apne1", "acd"), newRegion("ap-northeast-2", "apne2", "abcd"),
		newRegion("ap-northeast-3", "apne3", "abc"), newRegion("ap-south-1", "aps1", "abc"),
		newRegion("ap-southeast-1", "apse1", "abc"), newRegion("ap-southeast-2", "apse2", "abc"),
		optIn(newRegion("af-south-1", "afs1", "abc")), optIn(newRegion("ap-east-1", "ape1", "abc")),
		optIn(newRegion("ap-south-2", "aps2", "abc")), optIn(newRegion("ap-southeast-3", "apse3", "abc")),
		optIn(newRegion("eu-central-2", "euc2", "abc")), optIn(newRegion("eu-south-1", "eus1", "abc")),
		optIn(newRegion("eu-south-2", "eus2", "abc")), optIn(newRegion("il-central-1", "ilc1", "abc")),
		optIn(newRegion("me-central-1", "mec1", "abc")), optIn(newRegion("me-south-1", "mes1", "abc")),
	}
}

func (c *Cloud) lookUpRegion(name string) (*region, error) {
	for _, r := range c.regions {
		if r.name == name {
			return r, nil
		}
	}
	return nil, fmt.Errorf("region %q is not one that the simulator knows", name)
}

// zone finds an availability zone by name or id.
func (r *region) zone(nameOrID string) (zone, bool) {
	for _, z := range r.zones {
		if z.name == nameOrID || z.id == nameOrID {
			return z, true
		}
	}
	return zone{}, false
}

const (
	domain        = "amazonaws.com"
	newDomain     = "api.aws" // of services that came later
	checkIPHost   = "checkip.amazonaws.com"
	defaultRegion = "us-east-1" // where services without a region in their name are
)

// endpoint is what a host name says: a service and a region, or nothing, as a
// plain endpoint URL does.
type endpoint struct {
	service, region string
	bucket          string // of S3
	plain           bool
}

// parseHost reads <service>.<region>.amazonaws.com, <service>.amazonaws.com,
// api.pricing.<region>.amazonaws.com, <bucket>.s3.<region>.amazonaws.com and addresses
// of this machine.
func parseHost(host string) (endpoint, error) {
	name := strings.ToLower(host)
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	if name == "localhost" || net.ParseIP(strings.Trim(name, "[]")) != nil {
		return endpoint{plain: true}, nil
	}
	stem, ok := strings.CutSuffix(name, "."+domain)
	if !ok {
		stem, ok = strings.CutSuffix(name, "."+newDomain)
	}
	if !ok {
		return endpoint{}, fmt.Errorf("no such host: %s", host)
	}
	switch parts := strings.Split(stem, "."); len(parts) {
	case 1:
		return endpoint{service: parts[0], region: defaultRegion}, nil
	case 2:
		return endpoint{service: parts[0], region: parts[1]}, nil
	case 3:
		// The price list is in three regions only.
		if parts[0] == "api" && parts[1] == "pricing" && slices.Contains([]string{"us-east-1", "eu-central-1", "ap-south-1"}, parts[2]) {
			return endpoint{service: parts[1], region: parts[2]}, nil
		}
		if parts[1] == "s3" {
			return endpoint{service: "s3", bucket: parts[0], region: parts[2]}, nil
		}
	}
	return endpoint{}, fmt.Errorf("no such host: %s", host)
}
