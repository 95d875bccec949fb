// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// A machine that got its host key through cloud-init is connected to, and runs
// the user's own user data all the same.
func TestPinnedHostKey(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	var got bytes.Buffer
	_, said, err := build(t.Context(), t, s, map[string]interface{}{
		"ssh_pin_host_key": true, "skip_create_image": true, "user_data": "#!/bin/sh\necho ran > /run/user-data\n",
	}, func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		return comm.Download("/run/user-data", &got)
	})
	if err != nil || got.String() != "ran\n" {
		t.Errorf("%q, %v\n%s", &got, err, said)
	}
	if left := s.Left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
