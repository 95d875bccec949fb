// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/capture/helper"
	"github.com/armfree/packer-plugin-armfree/internal/e2e/capturekit"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// withHelper is a machine on which the helper runs in this process. change may spoil
// something.
func withHelper(change func(*helper.Quiet) error) *machine.Fast {
	return capturekit.Machine{Change: change}.Driver()
}

// captureBuild is build with a helper, and images = the limit of custom images.
func captureBuild(ctx context.Context, t *testing.T, s *stage.Stage, change map[string]interface{}, h inpacker.Hook) (packersdk.Artifact, string, error) {
	t.Helper()
	in := settings(s)
	in["image_method"], in["capture_bucket"] = "capture", stage.BucketName
	maps.Copy(in, change)
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client(), Helper: capturekit.Program}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	if h == nil {
		h = touch
	}
	a, err := b.Run(ctx, &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, h)
	if err != nil {
		a = nil
	}
	return a, out.String(), err
}

func noImages(build, _ *ocisim.Tenancy) { build.Limits["custom-image-count"] = 0 }

// Where no image may be made the disk becomes an object, and nothing else is left.
func TestCapture(t *testing.T) {
	tests := []struct {
		name   string
		change map[string]interface{}
		says   []string
	}{
		{"asked for", map[string]interface{}{"capture_route": "relay"}, []string{"Quiet, clean true", "through this computer"}},
		{"found to be needed", map[string]interface{}{"image_method": "auto", "capture_clean": false}, []string{"custom image", "captured into the bucket", "Quiet, clean false"}},
		{"deflate", map[string]interface{}{"capture_compression": "deflate"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{Driver: withHelper(nil), Adjust: noImages})
			a, said, err := captureBuild(t.Context(), t, s, tt.change, nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said\n%s", want, said)
				}
			}
			c, is := a.(*ocibuild.Captured)
			if !is || c.BuilderId() != ocibuild.CapturedID || !strings.HasSuffix(c.Checksum, "-1") || c.Size == 0 || !strings.HasPrefix(c.Object, "armfree-capture-built-") {
				t.Fatalf("%+v", a)
			}
			if n := s.Cloud.CountRequests("CreateImage"); n > 0 {
				t.Errorf("%d images were asked for", n)
			}
			object := stage.BucketName + "/" + c.Object
			if left := s.Left(object); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if len(s.Left()) != 1 {
				t.Errorf("the object is not there: %q", s.Left())
			}
			if err := a.Destroy(); err != nil {
				t.Error(err)
			}
			if left := s.Left(); len(left) > 0 {
				t.Errorf("left behind by Destroy: %q", left)
			}
		})
	}
}

// A machine that reaches Object Storage uploads by itself, with a link that is gone
// afterwards and was never shown.
func TestCaptureDirect(t *testing.T) {
	t.Parallel()
	var s *stage.Stage
	s = stage.ForTest(t, stage.Options{Driver: capturekit.Machine{Client: func() *http.Client { return s.Net.Client() }}.Driver(), Adjust: noImages})
	a, said, err := captureBuild(t.Context(), t, s, nil, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if !strings.Contains(said, "straight from the machine") || strings.Contains(said, "/p/") {
		t.Error(said)
	}
	if n, m := s.Cloud.CountRequests("UploadPartByPAR"), s.Cloud.CountRequests("UploadPart"); n != 1 || m != 0 {
		t.Errorf("%d parts by the machine, %d by this computer", n, m)
	}
	if left := s.Left(stage.BucketName + "/" + a.(*ocibuild.Captured).Object); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// With room for an image, auto makes one.
func TestCaptureIsNotNeeded(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{Driver: withHelper(nil)})
	a, said, err := captureBuild(t.Context(), t, s, map[string]interface{}{"image_method": "auto"}, nil)
	if err != nil || !strings.HasPrefix(a.Id(), "ocid1.image.") || strings.Contains(said, "helper") {
		t.Errorf("%v, %v\n%s", a, err, said)
	}
}

// A capture that cannot be made, or is not sure to be right, fails and says why, and
// leaves nothing behind.
func TestCaptureFails(t *testing.T) {
	broken := errors.New("the disk is broken")
	tests := []struct {
		name   string
		change func(*helper.Quiet) error
		hook   inpacker.Hook
		driver func(*machine.Fast)
		bucket string
		says   string
	}{
		{"not quiet", func(*helper.Quiet) error {
			return errors.New("/ cannot be made read-only: postgres (process 17) has open for writing /var/lib/x")
		}, nil, nil, "", "postgres (process 17)"},
		{"a sector is written", func(q *helper.Quiet) error {
			n := int64(0)
			q.Written = func() (int64, error) { n += 8; return n, nil }
			return nil
		}, nil, nil, "", "the disk changed while it was read (8 sectors were written)"},
		{"a read fails", func(q *helper.Quiet) error {
			q.Disk = capturekit.Failing{ReaderAt: q.Disk, Err: broken}
			return nil
		}, nil, nil, "", broken.Error()},
		{"a provisioner fails", nil, func(context.Context, packersdk.Ui, packersdk.Communicator) error { return broken }, nil, "", broken.Error()},
		{"no sudo", nil, nil, func(d *machine.Fast) {
			d.Behave = func(machine.Spec) machine.Behaviour { return machine.Behaviour{NoSudo: true} }
		}, "", "may not become root"},
		{"no bucket", nil, nil, nil, "not-there", "capture_bucket: bucket: there is no bucket"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := withHelper(tt.change)
			if tt.driver != nil {
				tt.driver(d)
			}
			s := stage.ForTest(t, stage.Options{Driver: d, Adjust: noImages})
			change := map[string]interface{}{}
			if tt.bucket != "" {
				change["capture_bucket"] = tt.bucket
			}
			_, said, err := captureBuild(t.Context(), t, s, change, tt.hook)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v\n%s", err, said)
			}
			if left := s.Left(); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

// What is wrong with the options is said at once.
func TestCaptureOptions(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	in := settings(s)
	maps.Copy(in, map[string]interface{}{
		"image_method": "capture", "ssh_pty": true, "capture_route": "pigeon", "capture_compression": "lzma", "disk_size": 401,
	})
	b := &Builder{Mask: new(mask.Masker)}
	_, _, err := b.Prepare(in)
	for _, want := range []string{"capture_bucket must be set", "ssh_pty", `"pigeon"`, `"lzma"`, "disk_size is 401 GB"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
	for method, want := range map[string]string{"snapshot": "image_method must be", "": "capture_bucket and capture_namespace are for captured disks"} {
		in := settings(s)
		maps.Copy(in, map[string]interface{}{"image_method": method, "capture_bucket": "b"})
		if _, _, err := b.Prepare(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", method, err)
		}
	}
}
