// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// newDropIn is a check under the plugin's default name, with its working
// directory on the machine.
func newDropIn(t *testing.T, orders ...string) (c *check, work string) {
	t.Helper()
	c = newCheck(t, orders...)
	t.Chdir(t.TempDir()) // for goss-spec.yaml
	c.dropIn = true
	work = filepath.Join(c.base, "goss")
	delete(c.options, "use_sudo")
	return c, work
}

// listing is what a folder of the machine looks like: names, kinds, modes,
// contents, and which file is which.
func listing(t testing.TB, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$1" && find . -mindepth 1 -printf '%P %y %m %i %l\n' | sort && find . -type f -exec sha256sum {} + | sort`, "sh", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// All options of the other plugin, as an old JSON template has them: numbers
// and booleans in quotes, what is not used empty.
func TestDropInTakesEveryOption(t *testing.T) {
	c, work := newDropIn(t, `env ARCH "amd64"`, `env GOSS_VARS_INLINE "{\"OS\":\"debian\"}"`, "vars a: 1", "print checks/pass.json")
	vars := filepath.Join(tree(t, map[string]string{"vars.yaml": "a: 1\n"}), "vars.yaml")
	for name, value := range map[string]any{
		"arch": "amd65", "download_path": "/tmp/goss-VERSION-linux-ARCH", "inspect": "false", "username": "", "password": "", "skip_install": "false",
		"url": "https://github.com/aelsabbahy/goss/releases/download/v0.3.2/goss-linux-amd64", "version": "0.3.2",
		"remote_folder": c.base, "remote_path": work, "skip_ssl": "false", "use_sudo": "false", "format": "", "format_options": "",
		"goss_file": work + "/checks/goss.yaml", "vars_file": vars, "target_os": "Linux", "vars_env": map[string]string{"ARCH": "amd64", "GOSS_USE_ALPHA": "1"},
		"vars_inline": map[string]string{"OS": "debian"}, "retry_timeout": "0s", "sleep": "1s", "skip_download": "true",
	} {
		c.options[name] = value
	}
	if err := c.run(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, c.ui.text())
	}
	if !strings.Contains(c.ui.text(), `arch is "amd65", but the machine is `) {
		t.Errorf("the stale arch is not named:\n%s", c.ui.text())
	}
	c.mustBeClean()
	if left, _ := filepath.Glob("*"); len(left) > 0 {
		t.Errorf("skip_download wrote %v", left)
	}
	for _, name := range []string{"retry_timeout", "sleep", "goss_file", "version", "arch"} {
		c.options[name] = ""
	}
	c.options["tests"] = filepath.Join(c.tests, "goss.yaml")
	delete(c.options, "goss_file")
	c.file("goss.yaml", ordered("print "+c.tests+"/pass.json"))
	if err := c.run(t.Context()); err != nil {
		t.Errorf("empty options: %v", err)
	}
}

// What an old version says of goss is answered by a line each, and the goss
// that the plugin carries runs.
func TestDropInSaysWhatRuns(t *testing.T) {
	dir := tree(t, map[string]string{"goss.yaml": gossfileText})
	for _, tt := range []struct {
		options map[string]any
		says    []string
	}{
		{map[string]any{"version": "0.3.2", "arch": "amd64"}, []string{
			`version is "0.3.2", but without goss_sha256 the goss that the plugin carries runs`, `arch is "amd64", but the machine is arm64: goss for arm64 is used`,
		}},
		{map[string]any{"url": "https://mirror/goss"}, []string{"url is not used, because there is no goss_sha256"}},
	} {
		c := &check{t: t, host: newHost(t), ui: newScreen(), base: t.TempDir(), options: tt.options, dropIn: true}
		c.host.program("uname", `case $1 in -m) echo aarch64;; *) echo Linux;; esac`)
		c.options["tests"] = []string{filepath.Join(dir, "goss.yaml")}
		c.options["remote_folder"] = c.base
		c.options["skip_download"] = true
		_ = c.run(t.Context()) // it may have no goss, or one that cannot run here
		for _, words := range tt.says {
			if n := strings.Count(c.ui.text(), words); n != 1 {
				t.Errorf("%q is said %d times:\n%s", words, n, c.ui.text())
			}
		}
		c.mustBeClean()
	}
}

