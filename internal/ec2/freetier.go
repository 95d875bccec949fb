// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// account is what decides whether a machine is free.
type account struct {
	region    string
	free      map[string]bool // instance types that count as free
	anyFree   bool            // one of those that are asked for is
	flagged   bool            // by EC2, and not by the user
	named     bool            // the user named the types
	unlimited bool            // CPU credits beyond those earned
	image     string          // the source image, if it is not eligible
	volumes   []string        // types of volumes that are not gp2 or gp3
	storageGB int64           // in use; -1 if it is not known
	addGB     int64           // what the machine's volumes add
	allowance int64
	prices    map[string]float64 // of spot machines, in dollars an hour
	listed    map[string]float64 // of machines on demand
}

// account puts together what the survey found.
func (s *survey) account() account {
	b := s.b
	a := account{
		region: b.Region, free: map[string]bool{}, named: b.cfg.TypesNamed, unlimited: b.cfg.Unlimited, storageGB: s.storageGB,
		allowance: b.cfg.Allowance.StorageGB, prices: s.prices, listed: s.listed, flagged: len(b.cfg.Allowance.Types) == 0,
	}
	for _, t := range b.cfg.Types {
		a.free[t] = slices.Contains(b.cfg.Allowance.Types, t) || a.flagged && aws.ToBool(s.sizes[t].FreeTierEligible)
		a.anyFree = a.anyFree || a.free[t]
	}
	if e := s.image.FreeTierEligible; e != nil && !*e {
		a.image = aws.ToString(s.image.ImageId)
	}
	for _, d := range b.cfg.volumes(s.image) {
		if d.NoDevice || d.VirtualName != "" {
			continue
		}
		a.addGB += d.SizeGB
		if d.Type != "" && d.Type != "gp2" && d.Type != "gp3" {
			a.volumes = append(a.volumes, d.Type)
		}
	}
	return a
}

// costs lists why a machine is not free, and what of that cannot be told.
func (a account) costs(shape string, m Market) (sure, unsure []string) {
	if m == Spot {
		price := ""
		if p := a.prices[shape]; p > 0 {
			price = fmt.Sprintf(" (from $%.4f an hour now)", p)
		}
		sure = append(sure, "spot machines are not part of the free tier"+price)
	}
	if !a.free[shape] {
		price := ""
		if m == OnDemand && a.listed != nil {
			price = " (see " + priceList + ")"
			if p := a.listed[shape]; p > 0 {
				price = fmt.Sprintf(" ($%.4f an hour on demand)", p)
			}
		}
		by := "EC2 does not flag it as eligible for the free tier here"
		if !a.flagged {
			by = "it is not one of the types in free_allowance"
		}
		sure = append(sure, by+price)
	}
	if a.unlimited && strings.HasPrefix(shape, "t") {
		sure = append(sure, "CPU credits beyond those earned cost money (enable_unlimited_credits)")
	}
	if a.image != "" {
		sure = append(sure, "image "+a.image+" is not eligible for the free tier")
	}
	for _, v := range a.volumes {
		sure = append(sure, "volumes of the type "+v+" are not free, gp2 and gp3 are")
	}
	switch {
	case a.storageGB < 0:
		unsure = append(unsure, "how much storage is in use cannot be told, since this user may not list volumes (ec2:DescribeVolumes)")
	case a.storageGB+a.addGB > a.allowance:
		sure = append(sure, fmt.Sprintf("%d GB of volumes are free (free_allowance), %d GB are in use, and the machine's would add %d", a.allowance, a.storageGB, a.addGB))
	}
	return sure, unsure
}

// decide says whether a machine may be launched under a setting, and what people
// should know.
func (a account) decide(f FreeTier, shape string, m Market) (ok bool, note string) {
	if f == FreeIgnore {
		return true, ""
	}
	what := shape
	if m == Spot {
		what += " as a spot machine"
	}
	sure, unsure := a.costs(shape, m)
	switch {
	case f == FreeRequire && len(sure)+len(unsure) > 0:
		return false, fmt.Sprintf("free_tier = \"require\" forbids %s in %s: %s", what, a.region, strings.Join(append(sure, unsure...), "; "))
	case !a.named && !a.free[shape] && a.anyFree:
		return false, fmt.Sprintf("%s in %s is left out, it would not be free: %s. To launch it all the same, name it by instance_type or set free_tier = \"ignore\"", what, a.region, strings.Join(sure, "; "))
	case len(sure) > 0:
		return true, fmt.Sprintf("%s in %s is not free: %s", what, a.region, strings.Join(sure, "; "))
	case len(unsure) > 0:
		return true, fmt.Sprintf("Whether a machine in %s is free is not known: %s", a.region, strings.Join(unsure, "; "))
	}
	return true, ""
}
