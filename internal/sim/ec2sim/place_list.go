// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"slices"
)

type regionXML struct {
	Name     string `xml:"regionName"`
	Endpoint string `xml:"regionEndpoint"`
	OptIn    string `xml:"optInStatus"`
}

func (a *Account) optInStatus(r *region) string {
	switch {
	case !r.optIn:
		return "opt-in-not-required"
	case a.enabled(r):
		return "opted-in"
	}
	return "not-opted-in"
}

func (c *Cloud) describeRegions(q *call, in *struct {
	Names   []string `aws:"RegionName"`
	All     bool     `aws:"AllRegions"`
	Filters []filter `aws:"Filter"`
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	for _, name := range in.Names {
		if r, err := c.lookUpRegion(name); err != nil || !in.All && !q.who.Account.enabled(r) {
			return nil, errValue("Invalid region: %s", name)
		}
	}
	rows := []regionXML{}
	for _, r := range c.regions {
		if (in.All || q.who.Account.enabled(r)) && (len(in.Names) == 0 || slices.Contains(in.Names, r.name)) {
			rows = append(rows, regionXML{r.name, "ec2." + r.name + "." + domain, q.who.Account.optInStatus(r)})
		}
	}
	rows, err := narrow(rows, in.Filters, attributes[regionXML]{
		"region-name": func(r regionXML) []string { return one(r.Name) }, "endpoint": func(r regionXML) []string { return one(r.Endpoint) },
		"opt-in-status": func(r regionXML) []string { return one(r.OptIn) },
	})
	if err != nil {
		return nil, err
	}
	return struct {
		Regions set[regionXML] `xml:"regionInfo"`
	}{setOf(rows)}, nil
}

type zoneXML struct {
	Name     string `xml:"zoneName"`
	State    string `xml:"zoneState"`
	Region   string `xml:"regionName"`
	ID       string `xml:"zoneId"`
	Type     string `xml:"zoneType"`
	OptIn    string `xml:"optInStatus"`
	Group    string `xml:"groupName"`
	Border   string `xml:"networkBorderGroup"`
	Messages set[struct {
		Message string `xml:"message"`
	}] `xml:"messageSet"`
}

func (c *Cloud) describeAvailabilityZones(q *call, in *struct {
	Names   []string `aws:"ZoneName"`
	IDs     []string `aws:"ZoneId"`
	All     bool     `aws:"AllAvailabilityZones"`
	Filters []filter `aws:"Filter"`
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	wanted := slices.Concat(in.Names, in.IDs)
	for _, name := range wanted {
		if _, known := q.region.zone(name); !known {
			return nil, errValue("Invalid availability zone: [%s]", name)
		}
	}
	rows := []zoneXML{}
	for _, z := range q.region.zones {
		if len(wanted) == 0 || slices.Contains(wanted, z.name) || slices.Contains(wanted, z.id) {
			rows = append(rows, zoneXML{Name: z.name, State: "available", Region: q.region.name, ID: z.id, Type: "availability-zone",
				OptIn: "opt-in-not-required", Group: q.region.name + "-zg-1", Border: q.region.name})
		}
	}
	rows, err := narrow(rows, in.Filters, attributes[zoneXML]{
		"zone-name": func(z zoneXML) []string { return one(z.Name) }, "zone-id": func(z zoneXML) []string { return one(z.ID) },
		"state": func(z zoneXML) []string { return one(z.State) }, "region-name": func(z zoneXML) []string { return one(z.Region) },
		"zone-type": func(z zoneXML) []string { return one(z.Type) }, "opt-in-status": func(z zoneXML) []string { return one(z.OptIn) },
	})
	if err != nil {
		return nil, err
	}
	return struct {
		Zones set[zoneXML] `xml:"availabilityZoneInfo"`
	}{setOf(rows)}, nil
}

type attributeXML struct {
	Name   string `xml:"attributeName"`
	Values set[struct {
		Value string `xml:"attributeValue"`
	}] `xml:"attributeValueSet"`
}

func (c *Cloud) describeAccountAttributes(q *call, in *struct {
	Names []string `aws:"AttributeName"`
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	standard := "none"
	if n := c.networks[q.home()]; n != nil && n.vpc != nil {
		standard = n.vpc.id
	}
	rows := []attributeXML{}
	for _, a := range [][2]string{{"supported-platforms", "VPC"}, {"default-vpc", standard}, {"max-instances", "20"},
		{"vpc-max-security-groups-per-interface", "5"}, {"max-elastic-ips", "5"}, {"vpc-max-elastic-ips", "5"}} {
		if len(in.Names) > 0 && !slices.Contains(in.Names, a[0]) {
			continue
		}
		row := attributeXML{Name: a[0]}
		row.Values.Items = append(row.Values.Items, struct {
			Value string `xml:"attributeValue"`
		}{a[1]})
		rows = append(rows, row)
	}
	return struct {
		Attributes set[attributeXML] `xml:"accountAttributeSet"`
	}{setOf(rows)}, nil
}

// describeAddresses lists Elastic IP addresses. There are none.
func (c *Cloud) describeAddresses(q *call, in *struct {
	IPs           []string `aws:"PublicIp"`
	AllocationIDs []string `aws:"AllocationId"`
	Filters       []filter `aws:"Filter"`
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	for _, ip := range in.IPs {
		return nil, refuse("InvalidAddress.NotFound", "Address '%s' not found.", ip)
	}
	for _, id := range in.AllocationIDs {
		return nil, refuse("InvalidAllocationID.NotFound", "The allocation ID '%s' does not exist", id)
	}
	return struct {
		Addresses set[struct{}] `xml:"addressesSet"`
	}{}, nil
}

type interfaceXML struct {
	instanceInterfaceXML
	AZ         string      `xml:"availabilityZone"`
	Type       string      `xml:"interfaceType"`
	InstanceID string      `xml:"-"`
	Tags       set[tagXML] `xml:"tagSet"`
}

func (c *Cloud) describeNetworkInterfaces(q *call, in *struct {
	IDs     []string `aws:"NetworkInterfaceId"`
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	instanceOf := func(e *networkInterface) []string {
		if e.instance == nil {
			return nil
		}
		return one(e.instance.id)
	}
	found, err := pick[*networkInterface](c, q, "network-interface", in.IDs)
	if err == nil {
		found, err = narrow(found, in.Filters, attributes[*networkInterface]{
			"network-interface-id": func(e *networkInterface) []string { return one(e.id) }, "status": func(e *networkInterface) []string { return one(e.state) },
			"subnet-id": func(e *networkInterface) []string { return one(e.subnet.id) }, "vpc-id": func(e *networkInterface) []string { return one(e.subnet.vpc.id) },
			"availability-zone": func(e *networkInterface) []string { return one(e.subnet.az.name) }, "attachment.instance-id": instanceOf,
			"private-ip-address": func(e *networkInterface) []string { return one(e.private.String()) },
			"description":        func(e *networkInterface) []string { return one(e.text) },
			"group-id": func(e *networkInterface) (ids []string) {
				for _, g := range e.groups {
					ids = append(ids, g.id)
				}
				return ids
			},
		})
	}
	if err != nil {
		return nil, err
	}
	cut, next, err := page(found, in.paging, 5)
	if err != nil {
		return nil, err
	}
	rows := []interfaceXML{}
	for _, e := range cut {
		row := interfaceXML{AZ: e.subnet.az.name, Type: "interface", Tags: e.tags.xml()}
		if e.instance != nil {
			row.instanceInterfaceXML = e.onInstance(e.instance)
			row.Attachment.InstanceID = e.instance.id
		} else {
			row.instanceInterfaceXML = e.onInstance(&instance{state: stopped})
			row.Attachment.Status = "detached"
		}
		rows = append(rows, row)
	}
	return struct {
		Interfaces set[interfaceXML] `xml:"networkInterfaceSet"`
		Next       string            `xml:"nextToken,omitempty"`
	}{setOf(rows), next}, nil
}

func (c *Cloud) deleteNetworkInterface(q *call, in *struct {
	ID string `aws:"NetworkInterfaceId,required"`
}) (any, error) {
	e, err := find[*networkInterface](c, q, "network-interface", in.ID)
	if err != nil {
		return nil, err
	}
	if err := c.authorize(q, []AccessResource{existing(e)}); err != nil {
		return nil, err
	}
	if e.instance != nil {
		return nil, refuse("InvalidParameterValue", "Network interface '%s' is currently in use.", e.id)
	}
	c.resources.remove(e.id)
	return done(), nil
}
