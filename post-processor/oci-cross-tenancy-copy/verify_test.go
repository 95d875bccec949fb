// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
	"github.com/armfree/packer-plugin-armfree/provisioner/goss"
)

// gossSays is a machine whose goss finds that a file is there, or is not.
func gossSays(passes bool) *machine.Fast {
	result := map[string]any{
		"duration": 1, "err": nil, "matcher-result": map[string]any{"actual": passes, "expected": true, "message": "to equal"}, "meta": nil,
		"property": "exists", "resource-id": "/etc/os-release", "resource-type": "File", "result": map[bool]int{true: 0, false: 1}[passes], "skipped": false, "successful": passes,
		"summary-line": "File: /etc/os-release: exists", "summary-line-compact": "File: /etc/os-release: exists", "title": "",
		"start-time": "2026-11-22T20:57:26Z", "end-time": "2026-11-22T20:57:26Z",
	}
	failed := map[bool]int{false: 1}[passes]
	text, _ := json.Marshal(map[string]any{
		"results": []any{result},
		"summary": map[string]any{"failed-count": failed, "skipped-count": 0, "summary-line": "", "test-count": 1, "total-duration": 1},
	})
	return &machine.Fast{ELF: func(_ context.Context, p *machine.Process) int {
		_, _ = io.WriteString(p.Stdout, string(text)+"\n")
		return failed
	}}
}

