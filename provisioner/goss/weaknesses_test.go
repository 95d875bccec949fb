// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong with the provisioner whose place ours takes, one test for each
// point. The numbers are those of the study of it. W11 (a cancel ends nothing)
// is in cancel_test.go, W4 (where releases are) in internal/goss.

// W1, W2, W3, W5: a page in place of goss is taken for goss, nothing is checked,
// and with inspect the build succeeds.
func TestWeaknessDownload(t *testing.T) {
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>sign in</html>")) }))
	defer wrong.Close()
	for _, inspect := range []bool{false, true} {
		for url, says := range map[string]string{page.URL: "404", wrong.URL: "is demanded"} {
			t.Setenv("PACKER_CACHE_DIR", t.TempDir())
			c := newCheck(t, "print checks/pass.json")
			delete(c.options, "goss_binary")
			c.options["goss_url"], c.options["goss_sha256"], c.options["inspect"] = url+"/goss", strings.Repeat("0", 64), inspect
			if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("inspect=%v: got error %v, want %q", inspect, err, says)
			}
			if c.host.said() != "" && strings.Contains(c.host.said(), "curl") {
				t.Error("the machine is made to download")
			}
			c.mustBeClean()
		}
	}
	c := newCheck(t)
	delete(c.options, "goss_binary")
	c.options["goss_url"] = page.URL
	if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "known by its digest") {
		t.Errorf("a binary without a digest: %v", err)
	}
}

// W6, W7: the order of commands is chance, and a failure leaves no artefacts.
func TestWeaknessArtefactsOnFailure(t *testing.T) {
	t.Chdir(t.TempDir())
	for range 3 {
		c := newCheck(t, "print checks/mixed.json", "exit 1")
		c.dropIn = true
		c.options["remote_path"] = filepath.Join(c.base, "work")
		c.options["report"] = []map[string]any{{"format": "junit", "path": "out/{{ .BuildName }}.xml"}}
		c.options["packer_build_name"] = "debian"
		if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "6 of 13 goss tests failed") {
			t.Fatalf("got error %v", err)
		}
		for name, want := range map[string]string{
			"goss-spec.yaml":       `rendered: "./checks/goss.yaml"`,
			"debug-goss-spec.yaml": "debug=yes",
			"out/debian.xml":       `failures="6"`,
		} {
			if b, err := os.ReadFile(name); err != nil || !strings.Contains(string(b), want) {
				t.Errorf("%s: %v\n%s", name, err, b)
			}
			os.Remove(name)
		}
		c.mustBeClean()
	}
}

// W8: builds that run side by side write to the same names.
func TestWeaknessParallelBuilds(t *testing.T) {
	dir := t.TempDir()
	done := make(chan error)
	for _, name := range []string{"amazon-ebs.debian", "oci/debian"} {
		c := newCheck(t, "print checks/pass.json")
		c.options["packer_build_name"], c.options["packer_builder_type"] = name, "x"
		c.options["spec_file"] = filepath.Join(dir, "spec-{{ .BuildName }}.yaml")
		c.options["reports"] = map[string]string{"json": filepath.Join(dir, "{{ .BuilderType }}-{{ .BuildName }}.json")}
		go func() { done <- c.run(t.Context()) }()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"spec-amazon-ebs.debian.yaml", "spec-oci_debian.yaml", "x-amazon-ebs.debian.json", "x-oci_debian.json"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(dir, ".*")); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

// W10: variables and command lines are printed.
func TestWeaknessSecretsArePrinted(t *testing.T) {
	c := newCheck(t, `env A "hunter2-env"`, "warn the password is hunter2-inline", "print checks/secret.json", "exit 1")
	found, err := os.ReadFile(filepath.Join(c.tests, "mixed.json"))
	if err != nil {
		t.Fatal(err)
	}
	c.file("secret.json", strings.ReplaceAll(string(found), "/etc/no-such-file", "hunter2-inline")) // a test shows it
	c.options["vars_inline"] = map[string]string{"db_password": "hunter2-inline"}
	c.options["vars_env"] = map[string]string{"A": "hunter2-env"}
	c.options["vars"] = `{"n": {"list": ["hunter2-vars"]}}`
	c.options["packer_user_variables"] = map[string]string{"p": "hunter2-inline"}
	c.options["packer_sensitive_variables"] = []string{"p"}
	dir := t.TempDir()
	c.options["reports"] = map[string]string{"json": filepath.Join(dir, "r.json"), "sarif": filepath.Join(dir, "r.sarif")}
	c.options["receipt"] = filepath.Join(dir, "receipt.json")
	if err = c.run(t.Context()); err == nil {
		t.Fatal("passed")
	}
	places := map[string]string{"the screen": c.ui.text(), "a command line": c.host.said(), "the error": err.Error()}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 3 {
		t.Errorf("wrote %v", files)
	}
	for _, f := range files {
		b, _ := os.ReadFile(f)
		places[f] = string(b)
	}
	for place, text := range places {
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s shows a secret:\n%s", place, text)
		}
	}
}

