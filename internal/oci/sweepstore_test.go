// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// captured begins the capture of a disk, of which a part has arrived.
func (b *Bucket) captured(t *testing.T, o owner.Build) *Captured {
	t.Helper()
	c, err := b.Capture(t.Context(), o, CaptureName("disk", o), true, time.Hour, func(string) {})
	if err == nil {
		err = c.Part(t.Context(), 1, []byte("a disk"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A disk that was captured is the user's: no sweep takes it, not even that of its
// build, which the last step of a workflow does after every build. One that was not
// finished goes with its build, or when its time is over.
func TestSweepCaptured(t *testing.T) {
	for _, lost := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, simOptions{})
			bucket := s.newBucket(t)
			empty := s.there()
			o := owner.NewBuild(time.Now(), 8*time.Hour)
			if lost { // an upload that nobody knows of was begun as well
				if err := s.AddFaults(ocisim.Fault{Kind: ocisim.FaultCutAfterEffect, Op: "PutObjectByPAR", Times: 1}); err != nil {
					t.Fatal(err)
				}
			}
			done := bucket.captured(t, o)
			if _, _, err := done.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			finished := append(slices.Clone(empty), "object "+done.Object())
			for _, rules := range []sweep.Rules{{Builds: []string{o.ID}}, {}, {OlderThan: time.Second}} {
				time.Sleep(12 * time.Hour)
				r := s.sweep(t, func(w *sweep.Sweep) { w.Rules = rules })
				if len(r.Removed)+len(r.Left) > 0 || !slices.Equal(s.there(), finished) {
					t.Errorf("%+v: removed %v, left %v, there is %q", rules, r.Removed, r.Left, s.there())
				}
				for _, k := range r.Kept {
					if k.Why != "it is finished" {
						t.Errorf("%+v: kept since %q", rules, k.Why)
					}
				}
			}
			// Killed before its note was removed: the disk was nobody's yet.
			for _, named := range []bool{true, false} {
				o := owner.NewBuild(time.Now(), 8*time.Hour)
				c := bucket.captured(t, o)
				if err := c.Upload.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				if r := s.sweep(t, nil); len(r.Removed) > 0 {
					t.Errorf("removed %v", r.Removed)
				}
				rules := sweep.Rules{Builds: []string{o.ID}}
				if !named {
					rules = sweep.Rules{}
					time.Sleep(12 * time.Hour)
				}
				if r := s.sweep(t, func(w *sweep.Sweep) { w.Rules = rules }); len(r.Left) > 0 || !slices.Equal(s.there(), finished) {
					t.Errorf("left %v, there is %q", r.Left, s.there())
				}
			}
		})
	}
}

// What a copy that was killed brought into another bucket, or began to, goes when its
// time is over; two destinations may share the bucket.
func TestSweepDetour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		bucket := s.newBucket(t)
		bucket.put(t, "mine.oci.1", "theirs")
		keep := s.there()
		by := owner.NewBuild(time.Now(), 8*time.Hour)
		for n, suffix := range map[string]string{"1": ".oci.1", "2": ".oci.2", "3": ".vmdk.3"} {
			object := copyPrefix + "abcdefghijkl-" + by.ID + suffix
			bucket.put(t, by.Name(owner.RoleCopy+"-"+n), object)
			bucket.put(t, object, "half")
			bucket.upload(t, object)
		}
		if r := s.sweep(t, nil); len(r.Removed) > 0 || len(r.Kept) != 9 {
			t.Errorf("before its time is over: removed %v, kept %v", r.Removed, r.Kept)
		}
		time.Sleep(12 * time.Hour)
		if r := s.sweep(t, nil); len(r.Left) > 0 || !slices.Equal(s.there(), keep) {
			t.Errorf("left %v, removed %v, there is %q", r.Left, r.Removed, s.there())
		}
	})
}

