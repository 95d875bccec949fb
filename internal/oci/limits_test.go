// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// alwaysFreeAccount has limits of 2 OCPUs and 12 GB of A1, and none of A2.
func alwaysFreeAccount(t *ocisim.Tenancy) { t.AlwaysFree = true }

// examined is what is made of a launch that fails.
func examined(t *testing.T, b *Build, o capacity.Offer) cloud.Verdict {
	t.Helper()
	id, err := b.Launch(t.Context(), o, b.owner.Token(o.String(), time.Now().String()))
	if err == nil {
		t.Fatalf("launched %s", id)
	}
	return b.Examine(t.Context(), o, b.Classify(err))
}

// A LimitExceeded is true if what runs explains it, doubtful if everything can
// be seen and does not, and else taken for true.
func TestExamine(t *testing.T) {
	const doubtful, reached = capacity.LimitDoubtful, capacity.LimitReached
	phantom := ocisim.Fault{Kind: ocisim.FaultLimit}
	named := func(limit string) ocisim.Fault { return ocisim.Fault{Kind: ocisim.FaultLimit, Limit: limit} }
	one, two := Size{Shape: a1, OCPUs: 1, MemoryGB: 6}, Size{Shape: a1, OCPUs: 2, MemoryGB: 12}
	for _, tt := range []struct {
		name   string
		build  func(*ocisim.Tenancy)
		before []ocisim.Fault             // when the plan is made
		then   func(t *testing.T, s *sim) // after it
		faults []ocisim.Fault             // after that
		change func(*BuildConfig)
		offer  Size
		want   capacity.Outcome
		zone   bool
		says   []string
		silent []string
	}{
		{
			name: "nothing runs", faults: []ocisim.Fault{phantom}, want: doubtful,
			says: []string{"The following service limits were exceeded: standard-a1-memory-count, ", "; but only 0 OCPUs and 0 GB are in use: such a message is known to pass after an hour or so"},
		},
		{
			name: "nothing runs in an account that has little", build: alwaysFreeAccount, faults: []ocisim.Fault{phantom}, want: doubtful,
			says: []string{"but only 0 OCPUs"},
		},
		{
			name: "something small runs, for which there is room", faults: []ocisim.Fault{phantom}, want: doubtful,
			then: func(t *testing.T, s *sim) { s.run(t, s.build.ChildCompartmentID, "AD-2", one) },
			says: []string{"but only 1 OCPUs and 6 GB are in use"},
		},
		{
			name: "it runs two compartments below", build: alwaysFreeAccount, want: reached,
			then: func(t *testing.T, s *sim) { s.run(t, s.build.ChildCompartmentID, "AD-1", one) },
			says: []string{"; it is true: ", `the limit "standard-a1-core-count" is 2, 1 in use`, `the limit "standard-a1-core-regional-count" is 2, 1 in use`, `the limit "standard-a1-memory-count" is 12, 6 in use`},
		},
		{
			name: "it runs in another domain", build: alwaysFreeAccount, want: reached,
			then: func(t *testing.T, s *sim) { s.run(t, s.build.ID, "AD-2", two) },
			says: []string{`it is true: the limit "standard-a1-core-regional-count" is 2, 2 in use; the limit "standard-a1-memory-regional-count" is 12, 12 in use`}, silent: []string{"core-count\" is"},
		},
		{
			name: "this user does not see all, and there was room at first", faults: []ocisim.Fault{phantom}, want: doubtful,
			build: func(b *ocisim.Tenancy) { b.NoAccess = []string{b.ChildCompartmentID} },
			says:  []string{"; but the service counted room for it when the build began"}, silent: []string{"cannot be told"},
		},
		{
			name: "this user does not see all, and there was none at first", before: []ocisim.Fault{phantom}, faults: []ocisim.Fault{phantom}, want: reached,
			build: func(b *ocisim.Tenancy) { b.NoAccess = []string{b.ChildCompartmentID} },
			says:  []string{"; whether that is true cannot be told"},
		},
		{
			name: "it runs where this user may not look", build: alwaysFreeAccount, want: reached,
			then: func(t *testing.T, s *sim) {
				s.run(t, s.build.ChildCompartmentID, "AD-1", two)
				s.build.NoAccess = []string{s.build.ChildCompartmentID}
			},
			says: []string{"; whether that is true cannot be told, since this user does not see all compartments"}, silent: []string{"it is true", "but only"},
		},
		{
			name: "it runs above where this user may look", build: alwaysFreeAccount, want: reached,
			then: func(t *testing.T, s *sim) {
				s.run(t, s.build.ID, "AD-1", two)
				s.build.NoAccess = []string{s.build.ID}
			},
			says: []string{"cannot be told"},
		},
		{
			name: "compartments that may not be listed", faults: []ocisim.Fault{phantom, denied("ListCompartments")}, want: reached,
			says: []string{"cannot be told"},
		},
		{
			name: "instances that may not be listed", faults: []ocisim.Fault{phantom, denied("ListInstances")}, want: reached,
			says: []string{"cannot be told"},
		},
		{
			name: "limits that may not be read", before: []ocisim.Fault{denied("ListLimitValues")}, faults: []ocisim.Fault{phantom}, want: reached,
			silent: []string{"it is true", "but only"},
		},
		{name: "a limit of the domain", faults: []ocisim.Fault{named("standard-a1-core-count")}, want: doubtful, zone: true},
		{name: "a limit of the region", faults: []ocisim.Fault{named("standard-a1-memory-regional-count")}, want: doubtful},
		{
			name: "a true limit of the domain", build: func(b *ocisim.Tenancy) { b.Limits["standard-a1-core-count"] = 3 }, want: reached, zone: true,
			then: func(t *testing.T, s *sim) { s.run(t, s.build.ChildCompartmentID, "AD-1", two) },
			says: []string{`it is true: the limit "standard-a1-core-count" is 3, 2 in use`},
		},
		{
			name: "a limit of the domain, reached in another", build: func(b *ocisim.Tenancy) { b.Limits["standard-a1-core-count"] = 3 }, want: doubtful, zone: true,
			then: func(t *testing.T, s *sim) { s.run(t, s.build.ChildCompartmentID, "AD-2", two) }, faults: []ocisim.Fault{named("standard-a1-core-count")},
		},
		{
			name: "a quota", build: func(b *ocisim.Tenancy) { b.Quotas["standard-a1-core-count"] = 0 }, want: reached,
			says: []string{"QuotaExceeded"}, silent: []string{"it is true", "but only", "cannot be told"},
		},
		{name: "a limit of the boot volume, which the domain has", faults: []ocisim.Fault{named("total-storage-gb")}, want: reached, zone: true, silent: []string{"but only", "it is true"}},
		{
			name: "a machine on its way out", build: alwaysFreeAccount, want: reached,
			then: func(t *testing.T, s *sim) {
				id := s.run(t, s.build.ChildCompartmentID, "AD-1", two)
				if err := s.AddFaults(ocisim.Fault{Kind: ocisim.FaultSlow, Op: "TerminateInstance", State: "TERMINATING", Delay: ocisim.Duration(time.Hour)}); err != nil {
					t.Error(err)
				}
				if err := s.newBuild(t, nil).Terminate(contextFor(t, time.Minute), id); err == nil {
					t.Error("it is gone")
				}
			},
			says: []string{"it is true"},
		},
		{
			name: "a machine that is gone", build: alwaysFreeAccount, faults: []ocisim.Fault{phantom}, want: doubtful,
			then: func(t *testing.T, s *sim) {
				id := s.run(t, s.build.ChildCompartmentID, "AD-1", two)
				if err := s.newBuild(t, nil).Terminate(t.Context(), id); err != nil {
					t.Error(err)
				}
			},
			says: []string{"but only 0 OCPUs and 0 GB"},
		},
		{
			name: "machines of another family", faults: []ocisim.Fault{phantom}, want: doubtful,
			then: func(t *testing.T, s *sim) {
				s.run(t, s.build.ChildCompartmentID, "AD-1", Size{Shape: a2, OCPUs: 4, MemoryGB: 24})
			},
			says: []string{"but only 0 OCPUs and 0 GB"},
		},
		{
			name: "a bare machine of the same family", want: reached,
			build: func(b *ocisim.Tenancy) {
				b.Limits["standard-a1-core-count"], b.Limits["standard-a1-core-regional-count"] = 161, 161
			},
			then: func(t *testing.T, s *sim) { s.run(t, s.build.ChildCompartmentID, "AD-1", Size{Shape: bare}) },
			says: []string{`the limit "standard-a1-core-count" is 161, 160 in use`},
		},
		{
			name: "a shape whose limits are not by cores", want: reached, offer: Size{Shape: bare},
			change: func(c *BuildConfig) { c.Sizes = []Size{{Shape: bare}} },
			silent: []string{"it is true", "but only"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, simOptions{build: tt.build, faults: tt.before})
				b := s.newBuild(t, tt.change)
				if _, err := b.Plan(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.ResetFaults()
				if tt.then != nil {
					tt.then(t, s)
				}
				if err := s.AddFaults(tt.faults...); err != nil {
					t.Fatal(err)
				}
				if tt.offer == (Size{}) {
					tt.offer = two
				}
				v := examined(t, b, capacity.Offer{Region: simRegion, Zone: s.ad("AD-1"), Shape: tt.offer.Shape, OCPUs: tt.offer.OCPUs, MemoryGB: tt.offer.MemoryGB})
				if v.Outcome != tt.want || v.ZoneOnly != tt.zone || v.Ambiguous {
					t.Errorf("%s, zone only %t; want %s, %t: %s", v.Outcome, v.ZoneOnly, tt.want, tt.zone, v.Reason)
				}
				checkText(t, v.Reason, tt.says, tt.silent)
			})
		})
	}
}

