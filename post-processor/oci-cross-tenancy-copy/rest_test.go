// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// The command for each tenancy names the variables that have its credentials, and none
// that have another's.
func TestRestNamesVariables(t *testing.T) {
	t.Setenv("BUILD_OCI_TENANCY_OCID", "")
	t.Setenv("PROD_OCI_TENANCY_OCID", "ocid1.tenancy.oc1..prod")
	in := func(tenancy string) *oci.Client {
		return &oci.Client{Tenancy: tenancy, Region: "eu-frankfurt-1"}
	}
	c := &imagecopy.Copy{Owner: owner.Build{ID: "abc"}, Store: &oci.Bucket{Client: in("ocid1.tenancy.oc1..build")}}
	for _, tenancy := range []string{"ocid1.tenancy.oc1..prod", "ocid1.tenancy.oc1..other"} {
		c.Targets = append(c.Targets, imagecopy.Target{Destination: &oci.Importer{Client: in(tenancy), Compartment: "in-" + tenancy}})
	}
	// The buckets on the way may be in other regions, and in any compartment.
	near := func(tenancy, region string) *oci.Bucket {
		return &oci.Bucket{Client: &oci.Client{Tenancy: tenancy, Region: region}}
	}
	c.Targets[1].Ways = []imagecopy.Way{
		&oci.CopyWay{Bucket: near("ocid1.tenancy.oc1..build", "uk-london-1")},
		&oci.RelayWay{Bucket: near("ocid1.tenancy.oc1..other", "ap-tokyo-1")},
	}
	ways := 0
	all := rest(c)
	for _, l := range all {
		if strings.HasSuffix(l, "--region uk-london-1 --compartment all") || strings.HasSuffix(l, "--region ap-tokyo-1 --compartment all") {
			ways++
		}
	}
	if len(all) != 5 || ways != 2 {
		t.Fatalf("%q", all)
	}
	for _, l := range all {
		if got := strings.Contains(l, "--env-prefix PROD_"); got != strings.Contains(l, "in-ocid1.tenancy.oc1..prod") || strings.Contains(l, "BUILD_") {
			t.Errorf("%q", l)
		}
	}
}
