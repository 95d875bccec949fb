// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"strings"
	"testing"

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
