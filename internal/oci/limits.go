// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"
	"log"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/identity"
	"github.com/oracle/oci-go-sdk/v65/limits"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// limitValues are service limits: by name, then by availability domain, or ""
// for a limit of the whole region. What may not be read is not in it.
type limitValues map[string]map[string]int64

// family is the part of a flexible shape's limits that names the kind of
// machine: "standard-a1" for VM.Standard.A1.Flex. It is empty for other shapes,
// whose limits count instances.
func family(shape string) string {
	rest, ok := strings.CutPrefix(shape, "VM.Standard.")
	kind, flex := strings.CutSuffix(rest, ".Flex")
	if !ok || !flex || kind == "" {
		return ""
	}
	return "standard-" + strings.ToLower(kind)
}

// counts says whether a machine of a shape counts for a family's limits: bare
// machines (BM.Standard.A1.160) do so beside the flexible ones.
func counts(shape, f string) bool {
	rest, bare := strings.CutPrefix(shape, "BM.Standard.")
	kind, _, _ := strings.Cut(rest, ".")
	return family(shape) == f || bare && "standard-"+strings.ToLower(kind) == f
}

// A launch counts against the limits of its availability domain and those of
// the region; the message of a LimitExceeded names both kinds.
func coreLimits(f string) []string { return []string{f + "-core-count", f + "-core-regional-count"} }
func memoryLimits(f string) []string {
	return []string{f + "-memory-count", f + "-memory-regional-count"}
}

// readLimits reads the limits of the shapes' families. It takes no longer than a
// single call may, for a build can do without.
func (c *Client) readLimits(ctx context.Context, shapes []string) limitValues {
	ctx, cancel := context.WithTimeout(ctx, repeatFor)
	defer cancel()
	service := "compute"
	var seen, names []string
	for _, shape := range shapes {
		f := family(shape)
		if f == "" || slices.Contains(seen, f) {
			continue
		}
		seen = append(seen, f)
		names = append(names, slices.Concat(coreLimits(f), memoryLimits(f))...)
	}
	found := make([]map[string]int64, len(names))
	abreast(len(names), func(i int) {
		err := cloud.Pages(func(page *string) (*string, error) {
			var r limits.ListLimitValuesResponse
			err := repeat(ctx, "list limit", names[i], func(ctx context.Context) (err error) {
				r, err = c.limits.ListLimitValues(shield(ctx), limits.ListLimitValuesRequest{
					CompartmentId: &c.Tenancy, ServiceName: &service, Name: &names[i], Page: page, RequestMetadata: once(),
				})
				return err
			})
			for _, v := range r.Items {
				if v.Value == nil {
					continue
				}
				if found[i] == nil {
					found[i] = map[string]int64{}
				}
				found[i][text(v.AvailabilityDomain)] = *v.Value
			}
			return r.OpcNextPage, err
		})
		if err != nil {
			log.Printf("[WARN] the limit %s is not known: %v", names[i], err)
		}
	})
	has := limitValues{}
	for i, name := range names {
		if found[i] != nil {
			has[name] = found[i]
		}
	}
	return has
}

