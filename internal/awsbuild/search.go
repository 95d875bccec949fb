// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package awsbuild

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/awscfg"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// Search says where and as what a machine is looked for.
type Search struct {
	// The type of the machine, such as `t4g.small`. By default `t4g.micro` is
	// tried, then `t4g.small`: those that are free in accounts on the free plan.
	InstanceType string `mapstructure:"instance_type" required:"false"`
	// The types to try, in the order of preference. Excludes `instance_type`.
	InstanceTypes []string `mapstructure:"instance_types" required:"false"`
	// The types to try as spot machines, as amazon-ebs has it: needs `spot_price`
	// and excludes the options above.
	SpotInstanceTypes []string `mapstructure:"spot_instance_types" required:"false"`
	// How the machine is paid for, in the order of preference: `on-demand`,
	// `spot`, or both. `["spot", "on-demand"]` looks for a spot machine first, in
	// every zone, and takes one on demand where there is none. Spot machines may
	// be taken away at any time, which ends the build. Defaults to
	// `["on-demand"]`, or to `["spot"]` with a `spot_price`.
	Markets []string `mapstructure:"markets" required:"false"`
	// The highest price in US dollars an hour at which a spot machine is taken.
	// `auto` sets no price, which means that on demand. Empty or `0` means no spot
	// machine, unless `markets` says so.
	SpotPrice string `mapstructure:"spot_price" required:"false"`
	// How to choose between spot pools: `lowest-price`, `capacity-optimized`,
	// `capacity-optimized-prioritized`, `price-capacity-optimized` or
	// `diversified`. Machines are asked for one at a time here, in the order of
	// preference, so it is a hint for the order of equals at most.
	SpotAllocationStrategy string `mapstructure:"spot_allocation_strategy" required:"false"`
	// The one availability zone to look in, such as `eu-central-1a`. By default
	// every zone of the region that has a subnet is searched.
	AvailabilityZone string `mapstructure:"availability_zone" required:"false"`
	// The zones to look in, in the order of preference. Excludes
	// `availability_zone`.
	AvailabilityZones []string `mapstructure:"availability_zones" required:"false"`
	// Further regions to look in, in the order of preference, after `region`. See
	// [Additional regions](#additional-regions).
	AdditionalRegions []AdditionalRegion `mapstructure:"additional_region" required:"false"`
	// Do not ask EC2 which regions there are. Defaults to `false`.
	SkipRegionValidation bool `mapstructure:"skip_region_validation" required:"false"`

	// How much the build cares about what is free: `prefer` (the default) never
	// adds by its own choice what costs money, and says so in a line where the
	// template asks for it; `require` launches nothing that costs money;
	// `ignore` checks nothing. See [Free tier](#free-tier).
	FreeTier string `mapstructure:"free_tier" required:"false"`
	// What is free. See [`free_allowance`](#free_allowance).
	FreeAllowance FreeAllowance `mapstructure:"free_allowance" required:"false"`
}

// FreeAllowance is what costs nothing, or is paid from the credits of a free plan.
type FreeAllowance struct {
	// The types of machines. By default EC2 is asked which it flags as
	// `free-tier-eligible` in the region.
	InstanceTypes []string `mapstructure:"instance_types" required:"false"`
	// All volumes together, in gigabytes. Defaults to `30`.
	StorageInGBs int64 `mapstructure:"storage_in_gbs" required:"false"`
}

