// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// A hosted job that is cancelled is killed with everything it started. The step that the
// example has for that (if: always()) then removes what the run had, by the text of the
// workflow itself, and at once: nobody waits for an expiry.
func TestAccWorkflowKilled(t *testing.T) {
	acceptance(t)
	script := lastSteps(t)["packer-oci-ampere.yml"]
	home := t.TempDir()
	p, err := runpacker.Install(t.Context(), os.Getenv("ACC_PACKER"), os.Getenv("ACC_PLUGIN"), runpacker.Source, home)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := filepath.Abs(os.Getenv("ACC_PACKER"))
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(bin, "packer")); err != nil {
		t.Fatal(err)
	}
	for n, m := range []tripwire.Moment{{Op: "LaunchInstance", Nth: 1}, {Op: "GetInstance", Nth: 2}, {Op: "CreatePreauthenticatedRequest", Nth: 1}, {Op: "CreateImage", Nth: 2}} {
		t.Run(fmt.Sprintf("%s-%d", m.Op, m.Nth), func(t *testing.T) {
			mark := fmt.Sprintf("ARMFREE_TEST_RUN=w%d-%d", os.Getpid(), n)
			w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: func() { killAll(mark) }}
			s := stage.ForTest(t, stage.Options{Wrap: func(next http.Handler) http.Handler { return w.Wrap(next) }})
			w.Watch(s.Cloud)
			said, err := packerBuild(t.Context(), p, append(s.Env(), mark), "pipeline.pkr.hcl", "-color=false", "-timestamp-ui", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()), "-var", "capacity_reports=false")
			if _, pulled := w.Pulled(); !pulled || err == nil {
				t.Fatalf("the build did not come so far: %v\n%s", err, said)
			}
			keep := finishedImages(s)
			if left := s.Left(keep...); len(left) == 0 {
				t.Fatalf("nothing was left: this test proves nothing\n%s", said)
			}
			for strings.Contains(fmt.Sprint(s.Left(keep...)), "(PROVISIONING)") && t.Context().Err() == nil {
				time.Sleep(50 * time.Millisecond) // what is being made cannot be deleted
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "packer.log"), []byte(said), 0o600); err != nil {
				t.Fatal(err)
			}
			c := exec.CommandContext(t.Context(), "bash", "-e", "-c", script)
			c.Dir = dir
			c.Env = append(s.Env(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+home, "PACKER_CONFIG_DIR="+home, "PACKER_PLUGIN_PATH="+filepath.Join(home, "plugins"),
				"CHECKPOINT_DISABLE=1", "RUNNER_TEMP="+dir)
			out, err := c.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if left := s.Left(keep...); len(left) > 0 {
				t.Errorf("left behind: %q\n%s\n%s", left, said, out)
			}
		})
	}
}
