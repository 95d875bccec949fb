// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// chaosThing is one thing that is there, in either cloud.
type chaosThing struct {
	kind, id, name string
	state          string
	tags           map[string]string
}

func (x chaosThing) String() string {
	return fmt.Sprintf("%s %s %q (%s) %v", x.kind, x.id, x.name, x.state, x.tags)
}

// going says whether it is on its way out, or to another state.
func (x chaosThing) going() bool {
	return strings.HasSuffix(strings.ToLower(x.state), "ing") && x.state != "RUNNING" && x.state != "running" || x.state == "shutting-down" || x.state == "powered"
}

// ended says whether it is there as a record only.
func (x chaosThing) ended() bool {
	return slices.Contains([]string{"TERMINATING", "TERMINATED", "DELETING", "DELETED", "shutting-down", "terminated", "deleting", "cancelled"}, x.state)
}

// finished says whether it is an image, or something of one, that this plugin has marked
// as finished.
func (x chaosThing) finished() bool {
	t, err := owner.ParseTag(x.tags[owner.Key])
	return err == nil && t.Expires.IsZero() && !t.Unfinished
}

// capturedWithout says whether it is a captured disk that is finished: of its build there
// is no note among things that says until when it is needed, no link and no upload.
func (x chaosThing) capturedWithout(things []chaosThing) bool {
	name, is := strings.CutPrefix(x.name, "armfree-capture-")
	if !is || x.kind != "object" {
		return false
	}
	build := strings.TrimSuffix(name[strings.LastIndexByte(name, '-')+1:], ".oci")
	return !slices.ContainsFunc(things, func(y chaosThing) bool { return y.id != x.id && strings.Contains(y.name, build) })
}