// gossfiles is a folder with a gossfile and what stands for goss.
func gossfiles(t *testing.T) (file, binary string) {
	t.Helper()
	dir := t.TempDir()
	file, binary = filepath.Join(dir, "base.goss.yaml"), filepath.Join(dir, "goss")
	elf := make([]byte, 64)
	copy(elf, "\x7fELF\x02\x01\x01")
	elf[16], elf[18], elf[20] = 2, 183, 1 // executable, AArch64, version
	for name, text := range map[string]string{file: "file:\n  /etc/os-release: {exists: true}\n", binary: string(elf)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file, binary
}

// verifying is a template that verifies its copy, with a change to that block.
func verifying(s *stage.Stage, change map[string]interface{}) map[string]interface{} {
	in := settings(s)
	v := map[string]interface{}{
		"subnet_ocid": s.Production.SubnetID(stage.ProductionRegion), "assign_public_ip": true, "ssh_username": "debian", "ssh_port": s.Cloud.SSHPort(),
		"ssh_timeout": "20s", "capacity_interval": "20ms", "capacity_timeout": "20s",
	}
	for name, value := range change {
		if v[name] = value; value == nil {
			delete(v, name)
		}
	}
	dest(in)["verify"] = v
	return in
}

// verified runs a template as Packer would, with goss.
func verified(ctx context.Context, t *testing.T, s *stage.Stage, in map[string]interface{}) (image, said string, err error) {
	t.Helper()
	p := &PostProcessor{Mask: new(mask.Masker), HTTP: s.Net.Client(), Goss: func() packersdk.Provisioner { return new(goss.Provisioner) }}
	if err := p.Configure(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	a, _, _, err := p.PostProcess(ctx, &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, &foreign{})
	said = out.String()
	if err != nil {
		return "", said + err.Error(), err
	}
	if strings.Contains(said, "PRIVATE KEY") {
		t.Error("a key was printed")
	}
	return a.Id(), said, nil
}

// production is the images in the production tenancy.
func production(s *stage.Stage) []ocisim.Resource {
	return s.Cloud.Inventory().Tenancies[1].Regions[0].Images
}

func TestVerify(t *testing.T) {
	for _, tt := range []struct {
		name   string
		driver machine.Driver
		change map[string]interface{} // of the block verify
		goss   bool
		faults []ocisim.Fault
		adjust func(build, production *ocisim.Tenancy)
		says   []string
		fails  bool
		keeps  bool // the image stays although it fails
		exact  string
	}{
		{name: "it boots", says: []string{"Importing into", "boots and lets debian in"}, exact: `^\S+Z tests=0$`},
		{name: "it passes", goss: true, says: []string{"boots and lets debian in and passes 1 test"}, exact: `^\S+Z tests=1 sha256=[0-9a-f]{64}$`},
		{name: "it does not pass", goss: true, driver: gossSays(false), change: map[string]interface{}{"retry_timeout": "0s"}, says: []string{"was not verified, and was deleted", "/etc/os-release"}, fails: true},
		{
			name: "it does not pass and stays", goss: true, driver: gossSays(false), change: map[string]interface{}{"retry_timeout": "0s", "on_failure": "keep"},
			says: []string{`It stays, under the name "copied-unverified"`}, fails: true, keeps: true,
		},
		{name: "it does not let the user in", change: map[string]interface{}{"ssh_port": 1, "ssh_timeout": "1s"}, says: []string{"was not verified, and was deleted", "ssh_timeout"}, fails: true},
		{
			name: "there is no capacity and then there is", faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity, Times: 3, Tenancy: "production"}},
			says: []string{"no capacity", "boots and lets debian in"},
		},
		{
			name: "there is no capacity", faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity, Tenancy: "production"}}, change: map[string]interface{}{"capacity_timeout": "1s"},
			says: []string{"no machine could be had", "capacity_timeout", "It stays"}, fails: true, keeps: true,
		},
		{name: "a launch that dies", faults: []ocisim.Fault{{Kind: ocisim.FaultLaunchFails, Times: 1}}, says: []string{"boots and lets debian in"}},
		{name: "a reply to a launch is lost", faults: []ocisim.Fault{{Kind: ocisim.FaultCutAfterEffect, Op: "LaunchInstance", Times: 1}}, says: []string{"the machine is there"}},
		{
			name: "there is no subnet", change: map[string]interface{}{"subnet_ocid": "ocid1.subnet.oc1.sa-saopaulo-1.nowhere"},
			says: []string{"verify: subnet_ocid: there is no subnet", "nothing was started"}, fails: true,
		},
		{
			name: "no machine would be allowed", adjust: func(_, p *ocisim.Tenancy) { p.Limits["standard-a1-core-count"] = 0 },
			says: []string{"verify: ", "standard-a1-core-count", "nothing was started"}, fails: true,
		},
		{
			name: "no machine would be free", change: map[string]interface{}{"free_allowance": map[string]interface{}{"ocpus": 0.5, "memory_in_gbs": 1}},
			says: []string{"verify: ", "would not be free", "nothing was started"}, fails: true,
		},
		{
			name: "only the smaller size is free", change: map[string]interface{}{"free_allowance": map[string]interface{}{"ocpus": 1, "memory_in_gbs": 4}},
			says: []string{"1 OCPU/2 GB: launched"},
		},
		{
			name: "a size of the template's own", change: map[string]interface{}{"shape_config": []interface{}{map[string]interface{}{"ocpus": 2, "memory_in_gbs": 4}}},
			says: []string{"2 OCPU/4 GB: launched"},
		},
		{name: "by a bastion", change: map[string]interface{}{"assign_public_ip": nil, "subnet_ocid": "PRIVATE", "oci_bastion": map[string]interface{}{}}, goss: true, says: []string{"through a bastion", "passes 1 test"}},
		{name: "tests that take too long", goss: true, driver: slow{}, change: map[string]interface{}{"test_timeout": "1s"}, says: []string{"test_timeout"}, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			driver := tt.driver
			switch {
			case driver == machine.Driver(slow{}):
				driver = &machine.Fast{ELF: func(ctx context.Context, _ *machine.Process) int { <-ctx.Done(); return 1 }}
			case driver == nil:
				driver = gossSays(true)
			}
			s := stage.ForTest(t, stage.Options{Driver: driver, Adjust: tt.adjust})
			if err := s.Cloud.AddFaults(tt.faults...); err != nil {
				t.Fatal(err)
			}
			change := map[string]interface{}{}
			if tt.goss {
				file, binary := gossfiles(t)
				change["tests"], change["goss_binary"] = []string{file}, binary
			}
			maps.Copy(change, tt.change)
			if change["subnet_ocid"] == "PRIVATE" {
				change["subnet_ocid"] = s.Production.PrivateSubnetID(stage.ProductionRegion)
			}
			in := verifying(s, change)
			path := filepath.Join(t.TempDir(), "report.json")
			in["report"] = path
			image, said, err := verified(t.Context(), t, s, in)
			if tt.fails != (err != nil) {
				t.Fatalf("%v\n%s", err, said)
			}
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said:\n%s", want, said)
				}
			}
			d := reported(t, path)
			switch {
			case tt.keeps:
				image = d.Unverified
				if i := production(s); len(i) != 1 || i[0].Name != "copied-unverified" || !strings.Contains(i[0].FreeformTags["armfree"], "state=unfinished") || image != i[0].ID {
					t.Errorf("%+v, report %+v", i, d)
				}
			case tt.fails:
				if d.Status == "copied" || d.Verified != nil || d.Error == "" && d.Status != "not started" {
					t.Errorf("%+v", d)
				}
			default:
				i := production(s)
				if len(i) != 1 || i[0].Name != "copied" || i[0].FreeformTags["team"] != "infra" || strings.Contains(i[0].FreeformTags["armfree"], "state=") || !strings.Contains(i[0].FreeformTags["armfree"], " verified=") {
					t.Fatalf("%+v", i)
				}
				if got := i[0].FreeformTags["armfree-verified"]; !regexp.MustCompile(tt.exact).MatchString(got) {
					t.Errorf("the tag is %q", got)
				}
				if d.Verified == nil || time.Since(d.Verified.Time) > time.Hour || (d.Verified.Tests == 1) != tt.goss || (len(d.Verified.SHA256) == 64) != tt.goss {
					t.Errorf("%+v", d.Verified)
				}
			}
			if left := s.Left(image); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

