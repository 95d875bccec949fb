// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// group makes a network security group of the build tenancy, in its VCN or in
// the other one.
func (s *sim) group(t *testing.T, vcn string) string {
	t.Helper()
	c, err := core.NewVirtualNetworkClientWithConfigurationProvider(common.NewRawConfigurationProvider(
		s.build.ID, s.build.UserID, simRegion, s.build.Fingerprint(), s.build.PrivateKeyPEM(), nil))
	if err != nil {
		t.Fatal(err)
	}
	c.HTTPClient = s.http
	r, err := c.CreateNetworkSecurityGroup(t.Context(), core.CreateNetworkSecurityGroupRequest{CreateNetworkSecurityGroupDetails: core.CreateNetworkSecurityGroupDetails{
		CompartmentId: &s.build.CompartmentID, VcnId: &vcn,
	}})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	return *r.Id
}

// What a template names and is not there would only show when the build is nearly
// over, or as a refusal that does not say of what.
func TestPlanLooksUpWhatIsNamed(t *testing.T) {
	everywhere := []string{"AD-1 2", "AD-2 2", "AD-3 2"}
	tagged := simOptions{build: func(b *ocisim.Tenancy) { b.TagNamespaces = map[string][]string{"ns": {"k", "Other"}} }}
	refused := func(base simOptions, faults ...ocisim.Fault) simOptions { base.faults = faults; return base }
	retired := tagged
	retired.wrap = rewrite("/tagNamespaces/", func(b string) string { return strings.Replace(b, `"isRetired":false`, `"isRetired":true`, 1) })
	defined := func(namespace, key string) DefinedTags { return DefinedTags{namespace: {key: "v"}} }
	const nobodys = "ocid1.compartment.oc1..aaaanobody"
	var mine, other string
	groups := func(t *testing.T, s *sim) {
		mine, other = s.group(t, s.build.VCNID(simRegion)), s.group(t, s.build.EmptyVCNID(simRegion))
	}
	for _, tt := range []planned{
		{
			name: "a shape that is nowhere", change: func(c *BuildConfig, _ *sim) { c.Image.Shapes = []string{a1, "VM.Standard.A9.Flex"} },
			says: []string{"image_shapes: VM.Standard.A9.Flex does not exist in " + simRegion}, silent: []string{a1 + " does not"},
		},
		{
			name: "a shape that is nowhere, and no image is made", change: func(c *BuildConfig, _ *sim) {
				c.Image.Shapes, c.Image.Skip = []string{"VM.Standard.A9.Flex"}, true
			},
			sizes: everywhere,
		},
		{
			name: "a shape of another domain than the one that is pinned", sizes: []string{"AD-1 2"},
			sim: simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultShapeAbsent, Shape: a2, AD: "AD-1"}}},
			change: func(c *BuildConfig, s *sim) {
				c.Image.Shapes, c.AvailabilityDomain = []string{a1, a2}, s.ad("AD-1")
			},
		},
		{
			name: "a shape that may be in a domain that cannot be seen", sizes: []string{"AD-1 2"},
			sim: simOptions{faults: []ocisim.Fault{denied("ListAvailabilityDomains"), {Kind: ocisim.FaultShapeAbsent, Shape: a2, AD: "AD-1"}}},
			change: func(c *BuildConfig, s *sim) {
				c.Image.Shapes, c.AvailabilityDomain = []string{a1, a2}, s.ad("AD-1")
			},
			says: []string{"image_shapes: " + a2 + " does not exist in "},
		},
		{
			name: "tags that exist", sim: tagged, sizes: everywhere, change: func(c *BuildConfig, _ *sim) {
				c.InstanceDefinedTags, c.VNICDefinedTags, c.Image.DefinedTags = defined("NS", "K"), defined("ns", "other"), defined("ns", "k")
			},
		},
		{
			name: "tags that do not exist", sim: tagged, change: func(c *BuildConfig, _ *sim) {
				c.InstanceDefinedTags, c.VNICDefinedTags, c.Image.DefinedTags = defined("nsx", "k"), defined("ns", "kx"), defined("ns", "ky")
			},
			says: []string{
				`instance_defined_tags: there is no tag namespace "nsx" in this tenancy; there are: ns`,
				`create_vnic_details: defined_tags: the tag namespace "ns" has no key "kx"; it has: Other, k`,
				"\n" + `defined_tags: the tag namespace "ns" has no key "ky"`,
			},
		},
		{
			name: "tags of an image that is not made", sim: tagged, sizes: everywhere, change: func(c *BuildConfig, _ *sim) {
				c.Image.DefinedTags, c.Image.Skip = defined("nsx", "k"), true
			},
		},
		{
			name: "a retired key", sim: retired, change: func(c *BuildConfig, _ *sim) { c.InstanceDefinedTags = defined("ns", "k") },
			says: []string{`instance_defined_tags: the key "k" of the tag namespace "ns" is retired`},
		},
		{
			name: "tags that this user may not look up", sim: refused(tagged, denied("ListTagNamespaces")), sizes: everywhere,
			change: func(c *BuildConfig, _ *sim) { c.InstanceDefinedTags = defined("nsx", "k") },
		},
		{
			name: "keys that this user may not look up", sim: refused(tagged, denied("ListTags")), sizes: everywhere,
			change: func(c *BuildConfig, _ *sim) { c.InstanceDefinedTags = defined("ns", "kx") },
		},
		{
			name: "a compartment", change: func(c *BuildConfig, _ *sim) { c.Compartment, c.Image.Compartment = nobodys, nobodys },
			says: []string{"compartment_ocid: compartment " + nobodys + ", in which the image is to be made, does not exist"}, silent: []string{"list shapes", "image_compartment_ocid"},
		},
		{
			name: "a compartment of the machine only", change: func(c *BuildConfig, _ *sim) { c.Compartment = nobodys },
			says: []string{"compartment_ocid: compartment " + nobodys + " does not exist, or this user may not list shapes in it"}, silent: []string{"image_compartment_ocid"},
		},
		{
			name: "a compartment of the image only", change: func(c *BuildConfig, _ *sim) { c.Image.Compartment = nobodys },
			says: []string{"image_compartment_ocid: compartment " + nobodys + ", in which the image"}, silent: []string{"\ncompartment_ocid"},
		},
		{
			name: "a compartment of images", change: func(c *BuildConfig, _ *sim) {
				c.BaseImage, c.ImageFilter = "", &ImageFilter{Compartment: nobodys, OS: "Debian"}
			},
			says: []string{"base_image_filter: compartment_id: compartment " + nobodys + " does not exist, or this user may not list images in it"},
		},
		{name: "a group", before: groups, change: func(c *BuildConfig, _ *sim) { c.NSGs = []string{mine} }, sizes: everywhere},
		{
			name: "a group that is not there", change: func(c *BuildConfig, _ *sim) { c.NSGs = []string{"ocid1.networksecuritygroup.oc1..x"} },
			says: []string{"nsg_ids: there is no network security group ocid1.networksecuritygroup.oc1..x in " + simRegion + " that this user may see"},
		},
		{
			name: "a group of another network", before: groups, change: func(c *BuildConfig, _ *sim) { c.NSGs = []string{mine, other} },
			says: []string{"nsg_ids: network security group ", "is in another VCN than subnet "},
		},
	} {
		t.Run(tt.name, tt.run)
	}
}

