// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// target is what a fault may match.
type target struct {
	op, account, region, instanceType, market, state string
	az                                               zone
}

func (q *call) target() target {
	t := target{op: q.op.name, region: q.region.name}
	if q.who.Account != nil {
		t.account = q.who.Account.Name
	}
	return t
}

// requestTarget is target with what the parameters of a request of EC2 say
// about place and size, before anybody has checked them. The cloud's lock is
// held.
func (q *call) requestTarget(c *Cloud) target {
	t := q.target()
	if q.params.members == nil {
		return t
	}
	t.instanceType = q.params.first("InstanceType")
	if z, known := q.region.zone(q.nested("Placement.AvailabilityZone")); known {
		t.az = z
	}
	for _, name := range []string{"SubnetId", "NetworkInterface.1.SubnetId"} {
		if s, is := c.resources.byID[q.nested(name)].(*subnet); is {
			t.az = s.az
		}
	}
	if q.op.name == "RunInstances" {
		t.market = onDemand
		if q.nested("InstanceMarketOptions.MarketType") == spot {
			t.market = spot
		}
	}
	for _, name := range []string{"InstanceId", "InstanceId.1"} {
		if i, is := c.resources.byID[q.nested(name)].(*instance); is {
			t.instanceType, t.az, t.market = i.spec.name, i.az(), i.market
		}
	}
	return t
}

// nested is a parameter by its whole name.
func (q *call) nested(name string) string {
	at := &q.params
	for part := range strings.SplitSeq(name, ".") {
		if at = at.members[part]; at == nil {
			return ""
		}
	}
	if at.value == nil {
		return ""
	}
	return *at.value
}

func (i *instance) target(op string) target {
	return target{op: op, account: i.account.Name, region: i.region.name, az: i.az(), instanceType: i.spec.name, market: i.market}
}

func (f Fault) matches(t target) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	if f.Type != "" {
		if fits, err := path.Match(f.Type, t.instanceType); err != nil || !fits {
			return false
		}
	}
	return is(f.Op, t.op) && is(f.Account, t.account) && is(f.Region, t.region) && is(f.Market, t.market) &&
		is(f.State, t.state) && (f.AZ == "" || f.AZ == t.az.name || f.AZ == t.az.id)
}

// SlowStates are the states that FaultSlow can make longer, by operation.
func SlowStates() map[string][]string {
	return map[string][]string{
		"RunInstances": {"pending"}, "CreateFleet": {"pending"}, "StartInstances": {"pending"}, "StopInstances": {"stopping"},
		"TerminateInstances": {"shutting-down"}, "CreateSnapshot": {"pending"}, "CreateImage": {"pending"},
		"RegisterImage": {"pending"}, "CopyImage": {"pending"}, "ExportImage": {"active"},
	}
}

// faultOps are the operations that each kind of fault is about; nil for any.
func faultOps() map[FaultKind][]string {
	launches := []string{"RunInstances", "CreateFleet"}
	return map[FaultKind][]string{
		FaultCapacity: launches, FaultVolumeCapacity: launches, FaultUnsupported: launches, FaultFreePlan: launches,
		FaultLaunchFails: launches, FaultSpotInterrupt: launches, FaultQuota: launches, FaultSSHClosed: launches,
		FaultImageFails:    {"CreateImage", "RegisterImage", "CopyImage"},
		FaultSnapshotFails: {"CreateSnapshot", "CreateImage", "CopyImage"},
		FaultExportFails:   {"ExportImage"},
		FaultSlow:          slices.Collect(maps.Keys(SlowStates())),
		FaultInvisible: {"RunInstances", "CreateFleet", "CreateImage", "RegisterImage", "CopyImage", "CreateSnapshot", "CreateSecurityGroup",
			"CreateKeyPair", "ImportKeyPair", "CreateLaunchTemplate", "CreateAccessKey", "CreateInstanceProfile"},
		FaultBadChecksum: {"GetSnapshotBlock"}, FaultShortBody: {"GetSnapshotBlock"}, FaultCutBody: {"GetSnapshotBlock", "GetObject"},
		FaultBlockToken: {"GetSnapshotBlock"}, FaultEmptyPage: {"ListSnapshotBlocks", "ListChangedBlocks"},
		FaultStatus: nil, FaultStatusAfterEffect: nil, FaultCutAfterEffect: nil, FaultThrottle: nil,
	}
}

