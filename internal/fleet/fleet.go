// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package fleet makes one cloud of several places: of regions of a cloud, and of
// clouds. An offer goes to the place that made it, and what comes into being
// there stays with it.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// Site is one build in one region of one cloud.
type Site interface {
	cloud.Cloud
	// Plan looks at the cloud before anything costs money. With an error that is
	// a *cloud.Outage or a *cloud.NoRoom another site may do.
	Plan(ctx context.Context) (cloud.Plan, error)
}

// Place is where a site is; Cloud and Region are those of its offers.
type Place struct {
	Cloud, Region string
	Site          Site
}

// Fleet is one build that may take place in several places. It implements
// cloud.Cloud, cloud.Reporter, cloud.Bastions, cloud.Sundries and cloud.Mortal.
type Fleet struct {
	places []*Place // in the order of preference

	mu sync.Mutex
	at map[string]*Place // by the id of what is there, and by the token of its request
}

// New puts places together; there is at least one.
func New(places ...Place) *Fleet {
	f := &Fleet{at: map[string]*Place{}}
	for _, p := range places {
		f.places = append(f.places, &p)
	}
	return f
}

// Plan looks at all places and reports the problems of all. One that cannot be
// reached, or has no room for the account, is left out, with a note, as long as
// there is another.
func (f *Fleet) Plan(ctx context.Context) (cloud.Plan, error) {
	var plan cloud.Plan
	var problems, others []error
	var notes []string
	for _, at := range f.places {
		p, err := at.Site.Plan(ctx)
		if ctx.Err() != nil {
			return cloud.Plan{}, ctx.Err()
		}
		var outage *cloud.Outage
		var none *cloud.NoRoom
		if errors.As(err, &none) {
			var why []string
			for _, reason := range none.Why {
				why = append(why, reason.Error())
			}
			notes = append(notes, at.Region+" is left out: "+strings.Join(why, "; "))
		} else if errors.As(err, &outage) {
			notes = append(notes, fmt.Sprintf("%s is left out, it cannot be reached: %v", at.Region, err))
		}
		if err != nil && len(f.places) > 1 {
			err = fmt.Errorf("in %s: %w", at.Region, err)
		}
		switch {
		case none != nil || outage != nil:
			others = append(others, err)
			continue
		case err != nil:
			problems = append(problems, err)
			continue
		}
		plan.Offers = append(plan.Offers, p.Offers...)
		plan.Notes = append(plan.Notes, p.Notes...)
		plan.Worked = append(plan.Worked, p.Worked...)
		plan.NoAsking = plan.NoAsking || p.NoAsking
	}
	if len(problems) > 0 || len(plan.Offers) == 0 {
		return cloud.Plan{}, errors.Join(append(problems, others...)...)
	}
	plan.Notes = append(plan.Notes, notes...)
	return plan, nil
}

// In is the site of a cloud's region.
func (f *Fleet) In(cloud, region string) Site { return f.place(cloud, region).Site }

// At is the place to which a machine or an image belongs.
func (f *Fleet) At(id string) Place { return *f.of(id) }

func (f *Fleet) place(cloud, region string) *Place {
	i := slices.IndexFunc(f.places, func(p *Place) bool { return p.Cloud == cloud && p.Region == region })
	return f.places[max(0, i)]
}

// of is the place to which a machine or an image belongs.
func (f *Fleet) of(id string) *Place {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.at[id]; p != nil {
		return p
	}
	return f.places[0]
}

func (f *Fleet) keep(p *Place, ids ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if id != "" {
			f.at[id] = p
		}
	}
}

// find looks up what was asked for with a token: in the place in which that was,
// whatever the others are up to, or, if we did not ask, in all.
func (f *Fleet) find(token string, look func(Site) ([]string, error)) (all []string, err error) {
	f.mu.Lock()
	p := f.at[token]
	f.mu.Unlock()
	if p != nil {
		all, err = look(p.Site)
		f.keep(p, all...)
		return all, p.err(err)
	}
	var errs []error
	for _, p := range f.places {
		ids, err := look(p.Site)
		errs = append(errs, p.err(err))
		f.keep(p, ids...)
		all = append(all, ids...)
	}
	return all, errors.Join(errs...)
}

