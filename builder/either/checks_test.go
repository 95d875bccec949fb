// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package either

import (
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// A copy that could not work ends the build before a machine is asked for.
func TestCheckDestination(t *testing.T) {
	s := stage.ForTest(t, stage.Options{Adjust: func(_, p *ocisim.Tenancy) { p.Limits["custom-image-count"] = 0 }})
	p := s.Production
	_, said, err := build(t.Context(), t, s, set{"check_destination": []interface{}{set{
		"tenancy_ocid": p.ID, "user_ocid": p.UserID, "fingerprint": p.Fingerprint(), "key": p.PrivateKeyPEM(), "region": p.HomeRegion, "compartment_ocid": p.CompartmentID,
		"verify": set{"subnet_ocid": "ocid1.subnet.oc1.sa-saopaulo-1.nowhere"},
	}}}, nil)
	for _, want := range []string{"the image could not be copied to where it is needed", "custom-image-count", "verify: subnet_ocid: there is no subnet"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v\n%s", want, err, said)
		}
	}
	if n := s.Cloud.CountRequests("LaunchInstance") + s.AWS.Cloud.CountRequests("RunInstances") + s.AWS.Cloud.CountRequests("CreateFleet"); n > 0 {
		t.Errorf("%d machines were asked for", n)
	}
}
