// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/help"
)

// Plan implements fleet.Site: it checks whatever can be checked before something
// costs money, and returns the offers of the search: zone after zone, each type of
// it, in each market. Every problem is reported, not only the first.
func (b *Build) Plan(ctx context.Context) (cloud.Plan, error) {
	s := &survey{b: b}
	found := s.look(ctx)
	if err := ctx.Err(); err != nil {
		return cloud.Plan{}, err
	}
	// Who is not let in gets the same answer everywhere.
	for _, err := range found.problems {
		if refused(err) {
			return cloud.Plan{}, b.explain(err)
		}
		if noHost(err) {
			return cloud.Plan{}, fmt.Errorf("region: AWS has no host for EC2 in %q; check the name: %w", b.Region, err)
		}
	}
	if len(found.problems) == 0 {
		s.fit(&found)
		s.findSources(ctx, &found)
		s.findListPrices(ctx)
	}
	if err := ctx.Err(); err != nil {
		return cloud.Plan{}, err
	}
	var p cloud.Plan
	if len(found.problems) == 0 {
		if p.Offers = s.offers(&found); len(found.problems) > 0 {
			return cloud.Plan{}, &cloud.NoRoom{Err: cloud.Refuse(b.detailed(ctx, found.problems)...), Why: found.problems}
		}
	}
	if len(found.problems) > 0 {
		err := cloud.Refuse(b.detailed(ctx, found.problems)...)
		if !slices.ContainsFunc(found.problems, func(err error) bool { return !passing(err) }) {
			err = &cloud.Outage{Err: err}
		}
		return cloud.Plan{}, err
	}
	p.Worked, p.Notes = s.workedOffers(p.Offers), found.notes
	for _, n := range p.Notes {
		log.Printf("[INFO] plan for %s: %s", b.Region, n)
	}
	b.found = surveyed{
		image: s.image, words: s.words, sizes: s.sizes, subnets: s.subnets, limits: s.limits,
		sources: s.sources, caller: s.caller, at: time.Now(),
	}
	for _, g := range s.groups {
		b.found.groups = append(b.found.groups, aws.ToString(g.GroupId))
	}
	return p, nil
}

func (b *Build) detailed(ctx context.Context, problems []error) (all []error) {
	for _, err := range problems {
		all = append(all, b.details(ctx, err))
	}
	return all
}

// fit sees whether what was found goes together.
func (s *survey) fit(f *finding) {
	b := s.b
	arch := string(s.image.Architecture)
	var wrong []string
	for _, t := range b.cfg.Types {
		info, is := s.sizes[t]
		if !is || info.ProcessorInfo == nil {
			continue
		}
		if !slices.Contains(info.ProcessorInfo.SupportedArchitectures, types.ArchitectureType(arch)) {
			wrong = append(wrong, t)
			delete(s.sizes, t)
		}
	}
	switch {
	case len(wrong) > 0 && len(s.sizes) == 0:
		f.problemf("instance_type: image %s (%s) is for %s, and %s is not; choose an image for arm64, or another instance type",
			aws.ToString(s.image.ImageId), aws.ToString(s.image.Name), arch, strings.Join(wrong, ", "))
	case len(wrong) > 0:
		f.note("%s is left out: image %s is for %s", strings.Join(wrong, ", "), aws.ToString(s.image.ImageId), arch)
	}
	if len(s.groups) > 0 {
		vpc := aws.ToString(s.groups[0].VpcId)
		for _, g := range s.groups {
			if aws.ToString(g.VpcId) != vpc {
				f.problemf("security_group_ids: the security groups are in different VPCs, %s and %s", vpc, aws.ToString(g.VpcId))
				return
			}
		}
		there := slices.DeleteFunc(slices.Clone(s.subnets), func(x types.Subnet) bool { return aws.ToString(x.VpcId) != vpc })
		if len(there) == 0 {
			f.problemf("security_group_ids: %s is in the VPC %s, and no subnet is: name one by subnet_id", aws.ToString(s.groups[0].GroupId), vpc)
		}
		s.subnets = there
	}
	if b.cfg.Interface == "ipv6" {
		six := slices.DeleteFunc(slices.Clone(s.subnets), func(x types.Subnet) bool { return len(x.Ipv6CidrBlockAssociationSet) == 0 })
		if len(six) == 0 {
			f.problemf("ssh_interface: no subnet has addresses of IPv6")
		}
		s.subnets = six
	}
}

// offers turns what was found into offers. What quotas or the free-tier guard do
// not allow is left out, with a note; if that leaves none, the notes are the
// problem.
func (s *survey) offers(f *finding) (list []capacity.Offer) {
	b := s.b
	var why []string
	because := func(w string) {
		if w != "" && !slices.Contains(why, w) {
			why = append(why, w)
		}
	}
	guard := s.account()
	for _, zone := range s.zones() {
		for _, t := range b.cfg.Types {
			info, is := s.sizes[t]
			if !is {
				continue
			}
			if !s.in(zone, t) {
				because(fmt.Sprintf("%s does not have %s", zone, t))
				continue
			}
			for _, m := range b.cfg.Markets {
				if m == Spot && len(info.SupportedUsageClasses) > 0 && !slices.Contains(info.SupportedUsageClasses, types.UsageClassTypeSpot) {
					because(fmt.Sprintf("%s does not come as a spot machine", t))
					continue
				}
				x, forNow := s.exceeded(t, m)
				if x != "" && !forNow {
					because(x)
					continue
				}
				ok, note := guard.decide(b.cfg.FreeTier, t, m)
				if !ok {
					because(note)
					continue
				}
				for _, n := range []string{x, note} {
					if n != "" {
						f.note("%s", n)
					}
				}
				o := capacity.Offer{Cloud: "aws", Region: b.Region, Zone: zone, Shape: t, OCPUs: float32(s.vcpus(t)), MemoryGB: s.memoryGB(t)}
				if m == Spot {
					o.Market = string(Spot)
				}
				list = append(list, o)
			}
		}
	}
	if len(list) == 0 {
		for _, w := range why {
			f.problem(help.About(help.Limits, errors.New(w)))
		}
		if len(why) == 0 {
			f.problemf("there is no place to try in %s", b.Region)
		}
		return nil
	}
	for _, w := range why {
		f.note("%s", w)
	}
	if b.cfg.SizeFirst {
		slices.SortStableFunc(list, func(x, y capacity.Offer) int {
			return slices.Index(b.cfg.Types, x.Shape) - slices.Index(b.cfg.Types, y.Shape)
		})
	}
	return list
}

// zones are those of the subnets, in the order of preference.
func (s *survey) zones() (list []string) {
	for _, x := range s.subnets {
		if z := aws.ToString(x.AvailabilityZone); !slices.Contains(list, z) {
			list = append(list, z)
		}
	}
	if pins := s.b.cfg.Zones; len(pins) > 0 {
		slices.SortStableFunc(list, func(x, y string) int { return slices.Index(pins, x) - slices.Index(pins, y) })
	}
	return list
}

// workedOffers are the offers on which a machine of ours ran lately.
func (s *survey) workedOffers(offers []capacity.Offer) (list []capacity.Offer) {
	for _, w := range s.worked {
		for _, o := range offers {
			if o.Zone == w.Zone && o.Shape == w.Shape && o.Market == w.Market && !slices.Contains(list, o) {
				list = append(list, o)
			}
		}
	}
	return list
}
