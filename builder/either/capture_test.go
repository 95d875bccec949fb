// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package either

import (
	"context"
	"maps"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/awsbuild"
	"github.com/armfree/packer-plugin-armfree/internal/e2e/capturekit"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// captureBuild builds with more options in the blocks.
func captureBuild(t *testing.T, s *stage.Stage, change, inOCI, inAWS set) (packersdk.Artifact, string, error) {
	t.Helper()
	in := settings(s)
	maps.Copy(in, change)
	maps.Copy(in["oci"].(set), inOCI)
	maps.Copy(in["aws"].(set), inAWS)
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client(), Helper: capturekit.Program}
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
			s := stage.ForTest(t, stage.Options{Driver: capturekit.Machine{}.Driver(), Adjust: tt.adjust})
			a, said, err := captureBuild(t, s, tt.change, set{"image_method": tt.method, "capture_bucket": stage.BucketName, "capture_clean": false, "capture_route": "relay"}, nil)
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

// A machine that is found on AWS is captured if its block says so: into the bucket that it
// names, else into that of the block oci, with who signs in there. One on OCI fares as its
// own block says.
func TestCaptureOnAWS(t *testing.T) {
	t.Parallel()
	onAWS := set{"prefer": []string{"aws", "oci"}}
	own := func(s *stage.Stage) set {
		return set{
			"tenancy_ocid": s.Build.ID, "user_ocid": s.Build.UserID, "fingerprint": s.Build.Fingerprint(), "key": s.Build.PrivateKeyPEM(),
			"region": stage.BuildRegion, "bucket": stage.BucketName,
		}
	}
	for _, tt := range []struct {
		name    string
		change  set
		oci     set
		to      bool   // aws has a block capture_to
		builder string // of the artifact
		cloud   string // in which the machine ran
		looks   int    // at the bucket, before anything is launched
		sweeps  int    // of the bucket; each block that names one sweeps it
	}{
		{"a bucket of its own", onAWS, nil, true, ocibuild.CapturedID, "aws", 1, 1},
		{"the bucket of the block oci", onAWS, set{"capture_bucket": stage.BucketName}, false, ocibuild.CapturedID, "aws", 1, 1},
		{"the bucket of the block oci, which captures, too", set{"prefer": []string{"aws", "oci"}, "tags": set{}}, set{"image_method": "capture", "capture_bucket": stage.BucketName}, false, ocibuild.CapturedID, "aws", 2, 1},
		{"found on OCI, which makes an image", nil, set{"capture_bucket": stage.BucketName}, false, ocibuild.BuilderID, "", 1, 1},
		{"found on OCI, which captures", set{"tags": set{}}, set{"image_method": "capture", "capture_bucket": stage.BucketName, "capture_route": "relay"}, true, ocibuild.CapturedID, "oci", 2, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{Driver: capturekit.Machine{}.Driver()})
			inAWS := set{"image_method": "capture", "capture_route": "relay"}
			if tt.to {
				inAWS["capture_to"] = own(s)
			}
			a, said, err := captureBuild(t, s, tt.change, tt.oci, inAWS)
			if err != nil || a.BuilderId() != tt.builder {
				t.Fatalf("%v, %v\n%s", a, err, said)
			}
			if n := s.Cloud.CountRequests("HeadBucket"); n != tt.looks {
				t.Errorf("the bucket was looked at %d times\n%s", n, said)
			}
			// Beside sweeps, uploads are listed when one is begun and when it is committed.
			c, captured := a.(*ocibuild.Captured)
			want := map[bool]int{false: tt.sweeps, true: tt.sweeps + 2}[captured]
			if n := s.Cloud.CountRequests("ListMultipartUploads"); n != want {
				t.Errorf("uploads were listed %d times, and not %d", n, want)
			}
			if !captured {
				nothingLeft(t, s, a)
				return
			}
			source := map[string]string{"oci": s.BaseImage, "aws": s.AWS.BaseImage}[tt.cloud]
			if c.Cloud != tt.cloud || c.Data["Cloud"] != tt.cloud || c.Source != source || c.Name != "built" || c.Region != stage.BuildRegion {
				t.Errorf("%+v", c)
			}
			if left := capturekit.Left(t, s, a); len(left) > 0 || len(s.Left()) != 1 {
				t.Errorf("left behind: %q", left)
			}
			if err := a.Destroy(); err != nil {
				t.Error(err)
			}
			nothingLeft(t, s, nil)
		})
	}
}