// What a new run of a copy needs, and a disk that its build finishes, after the list was
// made, stays.
func TestSweepStoredMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		bucket := s.newBucket(t)
		by := owner.NewBuild(time.Now(), 8*time.Hour)
		s.copied(t, bucket, by)
		killed := owner.NewBuild(time.Now(), 8*time.Hour)
		c := bucket.captured(t, killed)
		if err := c.Upload.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12 * time.Hour)
		var once sync.Once
		r := s.sweep(t, func(w *sweep.Sweep) {
			w.Removing = func(sweep.Thing) {
				once.Do(func() {
					bucket.put(t, by.Lasting(24*time.Hour).Name(owner.RoleCopy), "again")
					if err := bucket.Forget(t.Context(), killed.Name(owner.RoleCopy)); err != nil {
						t.Error(err)
					}
				})
			}
		})
		there := strings.Join(s.there(), "\n")
		for _, want := range []string{"object " + copyPrefix + "abcdefghijkl-" + by.ID + ".oci", "upload " + copyPrefix + "abcdefghijkl-" + by.ID + ".oci", "link " + by.Name(owner.RoleImport), "object " + c.Object()} {
			if !strings.Contains(there, want) {
				t.Errorf("%q is gone, removed %v, there is\n%s", want, r.Removed, there)
			}
		}
	})
}

// Objects have no tags: their names are all there is.
func TestObjectMark(t *testing.T) {
	later := time.Unix(2000000000, 0).UTC()
	var n needs
	n.note(owner.Tag{Build: "b2", Expires: later})
	n.note(owner.Tag{Build: "b2", Expires: later.Add(-time.Hour)}) // of an earlier run
	n.link(owner.Tag{Build: "linked", Expires: later})
	for name, want := range map[string]owner.Tag{
		"armfree-b1-image-2000000000.oci":      {Build: "b1", Role: "image", Expires: later},
		"armfree-copy-abc-b2.oci":              {Build: "b2", Role: "copy", Expires: later},
		"armfree-copy-abc-b2.oci.1":            {Build: "b2", Role: "copy", Expires: later},
		"armfree-copy-abc-b2.oci.12":           {Build: "b2", Role: "copy", Expires: later},
		"armfree-copy-abc-b2.vmdk":             {Build: "b2", Role: "copy", Expires: later},
		"armfree-copy-abc-b2.vmdk.1":           {Build: "b2", Role: "copy", Expires: later},
		"armfree-copy-abc-b2.vmdk.x":           {},
		"armfree-copy-abc-b2.vmdk.1.1":         {},
		"armfree-copy-abc-b2.vmdk.oci":         {Build: "b2.vmdk", Role: "copy"},
		"armfree-copy-abc-unknown.vmdk":        {Build: "unknown", Role: "copy"},
		"armfree-copy-abc.vmdk":                {},
		"armfree-capture-abc-b2.vmdk":          {},
		"armfree-b1-image-2000000000.vmdk":     {},
		"armfree-copy-abc-b2.oci.":             {},
		"armfree-copy-abc-b2.oci.x":            {},
		"armfree-copy-abc-b2.oci.1.1":          {},
		"armfree-copy-abc-b2.1":                {},
		"armfree-capture-abc-b2.oci.1":         {},
		"armfree-b1-image-2000000000.oci.1":    {},
		"armfree-copy-abc-linked.oci":          {Build: "linked", Role: "copy", Expires: later},
		"armfree-copy-abc-unknown.oci":         {Build: "unknown", Role: "copy"},
		"armfree-capture-my_image-b2.oci":      {Build: "b2", Role: "capture", Expires: later},
		"armfree-capture-my_image-linked.oci":  {Build: "linked", Role: "capture"},
		"armfree-capture-my_image-done.oci":    {Build: "done", Role: "capture"},
		"armfree-capture-b2":                   {},
		"armfree-capture-b2.oci":               {},
		"armfree-copy-abc.oci":                 {},
		"armfree-copy-abc-.oci":                {},
		"armfree-copy-abc-b2":                  {},
		"armfree-b1-image-x.oci":               {},
		"debian.oci":                           {},
		"":                                     {},
		"x/armfree-b1-image-2000000000.oci":    {},
		"armfree-b1-image-2000000000.oci.copy": {},
	} {
		got, is := objectMark(sweep.Object, name, n)
		if got != want || is != (want.Build != "") {
			t.Errorf("%q: %+v %v, want %+v", name, got, is, want)
		}
	}
	// An upload is not finished, whatever it is of.
	if got, _ := objectMark(sweep.Upload, "armfree-capture-my_image-linked.oci", n); got != (owner.Tag{Build: "linked", Role: "copy", Expires: later}) {
		t.Errorf("%+v", got)
	}
	if got, is := noteMark("armfree-b1-copy-2000000000"); !is || got != (owner.Tag{Build: "b1", Role: "copy", Expires: later}) {
		t.Errorf("%+v %v", got, is)
	}
	if got, is := noteMark("armfree-b1-copy-2-2000000000"); !is || got != (owner.Tag{Build: "b1", Role: "copy", Expires: later}) {
		t.Errorf("%+v %v", got, is)
	}
	if got, is := noteMark("armfree-b1-copy-x-2000000000"); is {
		t.Errorf("%+v", got)
	}
	if got, is := noteMark("armfree-b1-image-2000000000"); is {
		t.Errorf("%+v", got)
	}
}

