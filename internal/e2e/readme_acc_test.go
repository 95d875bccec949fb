// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Who follows the README comes from nothing to a template that is valid: its lines are
// run as they stand there, in an empty home, but for the clone and the build, which are
// there already.
func TestAccReadme(t *testing.T) {
	acceptance(t)
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Use it\n")
	section, _, ok := strings.Cut(section, "\n## ")
	if !ok {
		t.Fatal(`the README has no section "Use it"`)
	}
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of commands", len(blocks))
	}
	var steps []string
	for _, b := range blocks {
		for _, line := range strings.Split(b[1], "\n") {
			if !strings.HasPrefix(line, "git clone ") && !strings.HasPrefix(line, "make build packer ") {
				steps = append(steps, line)
			}
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"example", "internal", "go.mod", "go.sum"} {
		path, err := filepath.Abs(filepath.Join(root, name))
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, variable := range map[string]string{"packer": "ACC_PACKER", "packer-plugin-armfree": "ACC_PLUGIN"} {
		path, err := filepath.Abs(os.Getenv(variable))
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, "bin", name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// A link would hide the module from go run.
	sim := filepath.Join(dir, "cloudsim")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", sim, "../sim/cmd/cloudsim").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script := strings.ReplaceAll(strings.Join(steps, "\n"), "go run ./internal/sim/cmd/cloudsim", sim)
	if !strings.Contains(script, sim) {
		t.Fatal("the README starts no simulator")
	}
	c := exec.CommandContext(t.Context(), "bash", "-e", "-c", "trap 'kill %1' EXIT\n"+script)
	c.Dir = dir
	c.Env = []string{"HOME=" + t.TempDir(), "PATH=/usr/bin:/bin", "CHECKPOINT_DISABLE=1", "TMPDIR=" + t.TempDir()}
	c.WaitDelay = 10 * time.Second
	out, err := c.CombinedOutput()
	for _, want := range []string{"Successfully installed plugin", "The configuration is valid.", "A build would try "} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not said", want)
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
