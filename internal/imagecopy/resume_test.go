// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// kill makes a world in which a copy to the destinations was killed after its
// n-th step.
func kill(t *testing.T, n int, change func(*Copy), names ...string) *world {
	t.Helper()
	w := newWorld()
	steps := 0
	w.after = func(string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if steps++; steps == n {
			w.dead = true
		}
	}
	_, _, _ = runWith(t.Context(), w, change, names...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.after, w.dead, w.steps = nil, false, nil
	return w
}

// Killed after any step, the next run of the same copy ends with the image in
// place and nothing left, and exports only once where the first export was done.
func TestKilledAfterAnyStep(t *testing.T) {
	relay := func(c *Copy) {
		c.Targets[0].Direct = false
		c.Targets[0].Ways = []Way{way{store{c.Store.(store).world, "relay"}}}
	}
	for route, change := range map[string]func(*Copy){"direct": nil, "relay": relay} {
		for _, rule := range []Conflict{Skip, Fail, Replace} {
			with := func(c *Copy) {
				if c.Conflict = rule; change != nil {
					change(c)
				}
			}
			rehearsal := newWorld()
			if _, said, err := runWith(t.Context(), rehearsal, with, "a"); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			for i, step := range rehearsal.steps {
				t.Run(fmt.Sprintf("%s %s %d %s", route, rule, i, step), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := kill(t, i+1, with, "a")
						exported := w.objects["o"] > 0
						results, said, err := runWith(t.Context(), w, with, "a")
						if rule == Fail && i == len(rehearsal.steps)-1 {
							// It was over when it was killed: nothing tells it from
							// a copy that is made twice.
							if err == nil || !strings.Contains(err.Error(), "image_name_conflict") {
								t.Errorf("%v", err)
							}
							return
						}
						if err != nil || len(results) != 1 || results[0].Image == "" {
							t.Fatalf("%+v, %v\n%s\n%q", results, err, said, w.steps)
						}
						if again := w.index("export") >= 0; again && exported {
							t.Errorf("exported again: %q", w.steps)
						}
						left := w.left()
						if rule == Replace && i == len(rehearsal.steps)-1 {
							if len(left) != 1 || !strings.HasPrefix(left[0], "image new-debian@a") {
								t.Errorf("left %q", left)
							}
							return
						}
						mustLeave(t, w, "image "+results[0].Image)
					})
				})
			}
		}
	}
}

// An import that was under way, and fails, is made again.
func TestAdoptedImportFails(t *testing.T) {
	w := newWorld()
	n := newCopy(w, func(string, ...any) {}, "a")
	w.images["old@a"] = cloud.Found{ID: "old@a", Name: "debian", Mark: n.mark(n.Targets[0]), Unfinished: true}
	w.notes[n.Owner.Name(owner.RoleCopy)], w.objects["o"] = "o", 7
	fails := errors.New("DELETED")
	w.fail["await a"] = fails
	w.after = func(step string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if step == "delete a" {
			delete(w.fail, "await a")
		}
	}
	results, said, err := run(t.Context(), w, "a")
	if err != nil || results[0].Image != "debian@a" || !strings.Contains(said, "old@a is of no use, it is imported again: DELETED") {
		t.Errorf("%+v, %v\n%s", results, err, said)
	}
	mustLeave(t, w, "image debian@a")
}

func TestConflicts(t *testing.T) {
	twin := cloud.Found{ID: "twin@a", Name: "debian", Ready: true, Mark: "m", Source: "i"}
	other := cloud.Found{ID: "other@a", Name: "debian", Ready: true}
	for _, tt := range []struct {
		rule   Conflict
		there  cloud.Found
		image  string
		left   []string
		export bool
		fails  string
	}{
		{Skip, twin, "twin@a", []string{"image twin@a"}, false, ""},
		{Skip, other, "debian@a", []string{"image debian@a", "image other@a"}, true, ""},
		{Fail, twin, "", []string{"image twin@a"}, false, `there is an image "debian" already (twin@a)`},
		{Fail, other, "", []string{"image other@a"}, false, `there is an image "debian" already (other@a)`},
		{Replace, twin, "debian@a", []string{"image debian@a"}, true, ""},
		{Replace, other, "debian@a", []string{"image debian@a"}, true, ""},
	} {
		t.Run(string(tt.rule)+" "+tt.there.ID, func(t *testing.T) {
			w := newWorld()
			w.images[tt.there.ID] = tt.there
			results, said, err := runWith(t.Context(), w, func(c *Copy) { c.Conflict = tt.rule }, "a")
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("%v", err)
				}
			} else if err != nil || results[0].Image != tt.image {
				t.Errorf("%+v, %v\n%s", results, err, said)
			}
			if (w.index("export") >= 0) != tt.export || !tt.export && w.index("note") >= 0 {
				t.Errorf("steps %q", w.steps)
			}
			mustLeave(t, w, tt.left...)
		})
	}
}