// named says whether its id, or the name of what has no other, is a word of a text.
func (x chaosThing) named(said string) bool {
	isWord := func(r rune) bool {
		return r == '-' || r == '.' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	words := strings.FieldsFunc(said, func(r rune) bool { return !isWord(r) })
	for _, w := range []string{x.id, x.name} {
		if w != "" && slices.ContainsFunc(words, func(s string) bool { return strings.TrimRight(s, ".") == w }) {
			return true
		}
	}
	return false
}

// everythingIn is all that is in both clouds, by kind and id.
func everythingIn(s *stage.Stage) map[string]chaosThing {
	all := map[string]chaosThing{}
	add := func(x chaosThing) { all[x.kind+" "+x.id] = x }
	for _, t := range s.Cloud.Inventory().Tenancies {
		for _, r := range t.Regions {
			for kind, list := range map[string][]ocisim.Resource{
				"instance": r.Instances, "boot volume": r.BootVolumes, "image": r.Images, "image capability schema": r.CapabilitySchemas,
				"console history": r.ConsoleHistories, "reservation": r.Reservations, "network security group": r.SecurityGroups,
				"bastion": r.Bastions, "bastion session": r.BastionSessions,
			} {
				for _, x := range list {
					add(chaosThing{kind: kind, id: x.ID, state: x.State, tags: x.FreeformTags})
				}
			}
			for _, id := range r.Machines {
				add(chaosThing{kind: "machine with power", id: id, state: "powered"})
			}
			for _, b := range r.Buckets {
				add(chaosThing{kind: "bucket", id: t.Name + "/" + b.Name})
				for _, o := range b.Objects {
					add(chaosThing{kind: "object", id: b.Name + "/" + o.Name, name: o.Name})
				}
				for _, u := range b.Uploads {
					add(chaosThing{kind: "upload", id: u.ID, name: u.Object})
				}
				for _, p := range b.PARs {
					add(chaosThing{kind: "pre-authenticated request", id: p.ID, name: p.Name})
				}
			}
		}
	}
	for _, a := range s.AWS.Cloud.Inventory().Accounts {
		for _, x := range a.IAM {
			add(chaosThing{kind: x.Kind, id: x.ID, name: x.Name, tags: x.Tags})
		}
		for _, r := range a.Regions {
			for _, x := range r.Resources {
				name := ""
				if x.Kind == "key-pair" { // it is deleted by its name
					name = x.Name
				}
				add(chaosThing{kind: x.Kind, id: x.ID, name: name, state: x.State, tags: x.Tags})
			}
			for _, id := range r.Machines {
				add(chaosThing{kind: "machine with power", id: id, state: "powered"})
			}
		}
	}
	return all
}

// decoys are things that nobody may touch: whatever is there before a run.
type decoys struct{ before map[string]chaosThing }

// plantAll puts things of others, of builds that go on, with marks that are almost ours,
// and finished images into one cloud, and remembers all that there is.
func plantAll(t *testing.T, s *stage.Stage, cloud string) *decoys {
	t.Helper()
	if cloud == "aws" {
		plantAWS(t, s)
	} else {
		plantOCI(t, s)
	}
	var d decoys
	for range 200 {
		d.before = everythingIn(s)
		busy := func(x chaosThing) bool { return x.going() && x.kind != "machine with power" || x.ended() }
		if !slices.ContainsFunc(slices.Collect(maps.Values(d.before)), busy) {
			return &d
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("this does not come to rest: %v", d.before)
	return nil
}

// more is what is there beside the decoys.
func (d *decoys) more(s *stage.Stage) (list []chaosThing) {
	now := everythingIn(s)
	for _, k := range slices.Sorted(maps.Keys(now)) {
		if _, old := d.before[k]; !old {
			list = append(list, now[k])
		}
	}
	return list
}

// settled gives what is on its way the time to get there.
func (d *decoys) settled(s *stage.Stage) (list []chaosThing) {
	for range 80 {
		if list = d.more(s); !slices.ContainsFunc(list, chaosThing.going) {
			return list
		}
		time.Sleep(25 * time.Millisecond)
	}
	return list
}

// check sees whether all of them are still there and as they were.
func (d *decoys) check(t *testing.T, s *stage.Stage) {
	t.Helper()
	now := everythingIn(s)
	for k, was := range d.before {
		switch x, is := now[k]; {
		case !is || x.ended():
			t.Errorf("it is gone, and nobody's business: %s", was)
		case !maps.Equal(x.tags, was.tags) || x.name != was.name || x.state != was.state:
			t.Errorf("%s was changed: %s", was, x)
		}
	}
}

// launchesIn counts the requests for machines.
func launchesIn(s *stage.Stage) int {
	return s.Cloud.CountRequests("LaunchInstance") + s.AWS.Cloud.CountRequests("RunInstances")
}

// machines are those of the build that run or come up, in both clouds.
func (d *decoys) machines(s *stage.Stage) (ids []string) {
	for _, x := range d.more(s) {
		if x.kind == "instance" && !x.ended() {
			ids = append(ids, x.id)
		}
	}
	return ids
}

// almost are marks of things that are long over, if they were ours: of a role that there
// is not, of none, without an expiry, with one that cannot be read, and under another key.
func almost(role string) []map[string]string {
	const dead, over = "build=aaaaaaaaaaaaaaaa", " expires=2020-01-01T00:00:00Z state=unfinished"
	return []map[string]string{
		{owner.Key: dead + " role=banana" + over},
		{owner.Key: dead + over},
		{owner.Key: dead + " role=" + role},
		{owner.Key: dead + " role=" + role + " expires=2020-01-01"},
		{owner.Key + "-like": dead + " role=" + role + over},
	}
}

// marks are those of decoys: of others, of a build that goes on, and those that are
// almost ours. What goes on is needed for longer than the clock of a sweep is ahead.
func marks(role string) []map[string]string {
	alive := owner.NewBuild(time.Now(), 20*24*time.Hour).Tag(role)
	alive.Unfinished = true
	return append([]map[string]string{{"team": "theirs"}, {owner.Key: alive.String()}}, almost(role)...)
}

// markOf is the n-th of marks, over and over again.
func markOf(role string, n int) map[string]string {
	all := marks(role)
	return all[n%len(all)]
}

// expired is the mark of a leftover.
func expired(role string) map[string]string {
	return map[string]string{owner.Key: owner.Tag{Build: "aaaaaaaaaaaaaaaa", Role: role, Expires: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), Unfinished: true}.String()}
}

// decoyNames are those of decoys that have no tags.
func decoyNames(role, suffix string) []string {
	alive := owner.NewBuild(time.Now(), 20*24*time.Hour)
	return []string{"theirs" + suffix, alive.Name(role) + suffix, "armfree-aaaaaaaaaaaaaaaa-banana-1500000000" + suffix, "armfree-aaaaaaaaaaaaaaaa-" + role + "-x" + suffix,
		"x-armfree-aaaaaaaaaaaaaaaa-" + role + "-1500000000" + suffix, "armfree-" + role + suffix}
}
