// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// fleet is one build of the build tenancy in both of its regions. change gets
// the configuration of each.
func (s *sim) fleet(t *testing.T, change func(*BuildConfig)) *fleet.Fleet {
	t.Helper()
	var places []fleet.Place
	id := owner.NewBuild(time.Now(), 8*time.Hour)
	for _, region := range []string{simRegion, farRegion} {
		b := s.buildIn(t, region, change)
		b.owner = id
		places = append(places, fleet.Place{Cloud: "oci", Region: region, Site: b})
	}
	return fleet.New(places...)
}

// in counts the requests of an operation at hosts of a region.
func (s *sim) in(region, op string) (n int) {
	for _, r := range s.Requests() {
		if r.Op == op && strings.Contains(r.Host, region) {
			n++
		}
	}
	return n
}

func TestFleetPlan(t *testing.T) {
	far := func(f ocisim.Fault) ocisim.Fault { f.Region = farRegion; return f }
	for _, tt := range []struct {
		name   string
		faults []ocisim.Fault
		change func(*BuildConfig)
		// regions are the offers' as they come, each with how many; none means
		// that the plan fails.
		regions []string
		says    []string
		silent  []string
	}{
		{
			name: "both, in order", regions: []string{simRegion, farRegion},
			says: []string{"2 OCPU/12 GB in eu-amsterdam-1 is launched as asked, and is not free: machines are free in the home region only, which is eu-frankfurt-1"}, silent: []string{"in eu-frankfurt-1 is"},
		},
		{
			name: "a size that only one of them may have", regions: []string{simRegion, farRegion}, change: func(c *BuildConfig) {
				c.Sizes, c.SizesNamed = []Size{{Shape: a1, OCPUs: 2, MemoryGB: 12}, {Shape: a1, OCPUs: 1, MemoryGB: 6}}, true
			},
			faults: []ocisim.Fault{far(ocisim.Fault{Kind: ocisim.FaultLimitValue, Limit: "standard-a1-core-regional-count", Value: 1})},
			says:   []string{"2 OCPU/12 GB is more than the account may have in ", "EU-AMSTERDAM-1-AD-1"}, silent: []string{"FRANKFURT-1-AD"},
		},
		{
			name: "one of them refuses", faults: []ocisim.Fault{far(ocisim.Fault{Kind: ocisim.FaultShapeAbsent})},
			says: []string{"in eu-amsterdam-1: this build cannot work, and nothing was started:\nshape: " + a1 + " does not exist in "}, silent: []string{"in eu-frankfurt-1"},
		},
		{
			name: "all sizes are left out in one of them", regions: []string{simRegion}, change: func(c *BuildConfig) { c.FreeTier = FreeRequire },
			says: []string{`eu-amsterdam-1 is left out: free_tier = "require" forbids ` + a1 + " 2 OCPU/12 GB in eu-amsterdam-1: machines are free in the home region only, which is eu-frankfurt-1"},
		},
		{
			name: "all sizes are left out in both", change: func(c *BuildConfig) { c.Sizes[0].OCPUs = 64; c.FreeTier = FreeRequire },
			says: []string{"in eu-frankfurt-1: this build cannot work", "in eu-amsterdam-1: this build cannot work"},
		},
		{
			name:   "both refuse, each for its own reason",
			faults: []ocisim.Fault{far(ocisim.Fault{Kind: ocisim.FaultShapeAbsent}), {Kind: ocisim.FaultLimitValue, Region: simRegion, Limit: "custom-image-count", Value: 0}},
			says:   []string{"in eu-frankfurt-1: this build cannot work", `the limit "custom-image-count"`, "\nin eu-amsterdam-1: this build cannot work", "shape: " + a1 + " does not exist"},
		},
		{
			name: "one is down", regions: []string{simRegion}, faults: []ocisim.Fault{far(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "ListAvailabilityDomains", Status: 503, Code: "ServiceUnavailable", Message: "down"})},
			says: []string{"eu-amsterdam-1 is left out, it cannot be reached: timed out after 3m0s", "down (503 ServiceUnavailable"},
		},
		{
			name: "one is down half way", regions: []string{farRegion}, faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Region: simRegion, Op: "GetSubnet", Status: 503, Code: "ServiceUnavailable", Message: "down"}},
			says: []string{"eu-frankfurt-1 is left out, it cannot be reached: this build cannot work", "subnet_ocid: timed out after 3m0s"},
		},
		{
			name: "both are down", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "ListAvailabilityDomains", Status: 503, Code: "ServiceUnavailable", Message: "down"}},
			says: []string{"in eu-frankfurt-1: timed out", "in eu-amsterdam-1: timed out"},
		},
		{
			name: "one does not let the user in", faults: []ocisim.Fault{far(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "ListAvailabilityDomains", Status: 401, Code: "NotAuthenticated", Message: "no"})},
			says: []string{"in eu-amsterdam-1: OCI in eu-amsterdam-1 does not let user ", "the tenancy is not subscribed to the region"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, simOptions{wide: true, faults: tt.faults})
				plan, err := s.fleet(t, tt.change).Plan(t.Context())
				var regions []string
				for _, o := range plan.Offers {
					regions = append(regions, o.Region)
					if !strings.Contains(o.Zone, strings.ToUpper(o.Region)) {
						t.Errorf("offer %+v", o)
					}
				}
				if regions = slices.Compact(regions); !slices.Equal(regions, tt.regions) || (err == nil) == (tt.regions == nil) {
					t.Errorf("offers in %q, %v", regions, err)
				}
				said := strings.Join(plan.Notes, "\n")
				if err != nil {
					said = err.Error()
				}
				checkText(t, said, tt.says, tt.silent)
			})
		})
	}
	// A single region needs no name.
	s := newSim(t, simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultShapeAbsent}}})
	_, err := fleet.New(fleet.Place{Cloud: "oci", Region: simRegion, Site: s.newBuild(t, nil)}).Plan(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "this build cannot work") {
		t.Errorf("%v", err)
	}
	// A cancel is no refusal.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fleet.New(fleet.Place{Cloud: "oci", Region: simRegion, Site: s.newBuild(t, nil)}).Plan(ctx); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "cannot work") {
		t.Errorf("%v", err)
	}
}

