// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

func filterBy(pairs ...string) []types.Filter {
	var filters []types.Filter
	for i := 0; i < len(pairs); i += 2 {
		filters = append(filters, types.Filter{Name: &pairs[i], Values: []string{pairs[i+1]}})
	}
	return filters
}

func TestInstanceTypes(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	names := func(filters ...types.Filter) (found []types.InstanceTypeInfo) {
		t.Helper()
		pages := ec2.NewDescribeInstanceTypesPaginator(k.client, &ec2.DescribeInstanceTypesInput{Filters: filters})
		for pages.HasMorePages() {
			found = append(found, must[*ec2.DescribeInstanceTypesOutput](t)(pages.NextPage(ctx)).InstanceTypes...)
		}
		return found
	}
	free := names(filterBy("processor-info.supported-architecture", "arm64", "free-tier-eligible", "true")...)
	if len(free) != 2 || free[0].InstanceType != "t4g.micro" || free[1].InstanceType != "t4g.small" {
		t.Errorf("free for arm64: %+v", free)
	}
	micro := free[0]
	if *micro.MemoryInfo.SizeInMiB != 1024 || *micro.VCpuInfo.DefaultVCpus != 2 || !*micro.BurstablePerformanceSupported || *micro.BareMetal ||
		!slices.Equal(micro.SupportedBootModes, []types.BootModeType{"uefi"}) || !slices.Contains(micro.SupportedUsageClasses, "spot") ||
		!slices.Equal(micro.ProcessorInfo.SupportedArchitectures, []types.ArchitectureType{"arm64"}) || !*micro.CurrentGeneration {
		t.Errorf("t4g.micro: %+v", micro)
	}
	if all := names(); len(all) < 100 {
		t.Errorf("%d types on all pages", len(all))
	}
	medium := must[*ec2.DescribeInstanceTypesOutput](t)(k.client.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"c7g.medium", "m8g.medium"}}))
	if len(medium.InstanceTypes) != 2 || *medium.InstanceTypes[0].MemoryInfo.SizeInMiB != 2048 || *medium.InstanceTypes[1].VCpuInfo.DefaultVCpus != 1 {
		t.Errorf("mediums: %+v", medium.InstanceTypes)
	}
	_, err := k.client.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"t9g.micro", "t4g.micro"}})
	wantError(t, err, 400, "InvalidInstanceType", "do not exist: [t9g.micro]")
	// a1 is not sold in each region.
	_, err = k.clientOf(k.build, "eu-north-1").DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"a1.medium"}})
	wantError(t, err, 400, "InvalidInstanceType", "a1.medium")
}

func TestOfferings(t *testing.T) {
	k := newKit(t, nil)
	for kind, want := range map[types.LocationType][]string{
		"":                     {"us-east-1"},
		"availability-zone":    {"us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d", "us-east-1f"},
		"availability-zone-id": {"use1-az2", "use1-az3", "use1-az4", "use1-az5", "use1-az1"},
	} {
		out := must[*ec2.DescribeInstanceTypeOfferingsOutput](t)(k.client.DescribeInstanceTypeOfferings(t.Context(), &ec2.DescribeInstanceTypeOfferingsInput{
			LocationType: kind, Filters: filterBy("instance-type", "t4g.micro")}))
		var got []string
		for _, o := range out.InstanceTypeOfferings {
			got = append(got, *o.Location)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q", kind, got)
		}
	}
}

func TestPlacesAreListed(t *testing.T) {
	k := newKit(t, func(c *ec2sim.Config) {
		c.Accounts[0].OptIn = []string{"me-south-1"}
		c.Accounts[0].NoDefaultVPC = []string{"eu-west-3"}
	})
	ctx := t.Context()
	regions := must[*ec2.DescribeRegionsOutput](t)(k.client.DescribeRegions(ctx, nil)).Regions
	all := must[*ec2.DescribeRegionsOutput](t)(k.client.DescribeRegions(ctx, &ec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})).Regions
	has := func(list []types.Region, name string) bool {
		return slices.ContainsFunc(list, func(r types.Region) bool { return *r.RegionName == name })
	}
	if len(regions) != 18 || !has(regions, "me-south-1") || has(regions, "af-south-1") || !has(all, "af-south-1") {
		t.Errorf("%d regions of %d", len(regions), len(all))
	}
	_, err := k.client.DescribeRegions(ctx, &ec2.DescribeRegionsInput{RegionNames: []string{"mars-1"}})
	wantError(t, err, 400, "InvalidParameterValue", "mars-1")
	zones := must[*ec2.DescribeAvailabilityZonesOutput](t)(k.clientOf(k.build, "eu-central-1").DescribeAvailabilityZones(ctx, nil)).AvailabilityZones
	if len(zones) != 3 || *zones[0].ZoneName != "eu-central-1a" || *zones[0].ZoneId != "euc1-az2" || zones[0].State != "available" {
		t.Errorf("zones %+v", zones)
	}
	for name, isDefault := range map[string]bool{"eu-west-3": false, "eu-west-2": true} {
		client := k.clientOf(k.build, name)
		vpcs := must[*ec2.DescribeVpcsOutput](t)(client.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: filterBy("is-default", "true")})).Vpcs
		attributes := must[*ec2.DescribeAccountAttributesOutput](t)(client.DescribeAccountAttributes(ctx, &ec2.DescribeAccountAttributesInput{
			AttributeNames: []types.AccountAttributeName{"default-vpc"}})).AccountAttributes
		value := *attributes[0].AttributeValues[0].AttributeValue
		if isDefault != (len(vpcs) == 1) || isDefault != (value != "none") {
			t.Errorf("%s has default VPCs %+v, says %s", name, vpcs, value)
		}
		if isDefault {
			subnets := must[*ec2.DescribeSubnetsOutput](t)(client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: filterBy("default-for-az", "true", "vpc-id", value)})).Subnets
			if len(subnets) != 3 || *subnets[0].AvailableIpAddressCount != 4091 || !*subnets[0].MapPublicIpOnLaunch {
				t.Errorf("subnets %+v", subnets)
			}
		}
	}
	if out := must[*ec2.DescribeAddressesOutput](t)(k.client.DescribeAddresses(ctx, nil)); len(out.Addresses) != 0 {
		t.Errorf("addresses %+v", out.Addresses)
	}
}

func TestPages(t *testing.T) {
	k := newKit(t, nil)
	for range 6 {
		k.launched(func(in *ec2.RunInstancesInput) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: "instance", Tags: []types.Tag{{Key: aws.String("armfree:build"), Value: aws.String("b/1")}}}}
		})
	}
	pages := ec2.NewDescribeInstancesPaginator(k.client, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(5), Filters: []types.Filter{
		{Name: aws.String("tag:armfree:build"), Values: []string{"b?1", "none"}}, {Name: aws.String("tag-key"), Values: []string{"arm*"}},
		{Name: aws.String("instance-state-name"), Values: []string{"running", "pending"}}}})
	var sizes []int
	for pages.HasMorePages() {
		out := must[*ec2.DescribeInstancesOutput](t)(pages.NextPage(t.Context()))
		sizes = append(sizes, len(out.Reservations))
	}
	if !slices.Equal(sizes, []int{5, 1}) {
		t.Errorf("pages of %v", sizes)
	}
	_, err := k.client.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{MaxResults: aws.Int32(5), InstanceIds: []string{"i-0123456789abcdef0"}})
	wantError(t, err, 400, "InvalidParameterCombination", "maxResults")
}
