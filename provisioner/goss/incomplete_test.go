// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// What was found before a check broke off is shown and written all the same,
// as a failure, and the builder gets no proof.
func TestWhatWasFoundSurvivesAFailure(t *testing.T) {
	pass, fail := ordered("print checks/pass.json"), ordered("print checks/mixed.json", "exit 1")
	breakAt := func(c *check, job string) {
		c.host.start = func(_ int, cmd *packersdk.RemoteCmd) bool {
			if strings.Contains(cmd.Command, ">job."+job+"\n") {
				cmd.SetExited(packersdk.CmdDisconnect)
				return true
			}
			return false
		}
	}
	for _, tt := range []struct {
		name    string
		files   map[string]string
		options map[string]any
		set     func(*check)
		expires string // when this is shown, time is up
		says    []string
		shows   []string
		tests   int // carried out, by the receipt
	}{
		{
			name: "the folder cannot be removed", files: map[string]string{"a.yaml": pass},
			set:  func(c *check) { c.host.program("rm", "exit 1") },
			says: []string{"could not be removed from the machine"}, shows: []string{"7 passed", "could not be removed"}, tests: 7,
		},
		{
			name: "waited for in vain", files: map[string]string{"a.yaml": pass, "w.yaml": fail},
			options: map[string]any{"wait": "checks/w.yaml", "wait_timeout": "1ns", "wait_interval": "1ms"},
			says:    []string{`the limit is the option "wait_timeout"`}, shows: []string{"FAILED   must exist", "checks/a.yaml"}, tests: 11,
		},
		{
			name: "the connection breaks at the second of three", files: map[string]string{"a.yaml": fail, "b.yaml": pass, "c.yaml": pass},
			set:  func(c *check) { breakAt(c, "2") },
			says: []string{"the connection to the machine was lost", "checks/a.yaml: 6 of 13 goss tests failed"}, shows: []string{"FAILED   must exist", "goss was not run"}, tests: 11,
		},
		{
			name: "the connection breaks when it is tried again", files: map[string]string{"a.yaml": fail},
			options: map[string]any{"retry_timeout": "1h", "sleep": "1ms"}, set: func(c *check) { breakAt(c, "2") },
			says: []string{"the connection to the machine was lost", "6 of 13 goss tests failed"}, shows: []string{"FAILED   must exist"}, tests: 11,
		},
		{
			name: "out of time between attempts", files: map[string]string{"a.yaml": fail}, expires: "Next attempt in",
			options: map[string]any{"retry_timeout": "1h", "sleep": "1h"},
			says:    []string{"deadline exceeded", "6 of 13 goss tests failed"}, shows: []string{"FAILED   must exist"}, tests: 11,
		},
		{
			name: "goss does not render", files: map[string]string{"a.yaml": pass},
			options: map[string]any{"spec_file": "spec.yaml"}, set: func(c *check) { breakAt(c, "2") },
			says: []string{"could not let goss render on the machine"}, shows: []string{"7 passed"}, tests: 7,
		},
		{
			name: "the connection breaks at the first", files: map[string]string{"a.yaml": pass, "b.yaml": pass},
			set:  func(c *check) { breakAt(c, "1") },
			says: []string{"the connection to the machine was lost"}, shows: []string{"the check broke off", "checks/b.yaml"},
		},
		{
			name: "out of time before the first", files: map[string]string{"a.yaml": pass}, expires: "Checking the machine",
			says: []string{"deadline exceeded"}, shows: []string{"the check broke off"},
		},
		{
			name: "sudo is refused", files: map[string]string{"a.yaml": pass}, options: map[string]any{"use_sudo": true, "report_only": true},
			set: func(c *check) {
				c.host.program("id", "echo 1000")
				c.host.program("sudo", "exit 1")
			},
			says: []string{"sudo does not work without a password"}, shows: []string{"the check broke off"},
		},
		{
			name: "an upload fails", files: map[string]string{"a.yaml": pass},
			set: func(c *check) {
				c.host.upload = func(string, io.Reader) (io.Reader, error) { return nil, errors.New("no space left") }
			},
			says: []string{"no space left"}, shows: []string{"the check broke off"},
		},
		{
			name: "report_only excuses tests only", files: map[string]string{"a.yaml": fail},
			options: map[string]any{"report_only": true}, set: func(c *check) { c.host.program("rm", "exit 1") },
			says: []string{"could not be removed from the machine"}, shows: []string{"FAILED   must exist"}, tests: 11,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCheck(t)
			delete(c.options, "goss_file")
			var names []string
			for _, name := range []string{"a.yaml", "b.yaml", "c.yaml", "w.yaml"} {
				if text, ok := tt.files[name]; ok {
					c.file(name, text)
					if name != "w.yaml" {
						names = append(names, "checks/"+name)
					}
				}
			}
			dir := t.TempDir()
			t.Chdir(dir)
			c.options["goss_files"] = names
			c.options["receipt"], c.options["reports"] = filepath.Join(dir, "receipt.json"), map[string]string{"junit": filepath.Join(dir, "j.xml"), "json": filepath.Join(dir, "j.json")}
			for name, value := range tt.options {
				c.options[name] = value
			}
			key := proof.Key{Run: "run", Instance: "ocid1.instance.x"}
			c.box = proof.Box{Dir: filepath.Join(t.TempDir(), "box")}
			c.data = map[string]any{"ID": key.Instance, "PackerRunUUID": key.Run, proof.Wanted: "true"}
			if tt.set != nil {
				tt.set(c)
			}
			ctx := t.Context()
			if tt.expires != "" {
				var expire func()
				ctx, expire = newExpiring(t)
				c.ui.heard = func(line string) {
					if strings.HasPrefix(line, tt.expires) {
						expire()
					}
				}
			}
			err := c.run(ctx)
			if err == nil {
				t.Fatal("passed")
			}
			if tt.expires != "" && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("no longer a deadline: %v", err)
			}
			for _, words := range tt.says {
				if strings.Count(err.Error(), words) != 1 {
					t.Errorf("the error says %q not once:\n%v", words, err)
				}
			}
			for _, words := range tt.shows {
				if !strings.Contains(c.ui.text(), words) {
					t.Errorf("the screen does not show %q but\n%s", words, c.ui.text())
				}
			}
			data, err := os.ReadFile(filepath.Join(dir, "receipt.json"))
			if err != nil {
				t.Fatal(err)
			}
			receipt, err := goss.ReadReceipt(data)
			if err != nil || receipt.Verdict != "failed" || receipt.Counts.Done() != tt.tests || len(receipt.Problems) == 0 {
				t.Errorf("receipt: %v\n%s", err, data)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "j.xml")); err != nil || !strings.Contains(string(b), "<testsuite") {
				t.Errorf("report: %v\n%s", err, b)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "j.json")); err != nil || !strings.Contains(string(b), `"passed": false`) {
				t.Errorf("report: %v\n%s", err, b)
			}
			if notes, err := c.box.Take(key, time.Now()); err != nil || len(notes) != 0 {
				t.Errorf("the builder is told of %v, %v", notes, err)
			}
		})
	}
}

// A check whose report could not be written failed, and Packer may run it
// again: the builder hears only of the one that succeeded.
func TestNoProofBesideAnError(t *testing.T) {
	c := newCheck(t, "print checks/pass.json")
	key := proof.Key{Run: "run", Instance: "ocid1.instance.x"}
	c.box = proof.Box{Dir: filepath.Join(t.TempDir(), "box")}
	c.data = map[string]any{"ID": key.Instance, "PackerRunUUID": key.Run, proof.Wanted: "true"}
	taken := filepath.Join(t.TempDir(), "taken")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(taken, "tap.txt"), filepath.Join(t.TempDir(), "tap.txt")} {
		c.options["reports"] = map[string]string{"tap": name}
		fails := strings.HasPrefix(name, taken)
		if err := c.run(t.Context()); fails != (err != nil) {
			t.Fatalf("%s: got error %v", name, err)
		}
	}
	if notes, err := c.box.Take(key, time.Now()); err != nil || len(notes) != 1 {
		t.Errorf("the builder is told of %d checks, %v", len(notes), err)
	}
}
