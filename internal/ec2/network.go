// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// subnetOption is how the user said where.
func (b *Build) subnetOption() string { return cmp.Or(b.cfg.Network.From, "subnet_id") }

// findSubnets finds the subnets in which the machine may be.
func (s *survey) findSubnets(ctx context.Context, f *finding) {
	b, n := s.b, s.b.cfg.Network
	var in ec2.DescribeSubnetsInput
	switch {
	case len(n.Subnets) > 0:
		in.SubnetIds = n.Subnets
	default:
		if n.SubnetFilter != nil {
			in.Filters = filters(n.SubnetFilter.Filters)
		}
		if n.VPC != "" || n.VPCFilter != nil {
			if err := s.findVPC(ctx); err != nil {
				f.problem(err)
				return
			}
			in.Filters = append(in.Filters, filter("vpc-id", aws.ToString(s.vpc.VpcId)))
		}
		if len(in.Filters) == 0 {
			in.Filters = []types.Filter{filter("default-for-az", "true")}
		}
	}
	all, err := b.subnets(ctx, in)
	switch {
	case missing(err):
		f.problemf("%s: there is no such subnet in %s that this user may see; a subnet's id belongs to one region: %w", b.subnetOption(), b.Region, err)
		return
	case err != nil:
		f.problemf("%s: %w", b.subnetOption(), err)
		return
	}
	s.subnets = s.pick(all, f)
}

func (b *Build) subnets(ctx context.Context, in ec2.DescribeSubnetsInput) (all []types.Subnet, err error) {
	err = cloud.Pages(func(token *string) (next *string, err error) {
		in.NextToken = token
		err = b.repeat(ctx, "describe subnets", "", func(ctx context.Context) error {
			r, err := b.describeSubnets(ctx, &in)
			if err != nil {
				return err
			}
			all, next = append(all, r.Subnets...), r.NextToken
			return nil
		})
		return next, err
	})
	return all, err
}

// pick keeps the subnets that will do, in the order of preference.
func (s *survey) pick(all []types.Subnet, f *finding) (list []types.Subnet) {
	b, n := s.b, s.b.cfg.Network
	if len(all) == 0 {
		switch {
		case n.SubnetFilter != nil:
			f.problemf("%s: no subnet in %s meets the filter", cmp.Or(n.From, "subnet_filter"), b.Region)
		case s.vpc.VpcId != nil:
			f.problemf("%s: the VPC %s has no subnets", cmp.Or(n.From, "vpc_id"), *s.vpc.VpcId)
		default:
			f.problemf("%s has no default VPC, or it has no subnets; name a subnet by subnet_id", b.Region)
		}
		return nil
	}
	var full, elsewhere []string
	for _, x := range all {
		id, zone := aws.ToString(x.SubnetId), aws.ToString(x.AvailabilityZone)
		switch {
		case len(b.cfg.Zones) > 0 && !slices.Contains(b.cfg.Zones, zone):
			elsewhere = append(elsewhere, id+" in "+zone)
		case aws.ToInt32(x.AvailableIpAddressCount) == 0:
			full = append(full, id)
		case x.State != "" && x.State != types.SubnetStateAvailable:
			f.note("Subnet %s is left out, it is %s", id, x.State)
		default:
			list = append(list, x)
		}
	}
	free := func(x, y types.Subnet) int {
		return int(aws.ToInt32(y.AvailableIpAddressCount)) - int(aws.ToInt32(x.AvailableIpAddressCount))
	}
	switch {
	case len(n.Subnets) > 0:
		slices.SortStableFunc(list, func(x, y types.Subnet) int {
			return slices.Index(n.Subnets, aws.ToString(x.SubnetId)) - slices.Index(n.Subnets, aws.ToString(y.SubnetId))
		})
	case n.SubnetFilter != nil && n.SubnetFilter.Random:
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	case n.SubnetFilter != nil && n.SubnetFilter.MostFree:
		slices.SortStableFunc(list, free)
	default:
		slices.SortStableFunc(list, func(x, y types.Subnet) int {
			return cmp.Or(strings.Compare(aws.ToString(x.AvailabilityZone), aws.ToString(y.AvailabilityZone)), free(x, y))
		})
	}
	if len(full) > 0 {
		f.note("No address is free in %s", strings.Join(full, ", "))
	}
	switch {
	case len(list) > 0:
	case len(full) > 0:
		f.problemf("%s: no address is free in %s; choose another subnet, or delete network interfaces that are not needed", b.subnetOption(), strings.Join(full, ", "))
	case len(elsewhere) > 0:
		f.problemf("availability_zone: no subnet is in %s; there are: %s", strings.Join(b.cfg.Zones, ", "), strings.Join(elsewhere, ", "))
	}
	return list
}

