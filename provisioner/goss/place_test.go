// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/proof"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// A gossfile that did not arrive whole in remote_path is not run: half of it
// may be a gossfile that passes.
func TestPuttingInPlaceFails(t *testing.T) {
	// The files that come after it arrive, which must not hide it.
	const only = `case $2 in */checks/goss.yaml) ;; *) exec /bin/cp "$@" ;; esac; `
	for _, tt := range []struct{ name, program, script string }{
		{"cp loses a line and says so", "cp", only + `head -n 1 "$1" >"$2"; exit 1`},
		{"cp loses a line and says nothing", "cp", only + `head -n 1 "$1" >"$2"`},
		{"cp does nothing", "cp", only + `exit 0`},
		{"a full disk", "cp", only + `ulimit -f 0; exec /bin/cp "$@"`},
		{"cp writes nothing", "cp", only + `: >"$2"; echo "cp: error writing '$2': No space left on device" >&2; exit 1`},
		{"a folder cannot be made", "mkdir", `case $* in */goss/checks) exit 1 ;; esac; exec /bin/mkdir "$@"`},
		{"nothing can be remembered", "mkdir", `case $* in */put) exit 1 ;; esac; exec /bin/mkdir "$@"`},
		{"what is in the way cannot be moved", "mv", `exit 1`},
		{"chmod fails", "chmod", `case $* in *a+rX*goss.yaml) exit 1 ;; esac; exec /bin/chmod "$@"`},
	} {
		for _, there := range []bool{false, true} {
			if !there && tt.program == "mv" || there && strings.HasPrefix(tt.name, "a folder") {
				continue // nothing is in the way; the folder is there
			}
			t.Run(fmt.Sprint(tt.name, there), func(t *testing.T) {
				sample.Case(t)
				c, work := newDropIn(t, "print checks/pass.json", "exit 99")
				if there {
					err := os.MkdirAll(filepath.Join(work, "checks"), 0o755)
					if err == nil {
						err = os.WriteFile(filepath.Join(work, "checks", "goss.yaml"), []byte("theirs"), 0o640)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				before := listing(t, c.base)
				c.host.program(tt.program, tt.script)
				if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "the test files could not be put into "+work) {
					t.Errorf("got error %v", err)
				}
				if after := listing(t, c.base); after != before {
					t.Errorf("the machine is not as it was; before:\n%s\nafter:\n%s", before, after)
				}
			})
		}
	}
}

// What was put into remote_path is taken away also where the private folder, in
// which that is noted, is removed by somebody else.
func TestPlacedFilesGoWithoutTheFolder(t *testing.T) {
	for _, tt := range []struct {
		name, finish string
		setsid       string // runs goss
		says         string
	}{
		{name: "finish removes the folder that it is in", finish: `rm -rf "$(dirname "$0")"`},
		{name: "finish removes its folder and fails", finish: `rm -rf "$(dirname "$0")"; exit 3`, says: "exit code 3"},
		{name: "a test removes it", setsid: `/usr/bin/setsid "$@"; code=$?; rm -rf "$(dirname "$1")"; exit $code`, says: "its result is missing"},
	} {
		for _, there := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, there), func(t *testing.T) {
				sample.Case(t)
				c, work := newDropIn(t, "print checks/pass.json")
				if there {
					if err := os.CopyFS(work, os.DirFS(tree(t, map[string]string{"checks/goss.yaml": "theirs", "checks/other": "theirs"}))); err != nil {
						t.Fatal(err)
					}
				}
				c.options["remote_path"] = work
				c.options["vars_file"] = filepath.Join(tree(t, map[string]string{"vars.yaml": "a: 1\n"}), "vars.yaml")
				if tt.finish != "" {
					c.options["finish"] = filepath.Join(tree(t, map[string]string{"forget.sh": "#!/bin/sh\n" + tt.finish + "\n"}), "forget.sh")
				}
				if tt.setsid != "" {
					c.host.program("setsid", tt.setsid)
				}
				before := listing(t, c.base)
				if err := c.run(t.Context()); tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
					t.Errorf("got error %v, want %q", err, tt.says)
				}
				if after := listing(t, c.base); after != before {
					t.Errorf("the machine is not as it was; before:\n%s\nafter:\n%s", before, after)
				}
			})
		}
	}
}

// A file that cannot be taken away is named, and so is one that stays where it
// was moved out of the way. There is no proof then, by finish neither.
func TestPlacedFilesThatStayAreNamed(t *testing.T) {
	for _, tt := range []struct {
		name, program, script string
		there                 bool
		says                  string // after the folder
	}{
		{name: "a file", program: "rm", script: `case $* in *checks/goss.yaml*) exit 1 ;; esac; exec /bin/rm "$@"`, says: "checks/goss.yaml could not be removed"},
		{name: "a folder", program: "rm", script: `case "$* " in *"goss/checks "*) exit 1 ;; esac; exec /bin/rm "$@"`, says: "checks"},
		{name: "what was moved", program: "mv", script: `case $3 in */goss.yaml) exit 1 ;; esac; exec /bin/mv "$@"`, there: true, says: "checks/goss.yaml.armfree-goss."},
	} {
		for _, finish := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, finish), func(t *testing.T) {
				c, work := newDropIn(t, "print checks/pass.json")
				dir := work
				if tt.name == "a folder" { // that is not in one of ours
					dir = filepath.Join(work, "goss")
				}
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if tt.there || tt.name == "a file" {
					if err := os.MkdirAll(filepath.Join(dir, "checks"), 0o755); err != nil {
						t.Fatal(err)
					}
				}
				if tt.there {
					if err := os.WriteFile(filepath.Join(dir, "checks", "goss.yaml"), []byte("theirs"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				c.options["remote_path"] = dir
				if finish {
					c.options["finish"] = filepath.Join(tree(t, map[string]string{"forget.sh": "#!/bin/sh\n"}), "forget.sh")
				}
				c.host.program(tt.program, tt.script)
				key := proof.Key{Run: "run", Instance: "ocid1.instance.x"}
				c.box = proof.Box{Dir: filepath.Join(t.TempDir(), "box")}
				c.data = map[string]any{"ID": key.Instance, "PackerRunUUID": key.Run, proof.Wanted: "true"}
				err := c.run(t.Context())
				if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, tt.says)) || !strings.Contains(err.Error(), "could not be removed from the machine") {
					t.Errorf("got error %v", err)
				}
				if notes, err := c.box.Take(key, time.Now()); err != nil || len(notes) != 0 {
					t.Errorf("the builder is told of %v, %v", notes, err)
				}
			})
		}
	}
}
