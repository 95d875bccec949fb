// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// findSizes reads what the instance types are like. Those that the region does not
// have are not in the answer.
func (s *survey) findSizes(ctx context.Context, f *finding) {
	b := s.b
	s.sizes = map[string]types.InstanceTypeInfo{}
	err := cloud.Pages(func(token *string) (next *string, err error) {
		err = b.repeat(ctx, "describe instance types", "", func(ctx context.Context) error {
			r, err := b.describeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{Filters: []types.Filter{filter("instance-type", b.cfg.Types...)}, NextToken: token})
			if err != nil {
				return err
			}
			for _, t := range r.InstanceTypes {
				s.sizes[string(t.InstanceType)] = t
			}
			next = r.NextToken
			return nil
		})
		return next, err
	})
	if err != nil {
		f.problem(err)
		return
	}
	for _, t := range b.cfg.Types {
		if _, is := s.sizes[t]; is {
			continue
		}
		if len(s.sizes) > 0 {
			f.note("%s is left out: %s does not have this instance type", t, b.Region)
			continue
		}
		f.problemf("instance_type: %s does not have the instance type %s", b.Region, t)
	}
}

// findOfferings reads which zones have the instance types.
func (s *survey) findOfferings(ctx context.Context, f *finding) {
	b := s.b
	offered := map[string]map[string]bool{}
	err := cloud.Pages(func(token *string) (next *string, err error) {
		err = b.repeat(ctx, "describe instance type offerings", "", func(ctx context.Context) error {
			r, err := b.describeOfferings(ctx, &ec2.DescribeInstanceTypeOfferingsInput{
				LocationType: types.LocationTypeAvailabilityZone, Filters: []types.Filter{filter("instance-type", b.cfg.Types...)}, NextToken: token,
			})
			if err != nil {
				return err
			}
			for _, o := range r.InstanceTypeOfferings {
				zone := aws.ToString(o.Location)
				if offered[zone] == nil {
					offered[zone] = map[string]bool{}
				}
				offered[zone][string(o.InstanceType)] = true
			}
			next = r.NextToken
			return nil
		})
		return next, err
	})
	switch {
	case forbidden(err):
		f.unknown("which zones have the instance types", err)
	case err != nil:
		f.problem(err)
	default:
		s.offered = offered
	}
}

// in says whether a zone has an instance type, as far as that is known.
func (s *survey) in(zone, shape string) bool { return s.offered == nil || s.offered[zone][shape] }

// The quotas that count the vCPUs of instances of the standard families.
const (
	quotaOnDemand = "L-1216C47A"
	quotaSpot     = "L-34B43A08"
)

// limit is a quota of vCPUs, and what is in use of it.
type limit struct {
	code  string
	quota float64
	used  float64
}

// standard says whether an instance type counts against these quotas.
func standard(shape string) bool {
	family, _, _ := strings.Cut(shape, ".")
	switch {
	case family == "", strings.HasPrefix(family, "inf"), strings.HasPrefix(family, "dl"), strings.HasPrefix(family, "hpc"), strings.HasPrefix(family, "trn"):
		return false
	}
	return strings.ContainsRune("acdhimrtz", rune(family[0]))
}

// findLimits reads the quotas and what counts against them. Without the permission
// they are not known, and EC2 will say.
func (s *survey) findLimits(ctx context.Context, f *finding) {
	b := s.b
	s.limits = map[Market]limit{}
	for _, m := range b.cfg.Markets {
		l := limit{code: quotaOnDemand}
		if m == Spot {
			l.code = quotaSpot
		}
		err := b.repeat(ctx, "get service quota", l.code, func(ctx context.Context) (err error) {
			l.quota, err = b.quotaOf(ctx, l.code)
			return err
		})
		if err != nil {
			f.unknown("the quota "+l.code, err)
			continue
		}
		s.limits[m] = l
	}
	if len(s.limits) == 0 {
		return
	}
	all, err := b.instances(ctx, filter("instance-state-name", string(types.InstanceStateNamePending), string(types.InstanceStateNameRunning)))
	if err != nil {
		f.unknown("what is in use of the quotas", err)
		return
	}
	for _, i := range all {
		m := OnDemand
		if i.InstanceLifecycle == types.InstanceLifecycleTypeSpot {
			m = Spot
		}
		if l, is := s.limits[m]; is && standard(string(i.InstanceType)) && i.CpuOptions != nil {
			l.used += float64(aws.ToInt32(i.CpuOptions.CoreCount) * aws.ToInt32(i.CpuOptions.ThreadsPerCore))
			s.limits[m] = l
		}
	}
}

// exceeded says why a quota does not allow a machine, or nothing if it does. If it
// would but for what runs now, that may end while a machine is looked for.
func (s *survey) exceeded(shape string, m Market) (why string, forNow bool) {
	l, known := s.limits[m]
	need := float64(s.vcpus(shape))
	if !known || !standard(shape) || l.used+need <= l.quota {
		return "", false
	}
	if need <= l.quota {
		return fmt.Sprintf("%s does not fit in %s as %s machine as long as others run: the quota %s is %g vCPUs, %g are in use, and this would add %g; it is asked for all the same, until there is room",
			shape, s.b.Region, article(m), l.code, l.quota, l.used, need), true
	}
	return fmt.Sprintf("%s is more than the account may have in %s as %s machine: the quota %s is %g vCPUs, %g are in use, and this would add %g; ask for a higher quota, or terminate what is not needed",
		shape, s.b.Region, article(m), l.code, l.quota, l.used, need), false
}

func article(m Market) string {
	if m == Spot {
		return "a spot"
	}
	return "an on-demand"
}

func (s *survey) vcpus(shape string) int32 {
	if v := s.sizes[shape].VCpuInfo; v != nil {
		return aws.ToInt32(v.DefaultVCpus)
	}
	return 0
}

func (s *survey) memoryGB(shape string) float32 {
	if m := s.sizes[shape].MemoryInfo; m != nil {
		return float32(aws.ToInt64(m.SizeInMiB)) / 1024
	}
	return 0
}
