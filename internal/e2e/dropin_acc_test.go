// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
)

// Templates for the oracle-oci builder of packer-plugin-oracle run on ours with
// one line changed, and make the same images.
//
// Each template in testdata/dropin is run by the unmodified peer and by us, on
// a stage of its own. With HCL the one line is the entry in required_plugins;
// its version goes with it, since it counts the peer's releases, and Packer
// takes no entry without one. A JSON
// template has no such line: Packer takes the plugin that is installed under
// the name that its types begin with, so ours is installed as "oracle", and no
// other of that name may be.
//
// PEER_ORACLE_PLUGIN is the path of the peer's binary; with RECORD=1 what came
// of it is written down. Without it ours is held against what was written.
func TestAccDropIn(t *testing.T) {
	acceptance(t)
	const peerSource, jsonSource = "github.com/hashicorp/oracle", "github.com/armfree/oracle"
	peerBinary := os.Getenv("PEER_ORACLE_PLUGIN")
	var peer *runpacker.Packer
	if peerBinary != "" {
		peer = packer(t, peerBinary, peerSource)
	}
	ours := map[string]*runpacker.Packer{
		".hcl":  packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source),
		".json": packer(t, os.Getenv("ACC_PLUGIN"), jsonSource),
	}
	tests := []struct {
		name, template string
		args           []string
		schema         bool // the template asks for a capability schema
	}{
		{name: "minimal", template: "minimal.pkr.hcl"},
		{name: "golden", template: "golden.pkr.hcl", args: []string{"-var-file=golden.pkrvars.hcl"}},
		{name: "legacy", template: "legacy.json", args: []string{"-var-file=legacy.vars.json"}},
		{name: "matrix", template: "matrix.json", args: []string{"-var", "version=2"}},
		{name: "matrix-only", template: "matrix.json", args: []string{"-only=ubuntu 24.04 (arm)"}},
		{name: "matrix-except", template: "matrix.json", args: []string{"-except=ubuntu 24.04 (arm)"}},
		{name: "capabilities", template: "capabilities.pkr.hcl", schema: true},
		{name: "sealed", template: "sealed.pkr.hcl"},
		{name: "x86", template: "x86.pkr.hcl"},
		{name: "profile", template: "profile.pkr.hcl"},
	}
	seen, ran := map[string]bool{}, 0
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ran++
			recorded := filepath.Join("testdata/dropin", tt.name+".outcome.json")
			args := append(slices.Clone(tt.args), tt.template)
			t.Run("peer", func(t *testing.T) {
				if peerBinary == "" {
					t.Skip("PEER_ORACLE_PLUGIN does not name a binary of packer-plugin-oracle; ours is held against what it was seen to make")
				}
				o, said := newDropIn(t).build(peer, templates(t), args...)
				t.Log(said)
				got := asJSON(t, o)
				if os.Getenv("RECORD") != "" {
					if err := os.WriteFile(recorded, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(recorded)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("the peer does not make what is recorded\n%s", changes(string(want), got))
				}
			})
			t.Run("ours", func(t *testing.T) {
				text, err := os.ReadFile(recorded)
				if err != nil {
					t.Fatal(err)
				}
				dir := templates(t)
				if filepath.Ext(tt.template) == ".hcl" {
					changeTheLine(t, filepath.Join(dir, tt.template))
				}
				d := newDropIn(t)
				want := outcome{}
				d.decode(text, &want)
				got, said := d.build(ours[filepath.Ext(tt.template)], dir, args...)
				t.Log(said)
				if left := d.left(got, tt.schema); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
				fair := copyOf(t, got)
				if len(got.Launches) != len(want.Launches) || len(got.Images) != len(want.Images) {
					t.Fatalf("%d launches and %d images, want %d and %d", len(got.Launches), len(got.Images), len(want.Launches), len(want.Images))
				}
				for _, diff := range differences() {
					if diff.undo(&fair, &want, tt.schema) {
						seen[diff.name] = true
					}
				}
				if a, b := asJSON(t, want), asJSON(t, fair); a != b {
					t.Errorf("ours is not what the peer makes\n%s", changes(a, b))
				}
			})
		})
	}
	if t.Failed() || ran < len(tests) {
		return
	}
	for _, diff := range differences() {
		if !seen[diff.name] {
			t.Errorf("nothing shows the difference %q: it is not needed", diff.name)
		}
	}
}

// templates is a copy of testdata/dropin that a run may write to.
func templates(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/dropin")); err != nil {
		t.Fatal(err)
	}
	return dir
}

var entry = regexp.MustCompile(`(?s)\boracle *= *\{.*?\}`)

