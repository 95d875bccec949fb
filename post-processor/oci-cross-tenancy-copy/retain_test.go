// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// The last copies of a series are kept in each destination, whatever else there is, and
// only a copy that succeeded deletes any.
func TestRetain(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		v.tagSource(t, map[string]string{owner.Key: owner.Tag{Build: "b1", Role: owner.RoleImage, Series: owner.Series("prefix", "debian")}.String()})
		template := func(name string, set map[string]interface{}) map[string]interface{} {
			in := v.settings("direct")
			in["dest_image_name"] = name
			maps.Copy(in, set)
			return in
		}
		type set = map[string]interface{}
		said := ""
		copied := func(in set) (image string) {
			t.Helper()
			var err error
			if image, said, err = v.copy(t.Context(), t, in); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			return image
		}
		mustHave := func(when string, want ...string) {
			t.Helper()
			var got []string
			for _, i := range v.Inventory().Tenancies[1].Regions[0].Images {
				got = append(got, i.ID)
			}
			if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				t.Errorf("%s there are %q, want %q\n%s", when, got, want, said)
			}
		}
		first := copied(template("first", nil)) // it counts although it was made without retain
		other := copied(template("first-too", set{"image_series": "other"}))
		second := copied(template("second", set{"retain": 2}))
		mustHave("after two", first, other, second)

		// A copy that fails takes nothing away.
		if err := v.AddFaults(ocisim.Fault{Kind: ocisim.FaultImportFails, Message: "The archive is broken.", Times: 1}); err != nil {
			t.Fatal(err)
		}
		var err error
		if _, said, err = v.copy(t.Context(), t, template("failing", set{"retain": 1})); err == nil {
			t.Error("it went well")
		}
		mustHave("after a failure", first, other, second)

		// Machines run in other compartments than images are kept in.
		client := v.compute(t, v.production)
		subnet, zone := v.production.SubnetID(farRegion), v.production.AvailabilityDomains(farRegion)[0]
		shape, cores, memory := "VM.Standard.A1.Flex", float32(1), float32(6)
		m, err := client.LaunchInstance(t.Context(), core.LaunchInstanceRequest{LaunchInstanceDetails: core.LaunchInstanceDetails{
			CompartmentId: &v.production.ChildCompartmentID, AvailabilityDomain: &zone, Shape: &shape,
			ShapeConfig:       &core.LaunchInstanceShapeConfigDetails{Ocpus: &cores, MemoryInGBs: &memory},
			CreateVnicDetails: &core.CreateVnicDetails{SubnetId: &subnet}, SourceDetails: core.InstanceSourceViaImageDetails{ImageId: &first},
		}})
		if err != nil {
			t.Fatal(err)
		}
		third := copied(template("third", set{"retain": 2}))
		if want := "The older image " + first + ` ("first") stays although retain = 2: machine ` + *m.Id + " was made of it"; !strings.Contains(said, want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
		mustHave("while the first is used", first, other, second, third)
		if _, err := client.TerminateInstance(t.Context(), core.TerminateInstanceRequest{InstanceId: m.Id}); err != nil {
			t.Fatal(err)
		}

		// A destination may keep fewer than others.
		in := template("fourth", set{"retain": 5})
		dest(in)["retain"] = 2
		fourth := copied(in)
		if !strings.Contains(said, "Deleting the older image "+first) || !strings.Contains(said, "Deleting the older image "+second) {
			t.Errorf("it is not said what is deleted:\n%s", said)
		}
		mustHave("after the fourth", other, third, fourth)

		// What was made already takes its part as well.
		in["retain"], dest(in)["retain"] = 1, 0
		if again := copied(in); again != fourth {
			t.Errorf("%s is made anew", again)
		}
		mustHave("after the fourth once more", other, fourth)

		// The image that is copied stays.
		in = template("fifth", set{"retain": 1, "source_image_ocid": fourth})
		source := maps.Clone(dest(in))
		delete(source, "route")
		delete(source, "compartment_ocid")
		source["bucket"] = "images"
		in["source"] = source
		fifth := copied(in)
		mustHave("after a copy of a copy", other, fourth, fifth)
	})
}

// What cannot be found out keeps everything, and fails nothing.
func TestRetainBlind(t *testing.T) {
	for _, tt := range []struct {
		op    string
		keeps bool
	}{{"ListInstances", true}, {"DeleteImage", true}, {"ListCompartments", false}} {
		t.Run(tt.op, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				in := v.settings("direct")
				in["image_series"], in["retain"] = "mine", 1
				first, said, err := v.copy(t.Context(), t, in)
				if err != nil {
					t.Fatalf("%v\n%s", err, said)
				}
				if err := v.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: tt.op, Status: 403, Code: "NotAuthorized", Message: "not allowed"}); err != nil {
					t.Fatal(err)
				}
				in["dest_image_name"] = "second"
				second, said, err := v.copy(t.Context(), t, in)
				if err != nil {
					t.Fatalf("%v\n%s", err, said)
				}
				kept := slices.Contains(v.left(), "image "+first) || strings.Contains(strings.Join(v.left(), " "), first)
				if kept != tt.keeps || !strings.Contains(strings.Join(v.left(), " "), second) {
					t.Errorf("the first is kept: %t\n%q\n%s", kept, v.left(), said)
				}
				if line := "older copies of its series could not all be deleted (retain)"; strings.Contains(said, line) != tt.keeps {
					t.Errorf("%q is said: %t\n%s", line, !tt.keeps, said)
				}
			})
		})
	}
}

// A series that nothing names is found missing before anything is exported.
func TestRetainNeedsASeries(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		in := v.settings("direct")
		in["retain"] = 1
		_, said, err := v.copy(t.Context(), t, in)
		if err == nil || !strings.Contains(err.Error(), "does not say to which series it belongs; set image_series") || v.CountRequests("ExportImage") != 0 {
			t.Errorf("%v\n%s", err, said)
		}
	})
}
