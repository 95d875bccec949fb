// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

func TestProvision(t *testing.T) {
	tests := []struct {
		name    string
		orders  []string
		options map[string]any
		says    string // the error; empty: the machine passed
		shows   []string
	}{
		{
			name: "pass", orders: []string{"print checks/pass.json"},
			shows: []string{"checks/goss.yaml", "  File          3       0", "7 tests: 7 passed, 0 failed, 0 skipped"},
		},
		{
			name: "fail", orders: []string{"print checks/mixed.json", "exit 1"},
			says:  "6 of 13 goss tests failed",
			shows: []string{"E   FAILED   must exist: File /etc/no-such-file: exists: expected to equal true, got false", "6 failed"},
		},
		{
			name: "goss is not misled by the machine's environment", orders: []string{"unset GOSS_FMT", "unset GOSS_MAX_CONCURRENT", "print checks/pass.json"},
		},
		{
			name: "warnings are shown", orders: []string{"warn [WARN] Duplicate key detected: 'x'", "print checks/pass.json"},
			shows: []string{"goss warns: [WARN] Duplicate key detected: 'x'"},
		},
		{name: "all skipped", orders: []string{"print checks/skipped.json"}, says: "every goss test was skipped (2 of 2)"},
		{name: "no workers", orders: []string{"print checks/no-workers.json"}, says: "no test at all"},
		{name: "nothing printed", says: "goss printed no result"},
		{name: "not JSON", orders: []string{"say Count: 7, Failed: 0"}, says: "not the JSON that goss prints"},
		{name: "failures hidden by exit code 0", orders: []string{"print checks/mixed.json"}, says: "exit code 0 but its result holds 6 failed tests"},
		{name: "exit code 1 without failures", orders: []string{"print checks/pass.json", "exit 1"}, says: "exit code 1 but its result holds 0 failed tests"},
		{name: "bad gossfile", orders: []string{"say Error: found 0 tests, source: goss.yaml", "exit 78"}, says: "(exit code 78): Error: found 0 tests"},
		{
			name: "too few", orders: []string{"print checks/pass.json"}, options: map[string]any{"min_tests": 8},
			says: "goss carried out 7 tests but min_tests demands 8", shows: []string{"7 passed"},
		},
		{name: "enough", orders: []string{"print checks/pass.json"}, options: map[string]any{"min_tests": 7}},
		{
			name:    "another digest than demanded",
			options: map[string]any{"goss_sha256": strings.Repeat("0", 64)},
			says:    "goss_binary",
		},
		{
			name:   "retried until it passes",
			orders: []string{"attempt 1 print checks/mixed.json", "attempt 1 exit 1", "attempt 2 print checks/mixed.json", "attempt 2 exit 1", "print checks/pass.json"},
			options: map[string]any{
				"retry_timeout": "10m", "sleep": "1ms",
			},
			shows: []string{"Attempt 1: checks/goss.yaml: 6 of 13 goss tests failed", "Next attempt in 1ms", "Attempt 2: checks/goss.yaml: 6 of 13", "3 attempts in", "7 passed"},
		},
		{
			name: "what cannot heal is not retried", orders: []string{"attempt 1 say Error: found 0 tests", "attempt 1 exit 78", "print checks/pass.json"},
			options: map[string]any{"retry_timeout": "10m", "sleep": "1ms"},
			says:    "exit code 78",
		},
		{
			name: "retried in vain", orders: []string{"print checks/mixed.json", "exit 1"},
			options: map[string]any{"retry_timeout": "1ns", "sleep": "1ms"},
			says:    `6 of 13 goss tests failed (the limit is the option "retry_timeout")`,
			shows:   []string{"FAILED   must exist"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sample.Case(t)
			c := newCheck(t, tt.orders...)
			for name, value := range tt.options {
				c.options[name] = value
			}
			err := c.run(t.Context())
			switch {
			case tt.says == "" && err != nil:
				t.Errorf("failed: %v", err)
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

// What is lost or altered between the machine and us must never pass.
func TestProvisionOnABadLine(t *testing.T) {
	cut := func(r io.Reader) io.Reader { return io.LimitReader(r, 100) }
	tests := []struct {
		name string
		set  func(*host)
		says string
	}{
		{"the upload of goss fails", func(h *host) {
			h.upload = func(name string, r io.Reader) (io.Reader, error) {
				if strings.HasSuffix(name, "goss.gz") {
					return nil, errors.New("scp: no space left on device")
				}
				return r, nil
			}
		}, "no space left on device"},
		{"goss arrives cut short", func(h *host) {
			h.upload = func(name string, r io.Reader) (io.Reader, error) {
				if strings.HasSuffix(name, "goss.gz") {
					return cut(r), nil
				}
				return r, nil
			}
		}, "the goss binary arrived with the SHA-256"},
		{"another goss arrives", func(h *host) {
			h.upload = func(name string, r io.Reader) (io.Reader, error) {
				if strings.HasSuffix(name, "goss.gz") {
					other, err := os.ReadFile("/bin/sh")
					if err != nil {
						return nil, err
					}
					return bytes.NewReader(gzipped(other)), nil
				}
				return r, nil
			}
		}, "the goss binary arrived with the SHA-256"},
		{"the tests arrive cut short", func(h *host) {
			h.upload = func(name string, r io.Reader) (io.Reader, error) {
				if strings.HasSuffix(name, "inputs.gz") {
					return cut(r), nil
				}
				return r, nil
			}
		}, "the test files arrived with the SHA-256"},
		{"the result is not there", func(h *host) {
			h.program("base64", "exit 127")
			h.download = func(string, []byte) ([]byte, error) { return nil, errors.New("scp: no such file") }
		}, "its result is missing"},
		{"the result comes back cut short", func(h *host) {
			h.program("base64", "exit 127")
			h.download = func(_ string, data []byte) ([]byte, error) { return data[:len(data)/2], nil }
		}, "did not come back whole"},
		{"the result comes back as another one", func(h *host) {
			h.program("base64", "exit 127")
			h.download = func(string, []byte) ([]byte, error) { return []byte(`{"results":[]}`), nil }
		}, "did not come back whole"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sample.Case(t)
			c := newCheck(t, "print checks/pass.json")
			tt.set(c.host)
			if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got error %v\nwant the words %q", err, tt.says)
			}
			c.mustBeClean()
		})
	}
}

// Packer's SSH communicator reports exit code 0 for a session that broke down.
// Whichever command that happens to, the check must not pass.
func TestProvisionWhenTheConnectionBreaks(t *testing.T) {
	clean := newCheck(t, "print checks/pass.json")
	if err := clean.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	commands := len(clean.host.commands)
	if commands < 4 {
		t.Fatalf("only %d commands were run", commands)
	}
	for _, code := range []int{0, packersdk.CmdDisconnect} {
		for n := 1; n <= commands; n++ {
			c := newCheck(t, "print checks/pass.json")
			c.host.start = func(i int, cmd *packersdk.RemoteCmd) bool {
				if i == n {
					cmd.SetExited(code)
				}
				return i == n
			}
			if err := c.run(t.Context()); err == nil {
				t.Errorf("command %d of %d ended with code %d and without an answer, and the check passed", n, commands, code)
			}
			if n < commands { // the last command is the one that cleans up
				c.mustBeClean()
			}
		}
	}
}

func TestProvisionSaysWhatTheMachineLacks(t *testing.T) {
	tests := []struct {
		name string
		set  func(*check)
		says string
	}{
		{"another system", func(c *check) { c.host.program("uname", "echo FreeBSD") }, `the machine runs "FreeBSD"`},
		{"another architecture", func(c *check) {
			c.host.program("uname", `[ "$1" = -m ] && echo riscv64 || echo Linux`)
		}, `"riscv64"`},
		{"no sudo", func(c *check) {
			c.options["use_sudo"] = true
			c.host.program("id", "echo 1000")
			c.host.program("sudo", "echo 'sudo: a password is required' >&2; exit 1")
		}, `"sudo: a password is required"`},
		{"the folder cannot be written to", func(c *check) {
			c.options["remote_folder"] = filepath.Join(c.base, "none")
		}, "none cannot be written to"},
		{"the folder does not let programs run", func(c *check) {
			c.host.program("chmod", "exit 0") // what is not executable cannot be started, as under noexec
		}, "mounted noexec"},
		{"no sha256sum", func(c *check) { c.host.program("sha256sum", "exit 127") }, "arrived with the SHA-256"},
		{"our folder cannot be removed", func(c *check) { c.host.program("rm", "exit 1") }, "could not be removed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCheck(t, "print checks/pass.json")
			tt.set(c)
			if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got error %v\nwant the words %q", err, tt.says)
			}
		})
	}
}

// For a machine for which the plugin carries no goss the published one is
// fetched, and known by its digest. A binary for another architecture is
// refused.
func TestProvisionChoosesTheBinary(t *testing.T) {
	asked := ""
	mirror := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path
		w.Write([]byte("another goss"))
	}))
	defer mirror.Close()
	t.Setenv("PACKER_CACHE_DIR", t.TempDir())
	c := newCheck(t, "print checks/pass.json")
	delete(c.options, "goss_binary")
	c.options["goss_mirror"] = mirror.URL
	c.host.program("uname", `[ "$1" = -m ] && echo x86_64 || echo Linux`)
	if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "but "+goss.PublishedSHA256("amd64")+" is demanded") || asked != "/v0.4.10/goss_0.4.10_linux_x86_64.tar.gz" {
		t.Errorf("got error %v, asked for %s", err, asked)
	}
	if !strings.Contains(c.ui.text(), "carries no goss for linux/amd64") {
		t.Errorf("the screen shows\n%s", c.ui.text())
	}
	c = newCheck(t, "print checks/pass.json")
	exe, err := goss.BinaryFromFile(c.options["goss_binary"].(string), "")
	if err != nil {
		t.Fatal(err)
	}
	other := map[string]string{"arm64": "x86_64", "amd64": "aarch64"}[exe.Arch]
	c.host.program("uname", `[ "$1" = -m ] && echo `+other+` || echo Linux`)
	if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "is for "+exe.Arch+" but the machine is") {
		t.Errorf("got error %v", err)
	}
}

