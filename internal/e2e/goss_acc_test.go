// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
)

// gossSide is one plugin that answers to the name "goss".
type gossSide struct {
	name   string
	packer *runpacker.Packer
	source string
}

// TestAccGossDropIn runs templates for the provisioner "goss" of
// packer-plugin-goss, unchanged but for the source of the plugin, with the real
// Packer and the real goss on a native SSH server: by ours, and by the
// unmodified peer where PEER_GOSS_PLUGIN is the path of its binary.
func TestAccGossDropIn(t *testing.T) {
	alone(t)
	ours := gossSide{"ours", packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source), runpacker.Source}
	sides := []gossSide{ours}
	if binary := os.Getenv("PEER_GOSS_PLUGIN"); binary != "" {
		const source = "github.com/YaleUniversity/goss"
		sides = append(sides, gossSide{"peer", packer(t, binary, source), source})
	} else {
		t.Log("PEER_GOSS_PLUGIN does not name a binary of packer-plugin-goss: ours is not compared with it")
	}
	gossBinary := nativeGoss(t)
	tests := []struct {
		name, options string
		fails         bool
		spec          string // a part of goss-spec.yaml
	}{
		{name: "a file", options: `tests = ["goss/one.yaml"], goss_file = "one.yaml"`, spec: "/proc/self"},
		{name: "a folder with includes", options: `tests = ["goss"], goss_file = "goss/all.yaml"`, spec: "/proc/self"},
		{name: "a test fails", options: `tests = ["goss/fail.yaml"], goss_file = "fail.yaml"`, fails: true},
		{name: "inspect", options: `tests = ["goss/fail.yaml"], goss_file = "fail.yaml", inspect = true`, spec: "/no/such/file"},
		{
			name:    "variables",
			options: `tests = ["goss/names.yaml"], goss_file = "names.yaml", vars_file = "vars.yaml", vars_inline = { name = "inline" }, vars_env = { FROM = "env" }`,
			spec:    "inline file env",
		},
		{name: "it names where it is", options: `tests = ["goss"], goss_file = "goss/where.yaml", vars_inline = { here = "REMOTE/goss" }`, spec: "goss/one.yaml"},
		{name: "formats", options: `tests = ["goss/one.yaml"], goss_file = "one.yaml", format = "json", format_options = "pretty", retry_timeout = "1s", sleep = "100ms"`, spec: "/proc/self"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, side := range sides {
				host, dir := newSSHHost(t), gossTemplate(t, nil)
				remote := t.TempDir()
				options := strings.ReplaceAll(tt.options, "REMOTE", remote)
				said, _, err := side.run(t, host, dir, gossBinary, remote, options)
				if tt.fails != (err != nil) {
					t.Fatalf("%s: %v\n%s", side.name, err, said)
				}
				spec, err := os.ReadFile(filepath.Join(dir, "goss-spec.yaml"))
				if !tt.fails && (err != nil || !strings.Contains(string(spec), tt.spec)) {
					t.Errorf("%s: goss-spec.yaml: %v\n%s", side.name, err, spec)
				}
				left, err := os.ReadDir(remote)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s left %d entries", side.name, len(left))
				if side.name == "ours" && len(left) > 0 {
					t.Errorf("left on the machine: %v", left)
				}
			}
		})
	}
	t.Run("a JSON template", func(t *testing.T) {
		p := packer(t, os.Getenv("ACC_PLUGIN"), "github.com/armfree/goss")
		host, dir, remote := newSSHHost(t), gossTemplate(t, nil), t.TempDir()
		text := fmt.Sprintf(`{"builders": [{"type": "null", "communicator": "ssh", "ssh_host": "127.0.0.1", "ssh_port": %s, "ssh_username": "me",
			"ssh_private_key_file": %q, "ssh_file_transfer_method": "sftp"}],
			"provisioners": [{"type": "goss", "tests": ["goss"], "goss_file": "goss/all.yaml", "skip_install": "true", "download_path": %q,
			"remote_folder": %q, "use_sudo": "false", "retry_timeout": "0s", "inspect": "false", "format": "", "vars_file": ""}]}`,
			host.port, host.key, gossBinary, remote)
		if err := os.WriteFile(filepath.Join(dir, "x.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out inpacker.Output
		if err := p.Run(t.Context(), dir, nil, &out, "build", "x.json"); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if !strings.Contains(out.String(), "3 tests: 3 passed") {
			t.Error(out.String())
		}
	})
	t.Run("the time for 50 tests", func(t *testing.T) { gossTime(t, sides, gossBinary) })
}

// gossTime prints how long 50 tests take, each way, and holds what is added to
// goss's own time below two seconds.
func gossTime(t *testing.T, sides []gossSide, gossBinary string) {
	var many strings.Builder
	many.WriteString("file:\n")
	for i := range 50 {
		fmt.Fprintf(&many, "  /no/such/file/%d: {exists: false}\n", i)
	}
	dir := gossTemplate(t, map[string]string{"goss/many.yaml": many.String()})
	// The ways take turns, so that a busy machine is busy for all of them.
	const rounds = 7
	var own []time.Duration
	took := map[string][]time.Duration{}
	measure := func(name string, side gossSide, options string) {
		said, d, err := side.run(t, newSSHHost(t), dir, gossBinary, t.TempDir(), `tests = ["goss/many.yaml"], goss_file = "many.yaml"`+options)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		took[name] = append(took[name], d)
	}
	const brought = "ours, goss brought along"
	for range rounds {
		start := time.Now()
		if out, err := exec.Command(gossBinary, "-g", filepath.Join(dir, "goss", "many.yaml"), "validate").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		own = append(own, time.Since(start))
		for _, side := range sides {
			measure(side.name, side, "")
		}
		measure(brought, sides[0], `, skip_install = false, goss_binary = "`+gossBinary+`", download_path = ""`)
	}
	itself := median(own)
	t.Logf("goss itself takes %s for 50 tests, the median of %d; with the provisioner, from the login to the end of the build:", itself.Round(time.Millisecond), rounds)
	for _, name := range []string{"ours", brought, "peer"} {
		if len(took[name]) > 0 {
			m := median(took[name]) // how long it may take is for people to judge: the machine may be busy
			t.Logf("  %-25s %s, %s more than goss itself", name, m.Round(time.Millisecond), (m - itself).Round(time.Millisecond))
		}
	}
	if peer := took["peer"]; len(peer) > 0 {
		ratio := func(name string) float64 { return float64(median(took[name])) / float64(median(peer)) }
		t.Logf("ratio ours / peer: %.2f, with goss brought along %.2f", ratio("ours"), ratio(brought))
	}
}

func median(list []time.Duration) time.Duration {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// gossTemplate is a folder with gossfiles.
func gossTemplate(t *testing.T, more map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"goss/one.yaml":   "file: {/proc/self: {exists: true}}\n",
		"goss/two.yaml":   "file: {/: {exists: true, filetype: directory}}\n",
		"goss/all.yaml":   "gossfile: {one.yaml: {}, two.yaml: {}}\n",
		"goss/fail.yaml":  "file: {/no/such/file: {exists: true}}\n",
		"goss/names.yaml": "matching:\n  v: {content: \"{{ .Vars.name }} {{ .Vars.kept }} {{ .Env.FROM }}\", matches: inline file env}\n",
		"goss/where.yaml": "file: {\"{{ .Vars.here }}/goss/one.yaml\": {exists: true}}\n",
		"vars.yaml":       "name: file\nkept: file\n",
	}
	for name, text := range more {
		files[name] = text
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run builds a template and says how long the provisioner took.
func (s gossSide) run(t *testing.T, host *sshHost, dir, gossBinary, remote, options string) (string, time.Duration, error) {
	t.Helper()
	lines := map[string]string{
		"skip_install": "true", "download_path": quoteHCL(gossBinary), "remote_folder": quoteHCL(remote), "use_sudo": "false",
	}
	var text strings.Builder
	fmt.Fprintf(&text, "packer {\n  required_plugins {\n    goss = { source = %q, version = \">= 0.0.1\" }\n  }\n}\n", s.source)
	fmt.Fprintf(&text, "source \"null\" \"x\" {\n  communicator = \"ssh\"\n  ssh_host = \"127.0.0.1\"\n  ssh_port = %s\n  ssh_username = \"me\"\n  ssh_private_key_file = %q\n  ssh_file_transfer_method = \"sftp\"\n}\n", host.port, host.key)
	text.WriteString("build {\n  sources = [\"source.null.x\"]\n  provisioner \"goss\" {\n")
	for _, option := range splitOptions(options) {
		name, value, _ := strings.Cut(option, "=")
		lines[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	for name, value := range lines {
		fmt.Fprintf(&text, "    %s = %s\n", name, value)
	}
	text.WriteString("  }\n}\n")
	if err := os.WriteFile(filepath.Join(dir, "x.pkr.hcl"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out := &timed{}
	err := s.packer.Run(t.Context(), dir, []string{"NO_COLOR=1"}, out, "build", "x.pkr.hcl")
	return out.String(), time.Since(out.began()), err
}

// splitOptions separates options at commas outside of brackets and quotes.
func splitOptions(s string) (list []string) {
	depth, quoted, from := 0, false, 0
	for i, r := range s {
		switch {
		case r == '"':
			quoted = !quoted
		case quoted:
		case r == '[' || r == '{':
			depth++
		case r == ']' || r == '}':
			depth--
		case r == ',' && depth == 0:
			list, from = append(list, s[from:i]), i+1
		}
	}
	return append(list, s[from:])
}

func quoteHCL(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// timed is an output that knows when the provisioner began.
type timed struct {
	inpacker.Output
	mu sync.Mutex
	at time.Time
}

func (o *timed) Write(p []byte) (int, error) {
	o.mu.Lock()
	if o.at.IsZero() && bytes.Contains(p, []byte("Connected to SSH")) {
		o.at = time.Now()
	}
	o.mu.Unlock()
	return o.Output.Write(p)
}

func (o *timed) began() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.at
}

// nativeGoss is the pinned goss for this host.
func nativeGoss(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "goss")
	cmd := exec.Command("go", "build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w -X github.com/goss-org/goss/util.Version=v0.4.10", "-o", bin, "github.com/goss-org/goss/cmd/goss")
	cmd.Dir = filepath.Join("..", "..", "tools", "goss")
	cmd.Env = append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}
