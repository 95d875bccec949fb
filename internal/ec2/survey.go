// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"fmt"
	"log"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// survey is a look at one region: what is there, and what speaks against the build.
// The looks are independent of each other and taken at the same time.
type survey struct {
	b *Build

	image     types.Image
	words     Words
	sizes     map[string]types.InstanceTypeInfo
	offered   map[string]map[string]bool // zone to types; nil if it is not known
	subnets   []types.Subnet
	vpc       types.Vpc // of the user's, or the default one; zero if the subnets say
	groups    []types.SecurityGroup
	sources   []string // from where a temporary group lets in
	caller    string   // this computer's address; empty if no group has to let it in
	noCaller  error    // why it is not known
	limits    map[Market]limit
	storageGB int64              // in use; -1 if it is not known
	prices    map[string]float64 // of spot machines, by type
	listed    map[string]float64 // of machines on demand
	worked    []capacity.Offer
}

// finding is what one look found.
type finding struct {
	problems []error
	notes    []string
}

func (f *finding) problem(err error) {
	if err != nil {
		f.problems = append(f.problems, err)
	}
}

func (f *finding) problemf(format string, a ...any) { f.problem(fmt.Errorf(format, a...)) }

func (f *finding) note(format string, a ...any) {
	if n := fmt.Sprintf(format, a...); !slices.Contains(f.notes, n) {
		f.notes = append(f.notes, n)
	}
}

// unknown says in the log what may stay unknown, and passes on what may not.
func (f *finding) unknown(what string, err error) {
	if err != nil {
		log.Printf("[WARN] %s is not known: %v", what, err)
	}
	if refused(err) {
		f.problem(err)
	}
}

// look takes all looks at the same time. What they found is in their order.
func (s *survey) look(ctx context.Context) (all finding) {
	looks := []func(context.Context, *finding){
		s.checkRegions, s.findImage, s.findSizes, s.findOfferings, s.findSubnets, s.findGroups, s.checkKeyPair, s.checkProfile,
		s.checkNames, s.findCaller, s.findLimits, s.findStorage, s.findPrices, s.findWorked,
	}
	found := make([]finding, len(looks))
	_ = each(slices.Collect(seq(len(looks))), func(n int) error {
		looks[n](ctx, &found[n])
		return nil
	})
	for _, f := range found {
		all.problems = append(all.problems, f.problems...)
		all.notes = append(all.notes, f.notes...)
	}
	return all
}

func seq(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// checkRegions sees whether the account may use the regions.
func (s *survey) checkRegions(ctx context.Context, f *finding) {
	b := s.b
	if b.cfg.SkipRegionCheck {
		return
	}
	status := map[string]string{}
	err := b.repeat(ctx, "describe regions", "", func(ctx context.Context) error {
		r, err := b.describeRegions(ctx, &ec2.DescribeRegionsInput{AllRegions: aws.Bool(true)})
		if err == nil {
			for _, x := range r.Regions {
				status[aws.ToString(x.RegionName)] = aws.ToString(x.OptInStatus)
			}
		}
		return err
	})
	switch {
	case forbidden(err):
		f.unknown("which regions the account has", err)
		return
	case err != nil:
		f.problem(err)
		return
	}
	check := func(option, region string) {
		switch st, exists := status[region]; {
		case !exists:
			f.problemf("%s: there is no region %q", option, region)
		case st == "not-opted-in":
			f.problemf("%s: the account has not enabled the region %s (AWS's console: Account, AWS Regions)", option, region)
		}
	}
	check("region", b.Region)
	for _, c := range b.cfg.Image.Copies {
		check("ami_regions", c.Region)
	}
}

// checkKeyPair looks for a key pair that the user names.
func (s *survey) checkKeyPair(ctx context.Context, f *finding) {
	b := s.b
	if b.cfg.KeyName == "" {
		return
	}
	err := b.repeat(ctx, "describe key pair", b.cfg.KeyName, func(ctx context.Context) error {
		_, err := b.describeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{KeyNames: []string{b.cfg.KeyName}})
		return err
	})
	switch {
	case missing(err):
		f.problemf("ssh_keypair_name: there is no key pair %q in %s", b.cfg.KeyName, b.Region)
	case forbidden(err):
		f.unknown("whether the key pair exists", err)
	default:
		f.problem(err)
	}
}

// checkProfile looks for an instance profile that the user names.
func (s *survey) checkProfile(ctx context.Context, f *finding) {
	b := s.b
	if b.cfg.Profile == "" || b.cfg.SkipProfileCheck {
		return
	}
	name := b.cfg.Profile[strings.LastIndexByte(b.cfg.Profile, '/')+1:]
	err := b.repeat(ctx, "get instance profile", name, func(ctx context.Context) error {
		_, err := b.getInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &name})
		return err
	})
	switch {
	case missing(err):
		f.problemf("iam_instance_profile: there is no instance profile %q", name)
	case forbidden(err):
		f.unknown("whether the instance profile exists", err)
	default:
		f.problem(err)
	}
}

