// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

func TestSeveralGossfiles(t *testing.T) {
	pass, fail := "print checks/pass.json", []string{"print checks/mixed.json", "exit 1"}
	tests := []struct {
		name    string
		files   map[string][]string
		options map[string]any
		says    string
		shows   []string
		hides   []string
	}{
		{
			name: "all pass", files: map[string][]string{"a.yaml": {pass}, "b.yaml": {pass}},
			options: map[string]any{"goss_files": []string{"checks/a.yaml", "checks/b.yaml"}, "min_tests": 14},
			shows:   []string{"checks/a.yaml, checks/b.yaml", "14 tests: 14 passed"},
		},
		{
			name: "one fails and the other is run all the same", files: map[string][]string{"a.yaml": fail, "b.yaml": {pass}},
			options: map[string]any{"goss_files": []string{"checks/a.yaml", "checks/b.yaml"}},
			says:    "checks/a.yaml: 6 of 13 goss tests failed", shows: []string{"20 tests: 12 passed, 6 failed"},
		},
		{
			name: "one has no tests", files: map[string][]string{"a.yaml": {"print checks/no-workers.json"}, "b.yaml": {pass}},
			options: map[string]any{"goss_files": []string{"checks/?.yaml"}}, says: "checks/a.yaml: goss ran no test at all",
		},
		{
			name: "a folder", files: map[string][]string{"suite/a.yaml": {pass}, "suite/b.yml": {pass}, "suite/sub/c.yaml": {"exit 99"}},
			options: map[string]any{"goss_files": []string{"checks/suite"}}, shows: []string{"as root: checks/suite/a.yaml, checks/suite/b.yml"},
		},
		{
			name: "a folder with a goss.yaml", files: map[string][]string{"suite/goss.yaml": {pass}, "suite/b.yaml": {"exit 99"}},
			options: map[string]any{"goss_files": []string{"checks/suite/"}}, shows: []string{"as root: checks/suite/goss.yaml"},
		},
		{
			name: "only what failed is run again", files: map[string][]string{"a.yaml": {"attempt 1 print checks/pass.json", "attempt 2 exit 99"},
				"b.yaml": {"attempt 1 print checks/mixed.json", "attempt 1 exit 1", pass}},
			options: map[string]any{"goss_files": []string{"checks/a.yaml", "checks/b.yaml"}, "retry_timeout": "10m", "sleep": "1ms"},
			shows:   []string{"Attempt 1: checks/b.yaml: 6 of 13 goss tests failed", "of what failed: checks/b.yaml", "2 attempts in", "14 passed"},
		},
		{
			name: "report_only", files: map[string][]string{"a.yaml": fail},
			options: map[string]any{"goss_files": []string{"checks/a.yaml"}, "report_only": true}, shows: []string{"not a failure under report_only: 6 of 13", "FAILED   must exist"},
		},
		{
			name: "report_only where goss cannot run", files: map[string][]string{"a.yaml": {"exit 78"}},
			options: map[string]any{"goss_files": []string{"checks/a.yaml"}, "inspect": "true"}, says: "exit code 78",
		},
		{
			name: "max_failed", files: map[string][]string{"a.yaml": fail}, options: map[string]any{"goss_files": []string{"checks/a.yaml"}, "max_failed": "6"},
		},
		{
			name: "fail_on", files: map[string][]string{"a.yaml": {"print checks/warn.json", "exit 1"}}, options: map[string]any{"goss_files": []string{"checks/a.yaml"}, "fail_on": "critical"},
			shows: []string{"warning  must exist", "2 tests: 1 passed, 0 failed, 1 below fail_on"},
		},
		{
			name: "fail_on is reached", files: map[string][]string{"a.yaml": {"print checks/warn.json", "exit 1"}}, options: map[string]any{"goss_files": []string{"checks/a.yaml"}, "fail_on": "high"},
			says: "1 of 2 goss tests failed at severity high or above",
		},
		{
			name: "waited for", files: map[string][]string{"w.yaml": {"attempt 1 print checks/mixed.json", "attempt 1 exit 1", pass}, "a.yaml": {pass}},
			options: map[string]any{"goss_file": "checks/a.yaml", "wait": "checks/w.yaml", "wait_interval": "1ms"},
			shows:   []string{"Waiting for checks/w.yaml to pass for up to 5m0s", "must exist", "checks/w.yaml passed after 2 attempts", "7 tests: 7 passed"},
		},
		{
			name: "waited for in vain", files: map[string][]string{"w.yaml": fail, "a.yaml": {"exit 99"}},
			options: map[string]any{"goss_file": "checks/a.yaml", "wait": "checks/w.yaml", "wait_timeout": "1ns", "wait_interval": "1ms"},
			says:    `waiting for checks/w.yaml to pass (the limit is the option "wait_timeout")`,
		},
		{
			name: "what cannot heal is not waited for", files: map[string][]string{"w.yaml": {"exit 78"}, "a.yaml": {"exit 99"}},
			options: map[string]any{"goss_file": "checks/a.yaml", "wait": "checks/w.yaml"}, says: "checks/w.yaml: goss could not load",
		},
		{name: "not there", options: map[string]any{"goss_files": []string{"checks/x"}}, says: `goss_files: "checks/x" is not among the files`},
		{
			name: "both", files: map[string][]string{"a.yaml": {pass}},
			options: map[string]any{"goss_file": "checks/a.yaml", "goss_files": []string{"checks/a.yaml"}}, says: "exclude each other",
		},
		{
			name: "options of goss", files: map[string][]string{"a.yaml": {"args --package dpkg ", "args --max-concurrent 3", "args --log-level DEBUG ", pass}},
			options: map[string]any{"goss_file": "checks/a.yaml", "package": "deb", "max_concurrent": "3", "log_level": "debug"},
		},
		{
			name: "kept", files: map[string][]string{"a.yaml": {pass}},
			options: map[string]any{"goss_file": "checks/a.yaml", "keep_remote": "true"}, shows: []string{"stays on the machine"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCheck(t)
			delete(c.options, "goss_file")
			for name, orders := range tt.files {
				os.MkdirAll(filepath.Dir(filepath.Join(c.tests, name)), 0o755)
				c.file(name, ordered(orders...))
			}
			for name, value := range tt.options {
				c.options[name] = value
			}
			err := c.run(t.Context())
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got error %v, want %q", err, tt.says)
			}
			for _, words := range tt.shows {
				if !strings.Contains(c.ui.text(), words) {
					t.Errorf("the screen does not show %q but\n%s", words, c.ui.text())
				}
			}
			if tt.name == "kept" {
				if len(c.left()) != 1 {
					t.Error("nothing was kept")
				}
				return
			}
			c.mustBeClean()
		})
	}
}

