// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// imaged is what making an image of a machine came to: as the phase does it.
func (s *sim) imaged(ctx context.Context, b *Build, machine string) (id string, err error) {
	token := b.owner.Token("image", machine)
	id, err = b.StartImage(ctx, machine, token)
	if err != nil && b.Lost(err) {
		if ids, ferr := b.FindImages(ctx, token); ferr == nil && len(ids) > 0 {
			s.say("The reply was lost, but %s is there", ids[0])
			id, err = ids[0], nil
		}
	}
	if err != nil {
		return id, err
	}
	last, err := b.FinishImage(ctx, id)
	if last != "" {
		id = last
	}
	return id, err
}

func TestImage(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		name   string
		faults []ec2sim.Fault
		change func(*BuildConfig)
		fails  string // part of the error; empty if there is an image
		says   []string
		ops    map[string]int // how often an operation is asked for
		check  func(t *testing.T, s *sim, b *Build, images map[string]string)
	}{
		{name: "by snapshot", ops: map[string]int{"StopInstances": 1, "CreateSnapshot": 1, "RegisterImage": 1, "CreateImage": 0}},
		{name: "by CreateImage", change: func(c *BuildConfig) { c.Image.Method = ByCreateImage }, ops: map[string]int{"StopInstances": 1, "CreateSnapshot": 0, "RegisterImage": 0, "CreateImage": 1}},
		{name: "of a spot machine", change: func(c *BuildConfig) { c.Markets = []Market{Spot} }, ops: map[string]int{"StopInstances": 0, "CreateImage": 1}},
		{name: "two volumes", change: func(c *BuildConfig) {
			c.Volumes = []BlockDevice{{Device: "/dev/sdf", SizeGB: 9, Type: "gp3", Snapshot: "some"}}
		}, ops: map[string]int{"CreateSnapshot": 2}},
		{name: "a volume is left out", change: func(c *BuildConfig) {
			c.Volumes = []BlockDevice{{Device: "/dev/sdf", SizeGB: 3, Type: "gp3"}}
			c.Image.Devices = []BlockDevice{{Device: "/dev/sdf", NoDevice: true}, {Device: "/dev/sdg", SizeGB: 7, Type: "gp3"}}
		}, ops: map[string]int{"CreateSnapshot": 1}},
		{name: "the reply about the snapshot is lost", faults: []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect, Op: "CreateSnapshot", Times: 1}},
			says: []string{"The reply was lost, but snap-"}, ops: map[string]int{"CreateSnapshot": 1, "RegisterImage": 1}},
		{name: "the reply about the second snapshot is lost", faults: []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect, Op: "CreateSnapshot", Skip: 1, Times: 1}},
			change: func(c *BuildConfig) {
				c.Volumes = []BlockDevice{{Device: "/dev/sdf", SizeGB: 9, Type: "gp3", Snapshot: "some"}}
			}, ops: map[string]int{"CreateSnapshot": 2}},
		{name: "the reply about the image is lost", faults: []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect, Op: "RegisterImage", Times: 1}}, ops: map[string]int{"CreateSnapshot": 1}},
		{name: "the reply of CreateImage is lost", faults: []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect, Op: "CreateImage", Times: 1}},
			change: func(c *BuildConfig) { c.Image.Method = ByCreateImage }, says: []string{"The reply was lost, but ami-"}, ops: map[string]int{"CreateImage": 1}},
		{name: "nothing is seen at first", faults: []ec2sim.Fault{
			{Kind: ec2sim.FaultInvisible, Op: "RegisterImage", Delay: ec2sim.Duration(15 * time.Second)},
			{Kind: ec2sim.FaultInvisible, Op: "CreateSnapshot", Delay: ec2sim.Duration(15 * time.Second)},
		}},
		{name: "throttled", faults: []ec2sim.Fault{{Kind: ec2sim.FaultThrottle, Every: ec2sim.Duration(3 * time.Second), Burst: 8}}},
		{name: "the snapshot fails", faults: []ec2sim.Fault{{Kind: ec2sim.FaultSnapshotFails, Message: "it went wrong"}}, fails: "it failed: it went wrong"},
		{name: "the image fails", faults: []ec2sim.Fault{{Kind: ec2sim.FaultImageFails, Message: "it went wrong"}}, fails: "it is failed: it went wrong"},
		{name: "a copy fails", faults: []ec2sim.Fault{{Kind: ec2sim.FaultImageFails, Op: "CopyImage", Message: "it went wrong"}},
			change: func(c *BuildConfig) { c.Image.Copies = []Copy{{Region: farRegion}} }, fails: "in eu-north-1: make image ami-"},
		{name: "the image takes too long", faults: []ec2sim.Fault{{Kind: ec2sim.FaultSlow, Op: "CreateSnapshot", State: "pending", Delay: ec2sim.Duration(3 * time.Hour)}}, fails: `(the limit is the option "image_timeout")`},
		{name: "the spot machine is taken back", faults: []ec2sim.Fault{{Kind: ec2sim.FaultSpotInterrupt, Delay: ec2sim.Duration(time.Second)}},
			change: func(c *BuildConfig) { c.Markets = []Market{Spot} }, fails: "EC2 took it back before it was an image; try again, or ask for a machine on demand"},
		{
			name: "copies", change: func(c *BuildConfig) {
				c.Image.Copies = []Copy{{Region: farRegion}, {Region: "us-east-1", Encrypt: &yes}}
			},
			ops: map[string]int{"CopyImage": 2},
			check: func(t *testing.T, s *sim, _ *Build, images map[string]string) {
				if len(images) != 3 {
					t.Errorf("images %v", images)
				}
				for region, id := range images {
					x, at := s.resource(id)
					if tag, err := owner.ParseTag(x.Tags[owner.Key]); err != nil || tag.Unfinished || at != region || x.Name != "built" || x.Tags["Name"] != "image" {
						t.Errorf("%s in %s: %+v", id, at, x)
					}
				}
			},
		},
		{name: "the reply about a copy is lost", faults: []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect, Op: "CopyImage", Times: 1}},
			change: func(c *BuildConfig) { c.Image.Copies = []Copy{{Region: farRegion}} }},
		{
			name: "in another region only", change: func(c *BuildConfig) {
				c.Image.Copies, c.Image.SkipBuildRegion = []Copy{{Region: farRegion}}, true
			},
			check: func(t *testing.T, _ *sim, _ *Build, images map[string]string) {
				if len(images) != 1 || images[farRegion] == "" {
					t.Errorf("images %v", images)
				}
			},
		},
		{name: "encrypted from the launch on", change: func(c *BuildConfig) { c.Root.Encrypted, c.Image.Encrypt = &yes, &yes }, ops: map[string]int{"CopyImage": 0}},
		{name: "encrypted by a copy", change: func(c *BuildConfig) { c.Root.Encrypted, c.Image.Encrypt = &no, &yes }, ops: map[string]int{"CopyImage": 1}},
		{
			name: "shared, deprecated, protected", change: func(c *BuildConfig) {
				c.Image.Share = Sharing{Users: []string{"123456789012"}, SnapshotUsers: []string{"123456789012"}}
				c.Image.DeprecateAfter, c.Image.Protect, c.Image.IMDSv2 = 30*24*time.Hour, true, true
			},
			check: func(t *testing.T, _ *sim, b *Build, images map[string]string) {
				i, err := b.image(t.Context(), images[simRegion])
				if err != nil || i.ImdsSupport != types.ImdsSupportValuesV20 || i.DeprecationTime == nil || i.DeregistrationProtection == nil || !strings.HasPrefix(*i.DeregistrationProtection, "enabled") {
					t.Errorf("%+v %v", i, err)
				}
			},
		},
		{name: "IMDSv2 with CreateImage", change: func(c *BuildConfig) { c.Image.IMDSv2, c.Image.Method = true, ByCreateImage }, ops: map[string]int{"ModifyImageAttribute": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newSim(t, simOptions{})
				b := s.newBuild(t, tt.change)
				for n := range b.cfg.Volumes {
					if b.cfg.Volumes[n].Snapshot != "" { // the simulator takes no snapshots of empty volumes
						i, err := b.image(t.Context(), s.ImageID(simRegion, "mine"))
						if err != nil {
							t.Fatal(err)
						}
						b.cfg.Volumes[n].Snapshot = snapshotsOf(i)[0]
					}
				}
				machine := s.machine(t, b)
				if err := s.AddFaults(tt.faults...); err != nil {
					t.Fatal(err)
				}
				if slices.Equal(b.cfg.Markets, []Market{Spot}) && tt.fails != "" {
					time.Sleep(10 * time.Minute)
				}
				id, err := s.imaged(t.Context(), b, machine)
				s.tidy(t, b, machine)
				if tt.fails != "" {
					if err == nil {
						t.Fatalf("image %s", id)
					}
					checkText(t, err.Error(), []string{tt.fails}, nil)
				} else {
					if err != nil {
						t.Fatalf("%v\n%s", err, s.text())
					}
					for _, k := range s.kept() { // whatever is there is finished
						x, at := s.resource(k)
						if tag, err := owner.ParseTag(x.Tags[owner.Key]); err != nil || tag.Unfinished || x.Tags[buildKey] != b.owner.ID {
							t.Errorf("%s in %s has the tags %v", k, at, x.Tags)
						}
					}
					s.nothingLeft(t, s.kept()...)
					if tt.check != nil {
						tt.check(t, s, b, b.Images(id))
					}
				}
				checkText(t, s.text(), tt.says, nil)
				for op, want := range tt.ops {
					if n := s.CountRequests(op); n != want {
						t.Errorf("%s: %d requests, want %d", op, n, want)
					}
				}
				if id != "" {
					if err := b.DeleteImage(t.Context(), id); err != nil {
						t.Error(err)
					}
				}
				s.nothingLeft(t)
			})
		})
	}
}

