// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
