// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// With the real Packer an image file becomes an object in the form of a VMDK, and an image
// of it that starts by UEFI and has the file's disk, byte by byte.
func TestAccStreamVMDK(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	s := stage.ForTest(t, stage.Options{})
	file, report := filepath.Join(t.TempDir(), "debian-12-genericcloud-arm64.qcow2"), filepath.Join(t.TempDir(), "report.json")
	if err := machine.FastDisk(file, map[string]string{"/etc/motd": "from a file\n"}); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	err := p.Run(t.Context(), "testdata", s.Env(), &out, "build", "-color=false", "-var", "file="+file, "-var", "report="+report, "file-vmdk.pkr.hcl")
	said := out.String()
	t.Log(said)
	if err != nil {
		t.Fatal(err)
	}
	o := readReport(t, report)
	if !o.OK || len(o.Destinations) != 1 || o.Destinations[0].Status != "copied" || o.Destinations[0].Name != "from-file" {
		t.Fatalf("%+v", o)
	}
	image := o.Destinations[0].Image
	if err := machine.SameDisks(file, s.ImageFile(image)); err != nil {
		t.Error(err)
	}
	if left := s.Left(image); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if !regexp.MustCompile(`into the object armfree-copy-\w+-\w+\.vmdk`).MatchString(said) {
		t.Error("the object has another name")
	}
	// What does not go with it is told without a request.
	template, err := os.ReadFile("testdata/file-vmdk.pkr.hcl")
	if err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.pkr.hcl")
	if err := os.WriteFile(wrong, []byte(strings.Replace(string(template), `"vmdk"`, "\"vmdk\"\n    compression = \"zstd\"", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	var refused inpacker.Output
	err = p.Run(t.Context(), "testdata", s.Env(), &refused, "validate", "-var", "file="+file, "-var", "report="+report, wrong)
	if err == nil || !strings.Contains(strings.Join(strings.Fields(refused.String()), " "), `compression must be deflate, or be left out, with image_format = "vmdk"`) {
		t.Errorf("%v\n%s", err, refused.String())
	}
	if n := s.Cloud.CountRequests("CreateImage"); n != 1 {
		t.Errorf("%d imports", n)
	}
}
