// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclparse"
)

// gossfileText is the smallest gossfile that checks something.
const gossfileText = "file: {/: {exists: true}}\n"

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestPrepare(t *testing.T) {
	dir := tree(t, map[string]string{"goss.yaml": gossfileText, "goss": "", "vars.yaml": ""})
	gossfile := filepath.Join(dir, "goss.yaml")
	tests := []struct {
		name    string
		options map[string]any
		says    []string // nil: accepted
	}{
		{"tests", map[string]any{"tests": []string{gossfile}}, nil},
		{"goss_file", map[string]any{"goss_file": gossfile}, nil},
		{"everything", map[string]any{
			"tests": []string{gossfile}, "goss_file": "goss.yaml", "vars_file": filepath.Join(dir, "vars.yaml"),
			"vars_inline": map[string]string{"a": "b"}, "vars_env": map[string]string{"_A1": "b"},
			"use_sudo": "false", "min_tests": 40, "retry_timeout": "1m", "sleep": "500ms", "remote_folder": "/opt/check_1",
			"goss_binary": filepath.Join(dir, "goss"), "goss_sha256": strings.Repeat("0aF9", 16),
		}, nil},
		{"unknown values of packer validate", map[string]any{
			"tests": []string{"<unknown>"}, "vars_file": "74D93920-ED26-11E3-AC10-0800200C9A66",
			"remote_folder": "<unknown>", "goss_binary": "<unknown>", "goss_sha256": "<unknown>",
		}, nil},

		{"nothing is selected", map[string]any{"goss_file": gossfile, "select": []map[string]any{{}}, "deselect": []map[string]any{{"type": "fiel"}}}, []string{"select: it says nothing", `deselect: "fiel" is no type of resource; there are addr,`}},
		{"nothing to check", map[string]any{}, []string{"tests, goss_file or goss_files must be set"}},
		{"no such file", map[string]any{"tests": []string{filepath.Join(dir, "none.yaml")}}, []string{"none.yaml: no such file"}},
		{"no such binary", map[string]any{"goss_file": gossfile, "goss_binary": filepath.Join(dir, "none")}, []string{"goss_binary: stat"}},
		{"a folder as binary", map[string]any{"goss_file": gossfile, "goss_binary": dir}, []string{"is not a file"}},
		{"a digest of nothing", map[string]any{"goss_file": gossfile, "goss_sha256": strings.Repeat("0", 64)}, []string{"goss_sha256 is set but goss_binary, goss_url and version are not"}},
		{"no digest", map[string]any{"goss_file": gossfile, "goss_binary": filepath.Join(dir, "goss"), "goss_sha256": "abc"}, []string{"64 hexadecimal digits"}},
		{"a duration without a unit", map[string]any{"goss_file": gossfile, "retry_timeout": "5"}, []string{"retry_timeout"}},
		{"an option that does not exist", map[string]any{"goss_file": gossfile, "retry_time": "5s"}, []string{"retry_time"}},
		{"GOSS_ in the environment", map[string]any{"goss_file": gossfile, "vars_env": map[string]string{"GOSS_FMT": "silent"}}, []string{"vars_env: GOSS_FMT is refused"}},
		{"too many variables", map[string]any{"goss_file": gossfile, "vars_inline": map[string]string{"a": strings.Repeat("x", maxInline)}}, []string{"use vars_files"}},
		{"all mistakes at once", map[string]any{
			"min_tests": 0, "retry_timeout": "-1s", "sleep": "-1s", "remote_folder": "relative/$(id)",
			"vars_env": map[string]string{"a b": "x", "ZERO": "\x00"},
		}, []string{
			"tests, goss_file or", "min_tests must be 1 or more, it is 0", "retry_timeout must not be negative, it is -1s", "sleep must not be negative", "remote_folder must be",
			`"a b" cannot be the name`, "ZERO contains a zero byte",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Provisioner
			err := p.Prepare(tt.options)
			if tt.says == nil {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("accepted")
			}
			for _, words := range tt.says {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("the error does not say %q:\n%v", words, err)
				}
			}
		})
	}
}

func TestPrepareDefaults(t *testing.T) {
	gossfile := filepath.Join(tree(t, map[string]string{"goss.yaml": gossfileText}), "goss.yaml")
	var p Provisioner
	// Packer prepares twice; what the first time said must be gone.
	if err := p.Prepare(map[string]any{"tests": []string{gossfile}, "min_tests": 9, "use_sudo": false, "sleep": "9s"}); err != nil {
		t.Fatal(err)
	}
	if err := p.Prepare(map[string]any{"tests": []string{gossfile}}); err != nil {
		t.Fatal(err)
	}
	c := p.config
	if *c.MinTests != 1 || c.sleep != time.Second || c.retryTimeout != 0 || c.UseSudo.False() || len(c.Tests) != 1 {
		t.Errorf("got %+v", c)
	}
}

