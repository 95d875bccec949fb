// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// What free_tier = "require" finds out in the cloud, and refuses.
func TestPlanRequiresFree(t *testing.T) {
	strict := func(more func(*BuildConfig, *sim)) func(*BuildConfig, *sim) {
		return func(c *BuildConfig, s *sim) {
			ladder(c)
			c.FreeTier = FreeRequire
			if more != nil {
				more(c, s)
			}
		}
	}
	everywhere := []string{"AD-1 2 1", "AD-2 2 1", "AD-3 2 1"}
	storage := func(t *testing.T, s *sim) {
		for range 4 {
			s.run(t, s.build.ChildCompartmentID, "AD-2", Size{Shape: a2, OCPUs: 1, MemoryGB: 6})
		}
	}
	for _, tt := range []planned{
		{name: "free", change: strict(nil), sizes: everywhere},
		{name: "free, of an account that pays nothing", sim: simOptions{build: alwaysFreeAccount}, change: strict(nil), sizes: everywhere},
		{
			name: "one of two sizes", change: strict(nil), sizes: []string{"AD-1 1", "AD-2 1", "AD-3 1"},
			before: func(t *testing.T, s *sim) {
				s.run(t, s.build.ChildCompartmentID, "AD-2", Size{Shape: a1, OCPUs: 1, MemoryGB: 6})
			},
			says: []string{`free_tier = "require" forbids ` + a1 + " 2 OCPU/12 GB in eu-frankfurt-1: 2 OCPUs and 12 GB are free"},
		},
		{
			name: "none", change: strict(nil),
			before: func(t *testing.T, s *sim) {
				s.run(t, s.build.ChildCompartmentID, "AD-2", Size{Shape: a1, OCPUs: 2, MemoryGB: 6})
			},
			says: []string{"forbids " + a1 + " 2 OCPU/12 GB", "forbids " + a1 + " 1 OCPU/6 GB", "2 OCPUs and 6 GB are in use"},
		},
		{
			name: "a shape that costs", change: strict(func(c *BuildConfig, _ *sim) { c.Sizes = append(c.Sizes, Size{Shape: a2, OCPUs: 3, MemoryGB: 18}) }), sizes: everywhere,
			says: []string{"forbids " + a2 + " 3 OCPU/18 GB in eu-frankfurt-1: " + a2 + " is not free"},
		},
		{
			name: "storage in use by others", change: strict(nil), before: storage,
			says: []string{"200 GB of boot and block volumes are free (free_allowance), 188 GB are in use, and the boot volume would add 47"},
		},
		{
			// The allowance is the tenancy's, wherever in it the storage is.
			name: "storage in another domain than the one that is pinned", before: storage,
			change: strict(func(c *BuildConfig, s *sim) { c.AvailabilityDomain = s.ad("AD-1") }),
			says:   []string{"188 GB are in use"},
		},
		{
			name: "storage in other domains that may not be known", sim: simOptions{faults: []ocisim.Fault{denied("ListAvailabilityDomains")}},
			change: strict(func(c *BuildConfig, s *sim) { c.AvailabilityDomain = s.ad("AD-1") }),
			says:   []string{"how much storage is in use cannot be told"},
		},
		{
			name: "storage of which the service does not know how much is in use", change: strict(nil),
			sim:  simOptions{wrap: rewrite("/total-storage-gb/", func(string) string { return `{"used": null, "available": null}` })},
			says: []string{"how much storage is in use cannot be told"},
		},
		{
			name: "storage of an account that may have a lot", change: strict(func(c *BuildConfig, _ *sim) { c.Allowance.StorageGB = 1000 }), before: storage,
			sizes: everywhere,
		},
		{
			name: "another home region", change: strict(nil),
			sim:  simOptions{wrap: rewrite("/regionSubscriptions", func(string) string { return subscriptions("us-ashburn-1") })},
			says: []string{"machines are free in the home region only, which is us-ashburn-1"},
		},
		{
			name: "no home region", change: strict(nil),
			sim:  simOptions{wrap: rewrite("/regionSubscriptions", func(string) string { return `[{}, {"regionName": "us-ashburn-1"}]` })},
			says: []string{"whether eu-frankfurt-1 is the home region"},
		},
		{
			name: "a compartment that may not be seen", change: strict(nil), sim: simOptions{build: func(b *ocisim.Tenancy) { b.NoAccess = []string{b.ChildCompartmentID} }},
			says: []string{"how much of the free allowance is in use cannot be told"},
		},
		{name: "preemptible", change: strict(func(c *BuildConfig, _ *sim) { c.Preemptible = true }), says: []string{"a preemptible machine is not part of the Always Free allowance"}},
	} {
		t.Run(tt.name, tt.run)
	}
}