// checkFault refuses a fault that could never do anything, because of what it
// says or because it is about what this cloud does not have.
func (c *Cloud) checkFault(f Fault) error {
	no := func(format string, args ...any) error {
		return fmt.Errorf("fault %s: %s", f.Kind, fmt.Sprintf(format, args...))
	}
	if err := f.validate(); err != nil {
		return err
	}
	ops, known := faultOps()[f.Kind]
	switch {
	case !known:
		return fmt.Errorf("unknown kind of fault %q", f.Kind)
	case f.Op != "" && !c.hasOperation(f.Op):
		return no("there is no operation %q", f.Op)
	case f.Op != "" && ops != nil && !slices.Contains(ops, f.Op):
		return no("it is not about the operation %s", f.Op)
	case f.Account != "" && !slices.ContainsFunc(c.cfg.Accounts, func(a *Account) bool { return a.Name == f.Account }):
		return no("there is no account %q", f.Account)
	case f.Quota != "" && !slices.Contains([]string{QuotaOnDemand, QuotaSpot}, f.Quota):
		return no("there is no quota %q", f.Quota)
	case f.Type != "" && !slices.ContainsFunc(c.types, func(t instanceType) bool {
		fits, err := path.Match(f.Type, t.name)
		return err == nil && fits
	}):
		return no("there is no instance type %q", f.Type)
	}
	if f.Region != "" {
		if _, err := c.lookUpRegion(f.Region); err != nil {
			return no("%v", err)
		}
	}
	if f.AZ != "" && !slices.ContainsFunc(c.regions, func(r *region) bool {
		_, has := r.zone(f.AZ)
		return has && (f.Region == "" || f.Region == r.name)
	}) {
		return no("there is no availability zone %q", f.AZ)
	}
	return nil
}

func (c *Cloud) hasOperation(name string) bool {
	for _, a := range c.apis {
		if a.ops[name] != nil {
			return true
		}
	}
	return false
}

// validate refuses a fault that would do nothing in any cloud.
func (f Fault) validate() error {
	no := func(text string) error { return fmt.Errorf("fault %s %s", f.Kind, text) }
	answers := f.Kind == FaultStatus || f.Kind == FaultStatusAfterEffect
	switch {
	case answers && (f.Status < 400 || f.Status > 599):
		return no("needs a status between 400 and 599")
	case (answers || f.Kind == FaultCutAfterEffect || f.Kind == FaultInvisible) && f.Op == "":
		return no("needs an operation")
	case f.Kind == FaultInvisible && f.Delay <= 0:
		return no("needs a delay")
	case f.Kind == FaultSlow && (f.Delay <= 0 || !slices.Contains(SlowStates()[f.Op], f.State)):
		return no("needs an operation, a state that it leads to, and a delay")
	case f.Kind != FaultSlow && f.State != "":
		return no("is not about a state")
	case f.Kind == FaultQuota && f.Quota == "":
		return no("needs the code of a quota")
	case f.Kind == FaultQuota && (f.Type != "" || f.AZ != "" || f.Market != "" || f.Skip != 0 || f.Times != 0):
		return no("is about a region as a whole, and not counted")
	case f.Kind == FaultSpotInterrupt && f.Market == onDemand:
		return no("is about spot instances")
	case f.Market != "" && f.Market != spot && f.Market != onDemand:
		return no("has a market that is neither spot nor on-demand")
	case f.Kind == FaultThrottle && (f.Every <= 0 || f.Burst < 1):
		return no("needs a time to wait for every token and a burst of at least one")
	case f.Kind == FaultThrottle && (f.Skip != 0 || f.Times != 0):
		return no("has its bucket instead of skip and times")
	case f.schedule().Never():
		return no("is never due")
	}
	return nil
}
