// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// The error of a build leads to the page about it.
func TestErrorsHaveAPage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		page   help.Page
		fault  ec2sim.Fault
		change set
	}{
		{page: help.Capacity, fault: ec2sim.Fault{Kind: ec2sim.FaultCapacity}, change: set{"capacity_timeout": "1s"}},
		{page: help.Limits, fault: ec2sim.Fault{Kind: ec2sim.FaultQuota, Quota: "L-1216C47A", Value: 0}},
		{page: help.Permissions, fault: denied("DescribeImages")},
		{page: help.SignIn, fault: refusal("DescribeImages", "AuthFailure", "AWS was not able to validate the provided access credentials")},
		{page: help.Connection, change: set{"ssh_username": "nobody", "ssh_timeout": "2s"}},
	} {
		t.Run(string(tt.page), func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{})
			if tt.fault.Kind != "" {
				addFaults(t, s, tt.fault)
			}
			_, said, err := build(t.Context(), t, s, tt.change, nil)
			if err == nil || strings.Count(err.Error(), "\nWhat helps: "+tt.page.URL()) != 1 {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
}