// What is wrong with the options of the block aws is said at once.
func TestCaptureOptionsOfAWS(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	prepare := func(change, inOCI, inAWS set) error {
		in := settings(s)
		maps.Copy(in, change)
		if inOCI == nil {
			delete(in, "oci")
		} else {
			maps.Copy(in["oci"].(set), inOCI)
		}
		maps.Copy(in["aws"].(set), inAWS)
		_, _, err := (&Builder{Mask: new(mask.Masker)}).Prepare(in)
		return err
	}
	for _, tt := range []struct {
		name                 string
		change, inOCI, inAWS set
		says                 []string
	}{
		{"no bucket anywhere", nil, set{}, set{"image_method": "capture"}, []string{"aws: image_method = \"capture\" needs a block capture_to { }"}},
		{"tags without an image", nil, nil, set{"image_method": "capture"}, []string{"tags are for images", "aws: image_method = \"capture\" needs a block capture_to { }"}},
		{"an incomplete block", nil, set{"capture_bucket": "b"}, set{"image_method": "capture", "capture_to": set{"bucket": "b"}}, []string{"oci: capture_bucket and capture_namespace are for captured disks", "aws: capture_to.tenancy_ocid must be set"}},
		{"a bucket for nobody", nil, set{"capture_bucket": "b"}, nil, []string{"oci: capture_bucket and capture_namespace are for captured disks"}},
		{"for AMIs", nil, set{"capture_bucket": "b"}, set{"image_method": "capture", "ami_users": []string{"123456789012"}}, []string{"aws: image_method = \"capture\" makes no AMI and no snapshot, so that ami_users would have no effect"}},
		{"a terminal", set{"ssh_pty": true}, set{"capture_bucket": "b"}, set{"image_method": "capture", "capture_route": "x"}, []string{"aws: image_method = \"capture\" needs a connection without a terminal", `aws: capture_route must be "auto" or "relay"`}},
		{"not asked for", nil, set{}, set{"capture_clean": true}, []string{"aws: capture_clean is for captured disks"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := prepare(tt.change, tt.inOCI, tt.inAWS)
			for _, want := range tt.says {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said: %v", want, err)
				}
			}
		})
	}
	if err := prepare(nil, set{"capture_bucket": "b"}, set{"image_method": "capture"}); err != nil {
		t.Error(err)
	}
}

// Tags for both clouds are a mistake where neither makes an image, and a warning where one
// does not. Those of a block are that block's.
func TestCaptureHasNoTags(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	captures := set{"image_method": "capture", "capture_bucket": "b"}
	for _, tt := range []struct {
		name         string
		tags         interface{}
		inOCI, inAWS set // nil: there is no such block
		warns, fails string
	}{
		{"neither captures", nil, set{}, set{}, "", ""},
		{"as it turns out", nil, set{"image_method": "auto", "capture_bucket": "b"}, set{}, "", ""},
		{"oci captures", nil, captures, set{}, `tags are for images: image_method = "capture" in the block oci captures disks`, ""},
		{"what only AWS can fill in", set{"a": "{{ .SourceAMI }}"}, captures, set{}, "in the block oci captures disks", ""},
		{"aws captures", nil, set{"capture_bucket": "b"}, set{"image_method": "capture"}, `tags are for images: image_method = "capture" in the block aws captures disks`, ""},
		{"both", nil, captures, set{"image_method": "capture"}, "", `tags are for images, and with image_method = "capture" in the blocks oci and aws none is made: remove them; the post-processor armfree-oci-cross-tenancy-copy, which makes the image, has destination.tags`},
		{"oci alone", nil, captures, nil, "", "in the block oci none is made"},
		{"none", set{}, captures, nil, "", ""},
		{"a block's own", set{}, set{"image_method": "capture", "capture_bucket": "b", "tags": set{"a": "b"}, "image_launch_mode": "NATIVE"}, set{}, "", `oci: image_method = "capture" makes no image, so that tags, image_launch_mode would have no effect`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := settings(s)
			if tt.tags != nil {
				in["tags"] = tt.tags
			}
			for name, block := range map[string]set{"oci": tt.inOCI, "aws": tt.inAWS} {
				if maps.Copy(in[name].(set), block); block == nil {
					delete(in, name)
				}
			}
			_, warnings, err := (&Builder{Mask: new(mask.Masker)}).Prepare(in)
			said := strings.Join(warnings, "\n")
			if strings.Contains(said, "tags are for images") != (tt.warns != "") || !strings.Contains(said, tt.warns) {
				t.Errorf("warns %q", said)
			}
			if (err == nil) != (tt.fails == "") || err != nil && (!strings.Contains(err.Error(), tt.fails) || strings.Count(err.Error(), "* ") > 1) {
				t.Errorf("fails with %v", err)
			}
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