// Root by a password, and by a command of the template's. The password is on
// no command line.
func TestOtherWaysToRoot(t *testing.T) {
	sudo := `[ "$1 $2 $3" = "-S -p " ] || { echo "$@" >&2; exit 9; }; shift 3; read -r p; [ "$p" = "hunter2 'x" ] || { echo "Sorry, try again." >&2; exit 1; }; BECAME=root; export BECAME; exec "$@"`
	for _, tt := range []struct {
		name    string
		options map[string]any
		says    string
	}{
		{name: "sudo with a password", options: map[string]any{"use_sudo": true, "sudo_password": "hunter2 'x"}},
		{name: "sudo with a wrong password", options: map[string]any{"use_sudo": true, "sudo_password": "hunter2 wrong"}, says: `sudo does not work with sudo_password on the machine (it says "Sorry, try again.")`},
		{name: "a command", options: map[string]any{"execute_command": "doas sh {{ .Path }}"}},
		{name: "a command that starts programs only", options: map[string]any{"execute_command": "doas {{ .Path }}"}},
		{name: "a command like those of shell", options: map[string]any{"execute_command": "chmod +x {{ .Path }}; doas env {{ .Vars }} {{ .Path }}"}},
		{name: "a command with the password", options: map[string]any{"execute_command": "sudo -S -p '' sh {{ .Path }}", "sudo_password": "hunter2 'x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCheck(t, `env BECAME "root"`, "print checks/pass.json")
			delete(c.options, "use_sudo")
			for name, value := range tt.options {
				c.options[name] = value
			}
			c.host.program("id", `[ "$BECAME" = root ] && echo 0 || echo 1000`)
			c.host.program("sudo", sudo)
			c.host.program("doas", `BECAME=root; export BECAME; exec "$@"`)
			trace := filepath.Join(t.TempDir(), "trace")
			finish := "#!/bin/sh\necho \"$BECAME\" >" + trace + "\n"
			c.options["finish"] = filepath.Join(tree(t, map[string]string{"forget.sh": finish}), "forget.sh")
			// What root made, only root can remove.
			c.host.program("rm", `for last; do :; done; case $last in *armfree-goss*) [ -e "$last/goss" ] && [ "$BECAME" != root ] && exit 1;; esac; exec /bin/rm "$@"`)
			err := c.run(t.Context())
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got error %v, want %q\n%s", err, tt.says, c.ui.text())
			}
			if strings.Contains(c.host.said(), "hunter2") || strings.Contains(c.ui.text(), "hunter2") {
				t.Error("the password is visible")
			}
			if got, _ := os.ReadFile(trace); tt.says == "" && string(got) != "root\n" {
				t.Errorf("finish ran as %q", got)
			}
			c.mustBeClean()
			if tt.says != "" {
				return
			}
			// Without finish it is leave.sh that has to remove it.
			delete(c.options, "finish")
			if err := c.run(t.Context()); err != nil {
				t.Errorf("without finish: %v", err)
			}
			c.mustBeClean()
		})
	}
}

