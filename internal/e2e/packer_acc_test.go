// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// pipeline runs testdata/pipeline.pkr.hcl with the real Packer.
func pipeline(ctx context.Context, s *stage.Stage, p *runpacker.Packer, args ...string) (string, error) {
	args = append([]string{"-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort())}, args...)
	return packerBuild(ctx, p, s.Env(), "pipeline.pkr.hcl", args...)
}

var imageID = regexp.MustCompile(`ocid1\.image\.[a-z0-9.-]+`)

func TestAccPipeline(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	s := stage.ForTest(t, stage.Options{})
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity, Times: 3}); err != nil {
		t.Fatal(err)
	}
	said, err := pipeline(t.Context(), s, p, "-var", "capacity_reports=false")
	t.Log(said)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Attempt 1:", "Out of host capacity.", "Attempt 4:", "aarch64", "An image was created: 'pipeline'", "The image 'copied' was copied:"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said", want)
		}
	}
	if left := s.Left(imageID.FindAllString(said, -1)...); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	secrets := []string{"PRIVATE KEY", "/p/"}
	for _, line := range strings.Split(s.Build.PrivateKeyPEM()+s.Production.PrivateKeyPEM(), "\n") {
		if len(line) > 20 && !strings.HasPrefix(line, "-----") {
			secrets = append(secrets, line)
		}
	}
	for _, secret := range secrets {
		if strings.Contains(said, secret) {
			t.Errorf("a secret was printed: %q", secret)
		}
	}
}

// When the process that runs Packer is killed, Packer and its plugins go too.
// The test binary plays that process: it starts itself.
func TestAccKilledParent(t *testing.T) {
	acceptance(t)
	if dir := os.Getenv("KILLED_PARENT"); dir != "" {
		p, err := runpacker.Install(t.Context(), os.Getenv("ACC_PACKER"), os.Getenv("ACC_PLUGIN"), runpacker.Source, dir)
		if err != nil {
			t.Fatal(err)
		}
		s := stage.ForTest(t, stage.Options{})
		if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity}); err != nil {
			t.Fatal(err)
		}
		_ = p.Run(t.Context(), "testdata", s.Env(), os.Stdout, "build", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()), "-var", "capacity_reports=false", "pipeline.pkr.hcl")
		return
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestAccKilledParent$", "-test.v")
	// What the killed process leaves in its temporary folder goes with ours.
	cmd.Env = append(os.Environ(), "KILLED_PARENT="+dir, "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "Attempt 2:") {
	}
	if running(dir) == 0 {
		t.Error("Packer cannot be seen while it runs: this test proves nothing")
	}
	_ = cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
	for end := time.Now().Add(10 * time.Second); running(dir) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d processes outlive the one that was killed", running(dir))
		}
	}
}

// running counts the processes whose home is dir.
func running(dir string) (n int) {
	envs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, e := range envs {
		if b, err := os.ReadFile(e); err == nil && bytes.Contains(b, []byte("HOME="+dir)) {
			n++
		}
	}
	return n
}

const reports = "CreateComputeCapacityReport"

// Ctrl-C at any moment of a build ends it in seconds, with nothing left.
func TestAccInterrupt(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for _, m := range []tripwire.Moment{
		{Op: "GetSubnet", Nth: 1}, {Op: "ListCompartments", Nth: 1}, {Op: reports, Nth: 1}, {Op: reports, Nth: 5}, {Op: "LaunchInstance", Nth: 1}, {Op: "LaunchInstance", Nth: 2}, {Op: "GetInstance", Nth: 1},
		{Op: "GetVnic", Nth: 1}, {Op: "CreateImage", Nth: 1}, {Op: "GetImage", Nth: 3}, {Op: "UpdateImage", Nth: 1},
		{Op: "TerminateInstance", Nth: 1}, {Op: "CreatePreauthenticatedRequest", Nth: 1}, {Op: "ExportImage", Nth: 1},
		{Op: "CreatePreauthenticatedRequest", Nth: 2}, {Op: "CreateImage", Nth: 2}, {Op: "DeleteObject", Nth: 1},
	} {
		t.Run(fmt.Sprintf("%s-%d", m.Op, m.Nth), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: cancel}
			s := stage.ForTest(t, stage.Options{Wrap: w.Wrap})
			if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity, Times: 1}); err != nil {
				t.Fatal(err)
			}
			w.Watch(s.Cloud)
			said, err := pipeline(ctx, s, p, "-var", "capacity_reports="+fmt.Sprint(m.Op == reports))
			at, pulled := w.Pulled()
			if !pulled {
				t.Fatalf("the build did not come so far: %v\n%s", err, said)
			}
			if d := time.Since(at); d > 30*time.Second {
				t.Errorf("went on for %s\n%s", d, said)
			}
			// What was finished before the interrupt may stay; it says so.
			left := s.Left(finished(said)...)
			if len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

var ready = regexp.MustCompile(`Image (ocid1\.image\.[a-z0-9.-]+) is ready`)

// finished are the images that were complete before a build ended.
func finished(said string) (ids []string) {
	for _, m := range ready.FindAllStringSubmatch(said, -1) {
		ids = append(ids, m[1])
	}
	return ids
}

// Ctrl-C is obeyed while the build waits: for capacity, and for SSH.
func TestAccInterruptWait(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	tests := []struct {
		name  string
		fault ocisim.Fault
		hang  bool
	}{
		{"for capacity", ocisim.Fault{Kind: ocisim.FaultCapacity}, false},
		{"for SSH", ocisim.Fault{Kind: ocisim.FaultCapacity, Times: 1}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			driver := &machine.Fast{Behave: func(machine.Spec) machine.Behaviour { return machine.Behaviour{Hang: tt.hang} }}
			s := stage.ForTest(t, stage.Options{Driver: driver})
			if err := s.Cloud.AddFaults(tt.fault); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			said, err := pipeline(ctx, s, p, "-var", "capacity_reports="+fmt.Sprint(!tt.hang))
			asked := map[bool]string{true: "LaunchInstance", false: reports}[tt.hang]
			if err == nil || s.Cloud.CountRequests(asked) == 0 {
				t.Fatalf("%v\n%s", err, said)
			}
			if late, _ := ctx.Deadline(); time.Since(late) > 15*time.Second {
				t.Errorf("went on for %s\n%s", time.Since(late), said)
			}
			if left := s.Left(); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

// An image that took hours to get survives a copy that fails.
func TestAccImageSurvivesFailedCopy(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	s := stage.ForTest(t, stage.Options{})
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultImportFails}); err != nil {
		t.Fatal(err)
	}
	said, err := pipeline(t.Context(), s, p)
	if err == nil {
		t.Fatalf("the build succeeded\n%s", said)
	}
	kept := 0
	for _, i := range s.Cloud.Inventory().Tenancies[0].Regions[0].Images {
		if i.Name == "pipeline" && i.State == "AVAILABLE" {
			kept++
		}
	}
	if kept != 1 {
		t.Errorf("%d images are kept\n%s", kept, said)
	}
	if left := s.Left(finished(said)...); len(left) > 0 {
		t.Errorf("left behind: %q\n%s", left, said)
	}
}