// slow stands for a machine on which goss does not end.
type slow struct{ machine.Driver }

func reported(t *testing.T, path string) reportDestination {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r reportFile
	if err := json.Unmarshal(text, &r); err != nil || len(r.Destinations) != 1 {
		t.Fatalf("%v\n%s", err, text)
	}
	return r.Destinations[0]
}

// A copy that an earlier run finished is verified when the template says so, and so
// is one whose verification was cut short; tags that people gave it meanwhile stay.
func TestVerifyLater(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{Driver: gossSays(true)})
	image, said, err := verified(t.Context(), t, s, settings(s))
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if production(s)[0].FreeformTags["armfree-verified"] != "" {
		t.Error("it says that it was verified")
	}
	for range 2 {
		again, said, err := verified(t.Context(), t, s, verifying(s, nil))
		if err != nil || again != image {
			t.Fatalf("%s after %s, %v\n%s", again, image, err, said)
		}
		if tags := production(s)[0].FreeformTags; tags["team"] != "infra" || !strings.Contains(tags["armfree"], "verified=") || !strings.Contains(tags["armfree"], "source="+s.BaseImage) || tags["armfree-verified"] == "" {
			t.Errorf("%q", tags)
		}
	}
	if n, m := s.Cloud.CountRequests("LaunchInstance"), s.Cloud.CountRequests("ExportImage"); n != 1 || m != 1 {
		t.Errorf("%d machines, %d exports", n, m)
	}
	if left := s.Left(image); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// One that was kept although it did not pass is verified again, and is not imported
// again.
func TestVerifyAgain(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{Driver: gossSays(true)})
	in := verifying(s, map[string]interface{}{"on_failure": "keep", "ssh_port": 1, "ssh_timeout": "1s"})
	if _, said, err := verified(t.Context(), t, s, in); err == nil {
		t.Fatal(said)
	}
	kept := production(s)[0].ID
	if tag := production(s)[0].FreeformTags["armfree"]; !strings.Contains(tag, "check=failed") || !strings.Contains(tag, "state=unfinished") || !strings.Contains(tag, "expires=") {
		t.Errorf("the tag is %q", tag)
	}
	if _, said, err := verified(t.Context(), t, s, settings(s)); err == nil || !strings.Contains(said, "did not pass its verification") || production(s)[0].Name != "copied-unverified" {
		t.Errorf("without verify: %v\n%s", err, said)
	}
	image, said, err := verified(t.Context(), t, s, verifying(s, nil))
	if err != nil || image != kept || production(s)[0].Name != "copied" {
		t.Fatalf("%s after %s, %v\n%s", image, kept, err, said)
	}
	if n, m := s.Cloud.CountRequests("CreateImage"), s.Cloud.CountRequests("ExportImage"); n != 1 || m != 1 {
		t.Errorf("%d imports, %d exports", n, m)
	}
	if left := s.Left(image); len(left) > 0 {
		t.Errorf("left behind: %q\n%s", left, said)
	}
}

// Two copies in one tenancy are verified one after the other: there is room for one
// machine.
func TestVerifyTwoInTurns(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{Driver: gossSays(true), Adjust: func(_, p *ocisim.Tenancy) { p.Limits["standard-a1-core-count"] = 1 }})
	in := verifying(s, nil)
	second := maps.Clone(dest(in))
	second["image_name"] = "second"
	in["destination"] = []interface{}{dest(in), second}
	images, said, err := verified(t.Context(), t, s, in)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if n := s.Cloud.CountRequests("LaunchInstance"); n != 2 {
		t.Errorf("%d launches", n)
	}
	if left := s.Left(strings.Split(images, ",")...); len(left) > 0 {
		t.Errorf("left behind: %q\n%s", left, said)
	}
}

