// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// built is the pinned goss for this host, built once from modules that are
// already here: a test does not download.
var built = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(scratch, "goss")
	cmd := exec.Command("go", "build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o", bin, "github.com/goss-org/goss/cmd/goss")
	cmd.Dir = filepath.Join(here, "..", "..", "tools", "goss")
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

// realGoss is the path of the pinned goss.
func realGoss(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("building goss takes a while")
	}
	bin, err := built()
	if err != nil {
		t.Skipf("goss cannot be built here; \"make goss\" fetches its modules: %v", err)
	}
	return bin
}

// hasGoss has a goss on the machine already, for tests that are about what it
// says: to bring it costs more than to run it.
func (c *check) hasGoss(bin string) {
	delete(c.options, "goss_binary")
	c.options["skip_install"], c.options["download_path"] = true, bin
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
			if c.options["goss_binary"] = bin; tt.name != "pass" {
				c.hasGoss(bin)
			}
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
			c.options["record"], c.options["record_file"] = tt.record, out
			c.hasGoss(bin)
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
			again.options = map[string]any{"goss_file": out, "use_sudo": false, "remote_folder": again.base}
			again.hasGoss(bin)
			if err := again.run(t.Context()); err != nil && tt.name != "resources" {
				t.Errorf("the recorded gossfile: %v\n%s", err, b)
			}
		})
	}
}

// select and deselect by the real goss: what is left out is not even started.
func TestSelectWithRealGoss(t *testing.T) {
	bin := realGoss(t)
	started, second := filepath.Join(t.TempDir(), "started"), filepath.Join(t.TempDir(), "second")
	files := map[string]string{
		"goss.yaml": "gossfile: { included.yaml: {} }\nfile: { {{ .Vars.where }}: { exists: true, meta: { tag: keep } } }\ncommand: { 'touch " + started + "': { exit-status: 1 } }\n",
		"included.yaml": "user: { root: { title: 'the {{ \"{{\" }} user', exists: true, uid: 0, meta: { tag: [keep, x] } } }\n" +
			"file: { /proc: { exists: false } }\n",
		"other.yaml": "file: { /proc: { exists: false } }\n",
		"twice.yaml": "gossfile: { a.yaml: {}, b.yaml: {} }\n", "a.yaml": "file: { /proc: { exists: true, meta: { tag: keep } } }\n",
		"b.yaml":    "file: { /proc: { exists: true, meta: { tag: keep } }, /x: { exists: true } }\n",
		"json.json": `{"file": {"/proc": {"exists": true, "title": "kept"}, "/no/such/file": {"exists": true}}}`,
		"bad.yaml":  "file: { {{ .Env.NO_SUCH_VARIABLE | fail }}: { exists: true } }\n",
		"again.yaml": "command: { 'ls " + second + " || { touch " + second + "; exit 1; }': { exit-status: 0, meta: { tag: keep } } }\n" +
			"file: { /proc: { exists: false } }\n",
	}
	// Each case has maps of its own: Packer changes those that it decodes.
	keep := func() []map[string]any { return []map[string]any{{"meta": map[string]string{"tag": "keep"}}} }
	tests := []struct {
		name, says string
		options    map[string]any
		shows      []string
	}{
		{
			name: "by meta", options: map[string]any{"select": keep(), "min_tests": 3},
			shows: []string{"Selected 2 of 4 resources of checks/goss.yaml", "3 tests: 3 passed", "2 resources were not selected and not checked"},
		},
		{name: "and again without some", options: map[string]any{"select": keep(), "deselect": []map[string]any{{"type": "user"}}}, shows: []string{"1 test: 1 passed"}},
		{name: "JSON", options: map[string]any{"goss_file": "checks/json.json", "deselect": []map[string]any{{"name": "/no/*"}}}, shows: []string{"1 test: 1 passed"}},
		{
			name: "one of several gossfiles is left out", options: map[string]any{"goss_files": []string{"checks/goss.yaml", "checks/other.yaml"}, "select": keep()},
			shows: []string{"Selected 0 of 1 resource of checks/other.yaml", "checks/other.yaml was not run", "3 tests: 3 passed"},
		},
		{name: "nothing is left", options: map[string]any{"select": []map[string]any{{"title": "none"}}, "report_only": true}, says: "select and deselect leave no test to run"},
		{name: "what is selected fails", options: map[string]any{"select": []map[string]any{{"name": "/proc"}}}, says: "1 of 1 goss test failed"},
		{
			name:    "and passes the second time",
			options: map[string]any{"goss_file": "checks/again.yaml", "select": keep(), "retry_timeout": "10m", "sleep": "1ms"},
			shows:   []string{"Selected 1 of 2 resources of checks/again.yaml", "2 attempts in", "1 test: 1 passed"},
		},
		{name: "less than is written", options: map[string]any{"goss_file": "checks/twice.yaml", "select": keep()}, shows: []string{"goss warns: ", "Duplicate key detected", "1 test: 1 passed"}},
		{name: "and strict", options: map[string]any{"goss_file": "checks/twice.yaml", "select": keep(), "strict": true}, says: "replaces the one in"},
		{name: "it cannot be read", options: map[string]any{"goss_file": "checks/bad.yaml", "select": keep(), "report_only": true}, says: "(exit code 78): "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCheck(t)
			for name, text := range files {
				c.file(name, text)
			}
			c.hasGoss(bin)
			c.options["vars_inline"] = map[string]string{"where": "/proc/self"}
			dir := t.TempDir()
			c.options["reports"], c.options["receipt"] = map[string]string{"json": filepath.Join(dir, "r.json")}, filepath.Join(dir, "receipt.json")
			for name, value := range tt.options {
				c.options[name] = value
			}
			if c.options["goss_files"] != nil {
				delete(c.options, "goss_file")
			}
			err := c.run(t.Context())
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got error %v\nwant the words %q\n%s", err, tt.says, c.ui.text())
			}
			for _, words := range tt.shows {
				if !strings.Contains(c.ui.text(), words) {
					t.Errorf("the screen does not show %q but\n%s", words, c.ui.text())
				}
			}
			for _, name := range []string{"r.json", "receipt.json"} {
				if b, err := os.ReadFile(filepath.Join(dir, name)); tt.name != "and strict" && (err != nil || !strings.Contains(string(b), `select": [`)) {
					t.Errorf("%s does not say what was selected: %v\n%s", name, err, b)
				}
			}
			if _, err := os.Stat(started); err == nil {
				t.Error("what is left out was run")
			}
			c.mustBeClean()
		})
	}
}