// Every file is written on success and on failure, and none holds a half.
func TestOutputs(t *testing.T) {
	for _, fails := range []bool{false, true} {
		orders := []string{"print checks/pass.json"}
		if fails {
			orders = []string{"print checks/mixed.json", "exit 1"}
		}
		c := newCheck(t, orders...)
		dir := t.TempDir()
		t.Setenv("GITHUB_ACTIONS", "true")
		t.Setenv("GITHUB_STEP_SUMMARY", filepath.Join(dir, "summary.md"))
		t.Setenv("RUNNER_TEMP", filepath.Join(dir, "temp"))
		os.WriteFile(filepath.Join(dir, "summary.md"), []byte("before\n"), 0o600)
		c.options["reports"] = map[string]string{}
		for _, f := range []string{"json", "junit", "markdown", "sarif", "tap", "tap14", "github"} {
			c.options["reports"].(map[string]string)[f] = filepath.Join(dir, "new", f)
		}
		c.options["receipt"] = filepath.Join(dir, "receipt-{{ .ID }}.json")
		c.data = map[string]any{"ID": "ocid1.instance.x", "PackerRunUUID": "run"}
		if err := c.run(t.Context()); fails != (err != nil) {
			t.Errorf("got error %v", err)
		}
		for name, want := range map[string]string{
			"new/json": `"tests"`, "new/junit": "<testsuite", "new/markdown": "|", "new/sarif": `"2.1.0"`, "new/tap": "1..", "new/tap14": "TAP version 14",
			"receipt-ocid1.instance.x.json": `"instance_id": "ocid1.instance.x"`, "summary.md": "before\n",
		} {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(b), want) {
				t.Errorf("fails=%v %s: %v\n%.300s", fails, name, err, b)
			}
		}
		if info, err := os.Stat(filepath.Join(dir, "receipt-ocid1.instance.x.json")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("receipt: %v %v", info.Mode(), err)
		}
		notes, _ := filepath.Glob(filepath.Join(dir, "temp", "armfree-goss", "*.txt"))
		if fails != (len(notes) == 1) {
			t.Errorf("fails=%v: annotations %v", fails, notes)
		}
		for _, n := range notes {
			if b, _ := os.ReadFile(n); !strings.HasPrefix(string(b), "::error ") {
				t.Errorf("annotations: %s", b)
			}
		}
		c.mustBeClean()
	}
	// A report that cannot be written fails the build.
	c := newCheck(t, "print checks/pass.json")
	c.options["reports"] = map[string]string{"tap": "/dev/null/x"}
	if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "report: ") {
		t.Errorf("got error %v", err)
	}
}

