// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// workflow is a workflow of GitHub Actions, as far as the examples use them.
type workflow struct {
	text string
	Name string
	On   struct {
		Dispatch struct{ Inputs map[string]any } `yaml:"workflow_dispatch"`
	}
	Permissions map[string]string
	Concurrency any
	Jobs        map[string]struct {
		Timeout int `yaml:"timeout-minutes"`
		Env     map[string]string
		Steps   []struct {
			step    `yaml:",inline"`
			Uses    string
			If      string
			Working string `yaml:"working-directory"`
		}
	}
}

func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	dir := filepath.Join(root, "example/github-actions/.github/workflows")
	files, err := filepath.Glob(filepath.Join(dir, "*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]workflow{}
	for _, f := range append(files, filepath.Join(root, "example/sweep/sweep.yml")) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		w := workflow{text: string(text)}
		if err := yaml.Unmarshal(text, &w); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all[filepath.Base(f)] = w
	}
	return all
}

// What the workflows hand to a template is what the template knows, what they read is
// documented, and what people may type in is used.
func TestWorkflows(t *testing.T) {
	all := workflows(t)
	names := map[string]string{
		"packer-oci-ampere.yml": "Packer OCI Ampere (Always Free)", "packer-aws-arm.yml": "Packer AWS ARM (Graviton)",
		"oci-image-copy.yml": "OCI image copy", "sweep.yml": "Sweep",
	}
	inputs := map[string][]string{
		"packer-oci-ampere.yml": {"image_name_prefix", "assign_public_ip"},
		"packer-aws-arm.yml":    {"ami_name_prefix", "instance_type", "associate_public_ip"},
		"oci-image-copy.yml":    {"source_image_ocid", "dest_image_name", "object_name", "expires_in_hours"},
	}
	if len(all) != len(names) {
		t.Errorf("%d workflows", len(all))
	}
	docs, err := os.ReadFile(filepath.Join(root, "docs/environment.md"))
	if err != nil {
		t.Fatal(err)
	}
	secret := regexp.MustCompile(`secrets\.(\w+)`)
	variable := regexp.MustCompile(`(?m)^variable "(\w+)"`)
	packed := regexp.MustCompile(`^packer/([\w-]+)$`)
	for file, w := range all {
		if w.Name != names[file] || w.Permissions["contents"] != "read" || w.Concurrency == nil {
			t.Errorf("%s: %q, %v, %v", file, w.Name, w.Permissions, w.Concurrency)
		}
		for _, in := range inputs[file] {
			if _, ok := w.On.Dispatch.Inputs[in]; !ok {
				t.Errorf("%s has no input %s", file, in)
			}
		}
		for in := range w.On.Dispatch.Inputs {
			if !strings.Contains(w.text, "inputs."+in) {
				t.Errorf("%s does not use its input %s", file, in)
			}
		}
		for _, m := range secret.FindAllStringSubmatch(w.text, -1) {
			known := strings.TrimPrefix(m[1], "PROD_")
			if m[1] != "GITHUB_TOKEN" && !strings.Contains(string(docs), "`"+m[1]+"`") && !strings.Contains(string(docs), "`"+known+"`") {
				t.Errorf("%s reads the secret %s, which no page explains", file, m[1])
			}
		}
		for job, j := range w.Jobs {
			if j.Timeout == 0 {
				t.Errorf("%s: the job %s has no limit", file, job)
			}
			env, dir := map[string]bool{}, ""
			for name := range j.Env {
				env[name] = true
			}
			for _, s := range j.Steps {
				for name := range s.Env {
					env[name] = true
				}
				if m := packed.FindStringSubmatch(s.Working); m != nil {
					dir = m[1]
				}
			}
			known := map[string]bool{}
			templates, _ := filepath.Glob(filepath.Join(root, "example", dir, "*.pkr.hcl"))
			for _, path := range templates {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range variable.FindAllStringSubmatch(string(text), -1) {
					known[m[1]] = true
				}
			}
			for name := range env {
				if v, ok := strings.CutPrefix(name, "PKR_VAR_"); ok && !known[v] {
					t.Errorf("%s sets the variable %s, which example/%s does not have", file, v, dir)
				}
			}
		}
	}
}
