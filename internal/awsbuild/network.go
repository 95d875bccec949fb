// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package awsbuild

import (
	"net/netip"
	"os"
	"slices"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// SubnetFilter finds subnets. All that match are tried; amazon-ebs takes one.
type SubnetFilter struct {
	Filter `mapstructure:",squash"`
	// Try those with most free addresses first. Defaults to `false`.
	MostFree bool `mapstructure:"most_free" required:"false"`
	// Try them in an order of no meaning. Defaults to `false`.
	Random bool `mapstructure:"random" required:"false"`
}

// Network says where in the network the machine is put.
type Network struct {
	// The subnet of the machine. Defaults to the environment variable
	// `AWS_SUBNET_ID`, unless a zone, another option for subnets or a VPC is named.
	// Without any of them it is EC2's choice, in the default VPC.
	SubnetID string `mapstructure:"subnet_id" required:"false"`
	// The subnets to try, in the order of preference, which is how several zones
	// are searched in a VPC of one's own. Excludes `subnet_id`.
	SubnetIDs []string `mapstructure:"subnet_ids" required:"false"`
	// Finds the subnets to try, in every region. Is not used if `subnet_id` is
	// set. See [`subnet_filter`](#subnet_filter).
	SubnetFilter SubnetFilter `mapstructure:"subnet_filter" required:"false"`
	// The VPC whose subnets are tried, and in which a temporary security group is
	// made.
	VPCID string `mapstructure:"vpc_id" required:"false"`
	// Finds that VPC, in every region; there must be exactly one. Is not used if
	// `vpc_id` is set. Takes `filters` or `filter`, like
	// [`subnet_filter`](#subnet_filter).
	VPCFilter Filter `mapstructure:"vpc_filter" required:"false"`
	// Whether the machine gets a public address. Defaults to what the subnet does.
	// With `false` the machine needs a NAT for its own way out; run Packer where
	// the private address can be reached, or set `ssh_bastion_host`.
	AssociatePublicIPAddress config.Trilean `mapstructure:"associate_public_ip_address" required:"false"`
	// The security group of the machine. By default one is made that lets SSH in,
	// and is removed at the end.
	SecurityGroupID string `mapstructure:"security_group_id" required:"false"`
	// The security groups of the machine.
	SecurityGroupIDs []string `mapstructure:"security_group_ids" required:"false"`
	// Finds the security groups of the machine, in every region. Is not used if
	// they are named. Takes `filters` or `filter`, like
	// [`subnet_filter`](#subnet_filter).
	SecurityGroupFilter Filter `mapstructure:"security_group_filter" required:"false"`
	// The blocks of addresses from which the group that is made lets SSH in. By
	// default that is the address from which Packer's requests come, and no other;
	// the private ranges, if the machine is reached by its private address; and
	// any, if it is reached through a bastion or a proxy, or by IPv6.
	TemporarySecurityGroupSourceCIDRs []string `mapstructure:"temporary_security_group_source_cidrs" required:"false"`
	// `false` opens the group that is made to `0.0.0.0/0`, as amazon-ebs does by
	// default. Defaults to `true`, in the sense above.
	TemporarySecurityGroupSourcePublicIP config.Trilean `mapstructure:"temporary_security_group_source_public_ip" required:"false"`

	from string // the option or variable that names the subnet or VPC
}

// somewhere says whether the template names a place in the network.
func (w *Network) somewhere() bool {
	return w.SubnetID != "" || len(w.SubnetIDs) > 0 || w.SubnetFilter.set() || w.VPCID != "" || w.VPCFilter.set()
}

func (w *Network) prepare(n *notes, s *Search, m *Machine, g Given) {
	if w.SubnetIDs = set(w.SubnetIDs); !w.somewhere() && len(s.AvailabilityZones) == 0 {
		w.SubnetIDs = set(split(os.Getenv("AWS_SUBNET_ID")))
		if len(w.SubnetIDs) > 0 {
			w.from = "the environment variable AWS_SUBNET_ID"
		}
	}
	w.SubnetIDs = n.either("subnet_id", "subnet_ids", w.SubnetID, w.SubnetIDs)
	n.twice("subnet_ids", w.SubnetIDs)
	for _, o := range []struct {
		set  bool
		name string
	}{{w.VPCFilter.set(), "vpc_filter"}, {w.VPCID != "", "vpc_id"}, {w.SubnetFilter.set(), "subnet_filter"}, {w.SubnetID != "" || len(w.SubnetIDs) > 0, "subnet_id"}} {
		if o.set && (w.from == "" || o.name != "subnet_id" || w.SubnetID != "") {
			w.from = o.name
		}
	}
	for _, id := range w.SubnetIDs {
		n.id(w.from, "subnet", id)
	}
	if w.SubnetFilter.MostFree && w.SubnetFilter.Random {
		n.bad("subnet_filter: most_free and random exclude each other")
	}
	n.id("vpc_id", "vpc", w.VPCID)
	w.SecurityGroupIDs = set(w.SecurityGroupIDs)
	if w.SecurityGroupID != "" && !slices.Contains(w.SecurityGroupIDs, w.SecurityGroupID) {
		w.SecurityGroupIDs = append([]string{w.SecurityGroupID}, w.SecurityGroupIDs...)
	}
	for _, id := range w.SecurityGroupIDs {
		n.id("security_group_id", "sg", id)
	}
	if len(w.SecurityGroupIDs) > 5 {
		n.bad("security_group_ids: EC2 allows five groups on an interface by default, there are %d", len(w.SecurityGroupIDs))
	}
	w.prepareSources(n, m, g)
}

// prepareSources leaves in TemporarySecurityGroupSourceCIDRs from where the group
// that is made lets SSH in; nothing there means from the caller's address.
func (w *Network) prepareSources(n *notes, m *Machine, g Given) {
	sources := set(w.TemporarySecurityGroupSourceCIDRs)
	for _, block := range sources {
		p, err := netip.ParsePrefix(block)
		if tmpl.Unknown(block) {
			continue
		}
		if err != nil {
			n.bad("temporary_security_group_source_cidrs must be blocks of addresses such as 203.0.113.7/32, one is %q", block)
		} else if p != p.Masked() {
			n.bad("temporary_security_group_source_cidrs: %s is not the beginning of a block, that would be %s", block, p.Masked())
		}
	}
	if len(sources) > 0 && w.TemporarySecurityGroupSourcePublicIP.True() {
		n.bad("temporary_security_group_source_cidrs and temporary_security_group_source_public_ip exclude each other")
	}
	if len(sources) == 0 && !w.TemporarySecurityGroupSourcePublicIP.True() {
		sources = w.otherSources(m, g)
	}
	w.TemporarySecurityGroupSourceCIDRs = sources
}

// otherSources are those where the caller's address would not do.
func (w *Network) otherSources(m *Machine, g Given) []string {
	private := m.SSHInterface == "private_ip" || m.SSHInterface == "private_dns" || m.SSHInterface == "" && w.AssociatePublicIPAddress.False()
	switch {
	case w.TemporarySecurityGroupSourcePublicIP.False(), g.Comm.SSHBastionHost != "", g.Comm.SSHProxyHost != "":
		if m.SSHInterface == "ipv6" {
			return []string{"::/0"}
		}
		return []string{"0.0.0.0/0"}
	case m.SSHInterface == "ipv6":
		return []string{"::/0"}
	case private:
		return []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"}
	}
	return nil
}

// network is the network in the adapter's terms. port is that of SSH, and 0 if
// nobody connects to it.
func (w *Network) network(port int) ec2.NetworkConfig {
	c := ec2.NetworkConfig{
		Subnets: w.SubnetIDs, VPC: w.VPCID, From: w.from, PublicIP: w.AssociatePublicIPAddress.ToBoolPointer(),
		SecurityGroups: w.SecurityGroupIDs, Temporary: ec2.TemporaryGroup{Port: port},
	}
	if port != 0 {
		c.Temporary.Sources = w.TemporarySecurityGroupSourceCIDRs
	}
	if len(c.Subnets) == 0 && w.SubnetFilter.set() {
		c.SubnetFilter = &ec2.SubnetFilter{Filters: w.SubnetFilter.values(), MostFree: w.SubnetFilter.MostFree, Random: w.SubnetFilter.Random}
	}
	if c.VPC == "" {
		c.VPCFilter = w.VPCFilter.values()
	}
	if len(c.SecurityGroups) == 0 {
		c.SecurityGroupFilter = w.SecurityGroupFilter.values()
	}
	return c
}
