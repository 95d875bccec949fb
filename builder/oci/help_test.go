// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// The error of a build leads to the page about it.
func TestErrorsHaveAPage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		page   help.Page
		fault  ocisim.Fault
		change options
		adjust func(b *ocisim.Tenancy)
	}{
		{page: help.Capacity, fault: ocisim.Fault{Kind: ocisim.FaultCapacity}, change: options{"capacity_timeout": "1s"}},
		{page: help.Limits, adjust: func(b *ocisim.Tenancy) { b.Limits["standard-a1-core-count"] = 0 }},
		{page: help.Limits, adjust: func(b *ocisim.Tenancy) { b.Limits["custom-image-count"] = 0 }},
		{page: help.Permissions, fault: ocisim.Fault{Kind: ocisim.FaultStatus, Op: "GetSubnet", Status: 404, Code: "NotAuthorizedOrNotFound", Message: "no"}},
		{page: help.SignIn, fault: ocisim.Fault{Kind: ocisim.FaultStatus, Op: "ListAvailabilityDomains", Status: 401, Code: "NotAuthenticated", Message: "no"}},
		{page: help.Connection, change: options{"communicator": "ssh", "ssh_username": "nobody", "ssh_timeout": "2s"}},
	} {
		t.Run(string(tt.page), func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{Adjust: func(b, _ *ocisim.Tenancy) {
				if tt.adjust != nil {
					tt.adjust(b)
				}
			}})
			if tt.fault.Kind != "" {
				if err := s.Cloud.AddFaults(tt.fault); err != nil {
					t.Fatal(err)
				}
			}
			_, said, err := build(t.Context(), t, s, tt.change, nil)
			if err == nil || !strings.Contains(err.Error(), "\nWhat helps: "+tt.page.URL()) {
				t.Errorf("%v\n%s", err, said)
			}
			if err != nil && strings.Count(err.Error(), tt.page.URL()) != 1 {
				t.Errorf("it is said more than once: %v", err)
			}
		})
	}
}
