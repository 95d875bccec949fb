// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"cmp"
	"net/netip"
	"slices"
)

// securityGroup says who may connect to the machines in it.
type securityGroup struct {
	resourceBase
	vpc               *vpc
	name, description string
	ingress           []rule
}

// rule lets one block of addresses, or the members of a group, connect.
type rule struct {
	id          string
	protocol    string // tcp, udp, icmp, icmpv6, -1 or a number
	from, to    int    // -1 for all
	cidr        netip.Prefix
	group       string
	description string
}

// same tells whether two rules let the same in.
func (r rule) same(other rule) bool {
	return r.protocol == other.protocol && r.from == other.from && r.to == other.to && r.cidr == other.cidr && r.group == other.group
}

func newGroup(b resourceBase, v *vpc, name, description string) *securityGroup {
	return &securityGroup{resourceBase: b, vpc: v, name: name, description: description}
}

// admits tells whether a caller can connect to a port by TCP.
func (g *securityGroup) admits(from netip.Addr, port int) bool {
	return slices.ContainsFunc(g.ingress, func(r rule) bool {
		covers := r.protocol == "-1" || r.protocol == "tcp" && (r.from <= port && port <= r.to)
		return covers && r.cidr.IsValid() && r.cidr.Contains(from)
	})
}

func (c *Cloud) createSecurityGroup(q *call, in *struct {
	Name        string             `aws:"GroupName,required"`
	Description string             `aws:"GroupDescription,required"`
	VpcID       string             `aws:"VpcId"`
	Specs       []tagSpecification `aws:"TagSpecification"`
}) (any, error) {
	tags, err := specified(in.Specs, "security-group")
	if err != nil {
		return nil, err
	}
	v, err := c.vpcOr(q, in.VpcID)
	if err != nil {
		return nil, err
	}
	if len(in.Name) > 255 || len(in.Description) > 255 || in.Name[:min(3, len(in.Name))] == "sg-" {
		return nil, errValue("Invalid value '%s' for groupName", in.Name)
	}
	planned := q.planned("security-group", tags["security-group"])
	var tagged []AccessResource
	if len(in.Specs) > 0 {
		tagged = append(tagged, planned)
	}
	if err := c.authorize(q, []AccessResource{planned, existing(v)}, tagged...); err != nil {
		return nil, err
	}
	for _, g := range taken[*securityGroup](c, q) {
		if g.vpc == v && g.name == in.Name {
			return nil, refuse("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", in.Name, v.id)
		}
	}
	g := newGroup(c.newBase(q, "security-group", tags["security-group"]), v, in.Name, in.Description)
	c.resources.put(g)
	return struct {
		Return bool        `xml:"return"`
		ID     string      `xml:"groupId"`
		ARN    string      `xml:"securityGroupArn"`
		Tags   set[tagXML] `xml:"tagSet"`
	}{true, g.id, existing(g).ARN, g.tags.xml()}, nil
}

// vpcOr is a VPC by id, or the default VPC.
func (c *Cloud) vpcOr(q *call, id string) (*vpc, error) {
	if id != "" {
		return find[*vpc](c, q, "vpc", id)
	}
	if n := c.networks[q.home()]; n != nil && n.vpc != nil {
		return n.vpc, nil
	}
	return nil, refuse("VPCIdNotSpecified", "No default VPC for this user")
}

// permission is a set of rules in a request.
type permission struct {
	Protocol string `aws:"IpProtocol,required"`
	FromPort *int
	ToPort   *int
	Ranges   []struct {
		CIDR        string `aws:"CidrIp,required"`
		Description string
	} `aws:"IpRanges"`
	Ranges6 []struct {
		CIDR        string `aws:"CidrIpv6,required"`
		Description string
	} `aws:"Ipv6Ranges"`
	Groups []struct {
		ID          string `aws:"GroupId,required"`
		UserID      string `aws:"UserId"`
		Description string
	} `aws:"Groups"`
}

type rulesIn struct {
	GroupID     string       `aws:"GroupId,required"`
	Permissions []permission `aws:"IpPermissions"`
	// The form of one rule.
	Protocol string `aws:"IpProtocol"`
	FromPort *int
	ToPort   *int
	CIDR     string             `aws:"CidrIp"`
	Specs    []tagSpecification `aws:"TagSpecification"`
}

