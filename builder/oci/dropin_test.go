// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// Post-processors find in build.* what provisioners found there, as they do
// after oracle-oci: User, ConnType and the rest.
func TestPostProcessorsSeeTheConnection(t *testing.T) {
	t.Parallel()
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

// The memory that a template leaves out is what OCI gives by default, which is
// not the same for each shape.
func TestMemoryIsTheShapesOwn(t *testing.T) {
	t.Parallel()
	for shape, want := range map[string]float32{"VM.Standard.A1.Flex": 12, "VM.Standard.E4.Flex": 32, "VM.Standard.E5.Flex": 24} {
		t.Run(shape, func(t *testing.T) {
			s := stage.ForTest(t, stage.Options{PlatformImages: true})
			b := s.Build
			client, err := core.NewComputeClientWithConfigurationProvider(
				common.NewRawConfigurationProvider(b.ID, b.UserID, stage.BuildRegion, b.Fingerprint(), b.PrivateKeyPEM(), nil))
			if err != nil {
				t.Fatal(err)
			}
			client.HTTPClient = s.Net.Client()
			_, said, err := build(t.Context(), t, s, map[string]interface{}{
				"shape": shape, "shape_config": map[string]interface{}{"ocpus": 2}, "skip_create_image": true, "base_image_ocid": "",
				"base_image_filter": map[string]interface{}{"operating_system": "Canonical Ubuntu", "operating_system_version": "24.04"},
			}, func(ctx context.Context, _ packersdk.Ui, _ packersdk.Communicator) error {
				r, err := client.ListInstances(ctx, core.ListInstancesRequest{CompartmentId: &b.CompartmentID})
				if err == nil && (len(r.Items) != 1 || *r.Items[0].ShapeConfig.MemoryInGBs != want) {
					t.Errorf("the machine does not have %g GB: %v", want, r.Items)
				}
				return err
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
		})
	}
}
