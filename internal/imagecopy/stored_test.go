// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// given makes a copy one of an object that is there.
func given(w *world, checksum string) func(*Copy) {
	return func(c *Copy) {
		c.Object, c.Given = "armfree-capture-x-build1.oci", true
		c.Source = &Stored{Image: w.img, Store: c.Store, Object: c.Object, Checksum: checksum, Content: func(context.Context, string) (Content, error) {
			return Content{Checksum: "right", Version: "1"}, nil
		}}
	}
}

// An object that is the image itself is imported without an export, and stays.
func TestCopyOfAnObject(t *testing.T) {
	w := newWorld()
	w.objects["armfree-capture-x-build1.oci"] = 7 << 30
	noted := false
	w.after = func(step string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for n := range w.notes {
			noted = noted || w.given[n]
		}
	}
	results, said, err := runWith(t.Context(), w, given(w, "right"), "a")
	if !noted {
		t.Error("its note does not say so")
	}
	if err != nil || len(results) != 1 || results[0].Image == "" {
		t.Fatalf("%+v, %v\n%s", results, err, said)
	}
	if slices.Contains(w.steps, "export") || slices.Contains(w.steps, "remove") || w.objects["armfree-capture-x-build1.oci"] == 0 || len(w.links)+len(w.notes) > 0 {
		t.Errorf("steps %q, links %v, notes %v", w.steps, w.links, w.notes)
	}
	// With the wish to remove the source it goes at the end.
	w = newWorld()
	w.objects["armfree-capture-x-build1.oci"] = 7
	_, said, err = runWith(t.Context(), w, func(c *Copy) { given(w, "")(c); c.RemoveSource = true }, "a")
	if err != nil || len(w.objects) > 0 {
		t.Errorf("%v, %v\n%s", w.objects, err, said)
	}
}

// Of another copy that was killed, and which was one of an object that is there, the links
// and the note go: nobody uploaded anything for it, and the object was never the copy's.
func TestSweepOfACopyOfAnObject(t *testing.T) {
	w := newWorld()
	now := time.Now()
	dead := owner.Build{ID: "dead", Expires: now.Add(-2 * time.Hour)}
	note := dead.Name(owner.RoleCopy)
	w.notes[note], w.noted[note], w.given[note], w.objects["theirs"] = "theirs", now.Add(-4*time.Hour), true, 5
	w.uploads["theirs"] = []time.Time{now.Add(-3 * time.Hour)}
	w.links[dead.Name(owner.RoleImport)] = 1
	_, said, err := runWith(t.Context(), w, nil, "a")
	if err != nil || strings.Contains(said, "please delete it") {
		t.Errorf("%v\n%s", err, said)
	}
	mustLeave(t, w, "image debian@a", "object theirs", "upload theirs")
}

