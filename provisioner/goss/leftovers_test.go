// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/proof"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// However a check ends, the machine is as it was: the same files with the same
// bytes, modes and inodes, and no process of ours.
func TestNothingStays(t *testing.T) {
	tests := []struct {
		name   string
		orders []string
		set    func(*check)
		ends   bool // while goss hangs, which says why
		says   string
	}{
		{name: "success", orders: []string{"print checks/pass.json"}},
		{name: "failure", orders: []string{"print checks/mixed.json", "exit 1"}, says: "6 of 13"},
		{name: "goss is killed", orders: []string{"exit 137"}, says: "killed"},
		{name: "an upload that breaks", says: "no space left", set: func(c *check) {
			c.host.upload = func(name string, r io.Reader) (io.Reader, error) {
				if !strings.HasSuffix(name, "inputs.gz") {
					return r, nil
				}
				os.WriteFile(name, []byte("half"), 0o600)
				return nil, errors.New("no space left on device")
			}
		}},
		{name: "an orphan", orders: []string{"orphan %s", "print checks/pass.json"}},
		{name: "cancel", orders: []string{"hang %s"}, ends: true, says: "canceled"},
		{name: "timeout", orders: []string{"hang %s"}, ends: true, says: "deadline"},
		{name: "what a test leaves in its folder", orders: []string{"print checks/pass.json"}, set: func(c *check) {
			c.host.program("setsid", `mkdir -p x/y && touch x/y/z ../w; exec /usr/bin/setsid "$@"`)
		}},
	}
	for _, tt := range tests {
		for _, dropIn := range []bool{false, true} {
			name := tt.name
			if dropIn {
				name += " drop-in"
			}
			if dropIn && tt.name == "what a test leaves in its folder" {
				continue // there it is a folder of the user's
			}
			t.Run(name, func(t *testing.T) {
				sample.Case(t)
				pids := filepath.Join(t.TempDir(), "pids")
				var orders []string
				for _, o := range tt.orders {
					orders = append(orders, strings.ReplaceAll(o, "%s", pids))
				}
				c := newCheck(t, orders...)
				home := tree(t, map[string]string{"home/.profile": "x", "goss/checks/goss.yaml": "theirs", "goss/other": "theirs"})
				t.Setenv("HOME", filepath.Join(home, "home"))
				t.Chdir(t.TempDir())
				delete(c.options, "remote_folder")
				if c.dropIn = dropIn; dropIn {
					c.options["remote_path"] = filepath.Join(home, "goss")
				}
				if tt.set != nil {
					tt.set(c)
				}
				before := listing(t, home)
				var err error
				if tt.ends {
					ctx, end := context.WithCancel(t.Context())
					defer end()
					if tt.name == "timeout" {
						ctx, end = newExpiring(t)
					}
					_, err = c.whileItHangs(ctx, pids, end)
				} else {
					err = c.run(t.Context())
				}
				if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
					t.Errorf("got error %v, want %q", err, tt.says)
				}
				if after := listing(t, home); after != before {
					t.Errorf("the machine is not as it was; before:\n%s\nafter:\n%s", before, after)
				}
				mark := proof.Mark(c.host.said())
				if mark == "" {
					t.Fatal("nothing was done")
				}
				for _, dir := range []string{"/dev/shm", "/tmp", "/var/tmp", os.Getenv("HOME")} {
					if left, _ := filepath.Glob(filepath.Join(dir, "*"+mark+"*")); len(left) > 0 {
						t.Errorf("left: %v", left)
					}
				}
				if left := running(t, readFields(pids)); len(left) > 0 {
					t.Errorf("still running: %v", left)
				}
				lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
				for _, name := range lines {
					if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(mark)) {
						t.Errorf("still running: %s", bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
					}
				}
			})
		}
	}
}

func readFields(name string) []string {
	b, _ := os.ReadFile(name)
	return strings.Fields(string(b))
}

// A machine without a network is checked, and one with a network is not asked to
// use it.
func TestTheMachineDownloadsNothing(t *testing.T) {
	server := publish(t, newServer)
	for _, options := range []map[string]any{
		{}, {"goss_url": server.URL + server.rawPath, "goss_sha256": hexOf(server.raw)},
	} {
		t.Setenv("PACKER_CACHE_DIR", t.TempDir())
		c := newCheck(t, "print checks/pass.json")
		for name, value := range options {
			delete(c.options, "goss_binary")
			c.options[name] = value
		}
		called := filepath.Join(t.TempDir(), "called")
		for _, tool := range []string{"curl", "wget", "nc", "openssl", "python3", "apt-get"} {
			c.host.program(tool, "echo "+tool+" >>'"+called+"'; exit 1")
		}
		if err := c.run(t.Context()); err != nil {
			t.Errorf("%v\n%s", err, c.ui.text())
		}
		if b, err := os.ReadFile(called); err == nil {
			t.Errorf("called: %s", b)
		}
		if said := c.host.said(); strings.Contains(said, "http://") || strings.Contains(said, "curl") {
			t.Errorf("the machine is made to download: %s", said)
		}
		c.mustBeClean()
	}
}
