// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"
	"sync"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/help"
)

// survey is a look at one region: what is there, and what speaks against the
// build.
type survey struct {
	b        *Build
	problems []error
	notes    []string

	image    imageInfo
	places   []place
	use      usage
	billing  map[string]string // of shapes
	booked   *reservation
	vcn      string // of the subnet
	subnetAD string // the one availability domain of the subnet, if it has one

	noCompartment bool // the machine's does not exist, which was said

	inRegion []string // all availability domains, as far as they may be known
	whole    bool     // they may be known
}

func (s *survey) problem(err error) {
	if err != nil {
		s.problems = append(s.problems, err)
	}
}

func (s *survey) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(s.notes, n) {
		s.notes = append(s.notes, n)
	}
}

// Plan checks against the cloud whatever can be checked before something costs
// money, and returns the offers of the search: availability domain after
// availability domain, each size of it, first where OCI likes and then in each
// fault domain. Every problem is reported, not only the first.
func (b *Build) Plan(ctx context.Context) (cloud.Plan, error) {
	s, err := b.survey(ctx)
	outage := passing(err)
	var plan cloud.Plan
	if err == nil {
		outage = len(s.problems) > 0 && !slices.ContainsFunc(s.problems, func(err error) bool { return !passing(err) })
		plan, err = s.plan()
	}
	if err != nil && outage {
		err = &cloud.Outage{Err: err}
	}
	return plan, err
}

// Reasons are why Plan found that a build cannot work, for whoever launches a
// machine for something else. Other errors are returned as they are.
func Reasons(err error) error {
	var e *cloud.Refused
	if errors.As(err, &e) {
		return e.Why
	}
	return err
}

// survey looks at the region. An error is one that hides everything else: the
// credentials, or ctx's.
func (b *Build) survey(ctx context.Context) (*survey, error) {
	s := &survey{b: b, billing: map[string]string{}, whole: true}
	all, err := b.firstCall(ctx, b.say)
	switch {
	case missing(err) && b.cfg.AvailabilityDomain != "":
		all, s.whole = []string{b.cfg.AvailabilityDomain}, false // it is pinned: no need to see the others
	case missing(err):
		return nil, fmt.Errorf("this user may not list availability domains; allow it to inspect compartments in the tenancy, or name one by availability_domain: %w", err)
	case err != nil:
		return nil, err
	}
	b.settleMemory(ctx, all)
	s.inRegion = slices.Clone(all)
	var use usage
	var has limitValues
	s.together(
		func(s *survey) {
			if !b.imageToCome() {
				s.checkImage(ctx)
			}
		},
		func(s *survey) {
			s.checkSubnet(ctx)
			s.checkGroups(ctx)
			s.checkBastion(ctx)
		},
		func(s *survey) { s.checkTags(ctx) },
		func(s *survey) {
			if !b.cfg.Image.Skip {
				s.checkImaging(ctx)
			}
		},
		func(s *survey) { s.checkReservation(ctx) },
		func(s *survey) { s.checkImageShapes(ctx) },
		func(*survey) { use = b.use(ctx, b.cfg.Compartment) },
		func(*survey) { has = b.readLimits(ctx, b.shapes()) },
	)
	domains, err := s.domains(all)
	s.problem(err)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(domains) > 0 && (s.image.state != "" || b.imageToCome()) {
		s.use, b.has = use, has
		if b.roomy = nil; !s.use.whole {
			b.roomy = b.countRoom(ctx)
		}
		s.findPlaces(ctx, domains)
	}
	return s, ctx.Err()
}

// together makes looks at the same time: each is a request or two, and on its way for
// longer than it takes to answer. What they find is kept in their order, as if one had
// been made after the other.
func (s *survey) together(looks ...func(*survey)) {
	parts := make([]survey, len(looks))
	var wg sync.WaitGroup
	for i, look := range looks {
		parts[i] = *s
		parts[i].problems, parts[i].notes = nil, nil
		wg.Go(func() { look(&parts[i]) })
	}
	wg.Wait()
	for _, p := range parts {
		s.problems = append(s.problems, p.problems...)
		for _, n := range p.notes {
			s.note("%s", n)
		}
		if p.image.state != "" {
			s.image = p.image
		}
		if p.booked != nil {
			s.booked = p.booked
		}
		s.vcn, s.subnetAD = cmp.Or(s.vcn, p.vcn), cmp.Or(s.subnetAD, p.subnetAD)
		s.noCompartment = s.noCompartment || p.noCompartment
	}
}

