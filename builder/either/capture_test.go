// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package either

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/awsbuild"
	"github.com/armfree/packer-plugin-armfree/internal/capture"
	"github.com/armfree/packer-plugin-armfree/internal/capture/helper"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// withHelper is a machine on which the helper runs in this process.
func withHelper() *machine.Fast {
	return &machine.Fast{ELF: func(ctx context.Context, p *machine.Process) int {
		h := helper.Helper{In: p.Stdin, Out: p.Stdout, Quiet: func(_ context.Context, job wire.Job, say func(string, ...any)) (*helper.Quiet, error) {
			say("Quiet, clean %t", job.Clean)
			var disk bytes.Buffer
			if err := p.Disk(&disk); err != nil {
				return nil, err
			}
			disk.Write(make([]byte, 1<<20-disk.Len()%(1<<20)))
			return &helper.Quiet{
				Path: "/dev/sda", Size: int64(disk.Len()), Disk: bytes.NewReader(disk.Bytes()),
				Written: func() (int64, error) { return 1, nil }, Close: func() error { return nil },
			}, nil
		}}
		if err := h.Run(ctx); err != nil {
			fmt.Fprintln(p.Stderr, err)
			return 1
		}
		return 0
	}}
}

// fakeHelper is a program that the machine's processor takes for one of its own.
func fakeHelper() (*capture.Binary, error) {
	packed, err := machine.PackedProgram()
	if err != nil {
		return nil, err
	}
	return capture.Pack(packed)
}

// captureBuild builds with more options in the block oci.
func captureBuild(t *testing.T, s *stage.Stage, change, inOCI set) (packersdk.Artifact, string, error) {
	t.Helper()
	in := settings(s)
	maps.Copy(in, change)
	maps.Copy(in["oci"].(set), inOCI)
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client(), Helper: fakeHelper}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	a, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, inpacker.Hook(func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		return comm.Upload("/tmp/built", strings.NewReader("by armfree"), nil)
	}))
	if err != nil {
		a = nil
	}
	return a, out.String(), err
}

// A machine that is found on OCI is captured where the tenancy may have no image; one
// that is found on AWS becomes an AMI, and no helper is brought to it.
func TestCapture(t *testing.T) {
	t.Parallel()
	noImages := func(b, _ *ocisim.Tenancy) { b.Limits["custom-image-count"] = 0 }
	for _, tt := range []struct {
		name    string
		change  set
		method  string
		adjust  func(b, p *ocisim.Tenancy)
		builder string // of the artifact
		says    string
		not     string
	}{
		{"found to be needed", nil, "auto", noImages, ocibuild.CapturedID, "Quiet, clean false", ""},
		{"asked for", nil, "capture", nil, ocibuild.CapturedID, "A disk was captured", ""},
		{"not needed", nil, "auto", nil, ocibuild.BuilderID, "", "helper"},
		{"on AWS", set{"prefer": []string{"aws", "oci"}}, "capture", noImages, awsbuild.BuilderID, "", "helper"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{Driver: withHelper(), Adjust: tt.adjust})
			a, said, err := captureBuild(t, s, tt.change, set{"image_method": tt.method, "capture_bucket": stage.BucketName, "capture_clean": false, "capture_route": "relay"})
			if err != nil || a.BuilderId() != tt.builder {
				t.Fatalf("%v, %v\n%s", a, err, said)
			}
			if tt.says != "" && !strings.Contains(said+a.String(), tt.says) || tt.not != "" && strings.Contains(said, tt.not) {
				t.Errorf("%s\n%s", a, said)
			}
			if a.State("image_name") != "built" {
				t.Errorf("the name is %v", a.State("image_name"))
			}
			c, captured := a.(*ocibuild.Captured)
			if !captured {
				nothingLeft(t, s, a)
				return
			}
			if n := s.Cloud.CountRequests("CreateImage"); n > 0 || c.Data["Cloud"] != "oci" || c.Source != s.BaseImage {
				t.Errorf("%d images, %+v", n, c)
			}
			if left := s.Left(stage.BucketName + "/" + c.Object); len(left) > 0 || len(s.Left()) != 1 {
				t.Errorf("left behind: %q", left)
			}
			if err := a.Destroy(); err != nil {
				t.Error(err)
			}
			nothingLeft(t, s, nil)
		})
	}
}

// What is wrong with the options is said at once, with the block's name.
func TestCaptureOptions(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	in := settings(s)
	maps.Copy(in["oci"].(set), set{"image_method": "auto", "capture_route": "pigeon"})
	in["ssh_pty"] = true
	_, _, err := (&Builder{Mask: new(mask.Masker)}).Prepare(in)
	for _, want := range []string{"oci: capture_bucket must be set", "ssh_pty", `oci: capture_route must be "auto" or "relay", it is "pigeon"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
	in = settings(s)
	in["skip_create_image"] = true
	maps.Copy(in["oci"].(set), set{"image_method": "capture", "capture_bucket": "b"})
	if _, _, err := (&Builder{Mask: new(mask.Masker)}).Prepare(in); err != nil {
		t.Error(err)
	}
}
