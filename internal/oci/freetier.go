// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"fmt"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/core"
)

// FreeTier says how much a build cares about what is free.
type FreeTier string

// The settings of FreeTier.
const (
	// FreePrefer never adds, by its own choice, what costs money, and says what
	// does of what the user asked for.
	FreePrefer FreeTier = "prefer"
	// FreeRequire launches nothing that costs money.
	FreeRequire FreeTier = "require"
	// FreeIgnore checks nothing.
	FreeIgnore FreeTier = "ignore"
)

// Allowance is what costs nothing. No API tells it: the limits of an account
// that only has Always Free resources are as low, those of a paying one are
// not. Oracle halved it on 15 June 2026, so it can be set.
type Allowance struct {
	OCPUs     float32
	MemoryGB  float32
	StorageGB int64 // boot and block volumes together
}

// freeShape is the one Ampere shape that has an allowance.
const freeShape = "VM.Standard.A1.Flex"

// The billing types that ListShapes gives to shapes that cost nothing.
const (
	alwaysFree  = string(core.ShapeBillingTypeAlwaysFree)
	limitedFree = string(core.ShapeBillingTypeLimitedFree)
)

// account is what decides whether a machine is free.
type account struct {
	region    string
	home      string // the home region; empty if it is not known
	billing   map[string]string
	used      usage
	storageGB int64 // in use; -1 if it is not known
	bootGB    int64 // what the machine's boot volume adds
	bootNamed bool  // the user named its size
	allowance Allowance
	extra     string // what costs money whatever the size: "a preemptible machine"
}

// cost is a reason why a machine is not free.
type cost struct {
	why string
	// own means that it is our choice where the user names no size: another size,
	// or no machine at all, would be free.
	own bool
	// unknown means that it may be free, and that nobody can tell.
	unknown bool
}

// costs lists why a machine of a size is not free, or may not be.
func (a account) costs(s Size) (list []cost) {
	add := func(c cost, format string, args ...any) {
		c.why = fmt.Sprintf(format, args...)
		list = append(list, c)
	}
	away := a.home != "" && a.home != a.region
	if a.extra != "" {
		add(cost{}, "%s is not part of the Always Free allowance", a.extra)
	}
	switch billing := a.billing[s.Shape]; {
	case s.Shape == freeShape && billing != "" && billing != alwaysFree && billing != limitedFree:
		add(cost{}, "the list of shapes says that %s is %s", s.Shape, billing)
	case billing == "" && s.Shape != freeShape, billing != "" && billing != alwaysFree && billing != limitedFree:
		add(cost{}, "%s is not free, of the Ampere shapes only %s is", s.Shape, freeShape)
	case s.Shape != freeShape:
		add(cost{unknown: true}, "OCI calls this shape free, and how much of that is in use is not looked at, only for %s", freeShape)
	default:
		ocpus, memoryGB := a.used.sum("", func(shape string) bool { return shape == freeShape })
		if ocpus+s.OCPUs > a.allowance.OCPUs || memoryGB+s.MemoryGB > a.allowance.MemoryGB {
			add(cost{own: a.extra == "" && !away}, "%g OCPUs and %g GB are free (free_allowance; Oracle halved it in June 2026), %g OCPUs and %g GB are in use, and this would add %g and %g",
				a.allowance.OCPUs, a.allowance.MemoryGB, ocpus, memoryGB, s.OCPUs, s.MemoryGB)
		} else if !a.used.whole {
			add(cost{unknown: true}, "how much of the free allowance is in use cannot be told, since this user does not see all compartments")
		}
	}
	switch {
	case a.home == "":
		add(cost{unknown: true}, "whether %s is the home region, in which alone machines are free, cannot be told, since this user may not read the region subscriptions (allow it to inspect tenancies)", a.region)
	case away:
		add(cost{}, "machines are free in the home region only, which is %s", a.home)
	}
	switch {
	case a.storageGB < 0:
		add(cost{unknown: true}, "how much storage is in use cannot be told, since this user may not read the limit total-storage-gb (allow it to read resource-availability)")
	case a.storageGB+a.bootGB > a.allowance.StorageGB:
		add(cost{own: a.extra == "" && !away && !a.bootNamed}, "%d GB of boot and block volumes are free (free_allowance), %d GB are in use, and the boot volume would add %d", a.allowance.StorageGB, a.storageGB, a.bootGB)
	}
	return list
}

// decide says whether a machine of a size may be launched under a setting, and
// what people should know. named means that the user asked for this size.
func (a account) decide(f FreeTier, s Size, named bool) (ok bool, note string) {
	if f == FreeIgnore {
		return true, ""
	}
	var sure, unsure, own []string
	for _, c := range a.costs(s) {
		switch {
		case c.unknown:
			unsure = append(unsure, c.why)
		case c.own && !named:
			own = append(own, c.why)
			fallthrough
		default:
			sure = append(sure, c.why)
		}
	}
	switch {
	case f == FreeRequire && len(sure)+len(unsure) > 0:
		return false, fmt.Sprintf("free_tier = \"require\" forbids %s in %s: %s", s, a.region, strings.Join(append(sure, unsure...), "; "))
	case len(own) > 0:
		return false, fmt.Sprintf("%s in %s is left out, it would not be free: %s. To launch it all the same, name it by shape_config or set free_tier = \"ignore\"", s, a.region, strings.Join(own, "; "))
	case len(sure) > 0:
		return true, fmt.Sprintf("%s in %s is launched as asked, and is not free: %s", s, a.region, strings.Join(sure, "; "))
	case len(unsure) > 0:
		return true, fmt.Sprintf("Whether a machine in %s is free is not known: %s", a.region, strings.Join(unsure, "; "))
	}
	return true, ""
}
