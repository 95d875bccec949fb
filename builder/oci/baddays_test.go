// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// launches checks how many launches were asked for.
func launches(want int) func(*testing.T, *stage.Stage) {
	return func(t *testing.T, s *stage.Stage) {
		if n := s.Cloud.CountRequests("LaunchInstance"); n != want {
			t.Errorf("%d launches, want %d", n, want)
		}
	}
}

// out lets so many rows of capacity reports say that there is no room; a report
// has eight.
func out(rows int) ocisim.Fault {
	return ocisim.Fault{Kind: ocisim.FaultCapacityReport, Availability: "OUT_OF_HOST_CAPACITY", Times: rows}
}

// unreadable is an operation that the user is not permitted.
func unreadable(op string) ocisim.Fault {
	return ocisim.Fault{Kind: ocisim.FaultStatus, Op: op, Status: 404, Code: "NotAuthorizedOrNotFound", Message: "Authorization failed or requested resource not found."}
}

func TestBadDays(t *testing.T) {
	t.Parallel()
	const launch, image = "LaunchInstance", "CreateImage"
	tests := []struct {
		name   string
		faults []ocisim.Fault
		change map[string]interface{}
		says   []string // on the screen or in the error
		fails  bool
		// leavesImage: an image that cannot be deleted stays, and nothing else.
		leavesImage bool
		checks      func(t *testing.T, s *stage.Stage)
		stage       stage.Options
	}{
		{
			name:   "the first places are full",
			faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity, Times: 3}},
			change: map[string]interface{}{"capacity_reports": false},
			says:   []string{"Attempt 1: ", "Attempt 4: ", "no capacity: Out of host capacity. (500 InternalError, request ", "launched"},
		},
		{
			name:   "only the smaller size fits, in one fault domain",
			faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity, MinOCPUs: 2}, {Kind: ocisim.FaultCapacity, AD: "AD-1"}, {Kind: ocisim.FaultCapacity, AD: "AD-2"}},
			says:   []string{"AD-3: VM.Standard.A1.Flex 1 OCPU/6 GB has room in FAULT-DOMAIN-1, FAULT-DOMAIN-2 and FAULT-DOMAIN-3; no capacity for VM.Standard.A1.Flex 2 OCPU/12 GB, says the capacity report", "1 OCPU/6 GB: launched"},
			checks: launches(1),
		},
		{
			name:   "capacity comes after a while",
			faults: []ocisim.Fault{out(48)},
			says:   []string{"no capacity for VM.Standard.A1.Flex 2 OCPU/12 GB or 1 OCPU/6 GB, says the capacity report. Next: ", "2 OCPU/12 GB: launched"},
		},
		{
			name:   "one fault domain has room, and OCI chooses another",
			stage:  stage.Options{Switches: ocisim.Switches{PicksOneFaultDomain: true}},
			faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity, FaultDomain: "FAULT-DOMAIN-1"}, {Kind: ocisim.FaultCapacity, FaultDomain: "FAULT-DOMAIN-3"}},
			says:   []string{"FAULT-DOMAIN-2 VM.Standard.A1.Flex 2 OCPU/12 GB: launched"},
			checks: launches(1),
		},
		{
			name:  "reports may not be asked for",
			stage: stage.Options{Adjust: func(build, _ *ocisim.Tenancy) { build.NoCapacityReports = true }},
			says:  []string{"this user may not ask for capacity reports, so machines are asked for without knowing", "launched"},
		},
		{
			name: "reports that see room where there is none",
			faults: []ocisim.Fault{
				{Kind: ocisim.FaultCapacityReport, Availability: "AVAILABLE"},
				{Kind: ocisim.FaultCapacity, Times: 3},
			},
			says: []string{"Out of host capacity", "launched"},
		},
		{
			name:   "a report in words that nobody knows",
			faults: []ocisim.Fault{{Kind: ocisim.FaultCapacityReport, Availability: "CONSTRAINT_ERROR"}},
			says:   []string{"launched"},
		},
		{
			name:   "requests are throttled",
			faults: []ocisim.Fault{{Kind: ocisim.FaultThrottle, Op: "CreateComputeCapacityReport", Every: ocisim.Duration(time.Second), Burst: 1}, out(40)},
			says:   []string{"throttled: Too many requests for the user", "slowed down to a request every", "launched"},
		},
		{
			name:   "no capacity for the whole time allowed",
			faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity}},
			change: map[string]interface{}{"capacity_timeout": "1s"},
			says: []string{
				"no machine could be had: the time allowed for the search is over (capacity_timeout = \"1s\")", "place ", "last answer",
				"no capacity: by the last capacity report",
			}, fails: true,
		},
		{
			name:   "a real limit",
			faults: []ocisim.Fault{{Kind: ocisim.FaultLimitValue, Limit: "standard-a1-core-count", Value: 1}},
			says:   []string{"2 OCPU/12 GB is more than the account may have in ", "the limit \"standard-a1-core-count\" is 1, 0 in use", "1 OCPU/6 GB: launched"},
			checks: launches(1),
		},
		{
			name:   "a limit below every size",
			faults: []ocisim.Fault{{Kind: ocisim.FaultLimitValue, Limit: "standard-a1-core-count", Value: 0}},
			says:   []string{"nothing was started", "the limit \"standard-a1-core-count\" is 0"}, fails: true,
			checks: launches(0),
		},
		{
			name:   "a limit that may not be read and is true",
			faults: []ocisim.Fault{{Kind: ocisim.FaultLimitValue, Limit: "standard-a1-core-count", Value: 0}, unreadable("ListLimitValues")},
			says:   []string{"limit reached", "the account's limits allow none of the sizes"}, fails: true,
			checks: launches(6), // each size once in each domain, whose limit it is
		},
		{
			// It is waited out for minutes: internal/oci has that in virtual time.
			name:   "a limit that is reported although nothing is in use",
			faults: []ocisim.Fault{{Kind: ocisim.FaultLimit}},
			change: map[string]interface{}{"capacity_timeout": "1s"},
			says:   []string{"limit reported that own use does not explain", "but only 0 OCPUs and 0 GB are in use"}, fails: true,
			checks: launches(1),
		},
		{
			name:   "what used to be free, on an account without payment",
			stage:  stage.Options{Adjust: func(build, _ *ocisim.Tenancy) { build.AlwaysFree = true }},
			change: map[string]interface{}{"shape_config": map[string]interface{}{"ocpus": 4, "memory_in_gbs": 24}},
			says:   []string{"nothing was started", "4 OCPU/24 GB is more than the account may have", "Since June 2026 Always Free is 2 OCPUs and 12 GB of memory"}, fails: true,
			checks: launches(0),
		},
		{
			name:   "what used to be free, on an account that pays",
			change: map[string]interface{}{"shape_config": map[string]interface{}{"ocpus": 4, "memory_in_gbs": 24}},
			says:   []string{"is launched as asked, and is not free: 2 OCPUs and 12 GB are free", "4 OCPU/24 GB: launched"},
		},
		{
			name:   "what used to be free, and nothing may cost money",
			change: map[string]interface{}{"shape_config": map[string]interface{}{"ocpus": 4, "memory_in_gbs": 24}, "free_tier": "require"},
			says:   []string{"free_tier = \"require\" forbids VM.Standard.A1.Flex 4 OCPU/24 GB", "2 OCPUs and 12 GB are free"}, fails: true,
			checks: launches(0),
		},
		{name: "free, and nothing may cost money", change: map[string]interface{}{"free_tier": "require"}, says: []string{"2 OCPU/12 GB: launched"}},
		{name: "an account without payment", stage: stage.Options{Adjust: func(build, _ *ocisim.Tenancy) { build.AlwaysFree = true }}, change: map[string]interface{}{"free_tier": "require"}, says: []string{"launched"}},
		{
			name: "a user with few permissions",
			faults: []ocisim.Fault{
				unreadable("ListLimitValues"), unreadable("GetResourceAvailability"), unreadable("ListCompartments"), unreadable("ListRegionSubscriptions"),
				unreadable("ListFaultDomains"), unreadable("CreateComputeCapacityReport"),
			},
			says: []string{"launched"},
		},
		{name: "a preemptible machine", change: map[string]interface{}{"preemptible": true}, says: []string{"a preemptible machine is not part of the Always Free allowance", "preemptible: launched"}},
		{
			name: "a preemptible machine of which no image can be made", stage: stage.Options{Switches: ocisim.Switches{RefusesPreemptibleImages: true}},
			change: map[string]interface{}{"preemptible": true, "image_timeout": "2s"}, says: []string{"IncorrectState"}, fails: true,
		},
		{
			name:   "one domain does not have the shape",
			faults: []ocisim.Fault{{Kind: ocisim.FaultShapeAbsent, AD: "AD-1"}, {Kind: ocisim.FaultCapacity, Times: 5}},
			change: map[string]interface{}{"capacity_reports": false},
			says:   []string{"AD-2", "launched"},
			checks: func(t *testing.T, s *stage.Stage) {
				for _, r := range s.Cloud.Requests() {
					if r.Op == launch && r.Status == 404 {
						t.Error("asked a domain that does not have the shape")
					}
				}
			},
		},
		{name: "throttled", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: launch, Status: 429, Code: "TooManyRequests", Message: "Too many requests for the user", Times: 1}}, says: []string{"throttled"}},
		{name: "a failure of the service", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: launch, Status: 500, Code: "InternalError", Message: "An internal error occurred.", Times: 2}}, says: []string{"Asking again with the same token", "launched"}},
		{name: "502 after the launch took effect", faults: []ocisim.Fault{{Kind: ocisim.FaultStatusAfterEffect, Op: launch, Status: 502, Times: 1}}, says: []string{"the machine is there"}},
		{name: "the connection breaks after the launch took effect", faults: []ocisim.Fault{{Kind: ocisim.FaultCutAfterEffect, Op: launch, Times: 1}}, says: []string{"the machine is there"}},
		{name: "502 before the launch took effect", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: launch, Status: 502, Times: 1}}, says: []string{"launched"}},
		{name: "accepted, then out of capacity", faults: []ocisim.Fault{{Kind: ocisim.FaultLaunchFails, Times: 1}}, says: []string{"no capacity", "Out of host capacity", "launched"}},
		{
			name: "stuck without a host", faults: []ocisim.Fault{{Kind: ocisim.FaultLaunchStuck, Times: 1}},
			change: map[string]interface{}{"instance_timeout": "1s"}, says: []string{"no capacity", "no host was found", "launched"},
		},
		{name: "image conflict", faults: []ocisim.Fault{{Kind: ocisim.FaultImageConflict, Times: 1}}},
		{name: "502 after the image took effect", faults: []ocisim.Fault{{Kind: ocisim.FaultStatusAfterEffect, Op: image, Status: 502, Times: 1}}},
		{name: "the connection breaks after the image took effect", faults: []ocisim.Fault{{Kind: ocisim.FaultCutAfterEffect, Op: image, Times: 1}}},
		{name: "an image made by a lost reply, then a refusal", faults: []ocisim.Fault{{Kind: ocisim.FaultStatusAfterEffect, Op: image, Status: 502, Times: 1}, {Kind: ocisim.FaultStatus, Op: image, Status: 429, Code: "TooManyRequests", Message: "slow down", Skip: 1, Times: 1}}},
		{
			name: "a lost reply and a list that fails", faults: []ocisim.Fault{
				{Kind: ocisim.FaultStatusAfterEffect, Op: launch, Status: 502, Times: 1},
				{Kind: ocisim.FaultStatus, Op: "ListInstances", Status: 404, Code: "NotAuthorizedOrNotFound", Message: "no", Skip: 4, Times: 4},
			},
			says: []string{"cannot be looked up"}, fails: true,
		},
		{
			name: "the image cannot be deleted in time", faults: []ocisim.Fault{
				{Kind: ocisim.FaultStatus, Op: "UpdateImage", Status: 400, Code: "InvalidParameter", Message: "no"},
				{Kind: ocisim.FaultStatus, Op: "DeleteImage", Status: 409, Code: "Conflict", Message: "being worked on"},
			},
			change: map[string]interface{}{"cleanup_timeout": "2s"}, says: []string{"please do so by hand"}, fails: true, leavesImage: true,
		},
		{
			name: "connections break while something is waited for", faults: []ocisim.Fault{
				{Kind: ocisim.FaultCutAfterEffect, Op: "GetInstance", Times: 2}, {Kind: ocisim.FaultCutAfterEffect, Op: "ListVnicAttachments", Times: 1},
				{Kind: ocisim.FaultCutAfterEffect, Op: "GetVnic", Times: 1}, {Kind: ocisim.FaultCutAfterEffect, Op: "GetImage", Times: 2},
				{Kind: ocisim.FaultStatus, Op: "GetImage", Status: 504, Skip: 2, Times: 1}, {Kind: ocisim.FaultCutAfterEffect, Op: "TerminateInstance", Times: 1},
			},
		},
		{name: "a malformed header on every image request", faults: []ocisim.Fault{{Kind: ocisim.FaultMalformedHeader, Op: image}}},
		{name: "a malformed header on everything that is read", faults: []ocisim.Fault{{Kind: ocisim.FaultMalformedHeader, Op: "GetImage"}, {Kind: ocisim.FaultMalformedHeader, Op: "GetInstance"}}},
		{name: "a malformed header on a launch", faults: []ocisim.Fault{{Kind: ocisim.FaultMalformedHeader, Op: launch}}},
		{name: "an image without shapes", faults: []ocisim.Fault{{Kind: ocisim.FaultNoShapes}}},
		{
			name: "no image may be made", faults: []ocisim.Fault{{Kind: ocisim.FaultLimitValue, Limit: "custom-image-count", Value: 0}},
			says: []string{"custom-image-count", "nothing was started"}, fails: true,
			checks: func(t *testing.T, s *stage.Stage) {
				if n := s.Cloud.CountRequests(launch); n > 0 {
					t.Errorf("%d launches all the same", n)
				}
			},
		},
		{name: "terminating is refused for a while", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "TerminateInstance", Status: 409, Code: "IncorrectState", Message: "being modified", Times: 2}}},
		{
			name: "foreign image", change: map[string]interface{}{"base_image_ocid": "FOREIGN"},
			says: []string{"base_image_ocid: there is no image", "NotAuthorizedOrNotFound"}, fails: true,
		},
		{name: "private subnet", change: map[string]interface{}{"subnet_ocid": "PRIVATE"}, says: []string{"assign_public_ip", "private"}, fails: true},
		{name: "private address", change: map[string]interface{}{"subnet_ocid": "PRIVATE", "assign_public_ip": false, "use_private_ip": true}},
		{name: "no such domain", change: map[string]interface{}{"availability_domain": "Uocm:NOWHERE-AD-9"}, says: []string{"availability_domain", "there are:"}, fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, tt.stage)
			if err := s.Cloud.AddFaults(tt.faults...); err != nil {
				t.Fatal(err)
			}
			change := maps.Clone(tt.change)
			for k, v := range change {
				switch v {
				case "PRIVATE":
					change[k] = s.Build.PrivateSubnetID(stage.BuildRegion)
				case "FOREIGN":
					change[k] = s.Foreign
				}
			}
			a, said, err := build(t.Context(), t, s, change, nil)
			if (err != nil) != tt.fails {
				t.Fatalf("error: %v\n%s", err, said)
			}
			keep := ""
			if err != nil {
				said += err.Error()
			} else {
				keep = a.Id()
			}
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said:\n%s", want, said)
				}
			}
			left := s.Left(keep)
			if tt.leavesImage {
				left = slices.DeleteFunc(left, func(l string) bool { return strings.HasPrefix(l, "image ") })
			}
			if len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
			if tt.checks != nil {
				tt.checks(t, s)
			}
		})
	}
}
