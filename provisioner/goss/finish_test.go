// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// The script of finish runs once the machine has passed, as goss does, and is
// the last thing that is done there; the proof names it and stays one.
func TestFinish(t *testing.T) {
	const pass, fail = "print checks/pass.json", "print checks/mixed.json"
	for _, tt := range []struct {
		name    string
		orders  []string
		script  string // %d is a folder of the machine
		options map[string]any
		dropIn  bool
		says    string // the error
		shows   string
		ran     bool
		state   string // of the proof; empty: there is none
	}{
		{name: "a clean-up", script: "echo keys are gone", shows: "The machine has passed. Running forget.sh on it, the last thing that is done there\n  keys are gone", ran: true, state: goss.ProofPassed},
		{name: "of a drop-in", dropIn: true, script: "exit 0", ran: true, state: goss.ProofPassed},
		{name: "it removes the folder that it is in", script: `rm -rf "$(dirname "$0")"; echo and goes on`, ran: true, state: goss.ProofPassed},
		{name: "it takes root's rights away", options: map[string]any{"use_sudo": true}, script: "rm %d/sudo", ran: true, state: goss.ProofPassed},
		{name: "it prints what steers a terminal", script: `printf '\033[2Jx\r\n::error::y\n'`, shows: `  \u001b[2Jx`, ran: true, state: goss.ProofPassed},
		{name: "it prints much", script: "yes | head -c 3000000; echo the end", shows: "  the end", ran: true, state: goss.ProofPassed},
		{name: "it prints a secret", script: "echo " + "hunter2-hunter2", shows: "  <sensitive>", ran: true, state: goss.ProofPassed},
		{name: "it prints a secret where a line is cut", script: "printf '%150s %s\\n' x hunter2-hunter2", shows: "x <sensi", ran: true, state: goss.ProofPassed},
		{name: "it prints a secret where all of it is cut", script: "echo hunter2-hunter2; yes | head -c 59992", shows: "  y", ran: true, state: goss.ProofPassed},
		{name: "it prints a secret and fails", script: "printf '%190s %s\\n' x hunter2-hunter2 | tr ' ' x; exit 3", says: "ended with exit code 3", ran: true},
		{name: "it fails", script: "echo no disk >&2; exit 3", says: `ended with exit code 3: "no disk"`, ran: true},
		{name: "it is killed", script: "kill -s KILL $$", says: "ended with exit code 137", ran: true},
		{name: "its interpreter is not there", script: "", says: "ended with exit code 12"},
		{name: "the machine fails", orders: []string{fail, "exit 1"}, script: "exit 0", says: "6 of 13 goss tests failed"},
		{name: "the machine fails and that is let pass", orders: []string{fail, "exit 1"}, options: map[string]any{"report_only": true}, script: "exit 0", shows: "The machine is let pass although 6 of 13 tests failed. Running", ran: true, state: goss.ProofReported},
		{name: "failures within max_failed", orders: []string{fail, "exit 1"}, options: map[string]any{"max_failed": 6}, script: "exit 0", shows: "The machine is let pass although 6 of 13 tests failed. Running", ran: true, state: goss.ProofReported},
		{name: "failures below fail_on", orders: []string{"print checks/warn.json", "exit 1"}, options: map[string]any{"fail_on": "critical"}, script: "exit 0", shows: "The machine is let pass although 1 of 2 tests failed. Running", ran: true, state: goss.ProofReported},
		{name: "goss did not run", orders: []string{"exit 127"}, options: map[string]any{"report_only": true}, script: "exit 0", says: "not found"},
		{name: "everything stays", options: map[string]any{"keep_remote": true}, script: "exit 0", ran: true, state: goss.ProofPassed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sample.Case(t)
			if tt.orders == nil {
				tt.orders = []string{pass}
			}
			c := newCheck(t, tt.orders...)
			t.Chdir(t.TempDir())
			c.dropIn = tt.dropIn
			for name, value := range tt.options {
				c.options[name] = value
			}
			c.options["packer_user_variables"] = map[string]string{"p": "hunter2-hunter2"}
			c.options["packer_sensitive_variables"] = []string{"p"}
			c.host.program("id", `[ "$BECAME" = root ] && echo 0 || echo 1000`)
			c.host.program("sudo", `[ "$1" = -n ] || exit 9; shift; BECAME=root; export BECAME; exec "$@"`)
			trace := filepath.Join(t.TempDir(), "trace")
			script := "#!/bin/sh\necho \"became=$BECAME args=$* vars=$GOSS_VARS_INLINE\" >>" + trace + "\n" + strings.ReplaceAll(tt.script, "%d", c.host.bin) + "\n"
			if tt.script == "" {
				script = "#!/no/such/program\n"
			}
			file := filepath.Join(t.TempDir(), "forget.sh")
			if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
				t.Fatal(err)
			}
			receipt := filepath.Join(t.TempDir(), "receipt.json")
			c.options["finish"], c.options["receipt"] = file, receipt
			key := proof.Key{Run: "run", Instance: "ocid1.instance.x"}
			c.box = proof.Box{Dir: filepath.Join(t.TempDir(), "box")}
			c.data = map[string]any{"ID": key.Instance, "PackerRunUUID": key.Run, proof.Wanted: "true"}
			last := ""
			c.host.start = func(_ int, cmd *packersdk.RemoteCmd) bool {
				last = cmd.Command
				if strings.Contains(cmd.Command, "/finish.sh") {
					// What is there on the host from now on is not what ran.
					os.WriteFile(file, []byte("#!/bin/sh\nother"), 0o600)
				}
				return false
			}

			err := c.run(t.Context())
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || strings.Count(err.Error(), tt.says) != 1) {
				t.Errorf("got error %v, want %q\n%s", err, tt.says, c.ui.text())
			}
			if shown := c.ui.text(); !strings.Contains(shown, tt.shows) || strings.Contains(shown, "hunter2") || strings.ContainsRune(shown, '\x1b') {
				t.Errorf("the screen shows\n%.5000s", shown)
			}
			want := ""
			if tt.ran {
				want = "became= args= vars=\n"
				if c.options["use_sudo"] == true {
					want = "became=root args= vars=\n"
				}
			}
			if got, _ := os.ReadFile(trace); string(got) != want {
				t.Errorf("the script left %q, want %q", got, want)
			}
			if tt.options["keep_remote"] == nil {
				c.mustBeClean()
			}
			if tt.state != "" && !strings.Contains(last, "/finish.sh") {
				t.Errorf("something is run on the machine after it: %s", last)
			}
			notes, err := c.box.Take(key, time.Now())
			if err != nil || (len(notes) == 1) != (tt.state != "") {
				t.Fatalf("the builder is told of %v, %v", notes, err)
			}
			data, err := os.ReadFile(receipt)
			if err != nil {
				t.Fatal(err)
			}
			if tt.state == "" {
				if strings.Contains(string(data), `"finish"`) {
					t.Errorf("the receipt says that it ran: %s", data)
				}
				return
			}
			p, err := goss.ReceiptProof(data)
			if err != nil || p.State != tt.state || p.Finish != digestOf([]byte(script)) {
				t.Errorf("the proof is %+v, %v", p, err)
			}
			if p, _ := proof.Of(notes, func(string) bool { return true }); !strings.HasPrefix(proof.Value(p), tt.state+" tests=") || !strings.HasSuffix(proof.Value(p), " finish="+digestOf([]byte(script))) {
				t.Errorf("the tag is %s", proof.Value(p))
			}
		})
	}
}