// Until the new image is finished, those that it replaces stay.
func TestReplaceOnlyAfterSuccess(t *testing.T) {
	w := newWorld()
	w.images["other@a"] = cloud.Found{ID: "other@a", Name: "debian", Ready: true}
	w.fail["seal a"] = errors.New("no")
	if _, _, err := runWith(t.Context(), w, func(c *Copy) { c.Conflict = Replace }, "a"); err == nil {
		t.Error("no error")
	}
	mustLeave(t, w, "image other@a")
}

func TestSourceIsRemovedAfterEverythingElse(t *testing.T) {
	remove := func(c *Copy) { c.RemoveSource = true }
	w := newWorld()
	w.fail["await b"] = errors.New("no")
	if _, _, err := runWith(t.Context(), w, remove, "a", "b"); err == nil || !w.source {
		t.Errorf("%v; the source is there: %t", err, w.source)
	}
	w = newWorld()
	if _, _, err := runWith(t.Context(), w, remove, "a", "b"); err != nil || w.source {
		t.Errorf("%v; the source is there: %t", err, w.source)
	}
	w = newWorld()
	w.fail["remove source"] = errors.New("no way")
	if _, _, err := runWith(t.Context(), w, remove, "a"); err == nil || !strings.Contains(err.Error(), "every destination has its image") {
		t.Errorf("%v", err)
	}
}

func TestImageThatIsTooLarge(t *testing.T) {
	w := newWorld()
	w.img.SizeGB = 21
	if _, _, err := run(t.Context(), w, "a"); err == nil || !strings.Contains(err.Error(), "size_limit_in_gbs: image i has 21 GB, and the limit is 20") {
		t.Errorf("%v", err)
	}
	mustLeave(t, w)
	if _, _, err := runWith(t.Context(), w, func(c *Copy) { c.SizeLimitGB = 0 }, "a"); err != nil {
		t.Error(err)
	}
}

// Somebody else's export of the image is waited for.
func TestImageThatIsBusy(t *testing.T) {
	w := newWorld()
	w.img.Busy = true
	if _, _, err := run(t.Context(), w, "a"); err != nil || w.index("await export") > w.index("export") {
		t.Errorf("%v; steps %q", err, w.steps)
	}
	mustLeave(t, w, "image debian@a")
}

// An object that another copy is using is not touched.
func TestObjectOfAnotherCopy(t *testing.T) {
	w := newWorld()
	w.notes[owner.Derive(time.Now(), time.Hour, "else").Name(owner.RoleCopy)] = "o"
	if _, _, err := run(t.Context(), w, "a"); err == nil || !strings.Contains(err.Error(), `another copy, which is under way or was broken off, uses the object "o"`) {
		t.Errorf("%v", err)
	}
}

// What a copy left whose time is over goes with the next one; what is under way
// stays, and so does an object with a name that somebody chose.
func TestSweep(t *testing.T) {
	w := newWorld()
	late, young, chosen := owner.Derive(time.Now(), -time.Hour, "late"), owner.Derive(time.Now(), time.Hour, "young"), owner.Derive(time.Now(), -time.Hour, "chosen")
	for b, object := range map[owner.Build]string{late: objectPrefix + "late.oci", young: objectPrefix + "young.oci", chosen: "mine.oci"} {
		w.notes[b.Name(owner.RoleCopy)], w.objects[object], w.links[b.Name(owner.RoleImport)] = object, 7, 1
	}
	_, said, err := run(t.Context(), w, "a")
	if err != nil || !strings.Contains(said, "used the object mine.oci") || !strings.Contains(said, "Removing what is left of an earlier copy: armfree-copy-late.oci") {
		t.Errorf("%v\n%s", err, said)
	}
	mustLeave(t, w, "image debian@a", "link "+young.Name(owner.RoleImport),
		"note "+young.Name(owner.RoleCopy), "object armfree-copy-young.oci", "object mine.oci")
}

// When the time of another copy is over, the store's clock says, and there is a grace: it
// may go on, or have been taken up.
func TestWhenAnotherCopyIsOver(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ago   []time.Duration // when each note of it expired, by this computer's clock
		ahead time.Duration   // the store's clock
		mute  bool
		goes  bool
	}{
		{name: "over", ago: []time.Duration{20 * time.Minute}, goes: true},
		{name: "just over", ago: []time.Duration{10 * time.Minute}},
		{name: "over here, not there", ago: []time.Duration{17 * time.Minute}, ahead: -4 * time.Minute},
		{name: "over there, not here", ago: []time.Duration{13 * time.Minute}, ahead: 4 * time.Minute, goes: true},
		{name: "nobody knows what time it is", ago: []time.Duration{time.Hour}, mute: true},
		{name: "killed, and taken up by a run that is under way", ago: []time.Duration{48 * time.Hour, -time.Hour}},
		{name: "killed twice", ago: []time.Duration{48 * time.Hour, time.Hour}, goes: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.ahead, w.mute = tt.ahead, tt.mute
				const object = objectPrefix + "theirs.oci"
				w.objects[object] = 7
				for _, ago := range tt.ago {
					b := owner.Derive(time.Now(), -ago, "theirs")
					w.notes[b.Name(owner.RoleCopy)], w.links[b.Name(owner.RoleImport)] = object, 1
				}
				before := w.left()
				_, said, err := runWith(t.Context(), w, func(c *Copy) { c.Grace = 15 * time.Minute }, "a")
				if err != nil {
					t.Errorf("%v\n%s", err, said)
				}
				want := []string{"image debian@a"}
				if !tt.goes {
					want = append(want, before...)
				}
				mustLeave(t, w, want...)
			})
		})
	}
}

