// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	builder "github.com/armfree/packer-plugin-armfree/builder/oci"
	"github.com/armfree/packer-plugin-armfree/internal/e2e/capturekit"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	postprocessor "github.com/armfree/packer-plugin-armfree/post-processor/oci-cross-tenancy-copy"
)

// captures is a machine on which the helper runs in this process, with the machine's own
// disk and without what it does to a real one; goss passes on it.
func captures() *machine.Fast { return capturesOnline(nil, nil) }

// capturesOnline is the same, for a machine that reaches Object Storage by a client, if
// there is one, and tells the steps of the helper.
func capturesOnline(client func() *http.Client, step func(string)) *machine.Fast {
	return capturekit.Machine{Client: client, Step: step, Other: func(p *machine.Process) int {
		fmt.Fprint(p.Stdout, onePassed)
		return 0
	}}.Driver()
}

// captureIn builds in the build tenancy and captures the disk.
func (p *play) captureIn(t *testing.T, h inpacker.Hook) (*ocibuild.Captured, error) {
	t.Helper()
	config := access(p.s.Build)
	maps.Copy(config, map[string]interface{}{
		"base_image_ocid": p.s.BaseImage, "subnet_ocid": p.s.Build.SubnetID(stage.BuildRegion), "assign_public_ip": true,
		"ssh_username": "debian", "ssh_port": p.s.Cloud.SSHPort(), "ssh_timeout": "30s",
		"image_name": "pipeline", "capacity_interval": "20ms", "capacity_timeout": "10s",
		"image_method": "capture", "capture_bucket": stage.BucketName, "capture_route": "relay",
	})
	b := &builder.Builder{Mask: new(mask.Masker), HTTP: p.s.Net.Client(), Helper: capturekit.Program}
	if _, _, err := b.Prepare(config); err != nil {
		t.Fatal(err)
	}
	a, err := b.Run(t.Context(), p.ui(), h)
	c, _ := a.(*ocibuild.Captured)
	return c, err
}

// The bytes that a provisioner wrote in a tenancy that may have no images are on the disk
// of a machine that starts from the image in production: without an image in the first
// and without an export.
func TestCapturePipeline(t *testing.T) {
	p := &play{s: stage.ForTest(t, stage.Options{Driver: captures(), Adjust: func(b, _ *ocisim.Tenancy) { b.Limits["custom-image-count"] = 0 }})}
	a, err := p.captureIn(t, func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		if err := p.check(ctx, t, comm); err != nil {
			return err
		}
		return comm.Upload("/home/debian/made", strings.NewReader("by the capture"), nil)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.out.String())
	}
	object := stage.BucketName + "/" + a.Object
	b, err := p.copy(t, a)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.out.String())
	}
	var got strings.Builder
	_, err = p.build(t, p.s.Production, b.Id(), map[string]interface{}{"skip_create_image": true}, func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		return comm.Download("/home/debian/made", &got)
	})
	if err != nil || got.String() != "by the capture" {
		t.Errorf("the image holds %q; %v\n%s", got.String(), err, p.out.String())
	}
	if n := p.s.Cloud.CountRequests("ExportImage"); n > 0 {
		t.Errorf("%d exports", n)
	}
	if left := p.s.Left(b.Id(), object); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	image := p.s.Cloud.Inventory().Tenancies[1].Regions[0].Images[0]
	if image.Name != "pipeline" {
		t.Errorf("%+v", image)
	}

	// Again, by the object's name; what is there is not imported twice, and another name
	// is. Then the object goes.
	for _, tt := range []struct {
		name  string
		keep  bool
		fresh bool
	}{{"pipeline", true, false}, {"other", false, true}} {
		source := access(p.s.Build)
		delete(source, "compartment_ocid")
		source["bucket"] = stage.BucketName
		c := &postprocessor.PostProcessor{Mask: new(mask.Masker), HTTP: p.s.Net.Client()}
		err := c.Configure(map[string]interface{}{
			"source_object": a.Object, "dest_image_name": tt.name, "keep_source_image": tt.keep, "source": source, "destination": []interface{}{access(p.s.Production)},
		})
		if err != nil {
			t.Fatal(err)
		}
		again, _, _, err := c.PostProcess(t.Context(), p.ui(), bare(""))
		if err != nil || (again.Id() == b.Id()) == tt.fresh {
			t.Fatalf("%v, %v\n%s", again, err, p.out.String())
		}
		keep := []string{b.Id(), again.Id()}
		if tt.keep {
			keep = append(keep, object)
		}
		if left := p.s.Left(keep...); len(left) > 0 {
			t.Errorf("left behind: %q\n%s", left, p.out.String())
		}
	}
}