// rules are those that a request names.
func (in *rulesIn) rules() ([]rule, error) {
	permissions := in.Permissions
	if in.Protocol != "" {
		p := permission{Protocol: in.Protocol, FromPort: in.FromPort, ToPort: in.ToPort}
		p.Ranges = append(p.Ranges, struct {
			CIDR        string `aws:"CidrIp,required"`
			Description string
		}{CIDR: in.CIDR})
		permissions = append(permissions, p)
	}
	var list []rule
	for _, p := range permissions {
		base, err := p.rule()
		if err != nil {
			return nil, err
		}
		add := func(cidr, description string) error {
			block, err := netip.ParsePrefix(cidr)
			if err != nil {
				return errValue("CIDR block %s is malformed", cidr)
			}
			r := base
			r.id, r.cidr, r.description = newID("sgr"), block.Masked(), description
			list = append(list, r)
			return nil
		}
		for _, x := range p.Ranges {
			if err := add(x.CIDR, x.Description); err != nil {
				return nil, err
			}
		}
		for _, x := range p.Ranges6 {
			if err := add(x.CIDR, x.Description); err != nil {
				return nil, err
			}
		}
		for _, x := range p.Groups {
			r := base
			r.id, r.group, r.description = newID("sgr"), x.ID, x.Description
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return nil, errMissing("ipPermissions")
	}
	return list, nil
}

// rule checks protocol and ports.
func (p permission) rule() (rule, error) {
	r := rule{protocol: p.Protocol, from: -1, to: -1}
	if n, known := map[string]string{"6": "tcp", "17": "udp", "1": "icmp"}[p.Protocol]; known {
		r.protocol = n
	}
	if !slices.Contains([]string{"tcp", "udp", "icmp", "icmpv6", "-1"}, r.protocol) {
		return r, errValue("Invalid value '%s' for IP protocol. Unknown protocol.", p.Protocol)
	}
	if r.protocol == "-1" {
		return r, nil
	}
	if p.FromPort == nil || p.ToPort == nil {
		return r, errCombination("Must specify both from and to ports with TCP/UDP.")
	}
	r.from, r.to = *p.FromPort, *p.ToPort
	if r.protocol != "icmp" && r.protocol != "icmpv6" && (r.from < 0 || r.to > 65535 || r.from > r.to) {
		return r, errValue("Invalid TCP/UDP port range (%d:%d)", r.from, r.to)
	}
	return r, nil
}

func (c *Cloud) authorizeIngress(q *call, in *rulesIn) (any, error) {
	tags, err := specified(in.Specs, "security-group-rule")
	if err != nil {
		return nil, err
	}
	rules, err := in.rules()
	if err != nil {
		return nil, err
	}
	g, err := find[*securityGroup](c, q, "security-group", in.GroupID)
	if err != nil {
		return nil, err
	}
	var tagged []AccessResource
	if len(tags) > 0 {
		tagged = append(tagged, q.planned("security-group-rule", tags["security-group-rule"]))
	}
	if err := c.authorize(q, []AccessResource{existing(g)}, tagged...); err != nil {
		return nil, err
	}
	for _, r := range rules {
		if slices.ContainsFunc(g.ingress, r.same) {
			return nil, refuse("InvalidPermission.Duplicate",
				"the specified rule \"peer: %s, %s, from port: %d, to port: %d, ALLOW\" already exists", cmp.Or(r.group, r.cidr.String()), r.protocol, r.from, r.to)
		}
	}
	if len(g.ingress)+len(rules) > 60 {
		return nil, refuse("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
	}
	g.ingress = append(g.ingress, rules...)
	c.moveGates()
	return struct {
		Return bool         `xml:"return"`
		Rules  set[ruleXML] `xml:"securityGroupRuleSet"`
	}{true, setOf(g.rulesXML(rules))}, nil
}

func (c *Cloud) revokeIngress(q *call, in *struct {
	rulesIn
	RuleIDs []string `aws:"SecurityGroupRuleId"`
}) (any, error) {
	g, err := find[*securityGroup](c, q, "security-group", in.GroupID)
	if err != nil {
		return nil, err
	}
	var rules []rule
	if len(in.RuleIDs) == 0 {
		if rules, err = in.rules(); err != nil {
			return nil, err
		}
	}
	for _, id := range in.RuleIDs {
		at := slices.IndexFunc(g.ingress, func(r rule) bool { return r.id == id })
		if at < 0 {
			return nil, errUnknownID("security-group-rule", id)
		}
		rules = append(rules, g.ingress[at])
	}
	if err := c.authorize(q, []AccessResource{existing(g)}); err != nil {
		return nil, err
	}
	for _, r := range rules {
		if !slices.ContainsFunc(g.ingress, r.same) {
			return nil, refuse("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
		}
	}
	g.ingress = slices.DeleteFunc(g.ingress, func(r rule) bool { return slices.ContainsFunc(rules, r.same) })
	c.moveGates()
	return done(), nil
}