func TestRoutes(t *testing.T) {
	two := func(w *world) []Way { return []Way{way{store{w, "copy-object"}}, way{store{w, "relay"}}} }
	for _, tt := range []struct {
		name   string
		fail   map[string]error
		direct bool
		ways   bool
		route  string
		says   []string
		fails  []string
	}{
		{"direct", nil, true, true, "direct", nil, nil},
		{"refused", map[string]error{"import a": errRefused}, true, true, "copy-object", []string{"a: the import straight from the source's bucket was refused: refused", "bringing the object nearer by the route copy-object"}, nil},
		{"refused twice", map[string]error{"import a": errRefused, "bring copy-object": errors.New("no policy")}, true, true, "relay", []string{"the route copy-object does not work: no policy"}, nil},
		{"a bucket that is not there", map[string]error{"import a": errRefused, "check store copy-object": errors.New("no bucket")}, true, true, "relay", []string{"no bucket"}, nil},
		{"failed otherwise", map[string]error{"import a": errors.New("no room")}, true, true, "", nil, []string{"no room"}},
		{"refused, and no other", map[string]error{"import a": errRefused}, true, false, "", nil, []string{"refused"}},
		{"not direct", nil, false, true, "copy-object", nil, nil},
		{"all fail", map[string]error{"import a": errRefused, "bring copy-object": errors.New("one"), "import a by relay": errors.New("two")}, true, true, "", nil, []string{"refused", "by the route copy-object: one", "by the route relay: two"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			if tt.fail != nil {
				w.fail = tt.fail
			}
			results, said, err := runWith(t.Context(), w, func(c *Copy) {
				c.Targets[0].Direct = tt.direct
				if tt.ways {
					c.Targets[0].Ways = two(w)
				}
			}, "a")
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said:\n%s", want, said)
				}
			}
			for _, want := range tt.fails {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in %v", want, err)
				}
			}
			if len(tt.fails) > 0 {
				mustLeave(t, w)
				return
			}
			if err != nil || results[0].Route != tt.route {
				t.Errorf("%+v, %v\n%s", results, err, said)
			}
			mustLeave(t, w, "image debian@a")
		})
	}
}

// How far everything is, is on one line.
func TestBoard(t *testing.T) {
	var b board
	b.set("export", percent(-1))
	b.set("a", percent(41.6))
	b.set("b", "relay "+percent(3))
	if got := b.line(); got != "export: under way; a: 42 %; b: relay 3 %" {
		t.Errorf("%q", got)
	}
	b.drop("export")
	b.drop("a")
	if got := b.line(); got != "b: relay 3 %" {
		t.Errorf("%q", got)
	}
}

// A copy that is killed on its way through another bucket leaves a note beside its
// object there, which a sweep goes by; a run that comes to its end leaves nothing.
func TestDetourIsNoted(t *testing.T) {
	for _, route := range []string{"copy-object", "relay"} {
		w := newWorld()
		change := func(c *Copy) {
			c.Targets[0].Direct, c.Targets[0].Ways = false, []Way{way{store{w, route}}}
		}
		w.after = func(step string) {
			if step == "bring "+route {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.dead = true
			}
		}
		_, said, err := runWith(t.Context(), w, change, "a")
		if err == nil {
			t.Fatalf("it was not killed\n%s", said)
		}
		object := ""
		for o := range w.objects {
			if strings.HasPrefix(o, route) {
				object = strings.TrimPrefix(o, route)
			}
		}
		noted := false
		for n, o := range w.notes {
			noted = noted || strings.HasPrefix(n, route+"armfree-") && o == object
		}
		if !noted || !strings.HasPrefix(object, objectPrefix) || w.index("note "+route) > w.index("bring "+route) {
			t.Errorf("there is %q, notes %q, steps %q", w.left(), w.notes, w.steps)
		}
		w.dead, w.after = false, nil
		w.steps = nil
		if _, said, err := runWith(t.Context(), w, change, "a"); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		for _, l := range w.left() {
			if strings.Contains(l, route) {
				t.Errorf("left %q", l)
			}
		}
	}
}
