// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// place is a destination as templates in testdata take it.
type place struct {
	Tenancy     string `json:"tenancy"`
	User        string `json:"user"`
	Fingerprint string `json:"fingerprint"`
	Key         string `json:"key"`
	Region      string `json:"region"`
	Compartment string `json:"compartment"`
	Name        string `json:"name"`
}

func placeIn(t *ocisim.Tenancy, region, name string) place {
	return place{t.ID, t.UserID, t.Fingerprint(), t.PrivateKeyPEM(), region, t.CompartmentID, name}
}

// asVariable is a list of places as a variable of the environment.
func asVariable(t *testing.T, places ...place) string {
	t.Helper()
	b, err := json.Marshal(places)
	if err != nil {
		t.Fatal(err)
	}
	return "PKR_VAR_places=" + string(b)
}

// An AMI, built and checked on AWS by the real Packer, becomes an image for A1 in two
// tenancies of OCI.
func TestAccStream(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	s := stage.ForTest(t, stage.Options{})
	report := filepath.Join(t.TempDir(), "report.json")
	env := append(s.Env(), "AWS_SUBNET_ID=", "PKR_VAR_report="+report,
		asVariable(t, placeIn(s.Production, stage.ProductionRegion, "one"), placeIn(s.Neighbour, stage.BuildRegion, "two")))
	said, err := packerBuild(t.Context(), p, env, "stream.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.AWS.Cloud.SSHPort()))
	t.Log(said)
	if err != nil {
		t.Fatal(err)
	}
	o := readReport(t, report)
	if !o.OK || len(o.Destinations) != 2 {
		t.Fatalf("%+v", o)
	}
	var copied []string
	for _, d := range o.Destinations {
		if d.Status != "copied" {
			t.Errorf("%+v", d)
		}
		copied = append(copied, d.Image)
	}
	if left := leftOnAWS(s, said+" "+strings.Join(copied, " ")); len(left) != 2 {
		t.Errorf("left behind: %q", left)
	}
	if left := s.Left(append(amiID.FindAllString(said, -1), copied...)...); len(left) != 1 || !strings.HasPrefix(left[0], "snapshot ") {
		t.Errorf("beside the AMI, its snapshot and the copies there are %q", left)
	}
	if tag := inProduction(s)[0].FreeformTags["armfree-validated"]; !strings.HasPrefix(tag, "true tests=7 sha256=") || !strings.HasSuffix(tag, " oci-bootable=true") {
		t.Errorf("the tag is %q", tag)
	}
	for _, secret := range []string{"PRIVATE KEY", "/p/", s.AWS.Build.SecretAccessKey} {
		if strings.Contains(said, secret) {
			t.Errorf("a secret was printed: %q", secret)
		}
	}
}

// inProduction are the images of the production tenancy.
func inProduction(s *stage.Stage) []ocisim.Resource {
	return s.Cloud.Inventory().Tenancies[1].Regions[0].Images
}

// An AMI whose machine was not asked whether it boots on OCI stays where it is, and
// stays: unless the template says that it is good all the same.
func TestAccStreamUnproven(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for _, allow := range []bool{false, true} {
		s := stage.ForTest(t, stage.Options{})
		report := filepath.Join(t.TempDir(), "report.json")
		env := append(s.Env(), "AWS_SUBNET_ID=", "PKR_VAR_report="+report, asVariable(t, placeIn(s.Production, stage.ProductionRegion, "one")))
		said, err := packerBuild(t.Context(), p, env, "stream.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.AWS.Cloud.SSHPort()),
			"-var", "gossfile=base", "-var", fmt.Sprintf("allow_unproven_image=%t", allow))
		if (err == nil) != allow || !strings.Contains(said, "proves that image ami-") {
			t.Fatalf("%v\n%s", err, said)
		}
		if n := len(inProduction(s)); (n == 1) != allow {
			t.Errorf("%d images in production", n)
		}
		kept := 0
		for _, x := range s.AWS.Cloud.Inventory().Accounts[0].Regions {
			for _, r := range x.Resources {
				if r.Kind == "image" && r.Name == "debian-12-arm64-built" && r.State == "available" {
					kept++
				}
			}
		}
		if kept != 1 {
			t.Errorf("%d AMIs are kept\n%s", kept, said)
		}
	}
}

// The example for Debian's image, with a small image in Debian's place on a server of
// our own: it is imported, and not a second time.
func TestAccDebianBaseImage(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	s := stage.ForTest(t, stage.Options{})
	const name = "debian-12-genericcloud-arm64.qcow2"
	files := t.TempDir()
	if err := machine.FastDisk(filepath.Join(files, name), nil); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(files, name))
	if err != nil {
		t.Fatal(err)
	}
	sums := fmt.Sprintf("%0128x  debian-12-generic-arm64.qcow2\n%x  %s\n", 1, sha512.Sum512(data), name)
	if err := os.WriteFile(filepath.Join(files, "SHA512SUMS"), []byte(sums), 0o600); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.FileServer(http.Dir(files)))
	defer web.Close()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "example/debian-base-image"))); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"copied", "existing"} {
		var out inpacker.Output
		err := p.Run(t.Context(), dir, s.Env(), &out, "build", "-color=false", "-var", "folder="+web.URL, ".")
		t.Log(out.String())
		if err != nil {
			t.Fatal(err)
		}
		o := readReport(t, filepath.Join(dir, "debian-report.json"))
		if len(o.Destinations) != 1 || o.Destinations[0].Status != want || o.Destinations[0].Name != "debian-12-arm64" {
			t.Fatalf("%+v, want it %s", o, want)
		}
		if left := s.Left(o.Destinations[0].Image); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
	// Somebody else's file under the same name.
	if err := os.WriteFile(filepath.Join(files, name), append(data, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	err = p.Run(t.Context(), dir, s.Env(), &out, "build", "-color=false", "-var", "folder="+web.URL, "-var", "image_name=other", ".")
	if said := out.String(); err == nil || !strings.Contains(said, "is not the image that source_checksum is of") {
		t.Errorf("%v\n%s", err, said)
	}
}

// The unmodified packer-plugin-amazon makes the AMI, and our post-processor takes it to
// OCI. PEER_AMAZON_PLUGIN is the path of its binary.
func TestAccStreamPeerAmazon(t *testing.T) {
	acceptance(t)
	plugin := os.Getenv("PEER_AMAZON_PLUGIN")
	if plugin == "" {
		t.Skip("PEER_AMAZON_PLUGIN does not name a binary of packer-plugin-amazon")
	}
	home := t.TempDir()
	if _, err := runpacker.Install(t.Context(), os.Getenv("ACC_PACKER"), plugin, "github.com/hashicorp/amazon", home); err != nil {
		t.Fatal(err)
	}
	p, err := runpacker.Install(t.Context(), os.Getenv("ACC_PACKER"), os.Getenv("ACC_PLUGIN"), runpacker.Source, home)
	if err != nil {
		t.Fatal(err)
	}
	s := stage.ForTest(t, stage.Options{})
	report := filepath.Join(t.TempDir(), "report.json")
	env := append(s.Env(), "AWS_POLL_DELAY_SECONDS=1", "AWS_MAX_ATTEMPTS=600")
	said, err := packerBuild(t.Context(), p, env, "stream-amazon-ebs.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.AWS.Cloud.SSHPort()),
		"-var", "report="+report, "-var", "source_ami="+s.AWS.BaseImage)
	t.Log(said)
	if err != nil {
		t.Fatal(err)
	}
	if o := readReport(t, report); !o.OK || len(o.Destinations) != 1 || o.Destinations[0].Status != "copied" || o.Destinations[0].Name != "debian-12-by-amazon-ebs" {
		t.Errorf("%+v", o)
	}
	if n := len(inProduction(s)); n != 1 {
		t.Errorf("%d images in production", n)
	}
}

// Ctrl-C while an AMI is on its way ends the build in seconds: the AMI stays, and
// nothing else does.
func TestAccStreamInterrupt(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for _, m := range []struct {
		op  string
		aws bool
	}{{"ListSnapshotBlocks", true}, {"GetSnapshotBlock", true}, {"CreateMultipartUpload", false}, {"UploadPart", false}, {"CommitMultipartUpload", false}, {"CreateImage", false}} {
		t.Run(m.op, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := &tripwire.Wire{Op: m.op, Nth: 1, Pull: cancel}
			o := stage.Options{Wrap: w.Wrap}
			if m.aws {
				o = stage.Options{WrapAWS: w.Wrap}
			}
			s := stage.ForTest(t, o)
			if m.aws {
				w.Watch(s.AWS.Cloud)
			} else {
				w.Watch(s.Cloud)
			}
			var out inpacker.Output
			err := p.Run(ctx, "testdata", s.Env(), &out, "build", "-color=false", "-var", "ami="+s.AWS.Foreign,
				"-var", "report="+filepath.Join(t.TempDir(), "report.json"), "stream-only.pkr.hcl")
			said := out.String()
			at, pulled := w.Pulled()
			if !pulled {
				t.Fatalf("the copy did not come so far: %v\n%s", err, said)
			}
			if d := time.Since(at); d > 30*time.Second {
				t.Errorf("went on for %s\n%s", d, said)
			}
			if left := s.Left(finished(said)...); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

// The builder for either cloud, and one copy behind it: the image is in the production
// tenancy of OCI, whichever cloud had the machine.
func TestAccEitherCopied(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for cloud, faults := range map[string][]ocisim.Fault{"oci": nil, "aws": {{Kind: ocisim.FaultCapacity}}} {
		t.Run(cloud, func(t *testing.T) {
			s := stage.ForTest(t, stage.Options{})
			if err := s.Cloud.AddFaults(faults...); err != nil {
				t.Fatal(err)
			}
			report := filepath.Join(t.TempDir(), "report.json")
			said, err := packerBuild(t.Context(), p, append(s.Env(), "AWS_SUBNET_ID=", "PKR_VAR_report="+report), "either-copy.pkr.hcl",
				"-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()))
			t.Log(said)
			if err != nil {
				t.Fatal(err)
			}
			o := readReport(t, report)
			if !o.OK || len(o.Destinations) != 1 || o.Destinations[0].Status != "copied" || o.Destinations[0].Name != "built-somewhere" {
				t.Fatalf("%+v", o)
			}
			exports, blocks := s.Cloud.CountRequests("ExportImage"), s.AWS.Cloud.CountRequests("GetSnapshotBlock")
			if onAWS := cloud == "aws"; (exports == 0) != onAWS || (blocks > 0) != onAWS {
				t.Errorf("%d exports, %d blocks", exports, blocks)
			}
			images := inProduction(s)
			if len(images) != 1 || images[0].ID != o.Destinations[0].Image || !strings.Contains(images[0].FreeformTags["armfree-validated"], "oci-bootable=true") {
				t.Errorf("%+v", images)
			}
		})
	}
}