// An older image of the same name goes, once the new one is there.
func TestReplace(t *testing.T) {
	for _, method := range []Method{BySnapshot, ByCreateImage} {
		bubble(t, func(t *testing.T) {
			s := newSim(t, simOptions{})
			copies := func(c *BuildConfig) {
				c.Image.Method, c.Image.Copies, c.Image.NameMustBeFree = method, []Copy{{Region: farRegion}}, false
			}
			first := s.newBuild(t, copies)
			machine := s.machine(t, first)
			old := s.image(t, first, machine)
			s.tidy(t, first, machine)

			// The name is taken now.
			if _, err := s.newBuild(t, nil).Plan(t.Context()); err == nil || !strings.Contains(err.Error(), `ami_name: there is an image "built" in eu-central-1 already (`+old+`)`) {
				t.Error(err)
			}
			second := s.newBuild(t, func(c *BuildConfig) {
				copies(c)
				c.Image.Replace, c.Image.ReplaceSnapshots = true, true
				c.Image.Share.Users = []string{"123456789012"}
			})
			machine = s.machine(t, second)
			id := s.image(t, second, machine)
			s.tidy(t, second, machine)
			time.Sleep(time.Minute)
			images := second.Images(id)
			if len(images) != 2 || images[simRegion] != id || id == old {
				t.Fatalf("%v, %s", images, id)
			}
			for region, id := range images {
				x, at := s.resource(id)
				tag, err := owner.ParseTag(x.Tags[owner.Key])
				if x.Name != "built" || at != region || err != nil || tag.Unfinished || tag.Build != second.owner.ID {
					t.Errorf("%+v in %s", x, at)
				}
				img, err := second.In(region).image(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				s.nothingLeftIn(t, region, append(snapshotsOf(img), id)...)
			}
		})
	}
}

// A snapshot that shows up only after it was asked for again, with another token, does
// not stay beside the image.
func TestSnapshotShowsUpLate(t *testing.T) {
	for _, shot := range []int{0, 1} { // the root's, another's
		bubble(t, func(t *testing.T) {
			s := newSim(t, simOptions{faults: []ec2sim.Fault{
				{Kind: ec2sim.FaultCutAfterEffect, Op: "CreateSnapshot", Skip: shot, Times: 1},
				{Kind: ec2sim.FaultInvisible, Op: "CreateSnapshot", Skip: shot, Times: 1, Delay: ec2sim.Duration(unseen + 30*time.Second)},
			}})
			b := s.newBuild(t, func(c *BuildConfig) {
				c.Volumes = []BlockDevice{{Device: "/dev/sdf", SizeGB: 3, Type: "gp3"}}
				c.Image.Copies = []Copy{{Region: farRegion}}
			})
			machine := s.machine(t, b)
			id, err := s.imaged(t.Context(), b, machine)
			if shot == 0 {
				if err == nil || id != "" {
					t.Fatalf("%q %v", id, err)
				}
				time.Sleep(unseen)
				if id, err = b.StartImage(t.Context(), machine, b.owner.Token("image", machine, "2")); err == nil {
					id, err = b.FinishImage(t.Context(), id)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			s.tidy(t, b, machine)
			time.Sleep(time.Minute) // the volumes go
			if n := s.CountRequests("CreateSnapshot"); n != 3 {
				t.Errorf("%d snapshots were asked for", n)
			}
			keep := []string{}
			for region, image := range b.Images(id) {
				img, err := b.In(region).image(t.Context(), image)
				if err != nil {
					t.Fatal(err)
				}
				keep = append(keep, append(snapshotsOf(img), image)...)
			}
			if left := s.Left(keep...); len(left) > 0 || len(keep) != 6 {
				t.Errorf("left behind: %q, of the image %q\n%s", left, keep, s.text())
			}
			if !strings.Contains(s.text(), "has shown up, and was deleted") {
				t.Errorf("said:\n%s", s.text())
			}
		})
	}
}

// A finished image whose removal is cut short goes with the next sweep; one that cannot
// be removed stays what it was.
func TestRemovalIsCutShort(t *testing.T) {
	for _, refused := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			s := newSim(t, simOptions{wrap: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					cut := action(r) == "DeregisterImage" && !refused
					next.ServeHTTP(w, r)
					if cut {
						cancel()
					}
				})
			}})
			b := s.newBuild(t, nil)
			machine := s.machine(t, b)
			id, err := s.imaged(t.Context(), b, machine)
			if err != nil {
				t.Fatal(err)
			}
			s.tidy(t, b, machine)
			if refused {
				if err := s.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "DeregisterImage", Status: 400, Code: "OperationNotPermitted", Message: "no"}); err != nil {
					t.Fatal(err)
				}
			}
			tags := func() (all string) {
				for _, id := range s.kept() {
					x, _ := s.resource(id)
					all += fmt.Sprintln(id, x.Tags)
				}
				return all
			}
			before := tags()
			if err := s.client(t).DeleteImage(ctx, id); err == nil {
				t.Fatal("nothing went wrong")
			}
			if now := tags(); refused && now != before {
				t.Errorf("%s, and before %s", now, before)
			}
			time.Sleep(2 * time.Hour)
			r := s.sweep(t, nil)
			if gone := kinds(r.Removed); len(r.Left) > 0 || refused && len(gone) > 0 || !refused && !slices.Equal(gone, []string{"snapshot"}) {
				t.Errorf("removed %q, left %v", gone, r.Left)
			}
			if !refused {
				s.nothingLeft(t)
			}
		})
	}
}