// A machine that lets nobody in any more was finished all the same.
func TestFinishLocksOut(t *testing.T) {
	c := newCheck(t, "print checks/pass.json")
	c.options["finish"] = filepath.Join(tree(t, map[string]string{"lock.sh": "#!/bin/sh\nexit 0\n"}), "lock.sh")
	locked := false
	c.host.start = func(_ int, cmd *packersdk.RemoteCmd) bool {
		if locked {
			cmd.SetExited(packersdk.CmdDisconnect)
			return true
		}
		locked = strings.Contains(cmd.Command, "/finish.sh")
		return false
	}
	if err := c.run(t.Context()); err != nil || !locked {
		t.Errorf("%v", err)
	}
	c.mustBeClean()

	// Where it is not known whether it ran to its end, it did not.
	c = newCheck(t, "print checks/pass.json")
	c.options["finish"] = filepath.Join(tree(t, map[string]string{"lock.sh": "#!/bin/sh\nexit 0\n"}), "lock.sh")
	c.host.start = func(_ int, cmd *packersdk.RemoteCmd) bool {
		if strings.Contains(cmd.Command, "/finish.sh") {
			cmd.SetExited(0)
			return true
		}
		return false
	}
	if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "could not run finish on the machine: the connection to the machine was lost") {
		t.Errorf("got error %v", err)
	}
	c.mustBeClean()
}

func TestFinishIsChecked(t *testing.T) {
	dir := tree(t, map[string]string{
		"goss.yaml": gossfileText, "ok.sh": "#!/bin/sh\n", "plain.sh": "echo x\n", "empty.sh": "", "dos.sh": "#!/bin/sh\r\nexit 0\r\n", "later.sh": "#!/bin/sh\nprintf 'a\r\n'\r\n", "large.sh": "#!/bin/sh\n" + strings.Repeat("#", maxFinish),
	})
	for name, says := range map[string]string{
		"ok.sh": "", "<unknown>": "", "none.sh": "finish: stat", "plain.sh": "must begin with #!", "empty.sh": "must begin with #!", "dos.sh": "has the line ends of Windows", "later.sh": "", "large.sh": "may have 1048576", ".": "is not a file",
	} {
		var p Provisioner
		if name != "<unknown>" {
			name = filepath.Join(dir, name)
		}
		err := p.Prepare(map[string]any{"goss_file": filepath.Join(dir, "goss.yaml"), "finish": name})
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: got error %v, want %q", name, err, says)
		}
	}
	var p Provisioner
	err := p.Prepare(map[string]any{"record": []string{"sshd"}, "finish": filepath.Join(dir, "ok.sh")})
	if err == nil || !strings.Contains(err.Error(), "finish is set, but nothing is checked before it") {
		t.Errorf("got error %v", err)
	}
}
