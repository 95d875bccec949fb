// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	note "github.com/armfree/packer-plugin-armfree/internal/proof"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// provisioners is a hook that sees everything that provisioners see.
type provisioners func(ctx context.Context, comm packersdk.Communicator, data map[string]interface{}) error

func (h provisioners) Run(ctx context.Context, name string, _ packersdk.Ui, comm packersdk.Communicator, data interface{}) error {
	if name != packersdk.HookProvision {
		return nil
	}
	return h(ctx, comm, data.(map[string]interface{}))
}

// receipt is that of a machine that passed.
func receipt(t *testing.T) []byte {
	t.Helper()
	out, err := os.ReadFile("../../internal/goss/testdata/pass.json")
	if err != nil {
		t.Fatal(err)
	}
	s := goss.NewSession(goss.Rules{MinTests: 1}, goss.Suite{Name: "goss.yaml"})
	if err := s.Record(0, goss.Run{Output: out}, time.Now(), time.Second); err != nil {
		t.Fatal(err)
	}
	r, err := goss.NewReceipt(s.Result(), goss.ReceiptInput{About: goss.About{Time: time.Now()}})
	if err != nil {
		t.Fatal(err)
	}
	data, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// An image says how its machine was checked.
func TestImageCarriesProof(t *testing.T) {
	mark := "armfree-goss." + strings.Repeat("Q", 26)
	say := func(ctx context.Context, comm packersdk.Communicator, command string) error {
		cmd := &packersdk.RemoteCmd{Command: command}
		if err := comm.Start(ctx, cmd); err != nil {
			return err
		}
		if code := cmd.Wait(); code != 0 {
			return fmt.Errorf("exit code %d", code)
		}
		return nil
	}
	ten := map[string]string{}
	for i := range 9 {
		ten[fmt.Sprint("t", i)] = "x"
	}
	for _, tt := range []struct {
		name   string
		after  string // what another provisioner runs
		broken bool   // the note
		none   bool
		fails  bool
		change map[string]interface{}
		tag    string // how it begins; empty: there is none
		says   string
	}{
		{name: "checked last", tag: "true tests=7 sha256="},
		{name: "changed afterwards", after: "echo x >changed", tag: "stale tests=7 sha256=", says: "Something ran on the machine after goss"},
		{name: "not checked", none: true},
		{name: "a note that cannot be read", broken: true, says: "not tagged with what goss found"},
		{name: "no room for a tag", change: map[string]interface{}{"tags": ten}, says: "not tagged with what goss found: tags: OCI allows 10"},
		{name: "a temporary key is removed", change: map[string]interface{}{"ssh_clear_authorized_keys": true}, tag: "true tests=7"},
		{name: "provisioning fails", fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			t.Setenv("PACKER_RUN_UUID", "run-1")
			s := stage.ForTest(t, stage.Options{})
			in := settings(s)
			maps.Copy(in, tt.change)
			b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
			if _, _, err := b.Prepare(in); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			a, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, provisioners(func(ctx context.Context, comm packersdk.Communicator, data map[string]interface{}) error {
				if data[note.Wanted] != "true" {
					t.Error("the provisioner is not asked for a note")
				}
				if err := say(ctx, comm, "echo before >before"); err != nil {
					return err
				}
				if tt.none {
					return nil
				}
				if err := say(ctx, comm, ": "+mark); err != nil {
					return err
				}
				left := note.Note{Key: note.Key{Run: "run-1", Instance: data["ID"].(string)}, Mark: mark, Time: time.Now(), Receipt: receipt(t)}
				if tt.broken {
					left.Receipt = []byte("{}")
				}
				if err := note.Default().Leave(left); err != nil {
					return err
				}
				if tt.fails {
					return fmt.Errorf("no luck")
				}
				if tt.after != "" {
					return say(ctx, comm, tt.after)
				}
				return nil
			}))
			if tt.fails != (err != nil) {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("%q is not said:\n%s", tt.says, out.String())
			}
			if files, _ := filepath.Glob(filepath.Join(note.Default().Dir, "*")); len(files) > 0 {
				t.Errorf("notes are left: %v", files)
			}
			if tt.fails {
				return
			}
			for _, i := range s.Cloud.Inventory().Tenancies[0].Regions[0].Images {
				if i.ID != a.Id() {
					continue
				}
				if got := i.FreeformTags[note.Tag]; !strings.HasPrefix(got, tt.tag) || tt.tag == "" && got != "" || len(got) > 256 {
					t.Errorf("the tag is %q, want %q", got, tt.tag)
				}
			}
		})
	}
}
