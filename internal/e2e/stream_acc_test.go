// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
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
