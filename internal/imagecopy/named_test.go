// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// knowing is a source that knows which copy made an object, as one that uploads it does.
type knowing struct {
	source
	by      *string // who made the object that is there
	deliver func(d Delivery) error
	blind   *bool // it cannot be told
}

func (k knowing) Deliver(ctx context.Context, d Delivery) (err error) {
	serr := k.step(ctx, "deliver", func() { err = k.deliver(d) })
	return errors.Join(serr, err)
}

func (k knowing) Recognize(ctx context.Context, _, id string) (made bool, err error) {
	serr := k.step(ctx, "recognize", func() {
		if made = *k.by == id; *k.blind {
			err = errors.New("no answer")
		}
	})
	return made, errors.Join(serr, err)
}

var errTaken = errors.New("IfNoneMatchFailed")

// Under a name that the template chose only what the copy itself made goes, and the parts
// that it uploaded.
func TestWhoseObjectGoes(t *testing.T) {
	for name, tt := range map[string]struct {
		object  string // "o" is the user's
		by      string // who made the object; "": somebody else
		deliver func(w *world, d Delivery) error
		again   bool // an earlier run was killed, which had begun an upload
		after   func(step string, by *string, blind *bool)
		ahead   time.Duration // of the store's clock
		left    []string
	}{
		"its own": {by: "me", left: []string{"image debian@a"}},
		"its own, of a store that does not keep who made it": {left: []string{"image debian@a"}},
		"another's, put there before": {
			deliver: func(*world, Delivery) error { return errTaken }, left: []string{"object o"},
		},
		"another's, put there meanwhile": {
			deliver: func(w *world, d Delivery) error { w.uploads["o"] = append(w.uploads["o"], time.Now()); return errTaken }, left: []string{"object o"},
		},
		"another's, where an earlier run had uploaded": {
			deliver: func(*world, Delivery) error { return errTaken }, again: true, left: []string{"object o"},
		},
		"another's, where it lasted longer than it was to": {ahead: 24 * time.Hour,
			deliver: func(w *world, d Delivery) error {
				w.uploads["o"] = append(w.uploads["o"], time.Now().Add(w.ahead))
				return errTaken
			}, left: []string{"object o"},
		},
		"another's, put in its place": {by: "me", after: func(step string, by *string, _ *bool) {
			if step == "seal a" {
				*by = ""
			}
		}, left: []string{"image debian@a", "object o"}},
		"who knows whose": {by: "me", after: func(step string, _ *string, blind *bool) { *blind = *blind || step == "seal a" }, left: []string{"image debian@a", "note", "object o"}},
		"another's, under a name of this plugin's": {
			object: objectPrefix + "x", deliver: func(*world, Delivery) error { return errTaken },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			object := tt.object
			if object == "" {
				object = "o"
			}
			by, blind := "nobody yet", false
			w.ahead = tt.ahead
			w.uploads["o"] = []time.Time{time.Now().Add(-24 * time.Hour)} // somebody's
			if tt.again {
				note := newCopy(w, func(string, ...any) {}).Owner.Lasting(-20 * time.Minute).Name(owner.RoleCopy)
				w.notes[note], w.noted[note] = object, time.Now().Add(-time.Hour)
				w.uploads["o"] = append(w.uploads["o"], time.Now().Add(-30*time.Minute))
			}
			if tt.after != nil {
				w.after = func(step string) {
					w.mu.Lock()
					defer w.mu.Unlock()
					tt.after(step, &by, &blind)
				}
			}
			_, said, err := runWith(t.Context(), w, func(c *Copy) {
				c.Object = object
				c.Source = knowing{source: source{w}, by: &by, blind: &blind, deliver: func(d Delivery) error {
					w.objects[object] = 9
					if by = tt.by; by == "me" {
						by = d.Owner.ID
					}
					if tt.deliver != nil {
						return tt.deliver(w, d)
					}
					return nil
				}}
			}, "a")
			if fails := tt.deliver != nil; (err != nil) != fails {
				t.Errorf("%v\n%s", err, said)
			}
			left := w.left()
			for i, l := range left {
				if strings.HasPrefix(l, "note ") {
					left[i] = "note"
				}
			}
			if got, want := strings.Join(left, ", "), strings.Join(append(tt.left, "upload o"), ", "); got != want {
				t.Errorf("left %s, want %s; steps %q\n%s", got, want, w.steps, said)
			}
			if blind && !strings.Contains(said, "who made it is not known") {
				t.Errorf("it is not said:\n%s", said)
			}
		})
	}
}

// What an object of a cloud's own export goes by is that the cloud was asked for it.
func TestObjectOfNoExportStays(t *testing.T) {
	w := newWorld()
	w.fail["share write"] = errors.New("no")
	w.after = func(step string) {
		if step == "note" {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.objects["o"] = 9
		}
	}
	if _, said, err := run(t.Context(), w, "a"); err == nil {
		t.Error(said)
	}
	mustLeave(t, w, "object o")
}