// OCI does not say what was not found: the options that may be meant are named.
func TestLaunchThatFindsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		key := "ocid1.key.oc1.fra.none"
		for _, tt := range []struct {
			change       func(*BuildConfig)
			says, silent []string
		}{
			{
				change: func(c *BuildConfig) { c.KMSKey = key },
				says:   []string{"It may be about subnet_ocid, kms_key_ocid or compartment_ocid", "(404 NotAuthorizedOrNotFound"}, silent: []string{"nsg_ids", "reservation"},
			},
			{
				change: func(c *BuildConfig) {
					c.NSGs, c.Reservation = []string{"ocid1.networksecuritygroup.oc1..x"}, "ocid1.capacityreservation.oc1..x"
				},
				says: []string{"subnet_ocid, nsg_ids, compartment_ocid or capacity_reservation_ocid"}, silent: []string{"kms"},
			},
		} {
			b := s.newBuild(t, tt.change)
			_, err := b.Launch(t.Context(), capacity.Offer{Zone: s.ad("AD-1"), Shape: a1, OCPUs: 1, MemoryGB: 6}, "t")
			v := b.Classify(err)
			if v.Outcome != capacity.Rejected {
				t.Errorf("outcome %v", v.Outcome)
			}
			checkText(t, v.Reason, tt.says, tt.silent)
		}
		_, err := s.newBuild(t, nil).Launch(t.Context(), capacity.Offer{Zone: s.ad("AD-1"), Shape: "VM.Standard.A9.Flex", OCPUs: 1, MemoryGB: 6}, "t")
		if v := s.newBuild(t, nil).Classify(err); v.Outcome != capacity.Unavailable || strings.Contains(v.Reason, "subnet_ocid") {
			t.Errorf("a shape: %+v", v)
		}
	})
}

// A build that gets no answer says so before it gives up.
func TestNoAnswerIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "ListAvailabilityDomains", Status: 503, Code: "ServiceUnavailable", Message: "no"}}})
		b := s.newBuild(t, nil)
		var said []string
		start := time.Now()
		b.say = func(f string, a ...any) {
			said = append(said, time.Since(start).Round(time.Second).String()+" "+fmt.Sprintf(f, a...))
		}
		if _, err := b.Plan(t.Context()); err == nil {
			t.Fatal("planned")
		}
		if len(said) != 3 || !strings.HasPrefix(said[0], "20s OCI in "+simRegion+" has not answered yet (20s), it is asked again; the last attempt: list availability domains: no (503") || !strings.HasPrefix(said[1], "1m20s ") {
			t.Errorf("%q", said)
		}
	})
}
