// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// Fleet is one build that may take place in several regions. It implements
// cloud.Cloud and cloud.Reporter: an offer goes to the adapter of its region,
// and what came into being there stays with it.
type Fleet struct {
	builds []*Build // in the order of preference

	mu sync.Mutex
	at map[string]*Build // by the id of a machine or image, and by the token of its request
}

// NewFleet puts builds of different regions together; there is at least one.
func NewFleet(builds ...*Build) *Fleet {
	return &Fleet{builds: builds, at: map[string]*Build{}}
}

// Plan looks at all regions and reports the problems of all. A region that
// cannot be reached is left out, with a note, as long as there is another.
func (f *Fleet) Plan(ctx context.Context) (cloud.Plan, error) {
	var plan cloud.Plan
	var problems, outages []error
	for _, b := range f.builds {
		s, err := b.survey(ctx)
		if ctx.Err() != nil {
			return cloud.Plan{}, ctx.Err()
		}
		var p cloud.Plan
		outage := passing(err)
		if err == nil {
			outage = len(s.problems) > 0 && !slices.ContainsFunc(s.problems, func(err error) bool { return !passing(err) })
			p, err = s.plan()
		}
		if err != nil && len(f.builds) > 1 {
			err = fmt.Errorf("in %s: %w", b.Region, err)
		}
		switch {
		case err != nil && outage:
			outages = append(outages, err)
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
		return cloud.Plan{}, errors.Join(append(problems, outages...)...)
	}
	for _, err := range outages {
		plan.Notes = append(plan.Notes, "This region is left out, "+err.Error())
	}
	return plan, nil
}

// in is the build of a region.
func (f *Fleet) in(region string) *Build {
	i := slices.IndexFunc(f.builds, func(b *Build) bool { return b.Region == region })
	return f.builds[max(0, i)]
}

// BaseImage is the image from which machines start in a region.
func (f *Fleet) BaseImage(region string) string { return f.in(region).baseImage() }

// of is the build to which a machine or an image belongs.
func (f *Fleet) of(id string) *Build {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.at[id]; b != nil {
		return b
	}
	return f.builds[0]
}

func (f *Fleet) keep(b *Build, ids ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		if id != "" {
			f.at[id] = b
		}
	}
}

// find looks up what was asked for with a token: in the region in which that
// was, whatever the others are up to, or, if we did not ask, in all.
func (f *Fleet) find(token string, look func(*Build) ([]string, error)) (all []string, err error) {
	f.mu.Lock()
	b := f.at[token]
	f.mu.Unlock()
	if b != nil {
		all, err = look(b)
		f.keep(b, all...)
		return all, err
	}
	var errs []error
	for _, b := range f.builds {
		ids, err := look(b)
		errs = append(errs, err)
		f.keep(b, ids...)
		all = append(all, ids...)
	}
	return all, errors.Join(errs...)
}

// Launch implements cloud.Launcher.
func (f *Fleet) Launch(ctx context.Context, o capacity.Offer, token string) (string, error) {
	b := f.in(o.Region)
	f.keep(b, token)
	id, err := b.Launch(ctx, o, token)
	f.keep(b, id)
	return id, err
}

// Find implements cloud.Launcher.
func (f *Fleet) Find(ctx context.Context, token string) ([]string, error) {
	return f.find(token, func(b *Build) ([]string, error) { return b.Find(ctx, token) })
}

// AwaitMachine implements cloud.Launcher.
func (f *Fleet) AwaitMachine(ctx context.Context, id string) error {
	return f.of(id).AwaitMachine(ctx, id)
}

// Terminate implements cloud.Launcher.
func (f *Fleet) Terminate(ctx context.Context, id string) error { return f.of(id).Terminate(ctx, id) }

// Classify implements cloud.Launcher.
func (f *Fleet) Classify(err error) cloud.Verdict { return f.builds[0].Classify(err) }

// Examine implements cloud.Launcher.
func (f *Fleet) Examine(ctx context.Context, o capacity.Offer, v cloud.Verdict) cloud.Verdict {
	return f.in(o.Region).Examine(ctx, o, v)
}

// Report implements cloud.Reporter.
func (f *Fleet) Report(ctx context.Context, q capacity.Ask) capacity.Reply {
	return f.in(q.Region).Report(ctx, q)
}

// Address implements cloud.Cloud.
func (f *Fleet) Address(ctx context.Context, id string) (string, error) {
	return f.of(id).Address(ctx, id)
}

// StartImage implements cloud.Imager.
func (f *Fleet) StartImage(ctx context.Context, machine, token string) (string, error) {
	b := f.of(machine)
	f.keep(b, token)
	id, err := b.StartImage(ctx, machine, token)
	f.keep(b, id)
	return id, err
}

// FindImages implements cloud.Imager.
func (f *Fleet) FindImages(ctx context.Context, token string) ([]string, error) {
	return f.find(token, func(b *Build) ([]string, error) { return b.FindImages(ctx, token) })
}

// FinishImage implements cloud.Imager.
func (f *Fleet) FinishImage(ctx context.Context, id string) error {
	return f.of(id).FinishImage(ctx, id)
}

// DeleteImage implements cloud.Imager.
func (f *Fleet) DeleteImage(ctx context.Context, id string) error {
	return f.of(id).DeleteImage(ctx, id)
}

// Lost implements cloud.Imager.
func (f *Fleet) Lost(err error) bool { return f.builds[0].Lost(err) }