// findVPC finds the user's VPC.
func (s *survey) findVPC(ctx context.Context) error {
	b, n := s.b, s.b.cfg.Network
	option := cmp.Or(n.From, "vpc_id")
	var in ec2.DescribeVpcsInput
	if n.VPC != "" {
		in.VpcIds = []string{n.VPC}
	} else {
		in.Filters, option = filters(n.VPCFilter), cmp.Or(n.From, "vpc_filter")
	}
	var all []types.Vpc
	err := b.repeat(ctx, "describe VPCs", n.VPC, func(ctx context.Context) error {
		r, err := b.describeVpcs(ctx, &in)
		if err == nil {
			all = r.Vpcs
		}
		return err
	})
	switch {
	case missing(err) || err == nil && len(all) == 0:
		return fmt.Errorf("%s: there is no such VPC in %s that this user may see", option, b.Region)
	case err != nil:
		return fmt.Errorf("%s: %w", option, err)
	case len(all) > 1:
		return fmt.Errorf("%s: %d VPCs in %s meet the filter, and it must be one", option, len(all), b.Region)
	}
	s.vpc = all[0]
	return nil
}

// findGroups looks at the user's security groups.
func (s *survey) findGroups(ctx context.Context, f *finding) {
	b, n := s.b, s.b.cfg.Network
	if len(n.SecurityGroups) == 0 && n.SecurityGroupFilter == nil {
		return
	}
	in := &ec2.DescribeSecurityGroupsInput{GroupIds: n.SecurityGroups}
	option := "security_group_ids"
	if len(n.SecurityGroups) == 0 {
		in.Filters, option = filters(n.SecurityGroupFilter), "security_group_filter"
	}
	err := b.repeat(ctx, "describe security groups", "", func(ctx context.Context) error {
		r, err := b.describeSecurityGroups(ctx, in)
		if err == nil {
			s.groups = r.SecurityGroups
		}
		return err
	})
	switch {
	case missing(err):
		f.problemf("%s: there is no such security group in %s that this user may see: %w", option, b.Region, err)
	case err != nil:
		f.problemf("%s: %w", option, err)
	case len(s.groups) == 0:
		f.problemf("%s: no security group in %s meets the filter", option, b.Region)
	}
}

// temporary says whether a security group is to be made.
func (b *Build) temporary() bool {
	return len(b.cfg.Network.SecurityGroups) == 0 && b.cfg.Network.SecurityGroupFilter == nil
}

// private says whether the machine is reached by an address of its VPC, whatever
// its subnet is like.
func (b *Build) private() bool {
	return strings.HasPrefix(b.cfg.Interface, "private") || b.cfg.Interface == "" && b.cfg.Network.PublicIP != nil && !*b.cfg.Network.PublicIP
}

// privateIn says whether a machine in a subnet is reached by an address of its VPC.
func (b *Build) privateIn(x types.Subnet) bool {
	return b.private() || b.cfg.Interface == "" && !b.expectsPublic(x)
}

// privateRanges are the addresses from which others of one's own networks come: by
// a peering, or a VPN.
func privateRanges() []string {
	return []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"}
}