// A provisioner that is content and says nothing of it proves nothing.
func TestVerifyWithoutANote(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{Driver: gossSays(true)})
	file, _ := gossfiles(t)
	p := &PostProcessor{Mask: new(mask.Masker), HTTP: s.Net.Client(), Goss: func() packersdk.Provisioner { return content{} }}
	if err := p.Configure(verifying(s, map[string]interface{}{"goss_file": file})); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	_, _, _, err := p.PostProcess(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, &foreign{})
	if err == nil || !strings.Contains(err.Error(), "left no note") || len(production(s)) != 0 {
		t.Errorf("%v\n%s", err, out.String())
	}
	for state, good := range map[string]bool{"true": true, "stale": false, "reported": false, "false": false} {
		at := new(site)
		if err := at.TagImage("", map[string]string{proof.Tag: state + " tests=1 sha256=00"}); err != nil || (at.passed() == nil) != good {
			t.Errorf("%s: %v, %v", state, err, at.passed())
		}
	}
}

// A machine that cannot be terminated makes the run fail, although the image is good, and
// the next run, which has nothing to verify, removes it.
func TestVerifyLeavesAMachine(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{Driver: gossSays(true)})
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "TerminateInstance", Status: 403, Code: "NotAllowed"}); err != nil {
		t.Fatal(err)
	}
	in := verifying(s, nil)
	path := filepath.Join(t.TempDir(), "report.json")
	in["report"] = path
	_, said, err := verified(t.Context(), t, s, in)
	machines := s.Cloud.Inventory().Tenancies[1].Regions[0].Instances
	if err == nil || len(machines) != 1 || !strings.Contains(err.Error(), machines[0].ID) || strings.Contains(err.Error(), "was not verified") {
		t.Fatalf("%v, %+v\n%s", err, machines, said)
	}
	image := production(s)[0]
	if d := reported(t, path); image.Name != "copied" || d.Image != image.ID || d.Status != "copied" || d.Verified == nil || !strings.Contains(d.Left, machines[0].ID) {
		t.Errorf("%+v, %+v", image, d)
	}
	s.Cloud.ResetFaults()
	again, said, err := verified(t.Context(), t, s, verifying(s, nil))
	if err != nil || again != image.ID || s.Cloud.CountRequests("LaunchInstance") != 1 {
		t.Errorf("%s, %v\n%s", again, err, said)
	}
	if left := s.Left(image.ID); len(left) > 0 {
		t.Errorf("left behind: %q\n%s", left, said)
	}
}

// Cancelled at any request of the verification, the copy ends soon and leaves nothing
// but the image, for the next run.
func TestCancelVerify(t *testing.T) {
	s := stage.ForTest(t, stage.Options{Driver: gossSays(true)})
	if _, said, err := verified(t.Context(), t, s, settings(s)); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	seen := map[string]bool{}
	for _, r := range s.Cloud.Requests() {
		seen[r.Op] = true
	}
	s = stage.ForTest(t, stage.Options{Driver: gossSays(true)})
	if _, said, err := verified(t.Context(), t, s, verifying(s, nil)); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, m := range tripwire.Moments(s.Cloud.Requests(), func(r ocisim.Request) string { return r.Op }) {
		if seen[m.Op] {
			continue // TestCancelAnywhere has it
		}
		t.Run(fmt.Sprintf("%s-%d", m.Op, m.Nth), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: cancel}
			s := stage.ForTest(t, stage.Options{Driver: gossSays(true), Wrap: w.Wrap})
			w.Watch(s.Cloud)
			_, said, err := verified(ctx, t, s, verifying(s, map[string]interface{}{"on_failure": "delete"}))
			if err == nil {
				t.Error("it went on")
			}
			image := ""
			for _, i := range production(s) {
				if image = i.ID; i.Name != "copied-unverified" || !strings.Contains(i.FreeformTags["armfree"], "state=unfinished") {
					t.Errorf("%+v", i)
				}
			}
			if left := s.Left(image); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
			at, ok := w.Pulled()
			if !ok {
				t.Fatal("the copy did not come so far")
			}
			if d := time.Since(at); d > 30*time.Second {
				t.Errorf("went on for %s", d)
			}
		})
	}
}
