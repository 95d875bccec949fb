// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// short writes an offer as "AD-1/2 4" (domain, fault domain, OCPUs).
func short(o capacity.Offer) string {
	_, zone, _ := strings.Cut(o.Zone, "-1-") // "abcd:EU-FRANKFURT-1-AD-2"
	return fmt.Sprintf("%s/%s %g", zone, strings.TrimPrefix(o.FaultDomain, "FAULT-DOMAIN-"), o.OCPUs)
}

func TestPlanOrder(t *testing.T) {
	all := func(size string, domains ...string) (list []string) {
		for _, d := range domains {
			for _, fd := range []string{"", "1", "2", "3"} {
				list = append(list, d+"/"+fd+" "+size)
			}
		}
		return list
	}
	for _, tt := range []struct {
		name   string
		change func(*BuildConfig, []string) // gets the availability domains
		faults []ocisim.Fault
		want   []string
	}{
		{name: "everywhere", want: all("2", "AD-1", "AD-2", "AD-3")},
		{
			name: "the larger size everywhere first", change: func(c *BuildConfig, _ []string) {
				c.Sizes, c.SizesNamed, c.SizeFirst = []Size{{Shape: a1, OCPUs: 4, MemoryGB: 24}, {Shape: a1, OCPUs: 1, MemoryGB: 6}}, true, true
			},
			want: append(all("4", "AD-1", "AD-2", "AD-3"), all("1", "AD-1", "AD-2", "AD-3")...),
		},
		{name: "one domain first", change: func(c *BuildConfig, ads []string) { c.FirstDomain = ads[1] }, want: all("2", "AD-2", "AD-1", "AD-3")},
		{name: "a first domain of another region", change: func(c *BuildConfig, _ []string) { c.FirstDomain = "x:PHX-AD-1" }, want: all("2", "AD-1", "AD-2", "AD-3")},
		{name: "pinned", change: func(c *BuildConfig, ads []string) { c.AvailabilityDomain, c.FirstDomain = ads[2], ads[0] }, want: all("2", "AD-3")},
		{name: "a domain without the shape", faults: []ocisim.Fault{{Kind: ocisim.FaultShapeAbsent, AD: "AD-1"}}, want: all("2", "AD-2", "AD-3")},
		{
			name: "a fixed shape's size is not asked for", change: func(c *BuildConfig, ads []string) { c.Sizes, c.AvailabilityDomain = []Size{{Shape: a1}}, ads[0] },
			want: all("0", "AD-1"),
		},
		{
			name:   "limits that may not be read",
			faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "GetResourceAvailability", Status: 404, Code: "NotAuthorizedOrNotFound", Message: "Authorization failed"}},
			want:   all("2", "AD-1", "AD-2", "AD-3"),
		},
		{
			name:   "fault domains that may not be listed",
			faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "ListFaultDomains", Status: 404, Code: "NotAuthorizedOrNotFound", Message: "Authorization failed"}},
			want:   []string{"AD-1/ 2", "AD-2/ 2", "AD-3/ 2"},
		},
		{
			name:   "domains that may not be listed, one pinned",
			faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "ListAvailabilityDomains", Status: 404, Code: "NotAuthorizedOrNotFound", Message: "Authorization failed"}},
			change: func(c *BuildConfig, ads []string) { c.AvailabilityDomain = ads[1] },
			want:   all("2", "AD-2"),
		},
		{
			name: "a service that hiccups", want: all("2", "AD-1", "AD-2", "AD-3"),
			faults: []ocisim.Fault{
				{Kind: ocisim.FaultStatus, Op: "ListShapes", Status: 429, Code: "TooManyRequests", Message: "Too many requests", Times: 3},
				{Kind: ocisim.FaultStatus, Op: "GetSubnet", Status: 502, Times: 2},
				{Kind: ocisim.FaultMalformedHeader, Op: "GetImage"},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, simOptions{faults: tt.faults})
				b := s.newBuild(t, func(c *BuildConfig) {
					if tt.change != nil {
						tt.change(c, s.build.AvailabilityDomains(simRegion))
					}
				})
				plan, err := b.Plan(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, o := range plan.Offers {
					got = append(got, short(o))
					if o.Cloud != "oci" || o.Region != simRegion || o.Shape != a1 || o.MemoryGB != 6*o.OCPUs {
						t.Errorf("offer %+v", o)
					}
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got  %q\nwant %q", got, tt.want)
				}
			})
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		sim    simOptions
		change func(*BuildConfig, *sim)
		says   []string
		silent []string // must not be said
	}{
		{
			name: "BIOS image", sim: simOptions{base: func(i *ocisim.BaseImage) { i.Firmware = machine.BIOS }},
			says: []string{"base_image_ocid", "has the firmware BIOS", "starts only images with UEFI_64"},
		},
		{
			name: "image of another shape", sim: simOptions{base: func(i *ocisim.BaseImage) { i.Shapes = []string{"VM.Standard2.1"} }},
			says: []string{"cannot start on " + a1, "add the shape to the image's compatible shapes"}, silent: []string{"shape: "},
		},
		{
			name: "shape nowhere", sim: simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultShapeAbsent}}},
			says: []string{"shape: " + a1 + " does not exist in", "AD-1", "AD-3"}, silent: []string{"cannot start on"},
		},
		{
			name: "image not available", sim: simOptions{wrap: rewrite("/images/", func(b string) string { return strings.Replace(b, `"AVAILABLE"`, `"IMPORTING"`, 1) })},
			says: []string{"base_image_ocid", "is IMPORTING, it must be AVAILABLE"},
		},
		{
			name: "foreign image", change: func(c *BuildConfig, s *sim) { c.BaseImage = s.theirs },
			says: []string{"base_image_ocid: there is no image", "another tenancy's images cannot be used"},
		},
		{
			name: "private subnet", change: func(c *BuildConfig, s *sim) { c.Subnet = s.build.PrivateSubnetID(simRegion) },
			says: []string{"assign_public_ip: subnet", "is private"},
		},
		{
			name: "no such subnet", change: func(c *BuildConfig, s *sim) { c.Subnet = s.neighbour.SubnetID(simRegion) },
			says: []string{"subnet_ocid: there is no subnet"},
		},
		{
			name: "everything at once",
			sim:  simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultLimitValue, Limit: "custom-image-count", Value: 0}}},
			change: func(c *BuildConfig, s *sim) {
				c.BaseImage, c.Subnet, c.AvailabilityDomain = s.theirs, s.build.PrivateSubnetID(simRegion), "x:AD-9"
			},
			says: []string{"nothing was started", "base_image_ocid", "assign_public_ip", "custom-image-count", `availability_domain: "x:AD-9" does not exist`, "AD-1, "},
		},
		{
			name: "no image is made, so its limit does not matter, but the rest does",
			sim:  simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultLimitValue, Limit: "custom-image-count", Value: 0}}},
			change: func(c *BuildConfig, s *sim) {
				c.Image.Skip, c.BaseImage = true, s.theirs
			},
			says: []string{"base_image_ocid"}, silent: []string{"custom-image-count"},
		},
		{
			name: "domains that may not be listed", sim: simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "ListAvailabilityDomains", Status: 404, Code: "NotAuthorizedOrNotFound", Message: "Authorization failed"}}},
			says: []string{"may not list availability domains", "availability_domain"},
		},
		{
			name: "the service is down for long", sim: simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "GetImage", Status: 503, Code: "ServiceUnavailable", Message: "down"}}},
			says: []string{"base_image_ocid", "timed out after 3m0s", "down (503 ServiceUnavailable"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, tt.sim)
				b := s.newBuild(t, func(c *BuildConfig) {
					if tt.change != nil {
						tt.change(c, s)
					}
				})
				plan, err := b.Plan(t.Context())
				if err == nil || plan.Offers != nil {
					t.Fatalf("planned %v", plan)
				}
				for _, want := range tt.says {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q is not said: %v", want, err)
					}
				}
				for _, not := range tt.silent {
					if strings.Contains(err.Error(), not) {
						t.Errorf("%q is said: %v", not, err)
					}
				}
			})
		})
	}
}

// Credentials that are refused stop the plan with what to check.
func TestPlanWithAWrongKey(t *testing.T) {
	s := newSim(t, simOptions{})
	c, err := NewClient(Credentials{
		Tenancy: s.build.ID, User: s.build.UserID, Fingerprint: s.neighbour.Fingerprint(), KeyPEM: s.neighbour.PrivateKeyPEM(), Region: simRegion,
	}, Options{HTTP: s.http})
	if err != nil {
		t.Fatal(err)
	}
	_, err = buildOver(c, nil).Plan(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the key is not registered for this user") || !strings.Contains(err.Error(), s.neighbour.Fingerprint()) {
		t.Errorf("%v", err)
	}
	for _, r := range s.Requests() {
		if r.Status < 400 {
			t.Errorf("let in: %+v", r)
		}
	}
}
