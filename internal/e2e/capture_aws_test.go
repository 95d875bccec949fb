// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	awsbuilder "github.com/armfree/packer-plugin-armfree/builder/aws"
	"github.com/armfree/packer-plugin-armfree/internal/e2e/capturekit"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	postprocessor "github.com/armfree/packer-plugin-armfree/post-processor/oci-cross-tenancy-copy"
)

// The bytes that a provisioner wrote on AWS are on the disk of a machine that starts from
// the image in production: without an AMI, without a snapshot, and with nothing left on
// AWS. What nobody checked is refused, and nothing is imported.
func TestCapturePipelineAWS(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "") // that of the computer is for a client of its own
	var s *stage.Stage
	s = stage.ForTest(t, stage.Options{Driver: capturesOnline(func() *http.Client { return s.Net.Client() }, nil)})
	p := &play{s: s}
	to := access(s.Build)
	delete(to, "compartment_ocid")
	to["bucket"] = stage.BucketName
	b := &awsbuilder.Builder{Mask: new(mask.Masker), HTTP: s.Net.Client(), Helper: capturekit.Program}
	_, _, err := b.Prepare(map[string]interface{}{
		"access_key": s.AWS.Build.AccessKeyID, "secret_key": s.AWS.Build.SecretAccessKey, "region": stage.AWSRegion, "source_ami": s.AWS.BaseImage,
		"ssh_username": "admin", "ssh_port": s.AWS.Cloud.SSHPort(), "ssh_timeout": "30s", "ami_name": "pipeline", "capacity_interval": "20ms", "capacity_timeout": "10s",
		"image_method": "capture", "capture_to": to,
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := b.Run(t.Context(), p.ui(), inpacker.Hook(func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		return comm.Upload("/home/admin/made", strings.NewReader("on AWS"), nil)
	}))
	if err != nil {
		t.Fatalf("%v\n%s", err, p.out.String())
	}
	object := stage.BucketName + "/" + a.(*ocibuild.Captured).Object
	if _, err := p.copy(t, a); err == nil || !strings.Contains(err.Error(), "nothing proves that the captured disk") || len(inProduction(s)) > 0 {
		t.Errorf("%v, in production: %+v", err, inProduction(s))
	}
	c := &postprocessor.PostProcessor{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	err = c.Configure(map[string]interface{}{"source": to, "destination": []interface{}{access(s.Production)}, "allow_unproven_image": true, "packer_builder_type": "armfree-aws"})
	if err != nil {
		t.Fatal(err)
	}
	image, _, _, err := c.PostProcess(t.Context(), p.ui(), a)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.out.String())
	}
	var got strings.Builder
	_, err = p.build(t, s.Production, image.Id(), map[string]interface{}{"skip_create_image": true}, func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		return comm.Download("/home/admin/made", &got)
	})
	if err != nil || got.String() != "on AWS" {
		t.Errorf("the image holds %q; %v\n%s", got.String(), err, p.out.String())
	}
	if left := s.Left(image.Id(), object); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if made := inProduction(s)[0]; made.Name != "pipeline" {
		t.Errorf("%+v", made)
	}
}