// The layout on the machine: gossfiles that name it find it, what was there
// before is there again afterwards.
func TestDropInLayout(t *testing.T) {
	look := func(extra string) []string {
		return []string{"exists checks/goss.yaml", "exists checks/sub/x y", "exists " + extra, "print checks/pass.json"}
	}
	for _, tt := range []struct {
		name  string
		there map[string]string // on the machine before
	}{
		{"nothing there", nil},
		{"the folder is there", map[string]string{"goss/other.txt": "mine"}},
		{"a file is in the way", map[string]string{"goss/checks/goss.yaml": "file: {}", "goss/checks/other": "mine"}},
		{"a deep folder", map[string]string{"x": "y"}},
	} {
		for _, fails := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, fails), func(t *testing.T) {
				sample.Case(t)
				c, work := newDropIn(t)
				if tt.name == "a deep folder" {
					work = filepath.Join(c.base, "a", "b", "c")
					c.options["remote_path"] = work
				}
				for name, content := range tt.there {
					os.MkdirAll(filepath.Dir(filepath.Join(c.base, name)), 0o755)
					os.WriteFile(filepath.Join(c.base, name), []byte(content), 0o640)
				}
				os.MkdirAll(filepath.Join(c.tests, "sub"), 0o755)
				c.file("sub/x y", "x")
				orders := look(filepath.Join(work, "checks", "pass.json"))
				if fails {
					orders = append(orders[:3], "print checks/mixed.json", "exit 1")
				}
				c.file("goss.yaml", ordered(orders...))
				before := listing(t, c.base)
				err := c.run(t.Context())
				if fails != (err != nil) || err != nil && !strings.Contains(err.Error(), "6 of 13") {
					t.Errorf("got error %v\n%s", err, c.ui.text())
				}
				if after := listing(t, c.base); after != before {
					t.Errorf("the machine is not as it was; before:\n%s\nafter:\n%s", before, after)
				}
				if b, err := os.ReadFile("goss-spec.yaml"); err != nil || !strings.Contains(string(b), "checks/goss.yaml") {
					t.Errorf("goss-spec.yaml: %v %s", err, b)
				}
			})
		}
	}
}

// The file of variables is beside the tests, for those who look there, and is
// read by nobody else.
func TestDropInVarsFile(t *testing.T) {
	c, work := newDropIn(t, "vars secret: x", "exists checks/goss.yaml", "print checks/pass.json")
	c.options["vars_file"] = filepath.Join(tree(t, map[string]string{"vars.yaml": "secret: x\n"}), "vars.yaml")
	out := filepath.Join(t.TempDir(), "seen")
	c.host.program("setsid", `(cat vars.yaml; stat -c '%a %n' "$PWD/vars.yaml" "$PWD/checks/goss.yaml") >'`+out+`'; exec /usr/bin/setsid "$@"`)
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "secret: x\n600 " + work + "/vars.yaml\n644 " + work + "/checks/goss.yaml\n"
	if b, err := os.ReadFile(out); err != nil || string(b) != want {
		t.Errorf("%v\n%swant\n%s", err, b, want)
	}
	c.mustBeClean()
	// One of that name among the tests is the user's own choice.
	c.options["tests"] = []string{c.tests, filepath.Join(tree(t, map[string]string{"vars.yaml": "other: y\n"}), "vars.yaml")}
	if err := c.run(t.Context()); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(out); err != nil || !strings.HasPrefix(string(b), "other: y\n") {
		t.Errorf("%v\n%s", err, b)
	}
	c.mustBeClean()
}

// Packer's max_retries runs the same provisioner once more.
func TestDropInRunsAgain(t *testing.T) {
	c, _ := newDropIn(t, "print checks/pass.json")
	c.options["remote_folder"] = c.base
	var p Provisioner
	p.DropIn = true
	if err := p.Prepare(c.options); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Provision(t.Context(), c.ui, c.host, nil); err != nil {
			t.Error(err)
		}
		c.mustBeClean()
	}
}

// A goss that the user brought is used and stays.
func TestSkipInstall(t *testing.T) {
	bin, err := standin()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path, says string }{
		{name: "absolute", path: "%s/bin/my goss"},
		{name: "on the PATH", path: "mygoss"},
		{name: "missing", path: "/no/goss", says: "the machine has no goss that can be run as /no/goss"},
		{name: "not executable", path: "/etc/passwd", says: "the machine has no goss"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCheck(t, "print checks/pass.json")
			delete(c.options, "goss_binary")
			dir := t.TempDir()
			for _, name := range []string{filepath.Join(dir, "bin", "my goss"), filepath.Join(c.host.bin, "mygoss")} {
				os.MkdirAll(filepath.Dir(name), 0o755)
				if err := os.Link(bin, name); err != nil {
					data, _ := os.ReadFile(bin)
					os.WriteFile(name, data, 0o755)
				}
			}
			c.options["skip_install"] = true
			c.options["download_path"] = strings.ReplaceAll(tt.path, "%s", dir)
			before := listing(t, dir) + listing(t, c.host.bin)
			err := c.run(t.Context())
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got error %v, want %q", err, tt.says)
			}
			if after := listing(t, dir) + listing(t, c.host.bin); after != before {
				t.Errorf("the user's goss is not as it was:\n%s\n%s", before, after)
			}
			c.mustBeClean()
		})
	}
	c := newCheck(t)
	c.options["skip_install"] = true
	if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "for one that is brought") {
		t.Errorf("skip_install beside goss_binary: %v", err)
	}
}