func TestProvisionRunsAsRoot(t *testing.T) {
	// Files that only root could remove are made read-only folders here; a
	// machine of its own proves it for real in the acceptance tests.
	c := newCheck(t, "env BECAME "+`"root"`, "print checks/pass.json")
	delete(c.options, "use_sudo") // the default
	c.host.program("id", `[ "$BECAME" = root ] && echo 0 || echo 1000`)
	c.host.program("sudo", `[ "$1" = -n ] || exit 9; shift; BECAME=root; export BECAME; exec "$@"`)
	if err := c.run(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(c.ui.text(), "as root") {
		t.Errorf("the screen shows\n%s", c.ui.text())
	}
	c.mustBeClean()

	// A login as root needs no sudo, and a machine may have none.
	c = newCheck(t, "unset BECAME", "print checks/pass.json")
	c.options["use_sudo"] = true
	c.host.program("id", "echo 0")
	c.host.program("sudo", "exit 1")
	if err := c.run(t.Context()); err != nil {
		t.Error(err)
	}
	c.mustBeClean()
}

func TestProvisionBringsVariables(t *testing.T) {
	const hostile = "it's \"$(id)\" `id` \\ ; exit 7\n$HOME"
	c := newCheck(t,
		`env PLAIN "a b"`,
		`env HOSTILE "it's \"$(id)\" `+"`id`"+` \\ ; exit 7\n$HOME"`,
		`env GOSS_VARS_INLINE "{\"password\":\"it's hunter2\",\"port\":\"22\"}"`,
		"vars port: 22",
		"print checks/pass.json",
	)
	vars := filepath.Join(t.TempDir(), "the vars.yaml")
	if err := os.WriteFile(vars, []byte("port: 22\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.options["vars_file"] = vars
	c.options["vars_inline"] = map[string]string{"password": "it's hunter2", "port": "22"}
	c.options["vars_env"] = map[string]string{"PLAIN": "a b", "HOSTILE": hostile}
	if err := c.run(t.Context()); err != nil {
		t.Errorf("%v\n%s", err, c.ui.text())
	}
	for _, where := range []string{c.host.said(), c.ui.text()} {
		for _, secret := range []string{"hunter2", "a b", "$HOME"} {
			if strings.Contains(where, secret) {
				t.Errorf("%q is visible in\n%s", secret, where)
			}
		}
	}
	c.mustBeClean()
}

func TestProvisionMasksSensitiveValues(t *testing.T) {
	c := newCheck(t, "say Error: cannot connect with hunter2-hunter2", "exit 78")
	c.options["packer_user_variables"] = map[string]string{"password": "hunter2-hunter2", "port": "exit"}
	c.options["packer_sensitive_variables"] = []string{"password"}
	err := c.run(t.Context())
	if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "exit code 78") {
		t.Errorf("got error %v", err)
	}
	c.mustBeClean()
}

// What is quoted is cut to a length, and half of a secret is not recognised any
// more: it is masked before that.
func TestSecretsAreMaskedBeforeTheyAreCut(t *testing.T) {
	const password = "hunter2-hunter2-hunter2"
	long := strings.Repeat("x", 140) + " " + password
	for _, options := range []map[string]any{{}, {"wait": "checks/goss.yaml"}} {
		c := newCheck(t, "say Error: "+long, "exit 78")
		maps.Copy(c.options, options)
		c.options["packer_user_variables"] = map[string]string{"password": password}
		c.options["packer_sensitive_variables"] = []string{"password"}
		if err := c.run(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "exit code 78") {
			t.Errorf("%v: got error %v", options, err)
		}
		c.mustBeClean()
	}
}

// So it is in whatever else of the machine an error quotes.
func TestSecretsAreMaskedBeforeErrorsQuoteThem(t *testing.T) {
	const password = "hunter2-hunter2-hunter2"
	for _, tt := range []struct {
		name    string
		before  int // so many letters before it
		options map[string]any
		set     func(c *check, long string)
		says    string
	}{
		{"a shell", 190, nil, func(c *check, long string) {
			c.host.start = func(_ int, cmd *packersdk.RemoteCmd) bool {
				io.WriteString(cmd.Stderr, long+"\n")
				cmd.SetExited(1)
				return true
			}
		}, "the shell ended with exit code 1"},
		{"a shell that says too much", maxAnswer - 10, nil, func(c *check, long string) {
			c.host.start = func(_ int, cmd *packersdk.RemoteCmd) bool {
				io.WriteString(cmd.Stderr, strings.Replace(long, " ", "\n", 1)+"\n")
				cmd.SetExited(1)
				return true
			}
		}, "the shell ended with exit code 1"},
		{"sudo", 190, map[string]any{"use_sudo": true}, func(c *check, long string) {
			c.host.program("id", "echo 1000")
			c.host.program("sudo", "echo '"+long+"'; exit 1")
		}, "sudo does not work without a password"},
		{"record", 290, map[string]any{"record": []string{"sshd"}}, func(c *check, long string) {
			c.host.program("setsid", "echo '"+long+"' >&2; exit 1")
		}, "could not record the machine (exit code 1)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCheck(t, "print checks/pass.json")
			maps.Copy(c.options, tt.options)
			c.options["packer_user_variables"] = map[string]string{"password": password}
			c.options["packer_sensitive_variables"] = []string{"password"}
			tt.set(c, strings.Repeat("x", tt.before-1)+" "+password)
			if err := c.run(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got error %v", err)
			}
			c.mustBeClean()
		})
	}
}

// A line on the screen is cut to a length too, also while something is waited
// for.
func TestSecretsAreMaskedWhileWaiting(t *testing.T) {
	const password = "hunter2-hunter2-hunter2-hunter2"
	recorded, err := os.ReadFile(filepath.Join("testdata", "mixed.json"))
	if err != nil {
		t.Fatal(err)
	}
	// Names are cut at 160 letters; half of the secret is before that.
	for _, length := range []int{10, 140} {
		c := newCheck(t, "attempt 1 print checks/secret.json", "attempt 1 exit 1", "print checks/pass.json")
		long := "/" + strings.Repeat("x", length) + password
		c.file("secret.json", strings.ReplaceAll(string(recorded), "/etc/no-such-file", long))
		c.options["wait"], c.options["wait_interval"] = "checks/goss.yaml", "1ms"
		c.options["packer_user_variables"] = map[string]string{"password": password}
		c.options["packer_sensitive_variables"] = []string{"password"}
		if err := c.run(t.Context()); err != nil || strings.Contains(c.ui.text(), "hunter2") || !strings.Contains(c.ui.text(), "must exist: File /xxxx") {
			t.Fatalf("%d: %v\n%s", length, err, c.ui.text())
		}
	}
}
