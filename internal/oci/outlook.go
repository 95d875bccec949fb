// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oracle/oci-go-sdk/v65/identity"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
)

// Outlook is what a region has for machines of some sizes, at one moment.
type Outlook struct {
	Region string
	Places []OutlookPlace
	// First is where a search would ask for a machine at once; nil if nothing that
	// is free is allowed.
	First *capacity.Offer
	// Notes are what could not be learned, each in a sentence.
	Notes []string
}

// OutlookPlace is one size in one fault domain of an availability domain, or, without a
// fault domain, wherever OCI likes in it.
type OutlookPlace struct {
	capacity.Offer
	Hint capacity.Hint
	// OverLimit are the limits that such a machine would exceed beside what runs.
	OverLimit []string
	// Cores is the limit of cores there; nil if it is not known. Used is how many of
	// them run, as far as this user sees.
	Cores *int64
	Used  float32
}

// Outlook asks what is free for machines of the sizes: one capacity report for each
// availability domain, what limits there are, and what runs. It starts nothing. What
// this user may not know is noted; an error is one that hides everything.
func (c *Client) Outlook(ctx context.Context, sizes []Size) (Outlook, error) {
	out := Outlook{Region: c.Region}
	domains, err := c.firstCall(ctx, func(string, ...any) {})
	if err != nil {
		return out, err
	}
	var use usage
	var has limitValues
	var wg sync.WaitGroup
	wg.Go(func() { use = c.use(ctx) })
	wg.Go(func() { has = c.readLimits(ctx, Shapes(sizes)) })
	asks := make([]capacity.Ask, len(domains))
	replies := make([]capacity.Reply, len(domains))
	errs := make([]error, len(domains))
	for i, d := range domains {
		wg.Go(func() {
			asks[i], errs[i] = c.everywhere(ctx, d, sizes)
			if errs[i] == nil {
				replies[i] = c.Report(ctx, asks[i])
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return out, err
	}
	note := func(format string, a ...any) {
		if n := fmt.Sprintf(format, a...); !slices.Contains(out.Notes, n) {
			out.Notes = append(out.Notes, n)
		}
	}
	var open []capacity.Offer
	for i, q := range asks {
		if errs[i] != nil {
			note("%s: %v", domains[i], errs[i])
		}
		if replies[i].Hints == nil && replies[i].Reason != "" {
			note("%s", replies[i].Reason)
		}
		for n, o := range q.Offers {
			p := OutlookPlace{Offer: o, OverLimit: has.exceeded(use, sizeOf(o), o.Zone)}
			if n < len(replies[i].Hints) {
				p.Hint = replies[i].Hints[n]
			}
			p.Cores, p.Used = has.cores(use, family(o.Shape), o.Zone)
			if out.Places = append(out.Places, p); len(p.OverLimit) == 0 {
				open = append(open, o)
			}
		}
	}
	if len(has) == 0 {
		note("the limits are not known (allow this user to read resource-availability in the tenancy)")
	}
	if !use.whole {
		note("this user does not see all compartments: the tenancy may run more")
	}
	out.First = first(open, asks, replies)
	return out, nil
}

// everywhere asks about each size in an availability domain: first where OCI likes, then
// in each fault domain, in the order in which a build tries them.
func (c *Client) everywhere(ctx context.Context, domain string, sizes []Size) (capacity.Ask, error) {
	q := capacity.Ask{Cloud: "oci", Region: c.Region, Zone: domain}
	fds, err := c.faultDomains(ctx, domain)
	if err != nil {
		return q, err
	}
	for _, s := range sizes {
		for _, fd := range append([]string{""}, fds...) {
			q.Offers = append(q.Offers, capacity.Offer{
				Cloud: "oci", Region: c.Region, Zone: domain, FaultDomain: fd, Shape: s.Shape, OCPUs: s.OCPUs, MemoryGB: s.MemoryGB,
			})
		}
	}
	return q, nil
}

// first lets a search play with the replies that there are, to see what it tries. It
// makes no request.
func first(open []capacity.Offer, asks []capacity.Ask, replies []capacity.Reply) *capacity.Offer {
	hints := map[capacity.Offer]capacity.Hint{}
	for i, q := range asks {
		for n, o := range q.Offers {
			if n < len(replies[i].Hints) {
				hints[o] = replies[i].Hints[n]
			}
		}
	}
	now := time.Time{}.Add(time.Hour)
	s := capacity.New(capacity.Policy{Interval: time.Second}, now, open)
	for range 2 * len(asks) {
		m := s.Next(now)
		switch {
		case m.Try != nil:
			if hints[*m.Try] == capacity.Free {
				return m.Try
			}
			return nil
		case m.Ask != nil:
			r := capacity.Reply{Hints: make([]capacity.Hint, len(m.Ask.Offers))}
			for n, o := range m.Ask.Offers {
				r.Hints[n] = hints[o]
			}
			s.Answer(*m.Ask, now, r)
		case m.GiveUp != "":
			return nil
		default:
			now = m.Until
		}
	}
	return nil
}

// cores is the limit of cores that leaves least room to a domain, its own or its region's,
// and what runs of it; nil if none is known.
func (has limitValues) cores(u usage, f, domain string) (limit *int64, used float32) {
	if f == "" {
		return nil, 0
	}
	used, _ = u.of(f, domain)
	for _, name := range coreLimits(f) {
		for _, scope := range []string{domain, ""} {
			v, known := has[name][scope]
			if !known {
				continue
			}
			runs, _ := u.of(f, scope)
			if limit == nil || float64(v)-float64(runs) < float64(*limit)-float64(used) {
				limit, used = &v, runs
			}
		}
	}
	return limit, used
}

// Subscribed lists the regions in which the tenancy may have machines: its home region
// first, the others by name.
func (c *Client) Subscribed(ctx context.Context) (regions []string, err error) {
	all, err := c.subscriptions(ctx)
	home := ""
	for _, s := range all {
		if name := text(s.RegionName); s.Status != identity.RegionSubscriptionStatusInProgress && name != "" {
			regions = append(regions, name)
			if s.IsHomeRegion != nil && *s.IsHomeRegion {
				home = name
			}
		}
	}
	slices.SortFunc(regions, func(x, y string) int {
		if (x == home) != (y == home) {
			if x == home {
				return -1
			}
			return 1
		}
		return strings.Compare(x, y)
	})
	return regions, err
}