// placed is an error with the place that can tell what it means.
type placed struct {
	error
	at *Place
}

func (e *placed) Unwrap() error { return e.error }

func (p *Place) err(err error) error {
	if err == nil {
		return nil
	}
	return &placed{err, p}
}

// whose is the site that understands an error.
func (f *Fleet) whose(err error) Site {
	var e *placed
	if errors.As(err, &e) {
		return e.at.Site
	}
	return f.places[0].Site
}

// Launch implements cloud.Launcher.
func (f *Fleet) Launch(ctx context.Context, o capacity.Offer, token string) (string, error) {
	p := f.place(o.Cloud, o.Region)
	f.keep(p, token)
	id, err := p.Site.Launch(ctx, o, token)
	f.keep(p, id)
	return id, p.err(err)
}

// Find implements cloud.Launcher.
func (f *Fleet) Find(ctx context.Context, token string) ([]string, error) {
	return f.find(token, func(s Site) ([]string, error) { return s.Find(ctx, token) })
}

// AwaitMachine implements cloud.Launcher.
func (f *Fleet) AwaitMachine(ctx context.Context, id string) error {
	p := f.of(id)
	return p.err(p.Site.AwaitMachine(ctx, id))
}

// AskTermination implements cloud.Launcher.
func (f *Fleet) AskTermination(ctx context.Context, id string) error {
	p := f.of(id)
	return p.err(p.Site.AskTermination(ctx, id))
}

// Terminate implements cloud.Launcher.
func (f *Fleet) Terminate(ctx context.Context, id string) error {
	p := f.of(id)
	return p.err(p.Site.Terminate(ctx, id))
}

// Classify implements cloud.Launcher.
func (f *Fleet) Classify(err error) cloud.Verdict { return f.whose(err).Classify(err) }

// Examine implements cloud.Launcher.
func (f *Fleet) Examine(ctx context.Context, o capacity.Offer, v cloud.Verdict) cloud.Verdict {
	return f.place(o.Cloud, o.Region).Site.Examine(ctx, o, v)
}

// Report implements cloud.Reporter. A cloud that cannot be asked refuses.
func (f *Fleet) Report(ctx context.Context, q capacity.Ask) capacity.Reply {
	if r, ok := f.place(q.Cloud, q.Region).Site.(cloud.Reporter); ok {
		return r.Report(ctx, q)
	}
	return capacity.Reply{Outcome: capacity.Rejected}
}

// Address implements cloud.Cloud.
func (f *Fleet) Address(ctx context.Context, id string) (string, error) {
	p := f.of(id)
	address, err := p.Site.Address(ctx, id)
	return address, p.err(err)
}

// StartImage implements cloud.Imager.
func (f *Fleet) StartImage(ctx context.Context, machine, token string) (string, error) {
	p := f.of(machine)
	f.keep(p, token)
	id, err := p.Site.StartImage(ctx, machine, token)
	f.keep(p, id)
	return id, p.err(err)
}

// FindImages implements cloud.Imager.
func (f *Fleet) FindImages(ctx context.Context, token string) ([]string, error) {
	return f.find(token, func(s Site) ([]string, error) { return s.FindImages(ctx, token) })
}

// FinishImage implements cloud.Imager.
func (f *Fleet) FinishImage(ctx context.Context, id string) (string, error) {
	p := f.of(id)
	image, err := p.Site.FinishImage(ctx, id)
	f.keep(p, image)
	return image, p.err(err)
}

// DeleteImage implements cloud.Imager.
func (f *Fleet) DeleteImage(ctx context.Context, id string) error {
	p := f.of(id)
	return p.err(p.Site.DeleteImage(ctx, id))
}

// Lost implements cloud.Imager.
func (f *Fleet) Lost(err error) bool { return f.whose(err).Lost(err) }
