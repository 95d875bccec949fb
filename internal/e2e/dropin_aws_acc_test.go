// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// Templates for the amazon-ebs builder of packer-plugin-amazon run on ours with one
// line changed, and make the same images, in the same regions.
//
// Each template in testdata/dropin-aws is run by the unmodified peer and by us, on a
// stage of its own; see TestAccDropIn, which does so for Oracle. PEER_AMAZON_PLUGIN
// is the path of the peer's binary; with RECORD=1 what came of it is written down.
// Without it ours is held against what was written.
func TestAccAWSDropIn(t *testing.T) {
	acceptance(t)
	const peerSource, jsonSource = "github.com/hashicorp/amazon", "github.com/armfree/amazon"
	peerBinary := os.Getenv("PEER_AMAZON_PLUGIN")
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
		twice          bool // it replaces its own image
	}{
		{name: "minimal", template: "minimal.pkr.hcl"},
		{name: "golden", template: "golden.pkr.hcl", args: []string{"-var-file=golden.pkrvars.hcl"}},
		{name: "legacy", template: "legacy.json", args: []string{"-var-file=legacy.vars.json"}},
		{name: "matrix", template: "matrix.pkr.hcl"},
		{name: "matrix-only", template: "matrix.pkr.hcl", args: []string{"-only=amazon-ebs.trixie"}},
		{name: "encrypted", template: "encrypted.pkr.hcl"},
		{name: "spot", template: "spot.pkr.hcl"},
		{name: "keypair", template: "keypair.json", args: []string{"-var", "version=2"}, twice: true},
	}
	seen, ran := map[string]bool{}, 0
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ran++
			recorded := filepath.Join("testdata/dropin-aws", tt.name+".outcome.json")
			args := append(slices.Clone(tt.args), tt.template)
			play := func(t *testing.T, p *runpacker.Packer, dir string) (*dropInOnAWS, outcomeOnAWS) {
				d := newDropInOnAWS(t, dir)
				o, said := d.build(p, dir, args...)
				if tt.twice {
					if err := os.RemoveAll(filepath.Join(dir, "keypair-manifest.json")); err != nil {
						t.Fatal(err)
					}
					d.known = map[string]string{d.s.AWS.Build.ID: "account"}
					o, said = d.build(p, dir, args...)
				}
				t.Log(said)
				return d, o
			}
			t.Run("peer", func(t *testing.T) {
				if peerBinary == "" {
					t.Skip("PEER_AMAZON_PLUGIN does not name a binary of packer-plugin-amazon; ours is held against what it was seen to make")
				}
				_, o := play(t, peer, awsTemplates(t))
				made := awsJSON(t, o)
				if os.Getenv("RECORD") != "" {
					if err := os.WriteFile(recorded, []byte(made), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				if want := string(ok[[]byte](t)(os.ReadFile(recorded))); made != want {
					t.Errorf("the peer does not make what is recorded\n%s", changes(want, made))
				}
			})
			t.Run("ours", func(t *testing.T) {
				var want outcomeOnAWS
				if err := json.Unmarshal(ok[[]byte](t)(os.ReadFile(recorded)), &want); err != nil {
					t.Fatal(err)
				}
				dir := awsTemplates(t)
				if filepath.Ext(tt.template) == ".hcl" {
					changeTheAWSLine(t, filepath.Join(dir, tt.template))
				}
				d, fair := play(t, ours[filepath.Ext(tt.template)], dir)
				for range 100 { // EC2 deletes volumes a little after their machine
					if !slices.ContainsFunc(d.s.Left(d.mine...), func(l string) bool { return strings.HasSuffix(l, " (deleting)") }) {
						break
					}
					time.Sleep(50 * time.Millisecond)
				}
				if left := d.s.Left(d.mine...); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
				if len(fair.Machines) != len(want.Machines) || len(fair.Images) != len(want.Images) {
					t.Fatalf("%d machines and %d images, want %d and %d", len(fair.Machines), len(fair.Images), len(want.Machines), len(want.Images))
				}
				for _, diff := range differencesOnAWS() {
					if diff.undo(&fair, &want) {
						seen[diff.name] = true
					}
				}
				if a, b := awsJSON(t, want), awsJSON(t, fair); a != b {
					t.Errorf("ours is not what the peer makes\n%s", changes(a, b))
				}
			})
		})
	}
	if t.Failed() || ran < len(tests) {
		return
	}
	for _, diff := range differencesOnAWS() {
		if !seen[diff.name] {
			t.Errorf("nothing shows the difference %q: it is not needed", diff.name)
		}
	}
}

// awsTemplates is a copy of testdata/dropin-aws that a run may write to.
func awsTemplates(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/dropin-aws")); err != nil {
		t.Fatal(err)
	}
	return dir
}