// What somebody else had begun to upload under that name stays, however the copy ends; what
// is begun meanwhile may be the cloud's own.
func TestUploadOfNoExportStays(t *testing.T) {
	for name, tt := range map[string]struct {
		again bool // an earlier run was killed when the object was there
		fail  string
		left  []string
	}{
		"":                             {left: []string{"image debian@a", "upload o"}},
		"that fails":                   {fail: "import a", left: []string{"upload o"}},
		"of a run that was killed":     {again: true, left: []string{"image debian@a", "upload o"}},
		"of one that came to nothing":  {again: true, fail: "await export", left: []string{"image debian@a", "upload o"}},
		"of one that nobody asked for": {fail: "share write", left: []string{"upload o", "upload o"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.uploads["o"] = []time.Time{time.Now().Add(-24 * time.Hour)}
			if tt.again {
				note := newCopy(w, func(string, ...any) {}).Owner.Lasting(-20 * time.Minute).Name(owner.RoleCopy)
				w.notes[note], w.noted[note], w.objects["o"] = "o", time.Now().Add(-time.Hour), 7
			}
			w.fail[tt.fail] = errors.New("no")
			w.after = func(step string) {
				w.mu.Lock()
				defer w.mu.Unlock()
				switch {
				case step == "note":
					w.uploads["o"] = append(w.uploads["o"], time.Now())
				case step == "await export" && tt.again:
					delete(w.fail, step)
				}
			}
			if _, said, err := run(t.Context(), w, "a"); (err != nil) != (tt.fail != "" && !tt.again) {
				t.Errorf("%v\n%s", err, said)
			}
			mustLeave(t, w, tt.left...)
		})
	}
}

// Of another copy that was killed, and whose template chose the name, links and parts go.
// The object stays, and is named if it is there; the note goes last.
func TestSweepOfANamedObject(t *testing.T) {
	for name, tt := range map[string]struct {
		there bool
		fail  string
	}{"": {}, "that is there": {there: true}, "whose parts cannot be removed": {fail: "abort"}, "that cannot be looked at": {fail: "size"}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			now := time.Now()
			dead := owner.Build{ID: "dead", Expires: now.Add(-2 * time.Hour)}
			note := dead.Name(owner.RoleCopy)
			w.notes[note], w.noted[note] = "theirs", now.Add(-4*time.Hour)
			w.uploads["theirs"] = []time.Time{now.Add(-5 * time.Hour), now.Add(-3 * time.Hour), now.Add(-time.Hour)}
			w.links[dead.Name(owner.RoleExport)], w.links[dead.Name(owner.RoleImport)] = 1, 2
			want := []string{"image debian@a", "upload theirs", "upload theirs"}
			if tt.there {
				w.objects["theirs"] = 5
				want = []string{"image debian@a", "object theirs", "upload theirs", "upload theirs"}
			}
			if tt.fail != "" {
				want = []string{"image debian@a", "note " + note, "upload theirs", "upload theirs"}
				w.after = func(step string) {
					if step == "remove" { // of this copy's own object: what follows is the other's
						w.mu.Lock()
						defer w.mu.Unlock()
						w.fail[tt.fail] = errors.New("no")
					}
				}
			}
			if tt.fail == "abort" {
				want = append(want, "upload theirs")
			}
			_, said, err := runWith(t.Context(), w, func(c *Copy) { c.Object = objectPrefix + "mine"; c.Source = putting{source{w}, c.Object} }, "a")
			if err != nil || strings.Contains(said, "please delete it") != tt.there || !strings.Contains(said, "has uploaded of the object theirs") {
				t.Errorf("%v\n%s", err, said)
			}
			mustLeave(t, w, want...)
		})
	}
}

// An upload is gone on with if it was begun while a run of this copy was under way, as one
// is now, and not in between.
func TestWhoseUploadIsGoneOnWith(t *testing.T) {
	for name, object := range map[string]string{"": "o", "of a name of this plugin's": objectPrefix + "x"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			now := time.Now()
			note := newCopy(w, func(string, ...any) {}).Owner.Lasting(-80 * time.Minute).Name(owner.RoleCopy) // 20 minutes ago
			w.notes[note], w.noted[note] = object, now.Add(-time.Hour)
			by, blind, asked := "me", false, false
			_, said, err := runWith(t.Context(), w, func(c *Copy) {
				c.Object = object
				c.Source = knowing{source: source{w}, by: &by, blind: &blind, deliver: func(d Delivery) error {
					if asked = true; (d.Mine == nil) != ours(object) {
						t.Fatal("whose it is must be told exactly where it may be anybody's")
					}
					for after, mine := range map[time.Duration]bool{-2 * time.Hour: false, -30 * time.Minute: true, -10 * time.Minute: false, time.Minute: true, 9 * time.Hour: true} {
						if d.Mine != nil && d.Mine(now.Add(after)) != mine {
							t.Errorf("begun after %s: want %t", after, mine)
						}
					}
					w.objects[object], by = 9, d.Owner.ID
					return nil
				}}
			}, "a")
			if err != nil || !asked {
				t.Errorf("%v\n%s", err, said)
			}
		})
	}
}

// putting is a source that simply puts an object there.
type putting struct {
	source
	object string
}

func (p putting) Deliver(ctx context.Context, _ Delivery) error {
	return p.step(ctx, "deliver", func() { p.objects[p.object] = 9 })
}