// AdditionalRegion is another region in which a machine may be found. The image is
// then made there. What the template finds by a filter, or by a parameter of SSM,
// is found in each region; what it names by its id is not, and is named again.
type AdditionalRegion struct {
	// The region, such as `eu-west-1`.
	Region string `mapstructure:"region" required:"true"`
	// The image from which the machine starts. Is not needed if there is a
	// `source_ami_filter` or a `source_ami_ssm_parameter`.
	SourceAMI string `mapstructure:"source_ami" required:"false"`
	// The one availability zone to look in. Defaults to all.
	AvailabilityZone string `mapstructure:"availability_zone" required:"false"`
	// The zones to look in. Excludes `availability_zone`.
	AvailabilityZones []string `mapstructure:"availability_zones" required:"false"`
	// The subnet there.
	SubnetID string `mapstructure:"subnet_id" required:"false"`
	// The subnets there, in the order of preference. Excludes `subnet_id`.
	SubnetIDs []string `mapstructure:"subnet_ids" required:"false"`
	// The VPC there.
	VPCID string `mapstructure:"vpc_id" required:"false"`
	// The security group of the machine there.
	SecurityGroupID string `mapstructure:"security_group_id" required:"false"`
	// The security groups of the machine there. Excludes `security_group_id`.
	SecurityGroupIDs []string `mapstructure:"security_group_ids" required:"false"`
	// The name of the key pair there. Defaults to none: the key is then handed to
	// the machine by its user data.
	SSHKeyPairName string `mapstructure:"ssh_keypair_name" required:"false"`
	// The KMS key there, like `kms_key_id`. Defaults to that of
	// `region_kms_key_ids`.
	KMSKeyID string `mapstructure:"kms_key_id" required:"false"`
}

// defaultTypes are those that are free for accounts on the free plan.
func defaultTypes() []string { return []string{"t4g.micro", "t4g.small"} }

// What types and prices look like.
var (
	typeName = regexp.MustCompile(`^[a-z0-9-]+\.[a-z0-9-]+$`)
	zone     = regexp.MustCompile(`^[a-z]{2,}(-[a-z0-9]+)+[a-z]$`)
)

func (s *Search) prepare(n *notes, region string) {
	s.prepareTypes(n)
	s.prepareMarkets(n)
	n.oneOf("spot_allocation_strategy", s.SpotAllocationStrategy,
		"lowest-price", "capacity-optimized", "capacity-optimized-prioritized", "price-capacity-optimized", "diversified")
	s.AvailabilityZones = n.zones("", region, s.AvailabilityZone, s.AvailabilityZones)
	s.FreeTier = cmp.Or(s.FreeTier, string(ec2.FreePrefer))
	n.oneOf("free_tier", s.FreeTier, string(ec2.FreePrefer), string(ec2.FreeRequire), string(ec2.FreeIgnore))
	s.FreeAllowance.InstanceTypes = set(s.FreeAllowance.InstanceTypes)
	n.types("free_allowance: instance_types", s.FreeAllowance.InstanceTypes)
	if s.FreeAllowance.StorageInGBs < 0 {
		n.bad("free_allowance: storage_in_gbs must not be negative")
	}
	if s.FreeAllowance.StorageInGBs == 0 {
		s.FreeAllowance.StorageInGBs = 30
	}
	s.prepareRegions(n, region)
}

// prepareTypes leaves the types in InstanceTypes; empty means that they are ours to
// choose.
func (s *Search) prepareTypes(n *notes) {
	s.InstanceTypes, s.SpotInstanceTypes = set(s.InstanceTypes), set(s.SpotInstanceTypes)
	var named []string
	for _, o := range []struct {
		name  string
		types []string
	}{{"instance_type", set([]string{s.InstanceType})}, {"instance_types", s.InstanceTypes}, {"spot_instance_types", s.SpotInstanceTypes}} {
		if len(o.types) == 0 {
			continue
		}
		n.types(o.name, o.types)
		n.twice(o.name, o.types)
		if len(named) > 0 && !slices.Equal(named, o.types) {
			n.bad("instance_type, instance_types and spot_instance_types exclude each other")
		}
		named = o.types
	}
	s.InstanceTypes = named
}

func (n *notes) types(option string, list []string) {
	for _, t := range list {
		if !typeName.MatchString(t) && !tmpl.Unknown(t) {
			n.bad("%s must be an instance type such as t4g.micro, it is %q", option, t)
		}
	}
}