// What comes into being in the second region stays there: it is awaited,
// imaged, and removed where it is.
func TestFleetInTheSecondRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{wide: true})
		f := s.fleet(t, nil)
		plan, err := f.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		o := plan.Offers[len(plan.Offers)-1]
		id, err := f.Launch(t.Context(), o, "token-1")
		if err == nil {
			err = f.AwaitMachine(t.Context(), id)
		}
		if err != nil || o.Region != farRegion || !strings.HasPrefix(id, "ocid1.instance.oc1."+farRegion+".") {
			t.Fatalf("%s in %s: %v", id, o, err)
		}
		if addr, err := f.Address(t.Context(), id); err != nil || !strings.HasPrefix(addr, "127.80.") {
			t.Errorf("address %q, %v", addr, err)
		}
		for range 2 {
			if ids, err := f.Find(t.Context(), "token-1"); err != nil || !slices.Equal(ids, []string{id}) {
				t.Errorf("found %q, %v", ids, err)
			}
		}
		image, err := f.StartImage(t.Context(), id, "token-2")
		if err == nil {
			_, err = f.FinishImage(t.Context(), image)
		}
		if err != nil || !strings.HasPrefix(image, "ocid1.image.oc1."+farRegion+".") {
			t.Fatalf("image %s, %v", image, err)
		}
		if err := f.Terminate(t.Context(), id); err != nil {
			t.Error(err)
		}
		for _, op := range []string{"LaunchInstance", "GetInstance", "GetVnic", "CreateImage", "UpdateImage", "TerminateInstance"} {
			if s.in(farRegion, op) == 0 || s.in(simRegion, op) > 0 {
				t.Errorf("%s: %d requests there, %d at home", op, s.in(farRegion, op), s.in(simRegion, op))
			}
		}
		if err := f.DeleteImage(t.Context(), image); err != nil || s.in(simRegion, "DeleteImage") > 0 {
			t.Error(err)
		}
	})
}

// Another process than the one that launched does not know where, and looks in
// all regions. What it finds belongs where it was found.
func TestFleetFindsWhatItDidNotMake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{wide: true})
		b := s.buildIn(t, farRegion, nil)
		id, err := b.Launch(t.Context(), capacity.Offer{Region: farRegion, Zone: s.build.AvailabilityDomains(farRegion)[0], Shape: a1, OCPUs: 1, MemoryGB: 6}, "token-1")
		if err == nil {
			err = b.AwaitMachine(t.Context(), id)
		}
		if err != nil {
			t.Fatal(err)
		}
		image, err := b.StartImage(t.Context(), id, "token-2")
		if err != nil {
			t.Fatal(err)
		}
		f := s.fleet(t, nil)
		if ids, err := f.FindImages(t.Context(), "token-2"); err != nil || !slices.Equal(ids, []string{image}) {
			t.Fatalf("found %q, %v", ids, err)
		}
		if _, err := f.FinishImage(t.Context(), image); err != nil {
			t.Error(err)
		}
		if ids, err := f.Find(t.Context(), "token-1"); err != nil || !slices.Equal(ids, []string{id}) {
			t.Fatalf("found %q, %v", ids, err)
		}
		if ids, err := f.Find(t.Context(), "token-9"); err != nil || len(ids) > 0 {
			t.Errorf("found %q, %v", ids, err)
		}
		if err := f.Terminate(t.Context(), id); err != nil {
			t.Error(err)
		}
		if left := s.machinesIn(farRegion); len(left) > 0 {
			t.Errorf("left %q", left)
		}
	})
}