// W12, W13: every failure has the same words, and output is not understood.
func TestWeaknessOneErrorForAll(t *testing.T) {
	seen := map[string]bool{}
	for _, orders := range [][]string{
		{"print checks/mixed.json", "exit 1"}, {"exit 2"}, {"exit 3"}, {"exit 78"}, {"exit 126"}, {"exit 127"}, {"exit 137"}, {},
	} {
		c := newCheck(t, orders...)
		err := c.run(t.Context())
		if err == nil || seen[err.Error()] {
			t.Errorf("%v gave the error %v", orders, err)
			continue
		}
		seen[err.Error()] = true
	}
}

// W14: files of one name replace each other, and what an earlier run left is
// found by patterns.
func TestWeaknessSameNames(t *testing.T) {
	dir := tree(t, map[string]string{"a/goss.yaml": gossfileText, "b/goss.yaml": gossfileText})
	c := newCheck(t)
	c.options["tests"] = []string{filepath.Join(dir, "a", "goss.yaml"), filepath.Join(dir, "b", "goss.yaml")}
	c.options["goss_file"] = "goss.yaml"
	if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), `would both arrive as "goss.yaml"`) {
		t.Errorf("got error %v", err)
	}
}

// W15: only validate runs as root.
func TestWeaknessRenderIsUnprivileged(t *testing.T) {
	t.Chdir(t.TempDir())
	c := newCheck(t, `env BECAME "root"`, "print checks/pass.json")
	c.options["use_sudo"] = true
	c.options["spec_file"] = "spec.yaml"
	c.host.program("id", `[ "$BECAME" = root ] && echo 0 || echo 1000`)
	c.host.program("sudo", `[ "$1" = -n ] || exit 9; shift; BECAME=root; export BECAME; exec "$@"`)
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile("spec.yaml"); err != nil || !strings.Contains(string(b), "became=root") {
		t.Errorf("%v\n%s", err, b)
	}
	c.mustBeClean()
}

// W16, W9: quotes in values are lost or run commands.
func TestWeaknessQuoting(t *testing.T) {
	evil := filepath.Join(t.TempDir(), "evil")
	hostile := `'"; touch ` + evil + ` #$(touch ` + evil + ")`touch " + evil + "`"
	c := newCheck(t, "env A "+quoteGo(hostile), `env GOSS_VARS_INLINE `+quoteGo(`{"a":`+quoteJSON(hostile)+`}`), "print checks/pass.json")
	c.options["vars_inline"] = map[string]string{"a": hostile}
	c.options["env"] = map[string]string{"A": hostile}
	if err := c.run(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(evil); err == nil {
		t.Error("a value was run as a command")
	}
	c.mustBeClean()
}

// W17: Prepare panics on what it does not expect, before it has checked
// anything, and knows nothing of values that are not known yet.
func TestWeaknessPrepare(t *testing.T) {
	dir := tree(t, map[string]string{"goss.yaml": gossfileText})
	for _, options := range []map[string]any{
		{"version": "latest"},
		{"url": "https://mirror/goss"},
		{"url": "https://github.com/goss-org/goss/releases/download/v0.4.10/goss_0.4.10_linux_arm64.tar.gz"},
		{"version": "<unknown>", "url": "<unknown>", "vars_file": "<unknown>", "sleep": "<unknown>", "format": "<unknown>", "receipt": "<unknown>"},
	} {
		options["tests"] = []string{filepath.Join(dir, "goss.yaml")}
		var p Provisioner
		if err := p.Prepare(options); err != nil {
			t.Errorf("%v: %v", options, err)
		}
	}
	var p Provisioner
	err := p.Prepare(map[string]any{
		"tests": []string{filepath.Join(dir, "none")}, "sleep": "abc", "retry_timeout": "5", "format": "xml", "format_options": "a,pretty",
		"goss_file": "x", "vars_file": filepath.Join(dir, "none"), "target_os": "Windows", "max_concurrent": 0, "package": "brew", "log_level": "FATAL",
		"fail_on": "loud", "max_failed": -1, "baseline": filepath.Join(dir, "none"), "github": "maybe", "record": []string{"x:y"}, "vars": "[1]",
		"report":          []map[string]any{{"format": "pdf", "path": "a"}, {"format": "tap", "path": ""}, {"format": "tap", "path": "{{ .Nothing }}"}},
		"execute_command": "doas", "sudo_password": "a\nb", "remote_path": "~/goss",
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, words := range []string{
		"none: no such file", `sleep must be a duration with its unit, such as "30s" or "5m", it is "abc"`, `"5m", it is "5"`, `tap, it is "xml"`, `it is "a"`, "vars_file: stat",
		`target_os must be "Linux"`, "max_concurrent must be 1 or more, it is 0", `it is "brew"`, `it is "FATAL"`, "fail_on:", "max_failed must not be negative, it is -1", "baseline: open",
		`it is "maybe"`, `goss records no "x"`, "vars must be a JSON object", `"pdf" is no format`, "path must be set", "report: path:",
		"must contain {{ .Path }}", "sudo_password must be one line", `other than /, it is "~/goss"`,
	} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("the error does not say %q:\n%v", words, err)
		}
	}
}

// W18: a folder from which nothing can be run is met without explanation.
func TestWeaknessNoExec(t *testing.T) {
	c := newCheck(t, "print checks/pass.json")
	c.host.program("chmod", "exit 0") // what is not executable cannot be started, as under noexec
	if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "set remote_folder to one that is writable and not mounted noexec") {
		t.Errorf("got error %v", err)
	}
	c.mustBeClean()
}