// prepareMarkets leaves the markets in Markets, and in SpotPrice a price or nothing.
func (s *Search) prepareMarkets(n *notes) {
	s.Markets = set(s.Markets)
	for _, m := range s.Markets {
		n.oneOf("markets", m, string(ec2.OnDemand), string(ec2.Spot))
	}
	n.twice("markets", s.Markets)
	price := s.SpotPrice
	if price == "0" {
		price = ""
	}
	if v, err := strconv.ParseFloat(price, 64); price != "" && price != "auto" && !tmpl.Unknown(price) && (err != nil || v < 0) {
		n.bad("spot_price must be \"auto\" or US dollars an hour such as \"0.004\", it is %q", s.SpotPrice)
	} else if err == nil && v == 0 {
		price = "" // "0.00"
	}
	switch {
	case len(s.Markets) == 0 && price == "":
		s.Markets = []string{string(ec2.OnDemand)}
		if len(s.SpotInstanceTypes) > 0 {
			n.bad("spot_instance_types needs spot_price (\"auto\" sets no limit) or markets")
		}
	case len(s.Markets) == 0:
		s.Markets = []string{string(ec2.Spot)}
	case price != "" && !slices.Contains(s.Markets, string(ec2.Spot)):
		n.bad("spot_price asks for a spot machine, and markets does not name \"spot\"")
	}
	if s.SpotPrice = price; price == "auto" {
		s.SpotPrice = ""
	}
}

// spot says whether spot machines are wanted, and only whether nothing else is.
func (s *Search) spot() (wanted, only bool) {
	wanted = slices.Contains(s.Markets, string(ec2.Spot))
	return wanted, wanted && len(s.Markets) == 1
}

// zones puts both options together, and checks them. at is put before their names.
func (n *notes) zones(at, region, one string, many []string) []string {
	list := n.either(at+"availability_zone", at+"availability_zones", one, many)
	n.twice(at+"availability_zones", list)
	for _, z := range list {
		if tmpl.Unknown(z + region) {
			continue
		}
		if !zone.MatchString(z) {
			n.bad("%savailability_zone must be the name of a zone such as %sa, it is %q", at, cmp.Or(region, "eu-central-1"), z)
		} else if !strings.HasPrefix(z, region) {
			n.bad("%savailability_zone: %s is not in %s", at, z, region)
		}
	}
	return list
}

// prepareRegions checks the blocks additional_region, and leaves their lists in the
// plural options.
func (s *Search) prepareRegions(n *notes, main string) {
	regions := []string{main}
	for i := range s.AdditionalRegions {
		r := &s.AdditionalRegions[i]
		const at = "additional_region: "
		if r.Region == "" {
			n.bad(at + "region must be set")
		} else if err := awscfg.CheckRegion(n.block+at+"region", r.Region); err != nil {
			n.errs = append(n.errs, err)
		}
		if slices.Contains(regions, r.Region) && !tmpl.Unknown(r.Region) && r.Region != "" {
			n.bad(at+"%s is there twice", r.Region)
		}
		regions = append(regions, r.Region)
		r.AvailabilityZones = n.zones(at, r.Region, r.AvailabilityZone, r.AvailabilityZones)
		r.SubnetIDs = n.either(at+"subnet_id", at+"subnet_ids", r.SubnetID, r.SubnetIDs)
		r.SecurityGroupIDs = n.either(at+"security_group_id", at+"security_group_ids", r.SecurityGroupID, r.SecurityGroupIDs)
		n.id(at+"source_ami", "ami", r.SourceAMI)
		n.id(at+"vpc_id", "vpc", r.VPCID)
		for _, id := range r.SubnetIDs {
			n.id(at+"subnet_id", "subnet", id)
		}
		for _, id := range r.SecurityGroupIDs {
			n.id(at+"security_group_id", "sg", id)
		}
	}
}