// checkNames sees whether the name of the image is free, in every region that will
// have it.
func (s *survey) checkNames(ctx context.Context, f *finding) {
	b := s.b
	if b.cfg.Image.Skip || !b.cfg.Image.NameMustBeFree {
		return
	}
	clients := []*Client{b.Client}
	if b.cfg.Image.SkipBuildRegion {
		clients = nil
	}
	for _, c := range b.cfg.Image.Copies {
		clients = append(clients, b.In(c.Region))
	}
	taken, errs := make([]string, len(clients)), make([]error, len(clients))
	_ = each(slices.Collect(seq(len(clients))), func(n int) error {
		var all []types.Image
		if all, errs[n] = b.namesakesIn(ctx, clients[n]); len(all) > 0 {
			taken[n] = aws.ToString(all[0].ImageId)
		}
		return nil
	})
	for n, c := range clients {
		switch {
		// That says nothing about the region of the build, and checkRegions says
		// what there is to say.
		case c != b.Client && (refused(errs[n]) || noHost(errs[n])):
			if b.cfg.SkipRegionCheck {
				f.problemf("ami_regions: %s does not let this user in: %v", c.Region, errs[n])
			}
		case errs[n] != nil:
			f.problemf("ami_name: %w", errs[n])
		case taken[n] != "":
			f.problemf("ami_name: there is an image %q in %s already (%s); choose another name, or replace it by force_deregister = true or packer build -force", b.cfg.Image.Name, c.Region, taken[n])
		}
	}
}

// findStorage adds up the volumes of the account.
func (s *survey) findStorage(ctx context.Context, f *finding) {
	b := s.b
	if s.storageGB = -1; b.cfg.FreeTier == FreeIgnore {
		return
	}
	var sum int64
	err := cloud.Pages(func(token *string) (next *string, err error) {
		err = b.repeat(ctx, "describe volumes", "", func(ctx context.Context) error {
			r, err := b.describeVolumes(ctx, &ec2.DescribeVolumesInput{NextToken: token})
			if err != nil {
				return err
			}
			for _, v := range r.Volumes {
				sum += int64(aws.ToInt32(v.Size))
			}
			next = r.NextToken
			return nil
		})
		return next, err
	})
	if err != nil {
		f.unknown("how much storage is in use", err)
		return
	}
	s.storageGB = sum
}

// findPrices reads what spot machines cost now: the least of all zones.
func (s *survey) findPrices(ctx context.Context, f *finding) {
	b := s.b
	if b.cfg.FreeTier == FreeIgnore || !slices.Contains(b.cfg.Markets, Spot) {
		return
	}
	in := &ec2.DescribeSpotPriceHistoryInput{ProductDescriptions: []string{"Linux/UNIX"}, StartTime: aws.Time(time.Now())}
	for _, t := range b.cfg.Types {
		in.InstanceTypes = append(in.InstanceTypes, types.InstanceType(t))
	}
	prices := map[string]float64{}
	err := b.repeat(ctx, "describe spot price history", "", func(ctx context.Context) error {
		r, err := b.describeSpotPriceHistory(ctx, in)
		if err != nil {
			return err
		}
		for _, h := range r.SpotPriceHistory {
			var price float64
			if _, err := fmt.Sscan(aws.ToString(h.SpotPrice), &price); err != nil || price <= 0 {
				continue
			}
			if old, is := prices[string(h.InstanceType)]; !is || price < old {
				prices[string(h.InstanceType)] = price
			}
		}
		return nil
	})
	if err != nil {
		f.unknown("what spot machines cost", err)
		return
	}
	s.prices = prices
}

// findWorked lists the machines of ours that are gone: EC2 keeps showing them for
// an hour. Where one ran, there was capacity.
func (s *survey) findWorked(ctx context.Context, f *finding) {
	b := s.b
	all, err := b.instances(ctx, filter("tag-key", owner.Key), filter("instance-state-name", string(types.InstanceStateNameTerminated), string(types.InstanceStateNameShuttingDown)))
	if err != nil {
		f.unknown("where machines ran lately", err)
		return
	}
	slices.SortFunc(all, func(x, y types.Instance) int { return aws.ToTime(y.LaunchTime).Compare(aws.ToTime(x.LaunchTime)) })
	for _, i := range all {
		if i.StateReason != nil && strings.HasPrefix(aws.ToString(i.StateReason.Code), "Server.") || i.Placement == nil {
			continue // it died
		}
		o := capacity.Offer{Cloud: "aws", Region: b.Region, Zone: aws.ToString(i.Placement.AvailabilityZone), Shape: string(i.InstanceType)}
		if i.InstanceLifecycle == types.InstanceLifecycleTypeSpot {
			o.Market = string(Spot)
		}
		s.worked = append(s.worked, o)
	}
}