// JSON templates name variables inside of values.
func TestPrepareInterpolates(t *testing.T) {
	gossfile := filepath.Join(tree(t, map[string]string{"goss.yaml": gossfileText}), "goss.yaml")
	var p Provisioner
	err := p.Prepare(map[string]any{"goss_file": "{{user `file`}}", "vars_inline": map[string]string{"port": "{{user `port`}}"}},
		map[string]any{"packer_user_variables": map[string]string{"file": gossfile, "port": "22"}})
	if err != nil {
		t.Fatal(err)
	}
	if p.config.GossFile != gossfile || p.config.VarsInline["port"] != "22" {
		t.Errorf("got %+v", p.config)
	}
}

// The options as HCL gives them, which is how nearly everybody does.
func TestPrepareFromHCL(t *testing.T) {
	gossfile := filepath.Join(tree(t, map[string]string{"goss.yaml": gossfileText}), "goss.yaml")
	file, diags := hclparse.NewParser().ParseHCL([]byte(`
		tests         = ["`+gossfile+`"]
		vars_inline   = { port = 22 }
		use_sudo      = false
		min_tests     = 3
		retry_timeout = "90s"
		select {
			type = "file"
			meta = { level = 2 }
		}
		select {
			title = "*"
		}
		deselect {
			name = "/x"
		}
	`), "x.hcl")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var p Provisioner
	value, diags := hcldec.Decode(file.Body, p.ConfigSpec(), nil)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if err := p.Prepare(value); err != nil {
		t.Fatal(err)
	}
	c := p.config
	if *c.MinTests != 3 || c.retryTimeout != 90*time.Second || !c.UseSudo.False() || c.VarsInline["port"] != "22" ||
		len(c.Select) != 2 || c.Select[0].Meta["level"] != "2" || len(c.Deselect) != 1 || c.Deselect[0].Name != "/x" {
		t.Errorf("got %+v", c)
	}
	var ours []string
	for name := range maps.Keys(p.ConfigSpec()) {
		if !strings.HasPrefix(name, "packer_") {
			ours = append(ours, name)
		}
	}
	slices.Sort(ours)
	want := "arch baseline baseline_complete deselect download_path env execute_command fail_on finish format format_options github " +
		"goss_binary goss_file goss_files goss_mirror goss_sha256 goss_url inspect keep_remote log_level max_concurrent max_failed " +
		"min_tests package password receipt record record_file remote_folder remote_path report report_only reports retry_timeout " +
		"select skip_download skip_install skip_ssl sleep spec_file strict sudo_password target_os tests url use_sudo username vars vars_env " +
		"vars_file vars_files vars_inline version wait wait_interval wait_timeout"
	if got := strings.Join(ours, " "); got != want {
		t.Errorf("options %s\nwant    %s", got, want)
	}
}

// Two files of one name on this host: the later one would replace the earlier.
func TestOutputsHaveNamesOfTheirOwn(t *testing.T) {
	gossfile := filepath.Join(tree(t, map[string]string{"goss.yaml": gossfileText}), "goss.yaml")
	for _, tt := range []struct {
		options map[string]any
		says    string
	}{
		{map[string]any{"receipt": "r.json", "reports": map[string]string{"json": "r.json"}}, "receipt: r.json is written by report as well"},
		{map[string]any{"receipt": "./r.json", "reports": map[string]string{"json": "r.json"}}, "receipt: ./r.json is written by report as well"},
		{map[string]any{"reports": map[string]string{"json": "r.json", "tap": "r.json"}}, "report: two reports are written to r.json"},
		{map[string]any{"spec_file": "s.yaml", "receipt": "s.yaml"}, "spec_file: s.yaml is written by receipt as well"},
		{map[string]any{"record": []string{"sshd"}, "record_file": "s.yaml", "spec_file": "s.yaml"}, "record_file: s.yaml is written by spec_file as well"},
		{map[string]any{"receipt": "<unknown>", "spec_file": "<unknown>", "reports": map[string]string{"json": "<unknown>", "tap": "<unknown>"}}, ""},
		{map[string]any{"receipt": "{{ .ID }}.json", "reports": map[string]string{"json": "{{ .RunUUID }}.json"}}, ""},
		{map[string]any{"receipt": "a", "spec_file": "b", "reports": map[string]string{"json": "c"}}, ""},
	} {
		var p Provisioner
		tt.options["goss_file"] = gossfile
		err := p.Prepare(tt.options)
		if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%v: got error %v, want %q", tt.options, err, tt.says)
		}
	}
}