// What speaks against an object is said before anything starts.
func TestCopyOfAnObjectThatIsNotRight(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*world)
		sum    string
		says   string
	}{
		"another content": {nil, "left", `its checksum is "right", not "left"`},
		"none":            {func(w *world) { clear(w.objects) }, "right", "there is no object"},
		"too large":       {func(w *world) { w.objects["armfree-capture-x-build1.oci"] = 30 << 30 }, "right", "size_limit_in_gbs"},
		"unfinished": {func(w *world) {
			w.notes[owner.Build{ID: "build1", Expires: time.Now().Add(time.Hour)}.Name(owner.RoleCopy)] = "armfree-capture-x-build1.oci"
		}, "right", "did not come to its end"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.objects["armfree-capture-x-build1.oci"] = 7
			if tt.change != nil {
				tt.change(w)
			}
			_, said, err := runWith(t.Context(), w, func(c *Copy) { given(w, tt.sum)(c); c.SizeLimitGB = 20 }, "a")
			if err == nil || !strings.Contains(err.Error(), tt.says) || slices.Contains(w.steps, "note") {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
}

// An object that is replaced while it is imported becomes no image, whatever replaced it: an
// import reads it long after its checksum was compared. Nor is what took its place deleted.
func TestObjectThatIsReplaced(t *testing.T) {
	const object = "armfree-capture-x-build1.oci"
	detours := func(c *Copy) {
		w := c.Store.(store).world
		c.Targets[0].Direct, c.Targets[0].Ways = false, []Way{way{store{w, "relay"}}, way{store{w, "copy-object"}}}
	}
	for name, tt := range map[string]struct {
		sum    string // that the template has
		step   string // after which it is replaced
		by     string
		change func(*Copy)
	}{
		"by another content":               {sum: "right", step: "import a", by: "wrong"},
		"before the import":                {sum: "right", step: "note", by: "wrong"},
		"by nothing":                       {sum: "right", step: "await a"},
		"without a checksum":               {step: "import a", by: "wrong"},
		"and put back":                     {sum: "right", step: "import a", by: "right"},
		"before it is brought nearer":      {sum: "right", step: "check store relay", by: "wrong", change: detours},
		"of which no other way is tried":   {sum: "right", step: "import a by relay", by: "wrong", change: detours},
		"that was gone, and to be removed": {sum: "right", step: "seal a", change: func(c *Copy) { c.RemoveSource = true }},
		"that was to be removed afterward": {sum: "right", step: "seal a", by: "wrong", change: func(c *Copy) { c.RemoveSource = true }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.objects[object] = 7
			content := Content{Checksum: "right", Version: "1"}
			w.after = func(step string) {
				w.mu.Lock()
				defer w.mu.Unlock()
				if step == tt.step && content.Version == "1" {
					if content = (Content{Checksum: tt.by, Version: "2"}); tt.by == "" {
						content = Content{}
					}
				}
			}
			_, said, err := runWith(t.Context(), w, func(c *Copy) {
				given(w, tt.sum)(c)
				c.Source.(*Stored).Content = func(context.Context, string) (Content, error) {
					w.mu.Lock()
					defer w.mu.Unlock()
					return content, nil
				}
				if tt.change != nil {
					tt.change(c)
				}
			}, "a")
			if tt.step == "seal a" && tt.by == "" {
				if err != nil {
					t.Errorf("%v\n%s", err, said)
				}
				mustLeave(t, w, "image debian@a")
				return
			}
			if err == nil || !strings.Contains(err.Error(), "is not the one any more") {
				t.Errorf("%v\n%s", err, said)
			}
			want := []string{"object " + object}
			if tt.step == "seal a" {
				want = []string{"image debian@a", "object " + object}
			}
			if w.index("bring copy-object") >= 0 {
				t.Errorf("it is brought nearer in vain: %q", w.steps)
			}
			mustLeave(t, w, want...)
		})
	}
}

// An import that an earlier run began of an object that is another one now is not made again:
// it would become the same.
func TestAdoptedImportOfAReplacedObject(t *testing.T) {
	w := newWorld()
	w.objects["armfree-capture-x-build1.oci"] = 7
	n := newCopy(w, func(string, ...any) {}, "a")
	w.images["old@a"] = cloud.Found{ID: "old@a", Name: "debian", Mark: n.mark(n.Targets[0]), Unfinished: true}
	content := Content{Checksum: "right", Version: "1"}
	w.after = func(step string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if step == "await a" {
			content = Content{Checksum: "wrong", Version: "2"}
		}
	}
	_, said, err := runWith(t.Context(), w, func(c *Copy) {
		given(w, "right")(c)
		c.Source.(*Stored).Content = func(context.Context, string) (Content, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return content, nil
		}
	}, "a")
	if err == nil || !strings.Contains(err.Error(), "is not the one any more") || w.index("import a") >= 0 {
		t.Errorf("%v, %q\n%s", err, w.steps, said)
	}
	mustLeave(t, w, "object armfree-capture-x-build1.oci")
}

// Two copies of one object do not disturb each other, and what a killed one left goes
// without the object.
func TestCopiesOfOneObject(t *testing.T) {
	w := newWorld()
	w.objects["armfree-capture-x-build1.oci"] = 7
	other := owner.Build{ID: "other", Expires: time.Now().Add(time.Hour)}
	gone := owner.Build{ID: "gone", Expires: time.Now().Add(-time.Hour)}
	dead := owner.Build{ID: "dead", Expires: time.Now().Add(-time.Hour)}
	w.notes[other.Name(owner.RoleCopy)] = "armfree-capture-x-build1.oci"
	w.notes[gone.Name(owner.RoleCopy)] = "armfree-capture-x-build1.oci"
	w.notes[dead.Name(owner.RoleCopy)] = "armfree-capture-y-dead.oci" // a capture that was killed
	w.objects["armfree-capture-y-dead.oci"] = 7
	_, said, err := runWith(t.Context(), w, given(w, "right"), "a")
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if len(w.notes) != 1 || w.notes[other.Name(owner.RoleCopy)] == "" || len(w.objects) != 1 || w.objects["armfree-capture-x-build1.oci"] == 0 {
		t.Errorf("notes %v, objects %v\n%s", w.notes, w.objects, said)
	}
}

// An object is named after its image, its copy and its form, also on its way to a
// destination where the template has given it another name.
func TestObjectNames(t *testing.T) {
	by := owner.Build{ID: "b1"}
	for _, tt := range []struct {
		form       Form
		own        string
		want, near string
	}{
		{"", "", "armfree-copy-abcdefghijkl-b1.oci", "armfree-copy-abcdefghijkl-b1.oci.3"},
		{Archive, "mine.vmdk", "", "armfree-copy-abcdefghijkl-b1.oci.3"},
		{VMDK, "", "armfree-copy-abcdefghijkl-b1.vmdk", "armfree-copy-abcdefghijkl-b1.vmdk.3"},
		{VMDK, "mine", "", "armfree-copy-abcdefghijkl-b1.vmdk.3"},
	} {
		c := &Copy{Owner: by, Form: tt.form, Object: tt.own, image: cloud.Image{ID: "ocid1.image.oc1..xabcdefghijkl"}}
		if tt.own == "" {
			if c.Object = ObjectName(c.image.ID, by, tt.form); c.Object != tt.want {
				t.Errorf("%q, want %q", c.Object, tt.want)
			}
		}
		if near := c.detourName(2); near != tt.near {
			t.Errorf("%q becomes %q, want %q", c.Object, near, tt.near)
		}
	}
}