// Printed as goss prints, for those who ask for it.
func TestFormats(t *testing.T) {
	for format, want := range map[string]string{
		"documentation": "Count: 13, Failed: 6, Skipped: 2", "rspecish": "Failures/Skipped:", "silent": "", "tap": "not ok ", "junit": "<failure",
		"json": `{"results":[`, "json_oneline": `{"results":[`, "nagios": "GOSS CRITICAL - Count: 13, Failed: 6", "nagios_verbose": "must exist",
	} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			c := newCheck(t, "print checks/mixed.json", "exit 1")
			c.options["format"] = format
			if err := c.run(t.Context()); err == nil {
				t.Error("passed")
			}
			if !strings.Contains(c.ui.text(), want) || strings.Contains(c.ui.text(), "FAILED   must") {
				t.Errorf("shown:\n%s", c.ui.text())
			}
			if format == "silent" && strings.Count(c.ui.text(), "\n") > 1 {
				t.Errorf("shown:\n%s", c.ui.text())
			}
		})
	}
}

// What the builder is told, and only where it asks.
func TestNoteForTheBuilder(t *testing.T) {
	key := proof.Key{Run: "run", Instance: "ocid1.instance.x"}
	for _, tt := range []struct {
		name, state string
		orders      []string
		options     map[string]any
		wanted      bool
	}{
		{name: "passed", state: "true", orders: []string{"print checks/pass.json"}, wanted: true},
		{name: "reported", state: "reported", orders: []string{"print checks/mixed.json", "exit 1"}, options: map[string]any{"report_only": true}, wanted: true},
		{name: "failed", orders: []string{"print checks/mixed.json", "exit 1"}, wanted: true},
		{name: "nobody asks", orders: []string{"print checks/pass.json"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newCheck(t, tt.orders...)
			c.box = proof.Box{Dir: filepath.Join(t.TempDir(), "box")}
			c.data = map[string]any{"ID": key.Instance, "PackerRunUUID": key.Run}
			if tt.wanted {
				c.data[proof.Wanted] = "true"
			}
			for name, value := range tt.options {
				c.options[name] = value
			}
			_ = c.run(t.Context())
			notes, err := c.box.Take(key, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if (tt.state == "") != (len(notes) == 0) {
				t.Fatalf("notes %v", notes)
			}
			if tt.state == "" {
				return
			}
			p, err := proof.Of(notes, func(mark string) bool { return strings.Contains(c.host.said(), mark) })
			if err != nil || p.State != tt.state || p.Tests == 0 || !strings.HasPrefix(proof.Value(p), tt.state+" tests=") {
				t.Errorf("got %+v, %v", p, err)
			}
			// Everything that was done on the machine has the mark.
			for _, command := range c.host.commands {
				if proof.Mark(command) != notes[0].Mark {
					t.Errorf("without a mark: %.200s", command)
				}
			}
			if p, _ := proof.Of(notes, func(string) bool { return false }); tt.state == "true" && p.State != "stale" {
				t.Errorf("after another provisioner: %+v", p)
			}
		})
	}
}

func TestVars(t *testing.T) {
	dir := tree(t, map[string]string{"a.yaml": "net: {mtu: 1500, name: eth0}\nlist: [1, 2]\n", "b.json": `{"net": {"mtu": 9000}, "list": [3]}`})
	c := newCheck(t, "print checks/pass.json")
	c.options["vars_files"] = []string{filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.json")}
	c.options["vars"] = `{"deep": {"list": [1, true, null]}, "s": "vars", "big": 1000000}`
	c.options["vars_inline"] = map[string]string{"s": "inline"}
	var sent map[string]any
	c.host.program("setsid", `cp ../vars/vars.yaml "$OUT"; exec /usr/bin/setsid "$@"`)
	out := filepath.Join(t.TempDir(), "vars")
	t.Setenv("OUT", out)
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err == nil {
		sent, err = goss.MergeVars(goss.VarsDoc{Data: b})
	}
	if text, _ := json.Marshal(sent); err != nil || string(text) != `{"list":[3],"net":{"mtu":9000,"name":"eth0"}}` {
		t.Errorf("merged to %s (%v)", text, err)
	}
	c.mustBeClean()
}

// A baseline is read, what changed is shown, and what vanished fails if asked.
func TestBaselineOption(t *testing.T) {
	dir := t.TempDir()
	report := filepath.Join(dir, "first.json")
	first := newCheck(t, "print checks/mixed.json", "exit 1")
	first.options["reports"] = map[string]string{"json": report}
	if err := first.run(t.Context()); err == nil {
		t.Fatal("passed")
	}
	for _, complete := range []bool{false, true} {
		c := newCheck(t, "print checks/pass.json")
		c.options["baseline"], c.options["baseline_complete"] = report, complete
		err := c.run(t.Context())
		if complete && (err == nil || !strings.Contains(err.Error(), "of the baseline were not carried out, such as checks/goss.yaml: Command")) || !complete && err != nil {
			t.Errorf("baseline_complete=%v: %v", complete, err)
		}
		for _, words := range []string{"since the baseline: 0 new failures", "vanished checks/goss.yaml: Command sleep 5: exit-status"} {
			if !strings.Contains(c.ui.text(), words) {
				t.Errorf("the screen does not show %q but\n%s", words, c.ui.text())
			}
		}
		c.mustBeClean()
	}
}

// The private folder is the user's alone, and so is what is in it; its name is
// another one each time.
func TestThePrivateFolderIsPrivate(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		c := newCheck(t, "print checks/pass.json")
		c.options["vars_inline"] = map[string]string{"a": "b"}
		c.options["vars_file"] = filepath.Join(tree(t, map[string]string{"v.yaml": "a: 1\n"}), "v.yaml")
		out := filepath.Join(t.TempDir(), "seen")
		c.host.program("setsid", `(cd "${1%/goss}" && stat -c '%a %n' "$PWD" run.sh leave.sh vars/vars.yaml tests/checks/goss.yaml job.1 result.1) >'`+out+`'; exec /usr/bin/setsid "$@"`)
		if err := c.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		first, rest, _ := strings.Cut(string(b), "\n")
		want := "600 run.sh\n700 leave.sh\n600 vars/vars.yaml\n600 tests/checks/goss.yaml\n700 job.1\n600 result.1\n"
		if err != nil || !strings.HasPrefix(first, "700 ") || rest != want || seen[filepath.Base(first)] {
			t.Errorf("%v\n%s", err, b)
		}
		seen[filepath.Base(first)] = true
		c.mustBeClean()
	}
}

// What cannot be sent is refused, and the words do not have it in them.
func TestVarsThatCannotBeSent(t *testing.T) {
	for _, text := range []string{"a: .nan\nb: hunter2\n", "a: {1: hunter2}\n", "- hunter2\n", "a: [hunter2\n", "hunter2"} {
		c := newCheck(t, "print checks/pass.json")
		c.options["vars_file"] = filepath.Join(tree(t, map[string]string{"v.yaml": text}), "v.yaml")
		if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "prepare: ") || !strings.Contains(err.Error(), "v.yaml") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q gave %v", text, err)
		}
		if c.host.said() != "" {
			t.Error("the machine was asked")
		}
	}
}
