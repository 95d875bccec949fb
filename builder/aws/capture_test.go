// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/capture/helper"
	"github.com/armfree/packer-plugin-armfree/internal/e2e/capturekit"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	note "github.com/armfree/packer-plugin-armfree/internal/proof"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// to is the bucket of the stage, and who signs in to it.
func to(s *stage.Stage) set {
	return set{
		"tenancy_ocid": s.Build.ID, "user_ocid": s.Build.UserID, "fingerprint": s.Build.Fingerprint(), "key": s.Build.PrivateKeyPEM(),
		"region": stage.BuildRegion, "bucket": stage.BucketName,
	}
}

// captureBuild is build for one that captures. change may have options of capture_to by
// names such as "capture_to.bucket".
func captureBuild(ctx context.Context, t *testing.T, s *stage.Stage, change map[string]interface{}, h inpacker.Hook) (packersdk.Artifact, string, error) {
	t.Helper()
	if h == nil {
		h = touch
	}
	return captureWith(ctx, t, s, change, h)
}

func captureWith(ctx context.Context, t *testing.T, s *stage.Stage, change set, h packersdk.Hook) (packersdk.Artifact, string, error) {
	t.Helper()
	in := settings(s)
	bucket := to(s)
	in["image_method"], in["capture_to"] = "capture", bucket
	maps.Copy(in, deep(change).(set))
	for name, v := range in {
		if option, is := strings.CutPrefix(name, "capture_to."); is {
			bucket[option] = v
			delete(in, name)
		}
	}
	maps.DeleteFunc(in, func(_ string, v interface{}) bool { return v == nil })
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client(), Helper: capturekit.Program}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	a, err := b.Run(ctx, &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, h)
	if err != nil {
		a = nil
	}
	return a, out.String(), err
}

// quiet is a stage whose machines let their disks be captured. change may spoil
// something.
func quiet(t *testing.T, change func(*helper.Quiet) error) *stage.Stage {
	t.Helper()
	return stage.ForTest(t, stage.Options{Driver: capturekit.Machine{Change: change}.Driver()})
}

// noImage fails the test if anything was asked for that makes, or needs, an image.
func noImage(t *testing.T, s *stage.Stage) {
	t.Helper()
	for _, op := range []string{"CreateSnapshot", "CreateSnapshots", "CreateImage", "RegisterImage", "CopyImage", "StopInstances", "RebootInstances", "DeregisterImage"} {
		if n := s.AWS.Cloud.CountRequests(op); n > 0 {
			t.Errorf("%d requests %s", n, op)
		}
	}
}

