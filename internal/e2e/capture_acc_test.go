// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// With the real Packer: what a builder makes of a disk reaches the copy, in a tenancy that
// may have no images. The helper is the one that the plugin carries; what it does to a
// real machine TestAccCaptureGuest shows.
func TestAccCapture(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	s := stage.ForTest(t, stage.Options{Driver: captures(), Adjust: func(b, _ *ocisim.Tenancy) { b.Limits["custom-image-count"] = 0 }})
	said, err := packerBuild(t.Context(), p, s.Env(), "capture.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()))
	t.Log(said)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"so the disk is captured", "A disk was captured: 'captured' is the object 'armfree-capture-captured-", "is imported as it is", "The image 'captured' was copied:"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said", want)
		}
	}
	object := capturedObject.FindStringSubmatch(said)
	if object == nil || strings.Contains(said, "/p/") {
		t.Fatalf("object %q", object)
	}
	if left := s.Left(append(imageID.FindAllString(said, -1), stage.BucketName+"/"+object[1])...); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if n := s.Cloud.CountRequests("ExportImage"); n > 0 {
		t.Errorf("%d exports", n)
	}
}

// The same from a machine on AWS, without an AMI: what its build checked goes with the
// object, and without that the copy refuses it.
func TestAccCaptureAWS(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for _, gossfile := range []string{"oci-bootable", "base"} {
		s := stage.ForTest(t, stage.Options{Driver: captures()})
		proven := gossfile == "oci-bootable"
		said, err := packerBuild(t.Context(), p, append(s.Env(), "AWS_SUBNET_ID="), "capture-aws.pkr.hcl",
			"-var", fmt.Sprintf("ssh_port=%d", s.AWS.Cloud.SSHPort()), "-var", "gossfile="+gossfile)
		t.Log(said)
		if (err == nil) != proven {
			t.Fatal(err)
		}
		says := []string{"is imported as it is", "A disk was captured: 'captured' is the object 'armfree-capture-captured-", "The image 'captured' was copied:"}
		if !proven {
			says = []string{"nothing proves that the captured disk armfree-capture-captured-", "does not speak of a gossfile \"oci-bootable\"", "is kept: the copy can be run again with source_object"}
		}
		for _, want := range says {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not said", want)
			}
		}
		object := capturedObject.FindStringSubmatch(said)
		if object == nil || strings.Contains(said, "/p/") || strings.Contains(said, "PRIVATE KEY") {
			t.Fatalf("object %q", object)
		}
		if left := s.Left(append(imageID.FindAllString(said, -1), stage.BucketName+"/"+object[1])...); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		for _, op := range []string{"CreateSnapshot", "CreateImage", "RegisterImage", "StopInstances", "ListSnapshotBlocks"} {
			if n := s.AWS.Cloud.CountRequests(op); n > 0 {
				t.Errorf("%d requests %s", n, op)
			}
		}
		if !proven {
			continue
		}
		if images := inProduction(s); len(images) != 1 || !strings.HasSuffix(images[0].FreeformTags["armfree-validated"], " oci-bootable=true") {
			t.Errorf("in production: %+v", images)
		}
	}
}