// plan turns what was found into offers. Sizes that the limits or the free-tier
// guard do not allow are left out, with a note; if that leaves none, the notes
// are the problem.
func (s *survey) plan() (cloud.Plan, error) {
	b := s.b
	p := cloud.Plan{Worked: s.use.worked, NoAsking: b.cfg.Reservation != ""}
	why := append(slices.Clone(s.notes), s.tooMuch()...)
	for _, at := range s.places {
		if at.full != "" {
			why = append(why, at.full)
			continue
		}
		b.free = &at.account
		for _, size := range b.cfg.Sizes {
			if !slices.Contains(at.shapes, size.Shape) || len(b.has.exceeded(s.use, size, at.domain)) > 0 {
				continue
			}
			ok, note := at.account.decide(b.cfg.FreeTier, size, b.cfg.SizesNamed)
			if !ok {
				why = append(why, note)
				continue
			}
			if note != "" {
				s.note("%s", note)
			}
			for _, fd := range s.faultDomains(at, size) {
				p.Offers = append(p.Offers, capacity.Offer{
					Cloud: "oci", Region: b.Region, Zone: at.domain, FaultDomain: fd,
					Shape: size.Shape, OCPUs: size.OCPUs, MemoryGB: size.MemoryGB, Market: b.market(),
				})
			}
		}
	}
	for _, w := range why {
		s.note("%s", w)
	}
	p.Notes = s.notes
	problems := slices.Clone(s.problems)
	if len(p.Offers) == 0 {
		for _, w := range why {
			if !slices.ContainsFunc(problems, func(err error) bool { return err.Error() == w }) {
				problems = append(problems, help.About(help.Limits, errors.New(w)))
			}
		}
		if len(problems) == 0 {
			problems = append(problems, fmt.Errorf("there is no place to try in %s", b.Region))
		}
	}
	if len(problems) > 0 && len(s.problems) == 0 {
		return cloud.Plan{}, &cloud.NoRoom{Err: cloud.Refuse(problems...), Why: problems}
	}
	if len(problems) > 0 {
		return cloud.Plan{}, cloud.Refuse(problems...)
	}
	if b.cfg.SizeFirst {
		order := func(o capacity.Offer) int {
			return slices.IndexFunc(b.cfg.Sizes, sizeOf(o).same)
		}
		slices.SortStableFunc(p.Offers, func(x, y capacity.Offer) int { return order(x) - order(y) })
	}
	for _, n := range p.Notes {
		log.Printf("[INFO] plan for %s: %s", b.Region, n)
	}
	return p, nil
}

// tooMuch says which sizes the limits do not allow, with the domains that
// answer alike in one sentence.
func (s *survey) tooMuch() (why []string) {
	for _, size := range s.b.cfg.Sizes {
		var reasons []string
		domains := map[string][]string{}
		for _, at := range s.places {
			broken := strings.Join(s.b.has.exceeded(s.use, size, at.domain), "; ")
			if broken == "" || !slices.Contains(at.shapes, size.Shape) {
				continue
			}
			if domains[broken] == nil {
				reasons = append(reasons, broken)
			}
			domains[broken] = append(domains[broken], at.domain)
		}
		for _, r := range reasons {
			why = append(why, fmt.Sprintf("%s is more than the account may have in %s: %s%s%s",
				size, strings.Join(domains[r], ", "), r, hint(size, s.b.cfg.Allowance), s.runs(size)))
		}
	}
	return why
}

// hint tells people who ask for what used to be free.
func hint(s Size, a Allowance) string {
	was := Allowance{OCPUs: 4, MemoryGB: 24}
	fits := func(a Allowance) bool { return s.OCPUs <= a.OCPUs && s.MemoryGB <= a.MemoryGB }
	if s.Shape != freeShape || fits(a) || !fits(was) {
		return ". Ask for a higher limit (OCI's console: Limits, Quotas and Usage), for a smaller size, or in another region"
	}
	return fmt.Sprintf(". Since June 2026 Always Free is %g OCPUs and %g GB of memory, no longer %g and %g: ask for at most that by shape_config, or for a higher limit", a.OCPUs, a.MemoryGB, was.OCPUs, was.MemoryGB)
}

// runs names what is in the way of a size, at most three machines.
func (s *survey) runs(size Size) string {
	var names []string
	for _, m := range s.use.machines {
		if counts(m.shape, family(size.Shape)) {
			names = append(names, fmt.Sprintf("%s (%s)", m.name, m.id))
		}
	}
	if len(names) == 0 {
		return ""
	}
	if n := len(names); n > 3 {
		names = append(names[:3], fmt.Sprintf("and %d more", n-3))
	}
	return ". In use by " + strings.Join(names, ", ")
}

// market is how the machine is paid for.
func (b *Build) market() string {
	switch {
	case b.cfg.Reservation != "":
		return "reserved"
	case b.cfg.Preemptible:
		return "preemptible"
	}
	return ""
}

func (b *Build) shapes() []string { return Shapes(b.cfg.Sizes) }

// Shapes are those of the sizes, each once.
func Shapes(sizes []Size) (list []string) {
	for _, s := range sizes {
		if !slices.Contains(list, s.Shape) {
			list = append(list, s.Shape)
		}
	}
	return list
}

// domains picks the availability domains to look in: the one that is pinned by
// the template, the subnet or the reservation, or all, the preferred one first.
func (s *survey) domains(all []string) ([]string, error) {
	cfg := s.b.cfg
	pins := []struct{ domain, by string }{
		{cfg.AvailabilityDomain, "availability_domain"}, {s.subnetAD, "the subnet's availability domain"},
	}
	if s.booked != nil {
		pins = append(pins, struct{ domain, by string }{s.booked.domain, "the capacity reservation's availability domain"})
	}
	pin, by := "", ""
	for _, p := range pins {
		switch {
		case p.domain == "":
		case !slices.Contains(all, p.domain):
			return nil, fmt.Errorf("%s: %q does not exist in %s for this tenancy; there are: %s", p.by, p.domain, s.b.Region, strings.Join(all, ", "))
		case pin != "" && pin != p.domain:
			return nil, fmt.Errorf("%s is %s, but %s is %s", by, pin, p.by, p.domain)
		default:
			pin, by = p.domain, p.by
		}
	}
	if pin != "" {
		return []string{pin}, nil
	}
	slices.SortStableFunc(all, func(x, y string) int {
		switch {
		case x == y:
			return 0
		case x == cfg.FirstDomain:
			return -1
		case y == cfg.FirstDomain:
			return 1
		}
		return 0
	})
	return all, nil
}