// The disk of a machine on AWS becomes an object on OCI, without an AMI, without a
// snapshot and without a stop, and nothing else is left.
func TestCapture(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change set
		says   []string
	}{
		{"by default", nil, []string{"Quiet, clean true", `The disk is captured into the bucket "images" in eu-frankfurt-1 of OCI`}},
		{"through this computer", set{"capture_route": "relay", "capture_clean": false}, []string{"through this computer", "Quiet, clean false"}},
		{"of a spot machine", set{"spot_price": "auto", "instance_type": "t4g.micro"}, []string{"spot: launched"}},
		{"more than a disk", set{"launch_block_device_mappings": []set{{"device_name": "/dev/sdf", "volume_size": 5}, {"device_name": "/dev/xvda", "volume_size": 12}}}, []string{"only the root file system's disk is, and not /dev/sdf"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := quiet(t, nil)
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
			for name, want := range map[string]interface{}{
				"image_name": "built", "source_image_id": s.AWS.BaseImage, "region": stage.BuildRegion, "cloud": "oci", ocibuild.StateMachine: "aws",
				ocibuild.StateSystem: "Debian\n12", ocibuild.StateBucket: stage.BucketName, ocibuild.StateNamespace: s.Build.Namespace, ocibuild.StateProof: "",
			} {
				if got := a.State(name); got != want {
					t.Errorf("%s is %v, want %v", name, got, want)
				}
			}
			if c.Data["SourceAMI"] != s.AWS.BaseImage {
				t.Errorf("%+v", c.Data)
			}
			noImage(t, s)
			if left := capturekit.Left(t, s, a); len(left) > 0 {
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
	s = stage.ForTest(t, stage.Options{Driver: capturekit.Machine{Client: func() *http.Client { return s.Net.Client() }}.Driver()})
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
	if left := capturekit.Left(t, s, a); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// The machine may be found in another region of AWS: there is one bucket, which is looked
// at once, and swept once.
func TestCaptureInAnotherRegion(t *testing.T) {
	t.Parallel()
	s := quiet(t, nil)
	full(t, s, near)
	a, said, err := captureBuild(t.Context(), t, s, set{
		"source_ami": nil, "source_ami_ssm_parameter": "/aws/service/debian/release/12/latest/arm64", "instance_type": "t4g.micro",
		"additional_region": []set{{"region": far}},
	}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	c := a.(*ocibuild.Captured)
	if c.Region != stage.BuildRegion || c.Data["Region"] != far || c.Source != s.AWS.Cloud.ImageID(far, stage.AWSBaseImage) {
		t.Errorf("%+v", c)
	}
	if n, m := s.Cloud.CountRequests("HeadBucket"), s.Cloud.CountRequests("ListMultipartUploads"); n != 1 || m > 2 {
		t.Errorf("the bucket is looked at %d times, its uploads %d times\n%s", n, m, said)
	}
	if left := capturekit.Left(t, s, a); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// What goss found on the machine goes with the artifact.
func TestCaptureCarriesProof(t *testing.T) {
	t.Setenv("PACKER_RUN_UUID", "run-1")
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	for _, tt := range []struct {
		name string
		checked
		want string
	}{{"checked", checked{}, "true tests=7"}, {"something ran after it", checked{after: "true"}, "stale"}, {"not checked", checked{none: true}, ""}} {
		t.Run(tt.name, func(t *testing.T) {
			s := quiet(t, nil)
			a, said, err := captureWith(t.Context(), t, s, nil, tt.provision(t))
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			got := a.State(ocibuild.StateProof).(string)
			if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("%s is %q, want %q\n%s", note.Tag, got, tt.want, said)
			}
		})
	}
}

// With skip_create_ami nothing is captured, and nobody signs in to OCI.
func TestCaptureSkipped(t *testing.T) {
	t.Parallel()
	s := quiet(t, nil)
	before := len(s.Cloud.Requests()) // of the stage
	a, said, err := captureBuild(t.Context(), t, s, set{"skip_create_ami": true, "capture_to": nil}, nil)
	if n := len(s.Cloud.Requests()) - before; err != nil || a != nil || n > 0 || strings.Contains(said, "helper") {
		t.Errorf("%v, %v, %d requests to OCI\n%s", a, err, n, said)
	}
	nothingLeft(t, s)
}

// A capture that cannot be made, or is not sure to be right, fails and says why, and
// leaves nothing behind in either cloud.
func TestCaptureFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is broken")
	tests := []struct {
		name   string
		spoil  func(*helper.Quiet) error
		hook   inpacker.Hook
		driver func(*machine.Fast)
		change set
		says   []string
		early  bool // nothing was launched
	}{
		{name: "not quiet", spoil: func(*helper.Quiet) error {
			return errors.New("/ cannot be made read-only: postgres (process 17) has open for writing /var/lib/x")
		}, says: []string{"postgres (process 17)"}},
		{name: "a sector is written", spoil: func(q *helper.Quiet) error {
			n := int64(0)
			q.Written = func() (int64, error) { n += 8; return n, nil }
			return nil
		}, says: []string{"the disk changed while it was read (8 sectors were written)"}},
		{name: "a read fails", spoil: func(q *helper.Quiet) error {
			q.Disk = capturekit.Failing{ReaderAt: q.Disk, Err: broken}
			return nil
		}, says: []string{broken.Error()}},
		{name: "a provisioner fails", hook: func(context.Context, packersdk.Ui, packersdk.Communicator) error { return broken }, says: []string{broken.Error()}},
		{name: "no sudo", driver: func(d *machine.Fast) {
			d.Behave = func(machine.Spec) machine.Behaviour { return machine.Behaviour{NoSudo: true} }
		}, says: []string{"may not become root"}},
		{name: "no bucket", change: set{"capture_to.bucket": "not-there"}, says: []string{"this build cannot work, and nothing was started", `capture_to: bucket: there is no bucket "not-there"`}, early: true},
		{name: "no bucket, no image, and no type", change: set{"capture_to.bucket": "not-there", "instance_type": "t4g.huge", "source_ami": "ami-0123456789abcdef0"},
			says: []string{`capture_to: bucket: there is no bucket "not-there"`, "source_ami: there is no such image", "does not have the instance type t4g.huge"}, early: true},
		{name: "another namespace", change: set{"capture_to.namespace": "elsewhere"}, says: []string{`there is no bucket "images" in the namespace "elsewhere"`}, early: true},
		{name: "not let in", change: set{"capture_to.user_ocid": "ocid1.user.oc1..nobody"}, says: []string{"capture_to: OCI in eu-frankfurt-1 does not let", "ocid1.user.oc1..nobody"}, early: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := capturekit.Machine{Change: tt.spoil}.Driver()
			if tt.driver != nil {
				tt.driver(d)
			}
			s := stage.ForTest(t, stage.Options{Driver: d})
			_, said, err := captureBuild(t.Context(), t, s, tt.change, tt.hook)
			for _, want := range tt.says {
				if err == nil || strings.Count(err.Error(), want) != 1 {
					t.Errorf("%q is not said once: %v\n%s", want, err, said)
				}
			}
			if n := s.AWS.Cloud.CountRequests("RunInstances"); tt.early && n > 0 {
				t.Errorf("%d launches", n)
			}
			noImage(t, s)
			if left := capturekit.Left(t, s, nil); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

// What was launched is not left where Object Storage is not to be reached when the disk is
// to be captured, nor is anything launched where it is not at the beginning.
func TestCaptureWithoutObjectStorage(t *testing.T) {
	t.Parallel()
	down := ocisim.Fault{Kind: ocisim.FaultStatus, Status: 503, Code: "ServiceUnavailable", Message: "Try later."}
	t.Run("a part never arrives", func(t *testing.T) {
		t.Parallel()
		s := quiet(t, nil)
		f := down
		f.Op = "UploadPart"
		if err := s.Cloud.AddFaults(f); err != nil {
			t.Fatal(err)
		}
		_, said, err := captureBuild(t.Context(), t, s, set{"image_timeout": "3s"}, nil)
		if err == nil || !strings.Contains(err.Error(), "the disk could not be captured within 3s") {
			t.Errorf("%v\n%s", err, said)
		}
		if left := capturekit.Left(t, s, nil); len(left) > 0 {
			t.Errorf("left behind: %q\n%s", left, said)
		}
	})
	t.Run("refused from the beginning", func(t *testing.T) {
		t.Parallel()
		s := quiet(t, nil)
		if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "ListPreauthenticatedRequests", Status: 404, Code: "NotAuthorizedOrNotFound", Message: "Authorization failed or requested resource not found."}); err != nil {
			t.Fatal(err)
		}
		_, said, err := captureBuild(t.Context(), t, s, nil, nil)
		if err == nil || !strings.Contains(err.Error(), "PAR_MANAGE") || s.AWS.Cloud.CountRequests("RunInstances") > 0 {
			t.Errorf("%v\n%s", err, said)
		}
	})
}

// A capture that failed may be tried again, with -on-error=ask: there is one object then.
func TestCaptureAskAndRetry(t *testing.T) {
	t.Parallel()
	var once sync.Once
	s := quiet(t, func(*helper.Quiet) (err error) {
		once.Do(func() { err = errors.New("somebody writes") })
		return err
	})
	in := settings(s)
	in["packer_on_error"], in["image_method"], in["capture_to"] = "ask", "capture", to(s)
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client(), Helper: capturekit.Program}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	a, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out, TTY: &retryOnce{}}, inpacker.Hook(touch))
	if err != nil || !strings.Contains(out.String(), "somebody writes") {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if left := capturekit.Left(t, s, a); len(left) > 0 || len(s.Left()) != 1 || machines(s) != 1 {
		t.Errorf("%d machines, left behind: %q\n%s", machines(s), left, out.String())
	}
}

// retryOnce is a user who says so the first time.
type retryOnce struct{ said bool }

func (r *retryOnce) ReadString() (string, error) {
	if r.said {
		return "c", nil
	}
	r.said = true
	return "r", nil
}
func (*retryOnce) Close() error { return nil }

// atAmazons are the operations that a capture asks Amazon's cloud for.
func atAmazons(t *testing.T) (ops []string) {
	t.Helper()
	s := quiet(t, nil)
	if _, said, err := captureBuild(t.Context(), t, s, nil, nil); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, r := range s.AWS.Cloud.Requests() {
		if !slices.Contains(ops, r.Op) {
			ops = append(ops, r.Op)
		}
	}
	if len(ops) < 10 {
		t.Fatalf("%q", ops)
	}
	return ops
}

// A request to Amazon's that fails once, or whose reply is lost, makes no difference to a
// capture either.
func TestCaptureOnBadDaysOfAWS(t *testing.T) {
	t.Parallel()
	for _, op := range atAmazons(t) {
		for name, f := range map[string]ec2sim.Fault{
			"busy": status(op, 503, "Unavailable", "The service is unavailable.", 1), "the reply is lost": {Kind: ec2sim.FaultCutAfterEffect, Op: op, Times: 1},
		} {
			t.Run(op+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := quiet(t, nil)
				addFaults(t, s, f)
				a, said, err := captureBuild(t.Context(), t, s, nil, nil)
				if err != nil {
					t.Fatalf("%v\n%s", err, said)
				}
				if left := capturekit.Left(t, s, a); len(left) > 0 || machines(s) != 1 {
					t.Errorf("%d machines, left behind: %q\n%s", machines(s), left, said)
				}
			})
		}
	}
}
