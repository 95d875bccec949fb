// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// copyReport is the report of a copy.
type copyReport struct {
	OK           bool `json:"ok"`
	Destinations []struct {
		Region, Status, Error string
		Image                 string `json:"image_ocid"`
		Name                  string `json:"image_name"`
	} `json:"destinations"`
}

func readReport(t *testing.T, path string) (o copyReport) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// One build, three tenancies, four regions, and one destination that fails: the
// others have the image, the builder's image survives, and the build fails.
func TestAccFanOut(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	s := stage.ForTest(t, stage.Options{MoreRegions: []string{"uk-london-1"}, ProductionRegions: []string{"us-ashburn-1"}})
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultImportFails, Tenancy: "neighbour", Message: "The archive is broken."}); err != nil {
		t.Fatal(err)
	}
	places := asVariable(t,
		placeIn(s.Production, stage.ProductionRegion, "one"), placeIn(s.Neighbour, stage.BuildRegion, "two"),
		placeIn(s.Production, "us-ashburn-1", "three"), placeIn(s.Build, "uk-london-1", "four"))
	report := filepath.Join(t.TempDir(), "report.json")
	env := append(s.Env(), places, "PKR_VAR_report="+report)
	said, err := packerBuild(t.Context(), p, env, "fanout.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()))
	t.Log(said)
	if err == nil {
		t.Fatal("the build succeeded")
	}
	o := readReport(t, report)
	var copied []string
	for i, want := range []string{"copied", "failed", "copied", "copied"} {
		if d := o.Destinations[i]; d.Status != want || want == "failed" && !strings.Contains(d.Error, "The archive is broken.") {
			t.Errorf("%+v, want it %s", d, want)
		}
		if id := o.Destinations[i].Image; id != "" {
			copied = append(copied, id)
		}
	}
	if n := s.Cloud.CountRequests("ExportImage"); n != 1 || o.OK || len(copied) != 3 {
		t.Errorf("%d exports, %d copies", n, len(copied))
	}
	built := ""
	for _, i := range s.Cloud.Inventory().Tenancies[0].Regions[0].Images {
		if i.Name == "pipeline" && i.State == "AVAILABLE" {
			built = i.ID
		}
	}
	if built == "" {
		t.Error("the builder's image is gone")
	}
	if left := s.Left(append(copied, built)...); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for _, secret := range []string{"PRIVATE KEY", "/p/"} {
		if strings.Contains(said, secret) {
			t.Errorf("a secret was printed: %q", secret)
		}
	}
}

// step is a step of a workflow.
type step struct {
	Name, Run string
	Env       map[string]string
}

var expression = regexp.MustCompile(`^\$\{\{ (inputs|secrets)\.(\w+) \}\}$`)

// The workflow of example/copy-only: its inputs reach the copy, and what it runs
// does what it should. Run twice, nothing is copied again, and nothing started again.
func TestAccCopyOnly(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	s := stage.ForTest(t, stage.Options{})
	text, err := os.ReadFile(filepath.Join(root, "example/github-actions/.github/workflows/oci-image-copy.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var w struct {
		On struct {
			Dispatch struct{ Inputs map[string]any } `yaml:"workflow_dispatch"`
		}
		Jobs map[string]struct{ Steps []step }
	}
	if err := yaml.Unmarshal(text, &w); err != nil {
		t.Fatal(err)
	}
	inputs := map[string]string{"source_image_ocid": s.BaseImage, "dest_image_name": "from-the-workflow", "object_name": "its-object.oci", "expires_in_hours": "3"}
	for name := range inputs {
		if w.On.Dispatch.Inputs[name] == nil {
			t.Errorf("the workflow has no input %s", name)
		}
	}
	secrets := map[string]string{}
	for _, e := range s.Env() {
		name, value, _ := strings.Cut(e, "=")
		secrets[name] = value
	}
	secrets["PROD_OCI_SUBNET_OCID"] = s.Production.SubnetID(stage.ProductionRegion)
	var copying step
	for _, st := range w.Jobs["copy"].Steps {
		if st.Name == "Copy" {
			copying = st
		}
	}
	env := s.Net.Env(s.CAFile)
	for name, e := range copying.Env {
		m := expression.FindStringSubmatch(e)
		if m == nil {
			t.Fatalf("%s is %s", name, e)
		}
		value := map[string]map[string]string{"inputs": inputs, "secrets": secrets}[m[1]][m[2]]
		if value == "" {
			t.Errorf("%s has no value", e)
		}
		env = append(env, name+"="+value)
	}
	env = append(env, fmt.Sprintf("PKR_VAR_ssh_port=%d", s.Cloud.SSHPort()))
	args := strings.Fields(copying.Run)
	if len(args) < 2 || args[0] != "packer" {
		t.Fatalf("the step runs %q", copying.Run)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "example/copy-only"))); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"copied", "existing"} {
		var out inpacker.Output
		err := p.Run(t.Context(), dir, env, &out, args[1:]...)
		t.Log(out.String())
		if err != nil {
			t.Fatal(err)
		}
		o := readReport(t, filepath.Join(dir, "copy-report.json"))
		if len(o.Destinations) != 1 || !o.OK || o.Destinations[0].Status != want || o.Destinations[0].Name != "from-the-workflow" {
			t.Errorf("%+v, want it %s", o, want)
		}
		if left := s.Left(o.Destinations[0].Image); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		if n := s.Cloud.CountRequests("LaunchInstance"); n != 1 {
			t.Errorf("the copy was started %d times", n)
		}
	}
	objects := map[string]bool{}
	for _, r := range s.Cloud.Requests() {
		if r.Op == "HeadObject" {
			objects[r.Path[strings.LastIndexByte(r.Path, '/')+1:]] = true
		}
	}
	if !objects["its-object.oci"] || len(objects) != 1 {
		t.Errorf("objects %v", objects)
	}
}

// A data source that finds something in the way ends the run before anything is
// built, with a sentence and no talk of a crash.
func TestAccPreflight(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for _, room := range []int64{0, 25} {
		s := stage.ForTest(t, stage.Options{Adjust: func(_, p *ocisim.Tenancy) { p.Limits["custom-image-count"] = room }})
		said, err := packerBuild(t.Context(), p, s.Env(), "preflight.pkr.hcl")
		if room > 0 {
			if err != nil || !strings.Contains(said, "images can go to "+stage.ProductionRegion) {
				t.Errorf("%v\n%s", err, said)
			}
			continue
		}
		if err == nil || !strings.Contains(said, "custom-image-count") || strings.Contains(said, "CRASH") || strings.Contains(said, "images can go") {
			t.Errorf("%v\n%s", err, said)
		}
	}
}