// machinesIn lists what the build tenancy runs in a region.
func (s *sim) machinesIn(region string) (ids []string) {
	for _, r := range s.Inventory().Tenancies[0].Regions {
		for _, i := range r.Instances {
			if r.Region == region {
				ids = append(ids, i.ID+" "+i.State)
			}
		}
	}
	return ids
}

// A launch whose reply was lost is looked up where it was made: an outage of
// another region is none of its business.
func TestFleetDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, region := range []string{simRegion, farRegion} {
			s := newSim(t, simOptions{wide: true})
			f := s.fleet(t, nil)
			plan, err := f.Plan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			other := map[string]string{simRegion: farRegion, farRegion: simRegion}[region]
			down := func(op string) ocisim.Fault {
				return ocisim.Fault{Kind: ocisim.FaultStatus, Op: op, Region: other, Status: 503, Code: "ServiceUnavailable", Message: "down"}
			}
			if err := s.AddFaults(down("ListInstances"), down("ListImages"),
				ocisim.Fault{Kind: ocisim.FaultCutAfterEffect, Op: "LaunchInstance", Times: 1}, ocisim.Fault{Kind: ocisim.FaultCutAfterEffect, Op: "CreateImage", Times: 1}); err != nil {
				t.Fatal(err)
			}
			o := plan.Offers[slices.IndexFunc(plan.Offers, func(o capacity.Offer) bool { return o.Region == region })]
			if id, err := f.Launch(t.Context(), o, "token-1"); err == nil {
				t.Fatalf("launched %s", id)
			}
			ids, err := f.Find(t.Context(), "token-1")
			if err != nil || len(ids) != 1 {
				t.Fatalf("%s: found %q, %v", region, ids, err)
			}
			if err := f.AwaitMachine(t.Context(), ids[0]); err != nil {
				t.Errorf("%s: %v", region, err)
			}
			image, err := f.StartImage(t.Context(), ids[0], "token-2")
			if err != nil {
				t.Errorf("%s: %v", region, err)
			}
			if found, err := f.FindImages(t.Context(), "token-2"); err != nil || !slices.Equal(found, []string{image}) {
				t.Errorf("%s: found %q, %v", region, found, err)
			}
			if err := f.Terminate(t.Context(), ids[0]); err != nil {
				t.Errorf("%s: %v", region, err)
			}
		}
	})
}

// Reports and limits are those of the offer's region.
func TestFleetAsksTheRightRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{wide: true, faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity, Region: simRegion}}})
		f := s.fleet(t, nil)
		plan, err := f.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, region := range []string{farRegion, simRegion} {
			i := slices.IndexFunc(plan.Offers, func(o capacity.Offer) bool { return o.Region == region })
			o := plan.Offers[i]
			want := map[string]capacity.Hint{simRegion: capacity.Full, farRegion: capacity.Free}[region]
			before := s.in(region, "CreateComputeCapacityReport")
			r := f.Report(t.Context(), capacity.Ask{Cloud: "oci", Region: region, Zone: o.Zone, Offers: []capacity.Offer{o}})
			if !slices.Equal(r.Hints, []capacity.Hint{want}) || s.in(region, "CreateComputeCapacityReport") != before+1 {
				t.Errorf("%s: %+v", region, r)
			}
		}
		s.ResetFaults()
		if err := s.AddFaults(ocisim.Fault{Kind: ocisim.FaultLimit, Region: farRegion}); err != nil {
			t.Fatal(err)
		}
		home, far := s.in(simRegion, "ListInstances"), s.in(farRegion, "ListInstances")
		o := plan.Offers[len(plan.Offers)-1]
		_, err = f.Launch(t.Context(), o, "token-1")
		v := f.Examine(t.Context(), o, f.Classify(err))
		if v.Outcome != capacity.LimitDoubtful || s.in(simRegion, "ListInstances") != home || s.in(farRegion, "ListInstances") == far {
			t.Errorf("%+v", v)
		}
	})
}