// An upload of an object whose name the template chose is known by the note of its copy:
// begun while that was under way. Nobody else's upload under that name goes, and nor does
// the object; nor the note where it cannot be read, which is the last trace.
func TestSweepNamedByTheTemplate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		build bool // the copy is named
		blind bool // the note cannot be read
		given bool // the copy was one of that object
	}{
		{"", false, false, false}, {"by its copy", true, false, false}, {"without reading the note", false, true, false},
		{"of a copy that uploads nothing", false, false, true}, {"by a copy that uploads nothing", true, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hidden := ""
				s := newSim(t, simOptions{wrap: func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if hidden != "" && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/o/"+hidden) {
							refuse(w, http.StatusNotFound, "ObjectNotFound", "no")
							return
						}
						next.ServeHTTP(w, r)
					})
				}})
				bucket := s.newBucket(t)
				bucket.put(t, "mine.oci", "anybody's")
				bucket.upload(t, "mine.oci") // before the copy
				time.Sleep(time.Minute)
				by := owner.NewBuild(time.Now(), 8*time.Hour)
				note := by.Name(owner.RoleCopy)
				if err := bucket.Note(t.Context(), cloud.Note{Name: note, Object: "mine.oci", Given: tt.given}); err != nil {
					t.Fatal(err)
				}
				if notes, err := bucket.Notes(t.Context()); err != nil || len(notes) != 1 || notes[0].Object != "mine.oci" || notes[0].Given != tt.given {
					t.Fatalf("%+v, %v", notes, err)
				}
				time.Sleep(time.Minute)
				bucket.upload(t, "theirs.oci")
				keep, its := s.there(), 2 // the upload and the note
				bucket.upload(t, "mine.oci")
				before := s.there()
				if tt.given {
					keep, its = s.there(), 1
				}
				if r := s.sweep(t, nil); len(r.Removed) > 0 || len(r.Kept) != its || !slices.Equal(s.there(), before) {
					t.Errorf("before its time is over: removed %v, kept %v", r.Removed, r.Kept)
				}
				rules := sweep.Rules{Builds: []string{by.ID}}
				if !tt.build {
					rules = sweep.Rules{}
					time.Sleep(12 * time.Hour)
					bucket.upload(t, "mine.oci") // after it
					keep, before = append(keep, "upload mine.oci"), append(before, "upload mine.oci")
				}
				if tt.blind {
					hidden, keep = note, before
				} else {
					keep = slices.DeleteFunc(keep, func(name string) bool { return name == "object "+note })
				}
				r := s.sweep(t, func(w *sweep.Sweep) { w.Rules = rules })
				there := s.there()
				slices.Sort(there)
				if slices.Sort(keep); len(r.Left) > 0 || !slices.Equal(there, keep) {
					t.Errorf("left %v, removed %v, there is %q, want %q", r.Left, r.Removed, there, keep)
				}
			})
		})
	}
}
