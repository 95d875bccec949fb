// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// A copy is started in its own tenancy by the real Packer, and counts only if it
// passes. goss itself is played by the machine.
func TestAccVerify(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	var fails atomic.Bool
	s := stage.ForTest(t, stage.Options{Driver: &machine.Fast{ELF: func(_ context.Context, p *machine.Process) int {
		if fails.Load() {
			_, _ = io.WriteString(p.Stdout, oneFailed)
			return 1
		}
		_, _ = io.WriteString(p.Stdout, onePassed)
		return 0
	}}})
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity, Times: 2, Tenancy: "production"}); err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	type destination struct {
		Status, Error string
		Image         string `json:"image_ocid"`
		Verified      *struct {
			Time   time.Time
			Tests  int
			SHA256 string
		}
	}
	run := func(name string, args ...string) (d destination, said string, err error) {
		args = append(args, "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()), "-var", "image="+s.BaseImage, "-var", "name="+name,
			"-var", "subnet="+s.Production.SubnetID(stage.ProductionRegion), "-var", "report="+report)
		said, err = packerBuild(t.Context(), p, s.Env(), "verify.pkr.hcl", args...)
		text, rerr := os.ReadFile(report)
		if rerr != nil {
			t.Fatalf("%v\n%s", rerr, said)
		}
		var r struct{ Destinations []destination }
		if rerr := json.Unmarshal(text, &r); rerr != nil || len(r.Destinations) != 1 {
			t.Fatalf("%v\n%s", rerr, text)
		}
		return r.Destinations[0], said, err
	}
	launches := func() int { return s.Cloud.CountRequests("LaunchInstance") }

	d, said, err := run("good")
	t.Log(said)
	if err != nil || d.Status != "copied" || d.Verified == nil || d.Verified.Tests != 2 || len(d.Verified.SHA256) != 64 {
		t.Fatalf("%v, %+v", err, d)
	}
	for _, want := range []string{"no capacity", "boots and lets debian in and passes 2 tests", "imported and verified in"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said", want)
		}
	}
	good := d.Image
	if left := s.Left(good); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for _, secret := range []string{"PRIVATE KEY", "/p/"} {
		if strings.Contains(said, secret) {
			t.Errorf("a secret was printed: %q", secret)
		}
	}

	// What has been verified by the same is not verified again.
	n := launches()
	if d, said, err = run("good"); err != nil || d.Status != "existing" || d.Image != good || launches() != n || d.Verified == nil || d.Verified.Tests != 2 {
		t.Errorf("%v, %+v, %d launches\n%s", err, d, launches()-n, said)
	}
	// By something else it is.
	if d, said, err = run("good", "-var", "fail_on_purpose=true"); err != nil || d.Image != good || launches() == n {
		t.Errorf("%v, %+v\n%s", err, d, said)
	}
	// And it stays if it does not pass, which a new copy does not.
	fails.Store(true)
	if d, said, err = run("good"); err == nil || d.Status != "failed" || d.Image != good || !strings.Contains(said, "and stays") {
		t.Errorf("%v, %+v\n%s", err, d, said)
	}
	if d, said, err = run("bad"); err == nil || d.Status != "failed" || d.Image != "" || !strings.Contains(said, "was not verified, and was deleted") || !strings.Contains(said, "goss test failed") {
		t.Errorf("%v, %+v\n%s", err, d, said)
	}
	if left := s.Left(good); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
