// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"
)

// An option that is "" or null is one that is not there: JSON templates pass
// variables on that nobody set.
func TestUnsetOptions(t *testing.T) {
	prepare := func(t *testing.T, option string, value interface{}) string {
		t.Helper()
		in := good(t)
		in["image_name"] = "x" // which has the time of day otherwise
		if option != "" {
			block, name, ok := strings.Cut(option, ".")
			if ok {
				in[block] = options{name: value}
			} else {
				in[block] = value
			}
		}
		var c Config
		if _, err := c.Prepare(in); err != nil {
			t.Errorf("%v: %v", value, err)
			return ""
		}
		return dump(c.builds()) + dump(c.policy().Interval) + fmt.Sprint(c.Comm.SSH, c.Comm.WinRM.WinRMTimeout, c.Comm.PauseBeforeConnect, c.Comm.Type) + dump(c.CapacityTimeout) + dump(c.CleanupTimeout)
	}
	given := good(t)
	given["image_name"] = "x"
	names := []string{
		"create_vnic_details.assign_public_ip", "create_vnic_details.skip_source_dest_check", "create_vnic_details.private_ip",
		"base_image_filter.operating_system", "free_allowance.ocpus",
	}
	for name, spec := range new(Builder).ConfigSpec() {
		if a, ok := spec.(*hcldec.AttrSpec); ok && a.Type.IsPrimitiveType() && given[name] == nil {
			names = append(names, name)
		}
	}
	want := prepare(t, "", nil)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			for _, value := range []interface{}{"", nil} {
				if got := prepare(t, name, value); got != want {
					t.Errorf("%v is not the same as nothing:\n%s\n%s", value, got, want)
				}
			}
		})
	}
	if len(names) < 100 {
		t.Errorf("%d options only", len(names))
	}
}
