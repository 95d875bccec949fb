// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import "slices"

type ruleXML struct {
	ID          string `xml:"securityGroupRuleId"`
	GroupID     string `xml:"groupId"`
	OwnerID     string `xml:"groupOwnerId"`
	IsEgress    bool   `xml:"isEgress"`
	Protocol    string `xml:"ipProtocol"`
	From        int    `xml:"fromPort"`
	To          int    `xml:"toPort"`
	CIDR        string `xml:"cidrIpv4,omitempty"`
	CIDR6       string `xml:"cidrIpv6,omitempty"`
	Description string `xml:"description,omitempty"`
}

func (g *securityGroup) rulesXML(rules []rule) []ruleXML {
	rows := []ruleXML{}
	for _, r := range rules {
		row := ruleXML{ID: r.id, GroupID: g.id, OwnerID: g.account.ID, Protocol: r.protocol, From: r.from, To: r.to, Description: r.description}
		if r.cidr.IsValid() && r.cidr.Addr().Is6() {
			row.CIDR6 = r.cidr.String()
		} else if r.cidr.IsValid() {
			row.CIDR = r.cidr.String()
		}
		rows = append(rows, row)
	}
	return rows
}

type rangeXML struct {
	CIDR        string `xml:"cidrIp,omitempty"`
	CIDR6       string `xml:"cidrIpv6,omitempty"`
	Description string `xml:"description,omitempty"`
}

type pairXML struct {
	UserID  string `xml:"userId"`
	GroupID string `xml:"groupId"`
}

type permissionXML struct {
	Protocol string        `xml:"ipProtocol"`
	From     *int          `xml:"fromPort"`
	To       *int          `xml:"toPort"`
	Groups   set[pairXML]  `xml:"groups"`
	Ranges   set[rangeXML] `xml:"ipRanges"`
	Ranges6  set[rangeXML] `xml:"ipv6Ranges"`
	Lists    set[struct{}] `xml:"prefixListIds"`
}

type groupXML struct {
	OwnerID     string             `xml:"ownerId"`
	ID          string             `xml:"groupId"`
	ARN         string             `xml:"securityGroupArn"`
	Name        string             `xml:"groupName"`
	Description string             `xml:"groupDescription"`
	VpcID       string             `xml:"vpcId"`
	Ingress     set[permissionXML] `xml:"ipPermissions"`
	Egress      set[permissionXML] `xml:"ipPermissionsEgress"`
	Tags        set[tagXML]        `xml:"tagSet"`
}

func (g *securityGroup) xml() groupXML {
	var ingress []permissionXML
	for _, r := range g.ingress {
		p := permissionXML{Protocol: r.protocol}
		if r.protocol != "-1" {
			p.From, p.To = &r.from, &r.to
		}
		switch {
		case r.group != "":
			p.Groups = setOf([]pairXML{{g.account.ID, r.group}})
		case r.cidr.Addr().Is6():
			p.Ranges6 = setOf([]rangeXML{{CIDR6: r.cidr.String(), Description: r.description}})
		default:
			p.Ranges = setOf([]rangeXML{{CIDR: r.cidr.String(), Description: r.description}})
		}
		ingress = append(ingress, p)
	}
	egress := permissionXML{Protocol: "-1", Ranges: setOf([]rangeXML{{CIDR: "0.0.0.0/0"}})}
	return groupXML{g.account.ID, g.id, existing(g).ARN, g.name, g.description, g.vpc.id, setOf(ingress),
		setOf([]permissionXML{egress}), g.tags.xml()}
}

func (c *Cloud) describeSecurityGroups(q *call, in *struct {
	IDs     []string `aws:"GroupId"`
	Names   []string `aws:"GroupName"`
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	list, err := pick[*securityGroup](c, q, "security-group", in.IDs)
	if err != nil {
		return nil, err
	}
	for _, name := range in.Names {
		if !slices.ContainsFunc(list, func(g *securityGroup) bool { return g.name == name && g.vpc.isDefault }) {
			return nil, refuse("InvalidGroup.NotFound", "The security group '%s' does not exist in default VPC", name)
		}
	}
	list, err = narrow(list, in.Filters, attributes[*securityGroup]{
		"group-id": func(g *securityGroup) []string { return one(g.id) }, "group-name": func(g *securityGroup) []string { return one(g.name) },
		"vpc-id": func(g *securityGroup) []string { return one(g.vpc.id) }, "owner-id": func(g *securityGroup) []string { return one(g.account.ID) },
		"description": func(g *securityGroup) []string { return one(g.description) },
		"ip-permission.cidr": func(g *securityGroup) (blocks []string) {
			for _, r := range g.ingress {
				blocks = append(blocks, r.cidr.String())
			}
			return blocks
		},
	})
	if err != nil {
		return nil, err
	}
	rows := []groupXML{}
	for _, g := range list {
		if len(in.Names) == 0 || slices.Contains(in.Names, g.name) && g.vpc.isDefault {
			rows = append(rows, g.xml())
		}
	}
	cut, next, err := page(rows, in.paging, 5)
	if err != nil {
		return nil, err
	}
	return struct {
		Groups set[groupXML] `xml:"securityGroupInfo"`
		Next   string        `xml:"nextToken,omitempty"`
	}{setOf(cut), next}, nil
}

func (c *Cloud) deleteSecurityGroup(q *call, in *struct {
	ID   string `aws:"GroupId"`
	Name string `aws:"GroupName"`
}) (any, error) {
	var g *securityGroup
	switch {
	case in.ID != "":
		var err error
		if g, err = find[*securityGroup](c, q, "security-group", in.ID); err != nil {
			return nil, err
		}
	case in.Name != "":
		for _, other := range own[*securityGroup](c, q) {
			if other.name == in.Name && other.vpc.isDefault {
				g = other
			}
		}
		if g == nil {
			return nil, refuse("InvalidGroup.NotFound", "The security group '%s' does not exist in default VPC", in.Name)
		}
	default:
		return nil, errMissing("groupId")
	}
	if err := c.authorize(q, []AccessResource{existing(g)}); err != nil {
		return nil, err
	}
	if g.name == "default" {
		return nil, refuse("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", g.id)
	}
	for _, e := range all[*networkInterface](c) {
		if slices.Contains(e.groups, g) {
			return nil, refuse("DependencyViolation", "resource %s has a dependent object", g.id)
		}
	}
	c.resources.remove(g.id)
	return struct {
		Return bool   `xml:"return"`
		ID     string `xml:"groupId"`
	}{true, g.id}, nil
}
