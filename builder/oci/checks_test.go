// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// A copy that could not work ends the build before a machine is asked for.
func TestCheckDestination(t *testing.T) {
	for _, room := range []int64{0, 25} {
		s := stage.ForTest(t, stage.Options{Adjust: func(_, p *ocisim.Tenancy) { p.Limits["custom-image-count"] = room }})
		p := s.Production
		a, said, err := build(t.Context(), t, s, map[string]interface{}{"check_destination": []interface{}{map[string]interface{}{
			"tenancy_ocid": p.ID, "user_ocid": p.UserID, "fingerprint": p.Fingerprint(), "key": p.PrivateKeyPEM(), "region": p.HomeRegion, "compartment_ocid": p.CompartmentID,
		}}}, touch)
		if room > 0 {
			if err != nil || !strings.Contains(said, "The image can be copied to "+stage.ProductionRegion) {
				t.Fatalf("%v\n%s", err, said)
			}
			if left := s.Left(a.Id()); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "the image could not be copied to where it is needed") || !strings.Contains(err.Error(), "custom-image-count") {
			t.Errorf("%v", err)
		}
		if n := s.Cloud.CountRequests("LaunchInstance"); n > 0 {
			t.Errorf("%d machines were asked for", n)
		}
	}
}

// What starting the copy would need is looked at before a machine is asked for, too.
func TestCheckDestinationVerify(t *testing.T) {
	for _, tt := range []struct {
		name   string
		verify map[string]interface{}
		limits map[string]int64
		says   []string // nothing: it is good
	}{
		{name: "good"},
		{name: "no subnet", verify: map[string]interface{}{"subnet_ocid": "ocid1.subnet.oc1.sa-saopaulo-1.nowhere"}, says: []string{"verify: subnet_ocid: there is no subnet ocid1.subnet.oc1.sa-saopaulo-1.nowhere"}},
		{name: "no shape", verify: map[string]interface{}{"shape": "VM.Standard.A9.Flex", "shape_config": []interface{}{map[string]interface{}{"ocpus": 1}}}, says: []string{"verify: shape: VM.Standard.A9.Flex does not exist"}},
		{name: "no domain", verify: map[string]interface{}{"availability_domain": "x:ELSEWHERE-AD-1"}, says: []string{`verify: availability_domain: "x:ELSEWHERE-AD-1" does not exist`}},
		{name: "no group", verify: map[string]interface{}{"nsg_ids": []string{"ocid1.networksecuritygroup.oc1.sa-saopaulo-1.nowhere"}}, says: []string{"verify: nsg_ids"}},
		{name: "no bastion", verify: map[string]interface{}{"assign_public_ip": nil, "oci_bastion": map[string]interface{}{"bastion_ocid": "ocid1.bastion.oc1.sa-saopaulo-1.nowhere"}}, says: []string{"verify: oci_bastion"}},
		{name: "no cores and no room", limits: map[string]int64{"standard-a1-core-count": 0, "custom-image-count": 0}, says: []string{`the limit "custom-image-count"`, "verify: ", "standard-a1-core-count"}},
		{name: "no disk", limits: map[string]int64{"total-storage-gb": 10}, says: []string{"verify: ", `"total-storage-gb"`}},
		{name: "not free", verify: map[string]interface{}{"free_allowance": map[string]interface{}{"ocpus": 0.5, "memory_in_gbs": 1}}, says: []string{"verify: ", "would not be free"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stage.ForTest(t, stage.Options{Adjust: func(_, p *ocisim.Tenancy) {
				for name, value := range tt.limits {
					p.Limits[name] = value
				}
			}})
			p := s.Production
			verify := map[string]interface{}{"subnet_ocid": p.SubnetID(stage.ProductionRegion), "assign_public_ip": true}
			for name, value := range tt.verify {
				verify[name] = value
			}
			_, said, err := build(t.Context(), t, s, map[string]interface{}{"skip_create_image": true, "check_destination": []interface{}{map[string]interface{}{
				"tenancy_ocid": p.ID, "user_ocid": p.UserID, "fingerprint": p.Fingerprint(), "key": p.PrivateKeyPEM(), "region": p.HomeRegion, "compartment_ocid": p.CompartmentID, "verify": verify,
			}}}, touch)
			if len(tt.says) == 0 {
				if err != nil {
					t.Errorf("%v\n%s", err, said)
				}
				return
			}
			if err == nil {
				t.Fatalf("it is built:\n%s", said)
			}
			for _, want := range append(tt.says, "the image could not be copied to where it is needed") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said:\n%v", want, err)
				}
			}
			if n := s.Cloud.CountRequests("LaunchInstance"); n > 0 {
				t.Errorf("%d machines were asked for", n)
			}
			if left := s.Left(); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// What is wrong with the machine is said in the words of the template.
func TestMistakesOfCheckDestination(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	p := s.Production
	in := settings(s)
	in["check_destination"] = []interface{}{map[string]interface{}{
		"tenancy_ocid": p.ID, "user_ocid": p.UserID, "fingerprint": p.Fingerprint(), "key": p.PrivateKeyPEM(), "region": p.HomeRegion,
		"verify": map[string]interface{}{"free_tier": "always", "assign_public_ip": true, "oci_bastion": map[string]interface{}{}},
	}}
	_, _, err := (&Builder{Mask: new(mask.Masker)}).Prepare(in)
	for _, want := range []string{"check_destination.verify.subnet_ocid must be set", `check_destination.verify.free_tier must be "prefer"`, "check_destination.verify.oci_bastion: assign_public_ip must be false"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said:\n%v", want, err)
		}
	}
}
