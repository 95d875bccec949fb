// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// realGoss builds the pinned goss for this host, from modules that are already
// here: a test does not download.
func realGoss(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("building goss takes a while")
	}
	bin := filepath.Join(t.TempDir(), "goss")
	cmd := exec.Command("go", "build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o", bin, "github.com/goss-org/goss/cmd/goss")
	cmd.Dir = filepath.Join(here, "..", "..", "tools", "goss")
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("goss cannot be built here; \"make goss\" fetches its modules: %v\n%s", err, out)
	}
	return bin
}

// The real goss on this host, brought and judged as on any machine.
func TestProvisionWithRealGoss(t *testing.T) {
	bin := realGoss(t)
	vars := tree(t, map[string]string{"vars.yaml": "name: from-file\nkept: from-file\n", "more.yaml": "port: 8080\n"})
	tests := []struct {
		name     string
		gossfile string
		options  map[string]any
		says     string
		shows    []string
	}{
		{
			name: "pass", options: map[string]any{"min_tests": 4},
			gossfile: `
gossfile: { included.yaml: {} }
file:
  /proc/self: { exists: true }
  /no/such/file: { exists: false }
`,
			shows: []string{"4 passed, 0 failed"},
		},
		{
			name: "fail",
			gossfile: `
file: { /no/such/file: { title: must exist, exists: true, mode: "0644" } }
command: { "echo \"it's\"; exit 3": { exit-status: 0, stdout: { have-patterns: [that] } } }
`,
			says:  "3 of 4 goss tests failed",
			shows: []string{"FAILED   must exist: File /no/such/file: exists: expected to equal true, got false", "got 3", `got "it's\n"`, "3 failed, 1 skipped"},
		},
		{
			name: "variables",
			options: map[string]any{
				"vars_file":   filepath.Join(vars, "vars.yaml"),
				"vars_inline": map[string]string{"name": `it's "inline" $HOME`},
				"vars_env":    map[string]string{"FROM_ENV": "a'b\nc"},
				"min_tests":   3,
			},
			gossfile: `
matching:
  inline: { content: {{ .Vars.name | toJson }}, matches: "it's \"inline\" $HOME" }
  file: { content: {{ .Vars.kept | toJson }}, matches: from-file }
  env: { content: {{ .Env.FROM_ENV | toJson }}, matches: "a'b\nc" }
`,
		},
		{
			name: "variables of any type",
			options: map[string]any{
				"vars_files":  []string{filepath.Join(vars, "vars.yaml"), filepath.Join(vars, "more.yaml")},
				"vars":        `{"n": 1000000, "deep": {"list": [1, 2, "x"]}, "yes": true, "name": "vars"}`,
				"vars_inline": map[string]string{"name": "inline"},
				"min_tests":   5,
			},
			gossfile: `
matching:
  n: { content: "{{ .Vars.n }}", matches: "1000000" }
  list: { content: "{{ range .Vars.deep.list }}<{{ . }}>{{ end }}", matches: "<1><2><x>" }
  yes: { content: "{{ if .Vars.yes }}y{{ end }}", matches: "y" }
  name: { content: "{{ .Vars.name }}", matches: "inline" }
  more: { content: "{{ .Vars.port }} {{ .Vars.kept }}", matches: "8080 from-file" }
`,
		},
		{name: "a missing variable", gossfile: "file: { '{{ .Vars.none }}': { exists: true } }", says: `needs the variable "none"`},
		{name: "an unknown attribute", gossfile: "file: { /proc: { exist: true } }", says: `an attribute "exist", which goss does not know`},
		{name: "no tests", gossfile: "file: {}", says: "found 0 tests"},
		{name: "all skipped", gossfile: "file: { /proc: { exists: true, skip: true } }", says: "every goss test was skipped (1 of 1)"},
		{
			name:     "a key given twice",
			gossfile: "gossfile: { included.yaml: {} }\nfile: { /: { exists: true } }\n",
			shows:    []string{"goss warns: ", "Duplicate key detected"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCheck(t)
			c.file("goss.yaml", tt.gossfile)
			c.file("included.yaml", "file: { /: { exists: true, filetype: directory } }\n")
			c.options["goss_binary"] = bin
			for name, value := range tt.options {
				c.options[name] = value
			}
			err := c.run(t.Context())
			switch {
			case tt.says == "" && err != nil:
				t.Errorf("failed: %v\n%s", err, c.ui.text())
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("got error %v\nwant the words %q", err, tt.says)
			}
			for _, words := range tt.shows {
				if !strings.Contains(c.ui.text(), words) {
					t.Errorf("the screen does not show %q but\n%s", words, c.ui.text())
				}
			}
			c.mustBeClean()
		})
	}
}

func TestRecordWithRealGoss(t *testing.T) {
	bin := realGoss(t)
	tests := []struct {
		name   string
		record []string
		tests  bool
		says   string
		writes []string
	}{
		{name: "resources", record: []string{"file:/proc/self/status", "user:root", "command:echo it's"}, writes: []string{"/proc/self/status:", "root:", "echo it's:"}},
		{name: "recorded and checked", record: []string{"file:/"}, tests: true, writes: []string{"/:", "exists: true"}},
		{name: "a name", record: []string{"/etc/passwd"}, writes: []string{"/etc/passwd:"}},
		{name: "nothing there", record: []string{"no-such-thing-anywhere"}, says: "goss found nothing to record"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCheck(t)
			out := filepath.Join(t.TempDir(), "new", "out.yaml")
			c.options["record"], c.options["record_file"], c.options["goss_binary"] = tt.record, out, bin
			if !tt.tests {
				delete(c.options, "tests")
				delete(c.options, "goss_file")
			}
			err := c.run(t.Context())
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got error %v, want %q\n%s", err, tt.says, c.ui.text())
			}
			b, _ := os.ReadFile(out)
			for _, w := range tt.writes {
				if !strings.Contains(string(b), w) {
					t.Errorf("%q is not in\n%s", w, b)
				}
			}
			c.mustBeClean()
			if tt.says != "" {
				return
			}
			// What was recorded is a gossfile that passes.
			again := newCheck(t)
			again.options = map[string]any{"goss_file": out, "goss_binary": bin, "use_sudo": false, "remote_folder": again.base}
			if err := again.run(t.Context()); err != nil && tt.name != "resources" {
				t.Errorf("the recorded gossfile: %v\n%s", err, b)
			}
		})
	}
}