// abreast calls do for 0 to n-1, four at a time: more would be many requests at once
// for an account.
func abreast(n int, do func(i int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(n, 4) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wg.Wait()
}

// running is a machine that exists, as far as limits and allowances go.
type running struct {
	id, name, domain, shape string
	ocpus, memoryGB         float32
	created                 time.Time
}

// asRunning is what of an instance counts.
func asRunning(i core.Instance) running {
	m := running{id: text(i.Id), name: text(i.DisplayName), domain: text(i.AvailabilityDomain), shape: text(i.Shape)}
	if i.ShapeConfig != nil {
		m.ocpus, m.memoryGB = number(i.ShapeConfig.Ocpus), number(i.ShapeConfig.MemoryInGBs)
	}
	if i.TimeCreated != nil {
		m.created = i.TimeCreated.Time
	}
	return m
}

// usage is what a tenancy runs in a region.
type usage struct {
	machines []running
	// whole is false if there are compartments that may not be seen: the
	// tenancy may run more.
	whole bool
	// worked are machines of ours that are gone, the latest first.
	worked []capacity.Offer
}

// maxCompartments bounds how many compartments are looked through.
const maxCompartments = 200

// use lists what runs in the region, in every compartment that may be seen. The
// service's own counters are not used: they are known to be wrong for an hour
// after failed launches. It takes no longer than a single call may: what was not
// seen by then is treated as what may not be seen.
func (c *Client) use(ctx context.Context, compartments ...string) usage {
	ctx, cancel := context.WithTimeout(ctx, repeatFor)
	defer cancel()
	var u usage
	all, left, err := c.within(ctx, compartments...)
	if err != nil {
		log.Printf("[WARN] the compartments of %s cannot be listed: %v", c.Tenancy, err)
	}
	u.whole = err == nil && left == 0
	type gone struct {
		offer capacity.Offer
		at    int64
	}
	var worked []gone
	there, errs := make([][]core.Instance, len(all)), make([]error, len(all))
	abreast(len(all), func(i int) {
		if errs[i] = ctx.Err(); errs[i] == nil {
			errs[i] = c.instances(ctx, all[i], func(m core.Instance) { there[i] = append(there[i], m) })
		}
	})
	for n, id := range all {
		for _, i := range there[n] {
			m := asRunning(i)
			if i.LifecycleState != core.InstanceLifecycleStateTerminated {
				u.machines = append(u.machines, m) // TERMINATING ones still count
				continue
			}
			if _, err := owner.ParseTag(i.FreeformTags[owner.Key]); err == nil && i.TimeCreated != nil {
				worked = append(worked, gone{capacity.Offer{
					Cloud: "oci", Region: c.Region, Zone: m.domain, FaultDomain: text(i.FaultDomain),
					Shape: m.shape, OCPUs: m.ocpus, MemoryGB: m.memoryGB,
				}, i.TimeCreated.UnixNano()})
			}
		}
		if errs[n] != nil {
			log.Printf("[WARN] the instances in %s cannot be listed: %v", id, errs[n])
			u.whole = false
		}
	}
	slices.SortStableFunc(worked, func(x, y gone) int { return int(min(1, max(-1, y.at-x.at))) })
	for _, w := range worked {
		if !slices.Contains(u.worked, w.offer) {
			u.worked = append(u.worked, w.offer)
		}
	}
	return u
}

// within are the compartments that are looked through: some by name, the root, and
// what is below it, up to maxCompartments. left is how many more there are. With an
// error it is those by name, the root, and what was listed until then.
func (c *Client) within(ctx context.Context, named ...string) (ids []string, left int, err error) {
	ids, err = c.compartments(ctx)
	if left = max(0, len(ids)-maxCompartments); left > 0 {
		log.Printf("[WARN] of %d compartments only %d are looked through", len(ids), maxCompartments)
		ids = ids[:maxCompartments]
	}
	for _, id := range append(named, c.Tenancy) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, left, err
}

// compartments lists the compartments below the root, also those that may not be
// looked into: something may run there.
func (c *Client) compartments(ctx context.Context) (ids []string, err error) {
	tree := true
	err = cloud.Pages(func(page *string) (*string, error) {
		var r identity.ListCompartmentsResponse
		err := repeat(ctx, "list compartments", "", func(ctx context.Context) (err error) {
			r, err = c.identity.ListCompartments(shield(ctx), identity.ListCompartmentsRequest{
				CompartmentId: &c.Tenancy, CompartmentIdInSubtree: &tree, AccessLevel: identity.ListCompartmentsAccessLevelAny,
				LifecycleState: identity.CompartmentLifecycleStateActive, Page: page, RequestMetadata: once(),
			})
			return err
		})
		for _, i := range r.Items {
			if i.Id != nil {
				ids = append(ids, *i.Id)
			}
		}
		return r.OpcNextPage, err
	})
	return ids, err
}

// sum adds up what runs, as far as it counts, in one availability domain or, if
// domain is empty, in the region.
func (u usage) sum(domain string, counts func(shape string) bool) (ocpus, memoryGB float32) {
	var o, m float64 // ten times a tenth is one
	for _, r := range u.machines {
		if counts(r.shape) && (domain == "" || r.domain == domain) {
			o += float64(r.ocpus)
			m += float64(r.memoryGB)
		}
	}
	return float32(o), float32(m)
}

// of is what counts for the limits of a family of shapes.
func (u usage) of(f, domain string) (ocpus, memoryGB float32) {
	return u.sum(domain, func(shape string) bool { return counts(shape, f) })
}

// exceeded lists the limits that a machine of size s in a domain would exceed
// beside what runs there: "standard-a1-core-count is 2, 1 in use". Limits that
// are not known are not exceeded.
func (has limitValues) exceeded(u usage, s Size, domain string) (broken []string) {
	f := family(s.Shape)
	if f == "" {
		return nil
	}
	check := func(name string, memory bool) {
		for _, scope := range []string{domain, ""} {
			value, known := has[name][scope]
			if !known {
				continue
			}
			used, memoryGB := u.of(f, scope)
			asked := s.OCPUs
			if memory {
				used, asked = memoryGB, s.MemoryGB
			}
			if float64(used)+float64(asked) > float64(value) {
				broken = append(broken, fmt.Sprintf("the limit %q is %d, %g in use", name, value, used))
			}
		}
	}
	for _, name := range coreLimits(f) {
		check(name, false)
	}
	for _, name := range memoryLimits(f) {
		check(name, true)
	}
	return broken
}

// complete says whether the limits of a family of shapes are known well enough
// to tell a true LimitExceeded from one that is not: cores and memory.
func (has limitValues) complete(f string) bool {
	known := func(names []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return len(has[n]) > 0 })
	}
	return f != "" && known(coreLimits(f)) && known(memoryLimits(f))
}