var awsEntry = regexp.MustCompile(`(?s)\bamazon *= *\{.*?\}`)

// changeTheAWSLine changes what people have to change.
func changeTheAWSLine(t *testing.T, template string) {
	t.Helper()
	text := ok[[]byte](t)(os.ReadFile(template))
	if n := len(awsEntry.FindAll(text, -1)); n != 1 {
		t.Fatalf("%d entries for the plugin", n)
	}
	text = awsEntry.ReplaceAll(text, []byte(`amazon = { source = "`+runpacker.Source+`", version = ">= 0.1.0" }`))
	if err := os.WriteFile(template, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// awsDifference is something that is not as the peer does it, on purpose. undo
// takes it out of what ours made and says whether it was there. Only what is exactly
// as meant is taken out.
type awsDifference struct {
	name, why string
	undo      func(ours, peer *outcomeOnAWS) bool
}

func differencesOnAWS() []awsDifference {
	// tag takes our tags from others.
	tag := func(tags map[string]string, role string, finished bool) bool {
		got, err := owner.ParseTag(tags[owner.Key])
		if err != nil || got.Role != role || got.Unfinished || got.Expires.IsZero() != finished || tags[owner.Key+":build"] != got.Build {
			return false
		}
		delete(tags, owner.Key)
		delete(tags, owner.Key+":build")
		return true
	}
	return []awsDifference{
		{"owner tag", "what a build made can be found again; finished images have it too, without an expiry", func(ours, _ *outcomeOnAWS) bool {
			all := true
			for _, m := range ours.Machines {
				all = tag(m.Tags, owner.RoleInstance, false) && all
			}
			for _, i := range ours.Images {
				all = tag(i.Tags, owner.RoleImage, true) && all
				for _, d := range i.Devices {
					all = tag(d.Tags, owner.RoleImage, true) && all
				}
			}
			return all
		}},
		{"no key pair", "the key of the build is in the user data, so that nobody needs a permission for key pairs", func(ours, peer *outcomeOnAWS) (found bool) {
			for i := range ours.Machines {
				if ours.Machines[i].KeyPair == "" && peer.Machines[i].KeyPair == "${temporary}" {
					ours.Machines[i].KeyPair, found = "${temporary}", true
				}
			}
			return found
		}},
		{"no fleet", "machines are asked for one by one; what a fleet launches has tags of Amazon's", func(_, peer *outcomeOnAWS) (found bool) {
			for i := range peer.Machines {
				for k := range peer.Machines[i].Tags {
					if strings.HasPrefix(k, "aws:ec2") {
						delete(peer.Machines[i].Tags, k)
						found = true
					}
				}
			}
			return found
		}},
		{"run tags of copied snapshots", "a copy's snapshot has all tags that the first one has; the peer's lacks the run tags", func(ours, peer *outcomeOnAWS) (found bool) {
			for i := range ours.Images {
				for n := range min(len(ours.Images[i].Devices), len(peer.Images[i].Devices)) {
					o, p := ours.Images[i].Devices[n].Tags, peer.Images[i].Devices[n].Tags
					for k, v := range o {
						if _, has := p[k]; !has && ours.Images[i].Region != stage.AWSRegion && ours.Images[i].Tags[k] == v {
							delete(o, k)
							found = true
						}
					}
				}
			}
			return found
		}},
		{"IMDSv2 while it is built", "unless the template says otherwise", func(ours, peer *outcomeOnAWS) (found bool) {
			for i := range ours.Machines {
				if m := &ours.Machines[i]; m.Tokens == "required" && peer.Machines[i].Tokens == "optional" {
					m.Tokens, found = "optional", true
				}
			}
			return found
		}},
		{"boot mode", "an image that is registered says that it starts by UEFI; one of CreateImage leaves it to the type", func(ours, peer *outcomeOnAWS) (found bool) {
			for i := range ours.Images {
				if m := &ours.Images[i]; m.Boot == "uefi" && peer.Images[i].Boot == "" {
					m.Boot, found = "", true
				}
			}
			return found
		}},
		{"root volume", "10 GB of gp3, where the template says nothing and the source image has 8 GB", func(ours, peer *outcomeOnAWS) (found bool) {
			for i := range ours.Images {
				for n := range min(len(ours.Images[i].Devices), len(peer.Images[i].Devices)) {
					o, p := &ours.Images[i].Devices[n], peer.Images[i].Devices[n]
					if o.Name == "/dev/xvda" && o.SizeGB == 10 && o.Type == "gp3" && p.SizeGB == 8 {
						o.SizeGB, o.Type, o.IOPS, o.Throughput, found = p.SizeGB, p.Type, p.IOPS, p.Throughput, true
					}
				}
			}
			return found
		}},
	}
}