// nothingLeftIn checks one region.
func (s *sim) nothingLeftIn(t *testing.T, region string, keep ...string) {
	t.Helper()
	for _, l := range s.Left(keep...) {
		if strings.Contains(l, " in "+region+" ") {
			t.Errorf("left behind: %s", l)
		}
	}
}

// A build that is cancelled at any time while its image is made leaves nothing.
func TestCancelledImage(t *testing.T) {
	for _, method := range []Method{BySnapshot, ByCreateImage} {
		for _, after := range []time.Duration{0, 10 * time.Second, 31 * time.Second, 60 * time.Second, 130 * time.Second, 150 * time.Second, 4 * time.Minute} {
			bubble(t, func(t *testing.T) {
				s := newSim(t, simOptions{})
				b := s.newBuild(t, func(c *BuildConfig) { c.Image.Method, c.Image.Copies = method, []Copy{{Region: farRegion}} })
				machine := s.machine(t, b)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(after, cancel)
				start := time.Now()
				id, err := s.imaged(ctx, b, machine)
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%s after %s: %v", id, after, err)
				}
				if took := time.Since(start) - after; took > time.Second {
					t.Errorf("ended %s after the cancel", took)
				}
				if id != "" {
					if err := b.DeleteImage(t.Context(), id); err != nil {
						t.Error(err)
					}
				}
				s.tidy(t, b, machine)
				s.nothingLeft(t)
			})
		}
	}
}

