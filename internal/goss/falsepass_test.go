// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// TestFalsePasses are the ways in which goss v0.4.10 ends with exit code 0
// although the machine was not checked, each shown by the real goss: first that
// its exit code says so, then that the verdict does not.
func TestFalsePasses(t *testing.T) {
	sample.Not(t)
	const failing = "file: {/no/such/file: {exists: true}, /proc/self: {exists: true}}\n"
	tests := []struct {
		name   string
		files  map[string]string
		args   []string
		strict bool // goss did run what it understood: a failure under strict only
		rules  Rules
		want   Reason
		says   string
		names  string // in the summary, strict or not
	}{
		{
			name: "1: a format that never fails", files: map[string]string{"goss.yaml": failing},
			args: []string{"validate", "--format", "structured"},
			want: Unreadable, says: "no complete summary",
		},
		{
			name: "1b: another one", files: map[string]string{"goss.yaml": failing},
			args: []string{"validate", "--format", "prometheus"},
			want: Unreadable, says: "not the JSON that goss prints",
		},
		{
			name: "2: no workers", files: map[string]string{"goss.yaml": failing},
			args: []string{"validate", "--max-concurrent", "0"},
			want: NoTests, says: "no test at all",
		},
		{
			name:  "3: a misspelt section",
			files: map[string]string{"goss.yaml": "fiel: {/no/such/file: {exists: true}}\nuser: {root: {exists: true}}\n"},
			want:  Mistaken, says: `"fiel"`,
		},
		{
			name:   "3b: an unknown section",
			files:  map[string]string{"goss.yaml": "anchors: {/no/such/file: {exists: true}}\nuser: {root: {exists: true}}\n"},
			strict: true, want: Lenient, says: `"anchors"`, names: `goss.yaml:1: it has a section "anchors"`,
		},
		{
			name: "4: a key that another file takes over",
			files: map[string]string{
				"goss.yaml": "gossfile: {a.yaml: {}, b.yaml: {}}\n",
				"a.yaml":    "file: {/no/such/file: {exists: true}}\n", "b.yaml": "file: {/no/such/file: {exists: false}}\n",
			},
			strict: true, want: Lenient, says: "replaces the one in a.yaml", names: "file: /no/such/file",
		},
		{
			name: "5: everything skipped", files: map[string]string{"goss.yaml": "file: {/no/such/file: {exists: true, skip: true}}\n"},
			want: AllSkipped, says: "every goss test was skipped",
		},
		{
			name:   "6: an empty list",
			files:  map[string]string{"goss.yaml": "command: {'echo error >&2': {exit-status: 0, stderr: []}}\n"},
			strict: true, want: Lenient, says: "empty list", names: "stderr is an empty list",
		},
		{
			name:  "7: a template that comes to fewer tests",
			files: map[string]string{"goss.yaml": "user: {root: {exists: true}}\n{{ if eq 1 2 }}\nfile: {/no/such/file: {exists: true}}\n{{ end }}\n"},
			rules: Rules{MinTests: 2}, want: TooFew, says: "goss carried out 1 test but min_tests demands 2",
		},
		{
			name:   "8: a second document",
			files:  map[string]string{"goss.yaml": "user: {root: {exists: true}}\n---\nfile: {/no/such/file: {exists: true}}\n"},
			strict: true, want: Lenient, says: "first YAML document", names: "first YAML document",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			run := runGoss(t, project(t, tt.files), "goss.yaml", tt.args...)
			if run.ExitCode != 0 {
				t.Fatalf("goss ends with %d: this is no false pass any more\n%s", run.ExitCode, run.Output)
			}
			linted := lintOf(tt.files, "goss.yaml", nil)
			r := once(tt.rules, run, linted)
			if tt.strict {
				if err := r.Err(); err != nil {
					t.Errorf("not strict, and refused: %v", err)
				}
				if summary := strings.Join(r.Summary(), "\n"); !strings.Contains(summary, tt.names) {
					t.Errorf("the summary does not name %q:\n%s", tt.names, summary)
				}
				tt.rules.Strict = true
				r = once(tt.rules, run, linted)
			}
			check(t, r.Err(), tt.want, tt.says)
		})
	}
}

// What lint does not know of, goss itself says: the file that takes over may
// be one that only the machine has.
func TestTakenOverOnTheMachine(t *testing.T) {
	files := map[string]string{
		"goss.yaml": "gossfile: {a.yaml: {}, b.yaml: {}}\n",
		"a.yaml":    "command: {\"echo 'x'. y\": {exit-status: 1}}\n", "b.yaml": "command: {\"echo 'x'. y\": {exit-status: 0}}\n",
	}
	run := runGoss(t, project(t, files), "goss.yaml")
	check(t, once(Rules{}, run, Linted{}).Err(), 0, "")
	check(t, once(Rules{Strict: true}, run, Linted{}).Err(), Lenient, "command: echo 'x'. y is given twice")
	if named := once(Rules{}, run, lintOf(files, "goss.yaml", nil)).Named; len(named) != 1 {
		t.Errorf("what lint and goss both say is named %d times: %q", len(named), named)
	}
}