// checkIP answers with the address that asks.
const checkIP = "https://checkip.amazonaws.com/"

// opens says whether a temporary group has to let in somebody whom the template
// does not name.
func (b *Build) opens() bool {
	t := b.cfg.Network.Temporary
	return b.temporary() && t.Port != 0 && len(t.Sources) == 0
}

// findCaller finds out the address of this computer. Whether a temporary group has
// to let that in depends on the subnets; findSources settles it.
func (s *survey) findCaller(ctx context.Context, _ *finding) {
	if s.b.opens() && !s.b.private() {
		s.caller, s.noCaller = s.b.caller(ctx)
	}
}

// caller is the address from which requests of this computer come, as a block.
func (b *Build) caller(ctx context.Context) (string, error) {
	var addr netip.Addr
	err := b.repeat(ctx, "ask "+checkIP, "", func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, checkIP, nil)
		if err != nil {
			return err
		}
		resp, err := b.by.cfg.HTTPClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 100))
		if err == nil {
			addr, err = netip.ParseAddr(strings.TrimSpace(string(body)))
		}
		if err != nil {
			return errNoAnswer
		}
		return nil
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("temporary_security_group_source_cidrs: the address of this computer cannot be found, so say from where the machine is reached: %w", err)
	case b.cfg.Interface == "ipv6" && addr.Is4():
		return "", fmt.Errorf("temporary_security_group_source_cidrs: the machine is to be reached by IPv6, and this computer's requests come from %s; say from where it is reached", addr)
	}
	return netip.PrefixFrom(addr, addr.BitLen()).String(), nil
}

// findSources settles from where a temporary group lets in: this computer, if the
// machine has a public address; its VPC, if it is reached by a private one. Subnets
// may differ in that, and the group is made before it is known which it will be.
func (s *survey) findSources(ctx context.Context, f *finding) {
	b := s.b
	if !b.opens() {
		s.sources, s.caller = b.cfg.Network.Temporary.Sources, ""
		return
	}
	var vpcs []string
	public := false
	for _, x := range s.subnets {
		if !b.privateIn(x) {
			public = true
		} else if id := aws.ToString(x.VpcId); !slices.Contains(vpcs, id) {
			vpcs = append(vpcs, id)
		}
	}
	s.sources = nil
	if len(vpcs) > 0 {
		blocks, err := b.vpcBlocks(ctx, vpcs)
		if err != nil {
			f.problemf("temporary_security_group_source_cidrs: the address blocks of the VPC cannot be read, so say from where the machine is reached: %w", err)
			return
		}
		also := ""
		if s.sources = blocks; !b.private() {
			s.sources, also = append(s.sources, privateRanges()...), " and the private ranges"
			s.sources = slices.Compact(slices.Sorted(slices.Values(s.sources)))
		}
		f.note("The machine is reached by a private address: its temporary security group lets in the VPC, %s%s", strings.Join(blocks, ", "), also)
	}
	switch {
	case !public:
		s.caller = ""
	case s.noCaller != nil:
		f.problem(s.noCaller)
	default:
		s.sources = append(s.sources, s.caller)
	}
}

// vpcBlocks are the blocks of addresses of VPCs.
func (b *Build) vpcBlocks(ctx context.Context, ids []string) (blocks []string, err error) {
	err = b.repeat(ctx, "describe VPCs", "", func(ctx context.Context) error {
		r, err := b.describeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: ids})
		if err != nil {
			return err
		}
		blocks = nil
		for _, v := range r.Vpcs {
			for _, c := range v.CidrBlockAssociationSet {
				blocks = append(blocks, aws.ToString(c.CidrBlock))
			}
			if len(v.CidrBlockAssociationSet) == 0 && v.CidrBlock != nil {
				blocks = append(blocks, *v.CidrBlock)
			}
		}
		return nil
	})
	return blocks, err
}
