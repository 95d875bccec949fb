// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// A real ARM64 machine, built on AWS with NVMe and its own firmware by example/aws-to-oci,
// boots in the production tenancy of OCI from its own bytes, on virtio, and passes goss
// there. Where the machine is emulated, making its initramfs alone takes many minutes, so
// this is run where it is asked for.
func TestAccStreamGuest(t *testing.T) { fromAWS(t, "ami") }

// The same without an AMI: the disk is captured on AWS from within the machine, through
// this computer.
func TestAccCaptureGuestAWS(t *testing.T) { fromAWS(t, "capture") }

// fromAWS runs the example with an image_method.
func fromAWS(t *testing.T, method string) {
	acceptance(t)
	if os.Getenv("ACC_SLOW") == "" {
		t.Skip("takes half an hour where ARM64 is emulated: ACC_SLOW=1 make testacc runs it")
	}
	guests, err := stage.OpenGuests(os.Getenv("ACC_GUEST"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := guests.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	s := stage.ForTest(t, stage.Options{Driver: guests.Driver, Disks: guests.Disks, Image: guests.Image})
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(filepath.Join(root, "example"))); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	err = p.Run(t.Context(), filepath.Join(work, "aws-to-oci"), append(s.Env(), "AWS_SUBNET_ID="), &out, "build", "-color=false",
		"-var", fmt.Sprintf("ssh_port=%d", s.AWS.Cloud.SSHPort()), "-var", "ssh_username=debian",
		"-var", "apt_source="+stage.APTSource, "-var", "install_tailscale=false", "-var", "image_method="+method, ".")
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"oci-bootable: done", "forget: done", "The image 'debian-12-arm64-"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not said", want)
		}
	}
	var m struct {
		Builds []struct {
			ArtifactID string `json:"artifact_id"`
		}
	}
	text, err := os.ReadFile(filepath.Join(work, "aws-to-oci", "manifest.json"))
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil || len(m.Builds) != 1 || !strings.HasPrefix(m.Builds[0].ArtifactID, "ocid1.image.") {
		t.Fatalf("%s, %v", text, err)
	}
	image := m.Builds[0].ArtifactID
	if method == "ami" {
		sameAsSnapshot(t, image)
	}

	var verified inpacker.Output
	err = p.Run(t.Context(), filepath.Join(work, "verify"), s.ProductionEnv(image), &verified, "build", "-color=false",
		"-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()), "-var", "base_image_ocid="+image, ".")
	t.Log(verified.String())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(verified.String(), " 0 failed, 0 skipped") {
		t.Error("goss did not pass on the copy")
	}
	if method == "capture" {
		object := capturedObject.FindStringSubmatch(out.String())
		if object == nil {
			t.Fatal("no object is named")
		}
		root := rootOf(t, capturedDisk(t, s, object[1]))
		t.Log(command(t, "e2fsck", "-fn", root))
		if left := s.Left(image, stage.BucketName+"/"+object[1]); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		return
	}
	// The AMI and its snapshot stay, and the copy.
	if left := s.Left(append(amiID.FindAllString(out.String(), -1), image)...); len(left) != 1 || !strings.HasPrefix(left[0], "snapshot ") {
		t.Errorf("left behind: %q", left)
	}
}

// sameAsSnapshot compares an imported image with the only snapshot that there is, block for
// block.
func sameAsSnapshot(t *testing.T, image string) {
	t.Helper()
	var files []string
	for _, name := range []string{filepath.Join("images", image), "ec2/snapshots/snap-*"} {
		found, err := filepath.Glob(filepath.Join(filepath.Dir(t.TempDir()), "*", "stage-*", name+".qcow2"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %q, %v", name, found, err)
		}
		files = append(files, found...)
	}
	t.Log(command(t, "qemu-img", "compare", files[0], files[1]))
}