// Terminate removes volumes that would stay, except for those that are to.
func TestTerminate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		b := s.newBuild(t, func(c *BuildConfig) {
			c.Volumes = []BlockDevice{{Device: "/dev/sdf", SizeGB: 3, Type: "gp3", KeepVolume: true}}
		})
		machine := s.machine(t, b)
		b.cfg.Volumes = nil // as if the source image had said so
		s.tidy(t, b, machine)
		if err := b.Terminate(t.Context(), machine); err != nil {
			t.Errorf("again: %v", err)
		}
		if err := b.Terminate(t.Context(), "i-00000000000000000"); err != nil {
			t.Errorf("of nothing: %v", err)
		}
		s.nothingLeft(t)

		b = s.newBuild(t, func(c *BuildConfig) {
			c.Volumes = []BlockDevice{{Device: "/dev/sdf", SizeGB: 3, Type: "gp3", KeepVolume: true}}
		})
		s.tidy(t, b, s.machine(t, b))
		time.Sleep(time.Minute)
		r, err := b.describeVolumes(t.Context(), &ec2.DescribeVolumesInput{})
		if err != nil || len(r.Volumes) != 1 {
			t.Fatalf("%v %v", r, err)
		}
	})
}

// A cancel before an image is asked for leaves nothing to look for.
func TestNothingIsLostYet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(t, simOptions{wrap: hang("StopInstances")})
		b := s.newBuild(t, nil)
		machine := s.machine(t, b)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := b.StartImage(ctx, machine, b.owner.Token("image")); err == nil || !lost(err) || b.Lost(err) {
			t.Errorf("%v", err)
		}
		s.tidy(t, b, machine)
		s.nothingLeft(t)
	})
}
