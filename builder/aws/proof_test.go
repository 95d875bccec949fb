// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	note "github.com/armfree/packer-plugin-armfree/internal/proof"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
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
	out := must[[]byte](t)(os.ReadFile("../../internal/goss/testdata/pass.json"))
	s := goss.NewSession(goss.Rules{MinTests: 1}, goss.Suite{Name: "goss.yaml"})
	if err := s.Record(0, goss.Run{Output: out}, time.Now(), time.Second); err != nil {
		t.Fatal(err)
	}
	r, err := goss.NewReceipt(s.Result(), goss.ReceiptInput{About: goss.About{Time: time.Now()}})
	if err != nil {
		t.Fatal(err)
	}
	return must[[]byte](t)(r.Marshal())
}

// checked is a template whose provisioner goss passes, as the builder sees it.
type checked struct {
	after  string // what another provisioner runs then
	broken bool   // the note
	none   bool   // goss does not run
	fails  bool   // something else fails
}

func (c checked) provision(t *testing.T) provisioners {
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
	return func(ctx context.Context, comm packersdk.Communicator, data map[string]interface{}) error {
		if data[note.Wanted] != "true" {
			t.Error("the provisioner is not asked for a note")
		}
		if err := say(ctx, comm, "echo before >before"); err != nil || c.none {
			return err
		}
		if err := say(ctx, comm, ": "+mark); err != nil {
			return err
		}
		left := note.Note{Key: note.Key{Run: "run-1", Instance: data["ID"].(string)}, Mark: mark, Time: time.Now(), Receipt: receipt(t)}
		if c.broken {
			left.Receipt = []byte("{}")
		}
		if err := note.Default().Leave(left); err != nil {
			return err
		}
		if c.fails {
			return errors.New("no luck")
		}
		if c.after != "" {
			return say(ctx, comm, c.after)
		}
		return nil
	}
}

// An image says how its machine was checked, and so do its snapshots and its copies
// in other regions.
func TestImageCarriesProof(t *testing.T) {
	many := manyTags(48)
	twice := []string{near, far}
	for _, tt := range []struct {
		name string
		checked
		change  set
		faults  []ec2sim.Fault
		before  bool     // there is an image of that name
		regions []string // nil: the one of the build
		tag     string   // how it begins; empty: there is none
		says    string
	}{
		{name: "checked last", tag: "true tests=7 sha256="},
		{name: "changed afterwards", checked: checked{after: "echo x >changed"}, tag: "stale tests=7 sha256=", says: "Something ran on the machine after goss"},
		{name: "not checked", checked: checked{none: true}},
		{name: "a note that cannot be read", checked: checked{broken: true}, says: "not tagged with what goss found"},
		{name: "no room for a tag", change: set{"tags": many}, says: "not tagged with what goss found: tags: EC2 allows 48 tags beside those of this plugin, and all are taken"},
		{name: "no room at the snapshot", change: set{"snapshot_tags": many}, says: "not tagged with what goss found: snapshot_tags: EC2 allows 48"},
		{name: "provisioning fails", checked: checked{fails: true}},
		{name: "copied", change: set{"ami_regions": []string{far}}, regions: twice, tag: "true tests=7"},
		{name: "only the copy stays", change: set{"ami_regions": []string{far}, "skip_save_build_region": true}, regions: []string{far}, tag: "true tests=7"},
		{name: "made by EC2", change: set{"image_method": "image", "ami_regions": []string{far}}, regions: twice, tag: "true tests=7"},
		{name: "a spot machine", change: set{"spot_price": "auto"}, tag: "true tests=7"},
		{name: "in place of another", before: true, change: set{"force_deregister": true, "ami_regions": []string{far}}, regions: twice, tag: "true tests=7"},
		{
			name: "replies are lost", change: set{"ami_regions": []string{far}}, regions: twice, tag: "true tests=7",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect, Op: "CreateSnapshot", Times: 1}, {Kind: ec2sim.FaultCutAfterEffect, Op: "RegisterImage", Times: 1}, {Kind: ec2sim.FaultCutAfterEffect, Op: "CopyImage", Times: 1}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			t.Setenv("PACKER_RUN_UUID", "run-1")
			s := stage.ForTest(t, stage.Options{})
			if tt.before {
				built(t, s, set{"ami_regions": []string{far}}, nil)
			}
			addFaults(t, s, tt.faults...)
			in := settings(s)
			maps.Copy(in, deep(tt.change).(set))
			b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
			if _, _, err := b.Prepare(in); err != nil {
				t.Fatal(err)
			}
			var out inpacker.Output
			a, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, tt.provision(t))
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
			if tt.regions == nil {
				tt.regions = []string{near}
			}
			ids := imagesOf(a)
			if len(ids) != len(tt.regions) {
				t.Errorf("images %v", ids)
			}
			for _, region := range tt.regions {
				img := imageIn(t, s, region, ids[region])
				shot := must[*ec2.DescribeSnapshotsOutput](t)(client(s, region).DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{awssdk.ToString(img.BlockDeviceMappings[0].Ebs.SnapshotId)}})).Snapshots[0]
				for what, tags := range map[string]map[string]string{"image": tagsOf(img.Tags), "snapshot": tagsOf(shot.Tags)} {
					if got := tags[note.Tag]; !strings.HasPrefix(got, tt.tag) || tt.tag == "" && got != "" || len(got) > 256 {
						t.Errorf("%s in %s: the tag is %q, want %q", what, region, got, tt.tag)
					}
				}
			}
		})
	}
}
