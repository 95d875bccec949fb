// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// Post-processors find in build.* what provisioners found there, as they do
// after oracle-oci: User, ConnType and the rest.
func TestPostProcessorsSeeTheConnection(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	a, said, err := build(t.Context(), t, s, nil, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	data, _ := a.State("generated_data").(map[string]interface{})
	for name, want := range map[string]interface{}{"User": "debian", "ConnType": "ssh", "Port": s.Cloud.SSHPort(), "Region": stage.BuildRegion} {
		if data[name] != want {
			t.Errorf("build.%s is %v, not %v", name, data[name], want)
		}
	}
}
