// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/launch"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/phase"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// A region without capacity, and one that has some: the machine is found, imaged
// and removed where it is, and so is what was made beside it in both.
func TestFleet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(t, faults(ec2sim.Fault{Kind: ec2sim.FaultCapacity, Region: simRegion}))
		var places []fleet.Place
		id := owner.NewBuild(time.Now(), 8*time.Hour)
		for _, region := range []string{simRegion, farRegion} {
			b := s.newBuild(t, func(c *BuildConfig) { c.Region, c.Source.ID = region, s.ImageID(region, debian) })
			b.Client, b.owner = b.In(region), id
			places = append(places, fleet.Place{Cloud: "aws", Region: region, Site: b})
		}
		f := fleet.New(places...)
		plan, err := f.Plan(t.Context())
		if err != nil || len(plan.Offers) != 6 {
			t.Fatalf("%v %v", plan.Offers, err)
		}
		loop := launch.Loop{
			Cloud: f, Offers: plan.Offers, Token: id.Token, Say: s.say, Policy: capacity.Policy{Interval: time.Second, Deadline: time.Now().Add(time.Hour)},
			Made: func(string) {}, Gone: func(string) {},
		}
		machine, o, err := loop.Run(t.Context())
		if err != nil || o.Region != farRegion {
			t.Fatalf("%s %v", o, err)
		}
		image, err := f.StartImage(t.Context(), machine, "token")
		if err == nil {
			image, err = f.FinishImage(t.Context(), image)
		}
		if _, region := s.resource(image); err != nil || region != farRegion {
			t.Errorf("image %s in %s: %v", image, region, err)
		}
		if err := f.Terminate(t.Context(), machine); err != nil {
			t.Error(err)
		}
		p := &phase.KeepSundries{Cloud: f}
		if err := p.Run(t.Context()); err != nil {
			t.Error(err)
		}
		if err := p.Undo(t.Context(), nil); err != nil {
			t.Error(err)
		}
		s.nothingLeft(t, s.kept()...)
		if err := f.DeleteImage(t.Context(), image); err != nil {
			t.Error(err)
		}
		s.nothingLeft(t)
	})
}
