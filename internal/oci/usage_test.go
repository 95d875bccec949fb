// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// tree is a tenancy with many compartments, each of which has some instances,
// in lists of several pages.
type tree struct {
	compartments []string
	instances    map[string][]string // JSON by compartment; nil: may not be listed
	got          seen
}

func (tr *tree) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tr.got.add(r)
	q := r.URL.Query()
	page := func(items []string) {
		from := 0
		_, _ = fmt.Sscan(q.Get("page"), &from)
		to := min(from+2, len(items))
		if to < len(items) {
			w.Header().Set("Opc-Next-Page", fmt.Sprint(to))
		}
		answer(w, 200, json.RawMessage("["+strings.Join(items[from:to], ",")+"]"))
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/compartments"):
		var items []string
		for _, c := range tr.compartments {
			items = append(items, map[bool]string{true: "{}", false: fmt.Sprintf(`{"id": %q}`, c)}[c == ""])
		}
		page(items)
	case strings.HasSuffix(r.URL.Path, "/instances"):
		items, ok := tr.instances[q.Get("compartmentId")]
		if !ok {
			refuse(w, 404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.")
			return
		}
		page(items)
	default:
		refuse(w, 400, "Unexpected", r.URL.Path)
	}
}

func TestUse(t *testing.T) {
	const root, ours = "ocid1.tenancy.oc1..t", `"armfree": "build=b0 role=instance expires=2026-01-01T00:00:00Z"`
	one := func(state, fields string) string {
		return fmt.Sprintf(`{"id": "i", "displayName": "n", "availabilityDomain": "x:AD-1", "shape": %q, "lifecycleState": %q, "shapeConfig": {"ocpus": 1, "memoryInGBs": 6}%s}`, a1, state, fields)
	}
	gone := func(fd, created, tags string) string {
		return one("TERMINATED", fmt.Sprintf(`, "faultDomain": %q, "timeCreated": %q, "freeformTags": {%s}`, fd, created, tags))
	}
	for _, tt := range []struct {
		name   string
		tree   *tree
		runs   float32 // OCPUs
		part   bool    // not everything is seen
		worked []string
		asked  int // lists of instances
	}{
		{name: "nothing", tree: &tree{instances: map[string][]string{root: {}, "c": {}}}, asked: 2},
		{
			name: "several pages of both", runs: 8, asked: 9,
			tree: &tree{compartments: []string{"c1", "c2", "c3", "c", "c5"}, instances: map[string][]string{
				root: {one("RUNNING", "")}, "c": {one("STOPPED", ""), one("TERMINATED", ""), one("CREATING_IMAGE", ""), one("TERMINATING", ""), one("PROVISIONING", "")},
				"c1": nil, "c2": {}, "c3": {one("MOVING", "")}, "c5": {one("STARTING", ""), one("STOPPING", ""), one("TERMINATED", "")},
			}},
		},
		{name: "a compartment that may not be seen", part: true, runs: 1, asked: 3, tree: &tree{compartments: []string{"secret"}, instances: map[string][]string{root: {one("RUNNING", "")}, "c": {}}}},
		{name: "the root may not be seen", part: true, runs: 1, asked: 2, tree: &tree{instances: map[string][]string{"c": {one("RUNNING", "")}}}},
		{
			name: "what gave a machine, the latest first and once", asked: 5, worked: []string{"FD-2", "FD-3", "FD-1"},
			tree: &tree{instances: map[string][]string{root: {gone("FD-3", "2026-01-01T02:00:00Z", ours)}, "c": {
				gone("FD-1", "2026-01-01T01:00:00.5Z", ours), gone("FD-2", "2026-01-01T03:00:00Z", ours), gone("FD-1", "2026-01-01T00:00:00Z", ours),
				gone("FD-4", "2026-01-01T09:00:00Z", `"armfree": "1"`), gone("FD-5", "2026-01-01T09:00:00Z", `"other": "build=b role=instance"`),
				gone("FD-6", "2026-01-01T09:00:00Z", ""), one("TERMINATED", `, "freeformTags": {`+ours+`}`),
			}}},
		},
		{name: "replies that say nothing", asked: 3, tree: &tree{compartments: []string{""}, instances: map[string][]string{root: {"{}", "null"}, "c": {`{"shapeConfig": null, "shape": null}`, `{"shape": "VM.Standard.A1.Flex"}`, `{"shape": "VM.Standard.A1.Flex", "shapeConfig": {}}`}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := wire(t, tt.tree.ServeHTTP)
			u := c.use(t.Context(), "c")
			ocpus, memoryGB := u.of(family(a1), "")
			if ocpus != tt.runs || memoryGB != 6*tt.runs || u.whole == tt.part {
				t.Errorf("%g OCPUs and %g GB, all of it %t", ocpus, memoryGB, u.whole)
			}
			var worked []string
			for _, o := range u.worked {
				worked = append(worked, o.FaultDomain)
				if o != (capacity.Offer{Cloud: "oci", Region: simRegion, Zone: "x:AD-1", FaultDomain: o.FaultDomain, Shape: a1, OCPUs: 1, MemoryGB: 6}) {
					t.Errorf("%+v", o)
				}
			}
			if !slices.Equal(worked, tt.worked) {
				t.Errorf("worked %q, want %q", worked, tt.worked)
			}
			if n := tt.tree.got.count("GET /20160918/instances"); n != tt.asked {
				t.Errorf("%d lists of instances, want %d: %q", n, tt.asked, tt.tree.got.list)
			}
		})
	}
}

func TestExceeded(t *testing.T) {
	runs := func(shape, domain string, ocpus, memoryGB float32) running {
		return running{shape: shape, domain: domain, ocpus: ocpus, memoryGB: memoryGB}
	}
	has := limitValues{
		"standard-a1-core-count": {"AD-1": 4, "AD-2": 0}, "standard-a1-core-regional-count": {"": 6},
		"standard-a1-memory-count": {"AD-1": 24},
	}
	for _, tt := range []struct {
		name   string
		used   []running
		size   Size
		domain string
		want   string
	}{
		{name: "all of it", size: Size{Shape: a1, OCPUs: 4, MemoryGB: 24}, domain: "AD-1"},
		{name: "one more", size: Size{Shape: a1, OCPUs: 5, MemoryGB: 24}, domain: "AD-1", want: `the limit "standard-a1-core-count" is 4, 0 in use`},
		{name: "more memory", size: Size{Shape: a1, OCPUs: 4, MemoryGB: 25}, domain: "AD-1", want: `the limit "standard-a1-memory-count" is 24, 0 in use`},
		{name: "none there", size: Size{Shape: a1, OCPUs: 1, MemoryGB: 6}, domain: "AD-2", want: `the limit "standard-a1-core-count" is 0, 0 in use`},
		{name: "a domain without limits", size: Size{Shape: a1, OCPUs: 6, MemoryGB: 600}, domain: "AD-3"},
		{name: "in the region", size: Size{Shape: a1, OCPUs: 1, MemoryGB: 6}, domain: "AD-1", used: []running{runs(a1, "AD-2", 6, 36)}, want: `the limit "standard-a1-core-regional-count" is 6, 6 in use`},
		{name: "another family", size: Size{Shape: a1, OCPUs: 4, MemoryGB: 24}, domain: "AD-1", used: []running{runs("VM.Standard.A2.Flex", "AD-1", 6, 36), runs("VM.Standard.A10.Flex", "AD-1", 6, 36), runs("VM.Standard.E2.1.Micro", "AD-1", 1, 1), runs("", "AD-1", 9, 9)}},
		{name: "a bare machine", size: Size{Shape: a1, OCPUs: 1, MemoryGB: 6}, domain: "AD-1", used: []running{runs(bare, "AD-1", 4, 1)}, want: `the limit "standard-a1-core-count" is 4, 4 in use`},
		{name: "parts that do not add up in binary", size: Size{Shape: a1, OCPUs: 3, MemoryGB: 6}, domain: "AD-1", used: slices.Repeat([]running{runs(a1, "AD-1", 0.1, 1)}, 10)},
		{name: "a fixed shape", size: Size{Shape: bare}, domain: "AD-2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(has.exceeded(usage{machines: tt.used}, tt.size, tt.domain), "; "); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// What is only good to know does not hold a build up for long, however many
// compartments there are and limits to read.
func TestALookIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tree{instances: map[string][]string{}}
		for i := range 100 {
			tr.compartments = append(tr.compartments, fmt.Sprintf("c%d", i))
		}
		c := wire(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/compartments") {
				tr.ServeHTTP(w, r)
				return
			}
			refuse(w, 503, "ServiceUnavailable", "down")
		})
		start := time.Now()
		if u := c.use(t.Context()); u.whole || time.Since(start) > 2*repeatFor {
			t.Errorf("seen all: %t, after %s", u.whole, time.Since(start))
		}
		start = time.Now()
		if has := c.readLimits(t.Context(), []string{a1, "VM.Standard.A2.Flex", "VM.Standard.A4.Flex"}); len(has) != 0 || time.Since(start) > 2*repeatFor {
			t.Errorf("limits %v after %s", has, time.Since(start))
		}
	})
}

// A limits service that is down is waited for, and then done without.
func TestPlanWithoutLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := func(op string) ocisim.Fault {
			return ocisim.Fault{Kind: ocisim.FaultStatus, Op: op, Status: 503, Code: "ServiceUnavailable", Message: "down"}
		}
		s := newSim(t, simOptions{faults: []ocisim.Fault{down("ListLimitValues"), down("GetResourceAvailability"), down("ListRegionSubscriptions"), down("ListCompartments")}})
		start := time.Now()
		plan, err := s.newBuild(t, nil).Plan(t.Context())
		if err != nil || len(plan.Offers) != 12 {
			t.Errorf("%v, %v", plan, err)
		}
		if d := time.Since(start); d > 20*time.Minute {
			t.Errorf("it took %s", d)
		}
	})
}