// countRoom asks the service's counters whether the region has room for one of
// the sizes, by family. They lie after failed launches, so that only a yes says
// something, and only from before the first launch.
func (b *Build) countRoom(ctx context.Context) map[string]bool {
	room := map[string]bool{}
	for _, s := range b.cfg.Sizes {
		f := family(s.Shape)
		if f == "" || room[f] {
			continue
		}
		left := func(limit string, asked float32) bool {
			r, err := b.availability(ctx, "compute", limit, "")
			return err == nil && r.Available != nil && float64(*r.Available) >= float64(asked)
		}
		room[f] = left(f+"-core-regional-count", s.OCPUs) && left(f+"-memory-regional-count", s.MemoryGB)
	}
	return room
}

// Examine implements cloud.Launcher. LimitExceeded is known to be said although
// nothing runs: after failed launches the service counts what was never there,
// for an hour or so. So what runs is looked up and held against the limits.
func (b *Build) Examine(ctx context.Context, o capacity.Offer, v cloud.Verdict) cloud.Verdict {
	if v.Outcome != capacity.LimitReached || !strings.Contains(v.Reason, "LimitExceeded") {
		return v // a quota counts nothing that is not there
	}
	// All limits that a launch counts for are of the domain, but for those that
	// say otherwise.
	v.ZoneOnly = strings.Contains(v.Reason, "service limits were exceeded: ") && !strings.Contains(v.Reason, "-regional-")
	f := family(o.Shape)
	if f == "" || !strings.Contains(v.Reason, f+"-") {
		return v // another limit than that of the shape
	}
	if !b.has.complete(f) {
		return v
	}
	u := b.use(ctx, b.cfg.Compartment)
	switch {
	case ctx.Err() != nil:
		return v
	case !u.whole && b.roomy[f]:
		// Somebody else may have launched meanwhile; then waiting is right, too.
		v.Outcome = capacity.LimitDoubtful
		v.Reason += "; but the service counted room for it when the build began: such a message is known to pass after an hour or so"
		return v
	case !u.whole:
		v.Reason += "; whether that is true cannot be told, since this user does not see all compartments"
		return v
	}
	broken := b.has.exceeded(u, sizeOf(o), o.Zone)
	if len(broken) > 0 {
		v.Reason += "; it is true: " + strings.Join(broken, "; ")
		return v
	}
	ocpus, memoryGB := u.of(f, "")
	v.Outcome = capacity.LimitDoubtful
	v.Reason += fmt.Sprintf("; but only %g OCPUs and %g GB are in use: such a message is known to pass after an hour or so", ocpus, memoryGB)
	return v
}

func number(f *float32) float32 {
	if f == nil {
		return 0
	}
	return *f
}