// A test that goss carried out and that asserts nothing passes; lint sees it.
func TestVacuousMatchers(t *testing.T) {
	for _, gossfile := range []string{
		"user: {root: {exists: true, groups: []}}\n",
		"user: {root: {exists: true, shell: {have-patterns: []}}}\n",
		"user: {root: {exists: true, groups: {contain-elements: []}}}\n",
		"user: {root: {exists: true, shell: {and: []}}}\n",
		"user: {root: {exists: true, shell: }}\n",
	} {
		files := map[string]string{"goss.yaml": gossfile}
		run := runGoss(t, project(t, files), "goss.yaml")
		if run.ExitCode != 0 {
			t.Errorf("%s goss does not let it pass: %s", gossfile, run.Output)
		}
		check(t, once(Rules{Strict: true}, run, lintOf(files, "goss.yaml", nil)).Err(), Lenient, "asserts nothing")
	}
	// This one does assert something, and must not be complained of.
	files := map[string]string{"goss.yaml": "user: {root: {exists: true, groups: {not: {consist-of: []}}}}\n"}
	check(t, once(Rules{Strict: true}, runGoss(t, project(t, files), "goss.yaml"), lintOf(files, "goss.yaml", nil)).Err(), 0, "")
}

// What goss prints with a retry timeout of its own is not one document, even
// if it passes in the end.
func TestRetriesOfGossItself(t *testing.T) {
	files := map[string]string{"goss.yaml": "command: {'test -e made || { touch made; false; }': {exit-status: 0}}\n"}
	run := runGoss(t, project(t, files), "goss.yaml", "validate", "--retry-timeout", "5s", "--sleep", "10ms")
	if run.ExitCode != 0 {
		t.Fatalf("goss ended with %d", run.ExitCode)
	}
	check(t, once(Rules{}, run, Linted{}).Err(), Unreadable, "followed by something else")
	files = map[string]string{"goss.yaml": "file: {/no/such/file: {exists: true}}\n"}
	run = runGoss(t, project(t, files), "goss.yaml", "validate", "--retry-timeout", "50ms", "--sleep", "10ms")
	check(t, once(Rules{ReportOnly: true}, run, Linted{}).Err(), NotRun, "retry timeout (exit code 3)")
}

// TestShowOutputWithRealGoss shows the trouble and that it is gone.
func TestShowOutputWithRealGoss(t *testing.T) {
	const gossfile = `command:
  "echo out; echo err >&2":
    exit-status: 0
    stdout:
    - no such word
    - "!out"
    - /^o.t$/
    stderr: ["er", {{ .Vars.word | quote }}] # and this
`
	run := func(text string) *Result {
		files := map[string]string{"goss.yaml": text}
		return once(Rules{}, runGoss(t, project(t, files), "goss.yaml", "--vars-inline", "{word: other}"), Linted{})
	}
	before, after := run(gossfile), run(string(ShowOutput([]byte(gossfile))))
	want := map[string][2]string{"stdout": {`"object: *bytes.Reader"`, `"out\n"`}, "stderr": {`"object: *bytes.Reader"`, `"err\n"`}}
	for i, r := range []*Result{before, after} {
		check(t, r.Err(), Failed, "2 of 3 goss tests failed")
		for _, x := range r.Suites[0].Report.Tests {
			if w, ok := want[x.Property]; ok && string(x.Actual) != w[i] {
				t.Errorf("%s: goss shows %s and should show %s", x.Property, x.Actual, w[i])
			}
		}
	}
	for i := range before.Suites[0].Report.Tests {
		a, b := before.Suites[0].Report.Tests[i], after.Suites[0].Report.Tests[i]
		if string(a.Missing) != string(b.Missing) || a.Outcome != b.Outcome {
			t.Errorf("%s: missing %s became %s", a.Property, a.Missing, b.Missing)
		}
	}
}

// A vars file of ours shows in a template what the files it was made of would.
func TestVarsWithRealGoss(t *testing.T) {
	vars, err := MergeVars(
		VarsDoc{"a.yaml", []byte("big: 1000000\ndate: 2024-02-03\nnested: {kept: yes, changed: 1}\nlist: [a, b]\n")},
		VarsDoc{"vars", []byte(`{"nested":{"changed":2.5},"odd":"😀 é \"q\" #","control":"\u007f\u0085\u0007"}`)},
	)
	if err != nil {
		t.Fatal(err)
	}
	file, err := VarsFile(vars)
	if err != nil {
		t.Fatal(err)
	}
	const gossfile = `matching:
  big: {content: "{{ .Vars.big }}", matches: "1000000"}
  date: {content: "{{ .Vars.date }}", matches: "2024-02-03"}
  kept: {content: "{{ .Vars.nested.kept }}", matches: "yes"}
  changed: {content: "{{ .Vars.nested.changed }}", matches: "2.5"}
  list: {content: "{{ join "," .Vars.list }}", matches: "a,b"}
  odd: {content: {{ .Vars.odd | toJson }}, matches: "😀 é \"q\" #"}
  control: {content: {{ len .Vars.control }}, matches: 4}
`
	dir := project(t, map[string]string{"goss.yaml": gossfile, "vars": string(file)})
	r := once(Rules{MinTests: 7}, runGoss(t, dir, "goss.yaml", "--vars", "vars"), lintOf(map[string]string{"goss.yaml": gossfile}, "goss.yaml", vars))
	if err := r.Err(); err != nil {
		t.Errorf("%v\n%s", err, strings.Join(r.Summary(), "\n"))
	}
	// With a comment before it, it is YAML; without, it is the JSON document.
	if _, plain, _ := strings.Cut(string(file), "\n"); !json.Valid([]byte(plain)) {
		t.Errorf("not JSON: %s", plain)
	}
}
