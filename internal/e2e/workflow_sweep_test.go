// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// lastSteps are the steps of the examples that remove what a cancelled run has left,
// and what they read.
func lastSteps(t *testing.T) map[string]string {
	t.Helper()
	scripts := map[string]string{}
	for file, w := range workflows(t) {
		for _, j := range w.Jobs {
			for _, s := range j.Steps {
				if strings.Contains(s.Run, "sweep --cloud") {
					scripts[file] = s.Run
				}
			}
		}
		if file != "sweep.yml" {
			continue
		}
		// There it is a recipe, in a comment.
		_, recipe, ok := strings.Cut(w.text, "as its last steps.")
		if !ok {
			t.Fatal("sweep.yml has no recipe")
		}
		var lines []string
		for _, l := range strings.Split(recipe, "\n") {
			if l, ok := strings.CutPrefix(l, "#     "); ok {
				lines = append(lines, l)
			}
		}
		var steps []step
		if err := yaml.Unmarshal([]byte(strings.Join(lines, "\n")), &steps); err != nil || len(steps) != 2 {
			t.Fatalf("%d steps, %v", len(steps), err)
		}
		if !strings.Contains(steps[0].Run, "packer build -color=false ") {
			t.Errorf("sweep.yml builds by %q", steps[0].Run)
		}
		scripts["recipe"] = steps[1].Run
	}
	if len(scripts) != 3 {
		t.Fatalf("steps of %d examples", len(scripts))
	}
	return scripts
}

// What the steps run removes what builds and copies have said that they are, in the
// tenancy that images are copied to as well, and whatever colour that was said in.
func TestWorkflowsSweep(t *testing.T) {
	const log = "==> armfree-oci.debian: Build typblmfklfll2uv3\n" +
		"==> armfree-oci.debian: 2026-11-26T10:00:00Z: Build aaaaaaaaaaaaaaaa\n" +
		"\x1b[1;32m==> armfree-oci.debian: Build bbbbbbbbbbbbbbbb\x1b[0m\n" +
		"\x1b[0;32m    armfree-oci.debian (armfree-oci-cross-tenancy-copy): Copy cccccccccccccccc\x1b[0m\n" +
		"    armfree-oci.debian (armfree-oci-cross-tenancy-copy): Copy dddddddddddddddd\n" +
		"    armfree-oci.debian (armfree-oci-cross-tenancy-copy): uk-london-1: Build eeeeeeeeeeeeeeee\r\n" +
		"==> armfree-oci.debian: Build typblmfklfll2uv3\n" +
		"    armfree-oci.debian: Build finished, and no id\n" +
		"    armfree-oci.debian: Build ffffffffffffffffff has too much\n"
	ids := []string{"aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc", "dddddddddddddddd", "eeeeeeeeeeeeeeee", "typblmfklfll2uv3"}
	for file, script := range lastSteps(t) {
		for name, tt := range map[string]struct {
			log   string
			prod  bool
			fails bool
		}{"all": {log: log, prod: true}, "one tenancy": {log: log}, "nothing began": {log: "Error: no\n", prod: true}, "the first fails": {log: log, prod: true, fails: true}} {
			t.Run(file+"/"+name, func(t *testing.T) {
				dir := t.TempDir()
				plugin := filepath.Join(dir, "packer-plugin-armfree_v0.1.0_x5.0_linux_amd64")
				code := "0"
				if tt.fails {
					code = "2"
				}
				for path, text := range map[string]string{
					filepath.Join(dir, "packer"):     "#!/bin/sh\necho " + plugin + "\n",
					plugin:                           "#!/bin/sh\necho \"$@\" >> calls\nexit " + code + "\n",
					filepath.Join(dir, "packer.log"): tt.log,
				} {
					if err := os.WriteFile(path, []byte(text), 0o700); err != nil { //nolint:gosec // two of them are run
						t.Fatal(err)
					}
				}
				c := exec.CommandContext(t.Context(), "bash", "-e", "-c", script)
				c.Dir = dir
				c.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "RUNNER_TEMP=" + dir}
				if tt.prod {
					c.Env = append(c.Env, "PROD_OCI_TENANCY_OCID=ocid1.tenancy.oc1..p")
				}
				if out, err := c.CombinedOutput(); (err != nil) != tt.fails {
					t.Fatalf("%v\n%s", err, out)
				}
				text, err := os.ReadFile(filepath.Join(dir, "calls"))
				if err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
				var plain, prod []string
				for _, l := range strings.Split(strings.TrimSpace(string(text)), "\n") {
					var named []string
					words := strings.Fields(l)
					for i, w := range words {
						if w == "--build" {
							named = append(named, words[i+1])
						}
					}
					if strings.Contains(l, "--env-prefix PROD_") {
						prod = append(prod, named...)
					} else {
						plain = append(plain, named...)
					}
				}
				want, wantProd := ids, ids
				if !strings.HasPrefix(tt.log, "==>") {
					want = nil
				}
				if want == nil || !tt.prod || file == "packer-aws-arm.yml" {
					wantProd = nil
				}
				if !slices.Equal(plain, want) || !slices.Equal(prod, wantProd) {
					t.Errorf("swept %q and %q, want %q and %q", plain, prod, want, wantProd)
				}
			})
		}
	}
}