func subscriptions(home string) string {
	return `[{"regionKey": "FRA", "regionName": "eu-frankfurt-1", "status": "READY", "isHomeRegion": false},
		{"regionKey": "X", "regionName": "` + home + `", "status": "READY", "isHomeRegion": true}]`
}

// The SDK takes a region by its short name and in capitals as well; it is the
// same region.
func TestPlanKnowsItsHomeRegion(t *testing.T) {
	for _, name := range []string{"eu-frankfurt-1", "fra", "EU-Frankfurt-1"} {
		t.Run(name, func(t *testing.T) {
			s := newSim(t, simOptions{})
			b := s.buildIn(t, simRegion, func(c *BuildConfig) { c.FreeTier = FreeRequire })
			b.Client = s.clientIn(t, s.build, name)
			if plan, err := b.Plan(t.Context()); err != nil || len(plan.Notes) > 0 || len(plan.Offers) != 12 {
				t.Errorf("%d offers, %q, %v", len(plan.Offers), plan.Notes, err)
			}
		})
	}
}

// reserve makes a capacity reservation in AD-2 and waits until it is ACTIVE.
func (s *sim) reserve(t *testing.T, configs ...core.InstanceReservationConfigDetails) string {
	t.Helper()
	c := s.client(t, s.build)
	ad := s.ad("AD-2")
	r, err := c.compute.CreateComputeCapacityReservation(t.Context(), core.CreateComputeCapacityReservationRequest{
		CreateComputeCapacityReservationDetails: core.CreateComputeCapacityReservationDetails{
			CompartmentId: &s.build.CompartmentID, AvailabilityDomain: &ad, InstanceReservationConfigs: configs,
		}, RequestMetadata: once(),
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	return *r.Id
}

// held is room for machines of A1.
func held(count int64, ocpus float32, fd string) core.InstanceReservationConfigDetails {
	shape, memoryGB := a1, 6*ocpus
	c := core.InstanceReservationConfigDetails{
		InstanceShape: &shape, ReservedCount: &count,
		InstanceShapeConfig: &core.InstanceReservationShapeConfigDetails{Ocpus: &ocpus, MemoryInGBs: &memoryGB},
	}
	if fd != "" {
		c.FaultDomain = &fd
	}
	return c
}

func TestPlanReservation(t *testing.T) {
	const fd3 = "FAULT-DOMAIN-3"
	for _, tt := range []struct {
		name    string
		sim     simOptions
		configs []core.InstanceReservationConfigDetails
		used    int // machines of 2 OCPUs that are in it
		change  func(*BuildConfig, *sim)
		offers  []string
		says    []string
	}{
		{name: "any fault domain", configs: []core.InstanceReservationConfigDetails{held(1, 2, "")}, offers: []string{"AD-2/ 2"}},
		{name: "one fault domain", configs: []core.InstanceReservationConfigDetails{held(1, 2, fd3)}, offers: []string{"AD-2/3 2"}},
		{name: "several", configs: []core.InstanceReservationConfigDetails{held(2, 1, fd3), held(1, 2, fd3), held(1, 2, "")}, offers: []string{"AD-2/3 2", "AD-2/ 2", "AD-2/3 1"}},
		{name: "two of a kind", configs: []core.InstanceReservationConfigDetails{held(1, 2, fd3), held(1, 2, fd3)}, offers: []string{"AD-2/3 2"}},
		{name: "room for one more", configs: []core.InstanceReservationConfigDetails{held(2, 2, "")}, used: 1, offers: []string{"AD-2/ 2"}},
		{name: "only the smaller size", configs: []core.InstanceReservationConfigDetails{held(1, 2, ""), held(1, 1, "")}, used: 1, offers: []string{"AD-2/ 1"}},
		{name: "its domain is pinned, too", configs: []core.InstanceReservationConfigDetails{held(1, 2, "")}, change: func(c *BuildConfig, s *sim) { c.AvailabilityDomain = s.ad("AD-2") }, offers: []string{"AD-2/ 2"}},
		{
			name: "as much as the account may have", sim: simOptions{build: func(b *ocisim.Tenancy) {
				b.Limits["standard-a1-core-count"], b.Limits["standard-a1-memory-count"] = 2, 12
			}}, configs: []core.InstanceReservationConfigDetails{held(1, 2, "")}, offers: []string{"AD-2/ 2"},
		},
		{
			name: "another domain is pinned", configs: []core.InstanceReservationConfigDetails{held(1, 2, "")}, change: func(c *BuildConfig, s *sim) { c.AvailabilityDomain = s.ad("AD-1") },
			says: []string{"availability_domain is ", "AD-1, but the capacity reservation's availability domain is ", "AD-2"},
		},
		{
			name: "the subnet is elsewhere", configs: []core.InstanceReservationConfigDetails{held(1, 2, "")}, change: func(c *BuildConfig, s *sim) { c.Subnet = s.build.ADSubnetID(simRegion, "AD-1") },
			says: []string{"the subnet's availability domain is ", ", but the capacity reservation's availability domain is "},
		},
		{
			name: "full", configs: []core.InstanceReservationConfigDetails{held(1, 2, "")}, used: 1,
			says: []string{"capacity_reservation_ocid: reservation ocid1.capacityreservation.", " has no room for " + a1 + " 2 OCPU/12 GB or " + a1 + " 1 OCPU/6 GB", "; it is full"},
		},
		{
			name: "another size", configs: []core.InstanceReservationConfigDetails{held(1, 4, ""), held(2, 3, fd3)},
			says: []string{" has no room for " + a1 + " 2 OCPU/12 GB or ", "; it has room for " + a1 + " 4 OCPU/24 GB, " + a1 + " 3 OCPU/18 GB"},
		},
		{
			name: "another region", change: func(c *BuildConfig, _ *sim) { c.Reservation = "ocid1.capacityreservation.oc1.phx.x" },
			says: []string{"capacity_reservation_ocid: there is no capacity reservation ocid1.capacityreservation.oc1.phx.x in eu-frankfurt-1 that this user may see"},
		},
		{
			name: "not ready", configs: []core.InstanceReservationConfigDetails{held(1, 2, "")},
			sim:  simOptions{wrap: rewrite("/computeCapacityReservations/", func(b string) string { return strings.Replace(b, `"ACTIVE"`, `"CREATING"`, 1) })},
			says: []string{" is CREATING, it must be ACTIVE"},
		},
		{
			name: "a reply that says nothing", configs: []core.InstanceReservationConfigDetails{held(1, 2, "")},
			sim: simOptions{wrap: rewrite("/computeCapacityReservations/", func(string) string {
				return `{"lifecycleState": "ACTIVE", "instanceReservationConfigs": [null, {}, {"reservedCount": 1, "usedCount": 0}]}`
			})},
			says: []string{" has no room for "},
		},
		{
			name: "not for free", configs: []core.InstanceReservationConfigDetails{held(1, 2, "")}, change: func(c *BuildConfig, _ *sim) { c.FreeTier = FreeRequire },
			says: []string{"reserved capacity is not part of the Always Free allowance"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, tt.sim)
				id := "none"
				if tt.configs != nil {
					id = s.reserve(t, tt.configs...)
				}
				with := func(c *BuildConfig) {
					c.Sizes, c.Reservation = []Size{{Shape: a1, OCPUs: 2, MemoryGB: 12}, {Shape: a1, OCPUs: 1, MemoryGB: 6}}, id
					if tt.change != nil {
						tt.change(c, s)
					}
				}
				for range tt.used {
					b := s.newBuild(t, with)
					plan, err := b.Plan(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if _, err := b.Launch(t.Context(), plan.Offers[0], b.owner.Token("one")); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
				}
				b := s.newBuild(t, with)
				plan, err := b.Plan(t.Context())
				var got []string
				for _, o := range plan.Offers {
					got = append(got, short(o))
					if o.Market != "reserved" {
						t.Errorf("offer %+v", o)
					}
				}
				if strings.Join(got, ", ") != strings.Join(tt.offers, ", ") || (err == nil) != (tt.offers != nil) {
					t.Fatalf("%q, %v; want %q", got, err, tt.offers)
				}
				if err != nil {
					checkText(t, err.Error(), tt.says, nil)
					return
				}
				if !plan.NoAsking {
					t.Error("reports are asked for")
				}
				for _, o := range plan.Offers {
					id, err := b.Launch(t.Context(), o, b.owner.Token(o.String()))
					if err == nil {
						err = b.AwaitMachine(t.Context(), id)
					}
					if err != nil {
						t.Errorf("%s: %v", o, err)
						continue
					}
					if err := b.Terminate(t.Context(), id); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// launches records what is said in requests for machines.
type launches struct {
	mu   sync.Mutex
	list []map[string]any
}

func (l *launches) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/instances") {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			said := map[string]any{}
			_ = json.Unmarshal(body, &said)
			l.mu.Lock()
			l.list = append(l.list, said)
			l.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	})
}

// How a machine is paid for is in its request, and only there.
func TestLaunchMarkets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent launches
		s := newSim(t, simOptions{wrap: sent.wrap})
		reservation := s.reserve(t, held(1, 2, "FAULT-DOMAIN-2"))
		for _, tt := range []struct {
			market, key, want string
			change            func(*BuildConfig)
		}{
			{change: func(*BuildConfig) {}},
			{"preemptible", "preemptibleInstanceConfig", `{"preemptionAction":{"preserveBootVolume":false,"type":"TERMINATE"}}`, func(c *BuildConfig) { c.Preemptible = true }},
			{"reserved", "capacityReservationId", `"` + reservation + `"`, func(c *BuildConfig) { c.Reservation = reservation }},
		} {
			sent.list = nil
			b := s.newBuild(t, tt.change)
			plan, err := b.Plan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			o := plan.Offers[0]
			id, err := b.Launch(t.Context(), o, b.owner.Token("one"))
			if err == nil {
				err = b.AwaitMachine(t.Context(), id)
			}
			if err != nil || o.Market != tt.market || len(sent.list) != 1 {
				t.Fatalf("%s: %v, sent %d", o, err, len(sent.list))
			}
			for _, key := range []string{"preemptibleInstanceConfig", "capacityReservationId"} {
				value, is := sent.list[0][key]
				text, _ := json.Marshal(value)
				if is != (key == tt.key) || is && string(text) != tt.want {
					t.Errorf("%s: %s is %s", o, key, text)
				}
			}
			if fd, _ := sent.list[0]["faultDomain"].(string); fd != o.FaultDomain {
				t.Errorf("%s: sent fault domain %q", o, fd)
			}
			if err := b.Terminate(t.Context(), id); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestPlanSaysEverythingAtOnce(t *testing.T) {
	planned{
		sim: simOptions{build: func(b *ocisim.Tenancy) { b.Limits["custom-image-count"] = 1 }, base: func(i *ocisim.BaseImage) { i.Firmware = "BIOS" }},
		change: func(c *BuildConfig, s *sim) {
			c.DiskGB, c.Subnet, c.AvailabilityDomain, c.Reservation = 40, s.build.PrivateSubnetID(simRegion), "x:AD-9", "ocid1.capacityreservation.oc1.phx.x"
		},
		says: []string{"has the firmware BIOS", "disk_size: image ", "assign_public_ip: ", `"custom-image-count"`, "capacity_reservation_ocid: there is no", `availability_domain: "x:AD-9" does not exist in eu-frankfurt-1`},
	}.run(t)
	// What depends on the domains is looked at if they are known.
	planned{
		sim:    simOptions{build: func(b *ocisim.Tenancy) { b.Limits["custom-image-count"] = 1 }, faults: []ocisim.Fault{{Kind: ocisim.FaultShapeAbsent, Shape: a2}}},
		change: func(c *BuildConfig, _ *sim) { c.Sizes = []Size{{Shape: a2, OCPUs: 1, MemoryGB: 6}} },
		says:   []string{`"custom-image-count"`, "shape: " + a2 + " does not exist in "},
	}.run(t)
}