// changeTheLine changes what people have to change.
func changeTheLine(t *testing.T, template string) {
	t.Helper()
	text, err := os.ReadFile(template)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(entry.FindAll(text, -1)); n != 1 {
		t.Fatalf("%d entries for the plugin", n)
	}
	text = entry.ReplaceAll(text, []byte(`oracle = { source = "`+runpacker.Source+`", version = ">= 0.1.0" }`))
	if err := os.WriteFile(template, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// difference is something that is not as the peer does it, on purpose. undo
// takes it out of what ours made and says whether it was there. Only what is
// exactly as meant is taken out.
type difference struct {
	name, why string
	undo      func(ours, peer *outcome, schema bool) bool
}

func differences() []difference {
	// only removes a field of a launch that the peer does not send.
	only := func(field string, meant func(any) bool) func(ours, peer *outcome, _ bool) bool {
		return func(ours, peer *outcome, _ bool) (found bool) {
			for i, launch := range ours.Launches {
				if _, theirs := peer.Launches[i][field]; !theirs && meant(launch[field]) {
					delete(launch, field)
					found = true
				}
			}
			return found
		}
	}
	says := func(field string) func(any) bool {
		return func(v any) bool {
			m, _ := v.(map[string]any)
			return len(m) == 1 && m[field] == true
		}
	}
	return []difference{
		{"owner tag", "what a build made can be found again; finished images have it too, without an expiry", func(ours, peer *outcome, _ bool) bool {
			n := 0
			for _, launch := range ours.Launches {
				tags, _ := launch["freeformTags"].(map[string]any)
				value, _ := tags[owner.Key].(string)
				if tag, err := owner.ParseTag(value); err == nil && tag.Role == owner.RoleInstance && !tag.Expires.IsZero() {
					delete(tags, owner.Key)
					n++
				}
				if len(tags) == 0 {
					delete(launch, "freeformTags")
				}
			}
			for _, i := range ours.Images {
				if tag, err := owner.ParseTag(i.Tags[owner.Key]); err == nil && tag.Role == owner.RoleImage && tag.Expires.IsZero() && !tag.Unfinished {
					delete(i.Tags, owner.Key)
					n++
				}
			}
			return n == len(ours.Launches)+len(ours.Images)
		}},
		{"agent plugins off", "they install packages while provisioners do", only("agentConfig", says("areAllPluginsDisabled"))},
		{"IMDSv1 off", "unless the template says otherwise", only("instanceOptions", says("areLegacyImdsEndpointsDisabled"))},
		{"Ed25519", "the temporary key of the peer is RSA whatever the template says", func(ours, _ *outcome, _ bool) (found bool) {
			change := func(in any, field string) {
				if m, _ := in.(map[string]any); m[field] == "${ssh-ed25519 key}" {
					m[field], found = "${ssh-rsa key}", true
				}
			}
			for _, launch := range ours.Launches {
				change(launch["metadata"], "ssh_authorized_keys")
			}
			for _, build := range ours.Manifest {
				change(build["custom_data"], "key")
			}
			return found
		}},
		{"lifetime", "a machine that everybody has forgotten powers itself off", func(ours, peer *outcome, _ bool) (found bool) {
			text := func(m map[string]any) string {
				data, _ := m["user_data"].(string)
				b, _ := base64.StdEncoding.DecodeString(data)
				return string(b)
			}
			for i, launch := range ours.Launches {
				mine, _ := launch["metadata"].(map[string]any)
				theirs, _ := peer.Launches[i]["metadata"].(map[string]any)
				if !strings.Contains(text(mine), "packer-plugin-armfree: this machine is not needed for longer") || !strings.Contains(text(mine), text(theirs)) {
					continue
				}
				found = true
				if mine["user_data"] = theirs["user_data"]; theirs["user_data"] == nil {
					delete(mine, "user_data")
				}
				if len(mine) == 0 {
					delete(launch, "metadata")
				}
			}
			return found
		}},
		{"no key without a connection", "with communicator none the peer's key stays in the machine, and nobody has its private half", func(ours, peer *outcome, _ bool) (found bool) {
			for i, launch := range ours.Launches {
				theirs, _ := peer.Launches[i]["metadata"].(map[string]any)
				if _, any := launch["metadata"]; !any && len(theirs) == 1 && theirs["ssh_authorized_keys"] != nil {
					launch["metadata"], found = theirs, true
				}
			}
			return found
		}},
		{"shape entries", "an image for Ampere shapes is offered on those only", func(ours, peer *outcome, _ bool) (found bool) {
			for i := range ours.Images {
				arm := func(s string) bool { return strings.Contains(s, ".Standard.A") }
				theirs := peer.Images[i].Shapes
				if slices.Equal(ours.Images[i].Shapes, slices.DeleteFunc(slices.Clone(theirs), func(s string) bool { return !arm(s) })) && slices.ContainsFunc(theirs, arm) {
					found = found || len(theirs) != len(ours.Images[i].Shapes)
					ours.Images[i].Shapes = theirs
				}
			}
			return found
		}},
		{"capability schema", "the peer writes one for every image; ours only where the template asks for it, and only what it asks for", func(ours, peer *outcome, schema bool) bool {
			for i := range ours.Images {
				for name, value := range ours.Images[i].Capabilities {
					if peer.Images[i].Capabilities[name] != value {
						return false
					}
				}
				if (ours.Images[i].Capabilities != nil) != schema {
					return false
				}
				ours.Images[i].Capabilities = peer.Images[i].Capabilities
			}
			return true
		}},
	}
}