// checkText wants all of says in a text and none of silent.
func checkText(t *testing.T, text string, says, silent []string) {
	t.Helper()
	for _, want := range says {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said: %s", want, text)
		}
	}
	for _, not := range silent {
		if strings.Contains(text, not) {
			t.Errorf("%q is said: %s", not, text)
		}
	}
}

// A phantom limit is waited out; a true one ends the search and says why.
func TestSearchThroughALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{build: alwaysFreeAccount})
		x := newSearch(t, s, pace(3, false))
		if err := s.AddFaults(ocisim.Fault{Kind: ocisim.FaultLimit, Until: ocisim.Duration(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		id, _, err := x.Run(t.Context())
		if d := time.Since(begin); err != nil || d < time.Hour || d > time.Hour+20*time.Minute {
			t.Fatalf("after %s: %v\n%s", d, err, strings.Join(x.said, "\n"))
		}
		if x.count("limit reported that own use does not explain", "but only 0 OCPUs and 0 GB are in use") == 0 {
			t.Errorf("not said:\n%s", strings.Join(x.said, "\n"))
		}
		if n := s.CountRequests("LaunchInstance"); n > 60 {
			t.Errorf("%d launches in an hour", n)
		}
		if err := x.Loop.Cloud.Terminate(t.Context(), id); err != nil {
			t.Error(err)
		}

		x = newSearch(t, s, pace(3, false))
		s.run(t, s.build.ChildCompartmentID, "AD-2", Size{Shape: a1, OCPUs: 2, MemoryGB: 12})
		begin = time.Now()
		_, _, err = x.Run(t.Context())
		if err == nil || time.Since(begin) > 15*time.Minute || x.count("it is true: ", "is 2, 2 in use") == 0 {
			t.Errorf("after %s: %v\n%s", time.Since(begin), err, strings.Join(x.said, "\n"))
		}
	})
}
