// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// inspector is a verifier that says what it is told to.
type inspector struct {
	by     string
	check  error
	verify func(ctx context.Context, image string) error
	seen   []string
	tidied int
}

func (i *inspector) By() string                  { return i.by }
func (i *inspector) Check(context.Context) error { return i.check }
func (i *inspector) Tidy(context.Context) error  { i.tidied++; return nil }
func (i *inspector) Verify(ctx context.Context, image string) (cloud.Verified, error) {
	i.seen = append(i.seen, image)
	if i.verify == nil {
		return cloud.Verified{Tests: 7}, nil
	}
	return cloud.Verified{Tests: 7}, i.verify(ctx, image)
}

var errNoBoot = errors.New("it does not boot")

// count is how often a step was taken.
func (w *world) count(step string) (n int) {
	for _, s := range w.steps {
		if s == step {
			n++
		}
	}
	return n
}

func noBoot(context.Context, string) error { return errNoBoot }

// with gives the first destination a verifier.
func with(i *inspector) func(*Copy) { return func(c *Copy) { c.Targets[0].Verify = i } }

// An image has its name and counts as finished once it has passed.
func TestVerify(t *testing.T) {
	w := newWorld()
	i := &inspector{by: "x", verify: func(_ context.Context, image string) error {
		w.mu.Lock() // the other destinations go on
		defer w.mu.Unlock()
		if f := w.images[image]; f.Name != "debian-unverified" || !f.Unfinished || w.index("await a") < 0 || w.index("seal a") >= 0 {
			t.Errorf("%+v after %q", f, w.steps)
		}
		return nil
	}}
	results, _, err := runWith(t.Context(), w, with(i), "a", "b")
	if err != nil || len(i.seen) != 1 {
		t.Fatalf("%v, %q", err, i.seen)
	}
	if f := w.images[results[0].Image]; f.Name != "debian" || f.Unfinished || f.Verified == nil || f.Verified.By != "x" {
		t.Errorf("%+v", f)
	}
	if v := results[0].Verified; v == nil || v.Tests != 7 || results[1].Verified != nil {
		t.Errorf("%+v", results)
	}
}

// Verifying may take hours: by then nobody reads the object any more, and neither it nor
// a link to it is there. Only the note stays, by which a run that is killed is taken up.
func TestNothingIsOpenWhileVerifying(t *testing.T) {
	for name, tt := range map[string]struct {
		ways []Way
		also string // another destination
		fail string // a step that fails the first time
		open int    // links and objects while the image is being verified
	}{
		"alone":                      {},
		"beside a finished one":      {also: "b"},
		"by another way":             {ways: []Way{}},
		"the object cannot be taken": {fail: "delete", open: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			ready := make(chan struct{})
			if tt.also == "" {
				close(ready)
			}
			w.after = func(step string) {
				if step == "seal "+tt.also {
					close(ready)
				}
			}
			if tt.fail != "" {
				w.fail[tt.fail] = errors.New("no")
			}
			seen := -1
			i := &inspector{by: "x", verify: func(context.Context, string) error {
				<-ready
				for range 1000 { // the other goroutine is about to remove them
					w.mu.Lock()
					seen = len(w.links) + len(w.objects)
					w.mu.Unlock()
					if seen == tt.open {
						break
					}
					time.Sleep(time.Millisecond)
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				if len(w.notes) != 1 {
					t.Errorf("notes %v", w.notes)
				}
				delete(w.fail, tt.fail)
				return nil
			}}
			names := []string{"a"}
			if tt.also != "" {
				names = append(names, tt.also)
			}
			_, said, err := runWith(t.Context(), w, func(c *Copy) {
				c.Targets[0].Verify = i
				if tt.ways != nil {
					c.Targets[0].Direct, c.Targets[0].Ways = false, []Way{way{store{w, "copy-object"}}}
				}
			}, names...)
			if err != nil || seen != tt.open {
				t.Errorf("%d links and objects, %v\n%s", seen, err, said)
			}
			if left := w.left(); len(left) != len(names) {
				t.Errorf("left %q", left)
			}
		})
	}
}

// An image that does not pass is none, and no other way would bring a better one.
func TestVerifyFails(t *testing.T) {
	for name, err := range map[string]error{"boot": errNoBoot, "an error that an import may have": errRefused} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			i := &inspector{verify: func(context.Context, string) error { return err }}
			results, _, got := runWith(t.Context(), w, func(c *Copy) {
				c.Targets[0].Verify, c.Targets[0].Ways = i, []Way{way{store{w, "copy-object"}}}
			}, "a", "b")
			if !errors.Is(got, err) || !strings.Contains(got.Error(), "was not verified, and was deleted") || len(i.seen) != 1 || results[0].Image != "" {
				t.Errorf("%v, %q, %+v", got, i.seen, results)
			}
			mustLeave(t, w, "image debian@b")
		})
	}
}

// One that is to stay is verified again by the next run, and not imported again.
func TestVerifyKeeps(t *testing.T) {
	w := newWorld()
	i := &inspector{by: "x", verify: noBoot}
	keep := func(c *Copy) { c.Targets[0].Verify, c.Targets[0].KeepUnverified = i, true }
	results, _, err := runWith(t.Context(), w, keep, "a")
	if !errors.Is(err, errNoBoot) || results[0].Unverified != "debian-unverified@a" || !strings.Contains(err.Error(), `under the name "debian-unverified"`) {
		t.Errorf("%v, %+v", err, results)
	}
	mustLeave(t, w, "image debian-unverified@a (unfinished)")
	i.verify = nil
	results, said, err := runWith(t.Context(), w, keep, "a")
	if err != nil || results[0].Image != "debian-unverified@a" || results[0].Verified == nil || w.count("import a") != 1 || w.count("export") != 1 {
		t.Errorf("%v, %+v, %q\n%s", err, results, w.steps, said)
	}
	if f := w.images["debian-unverified@a"]; f.Name != "debian" || f.Unfinished {
		t.Errorf("%+v", f)
	}
}

// One that did not pass is not taken by a run that would not look at it.
func TestVerifyFailedAndForgotten(t *testing.T) {
	w := newWorld()
	i := &inspector{by: "x", verify: noBoot}
	if _, _, err := runWith(t.Context(), w, func(c *Copy) { c.Targets[0].Verify, c.Targets[0].KeepUnverified = i, true }, "a"); err == nil {
		t.Fatal("no error")
	}
	_, _, err := run(t.Context(), w, "a")
	if err == nil || !strings.Contains(err.Error(), "did not pass its verification") {
		t.Errorf("%v", err)
	}
	mustLeave(t, w, "image debian-unverified@a (unfinished)")
}

// What an earlier run began, and what fails now, is not imported a second time.
func TestVerifyOfAnAdoptedImageFails(t *testing.T) {
	w := newWorld()
	i := &inspector{by: "x", verify: noBoot}
	if _, _, err := runWith(t.Context(), w, func(c *Copy) { c.Targets[0].Verify, c.Targets[0].KeepUnverified = i, true }, "a"); err == nil {
		t.Fatal("no error")
	}
	if _, _, err := runWith(t.Context(), w, with(i), "a"); !errors.Is(err, errNoBoot) || w.count("import a") != 1 || len(i.seen) != 2 {
		t.Errorf("%v, %q", err, w.steps)
	}
	mustLeave(t, w)
}

// A finished copy is verified if it has not been by the same, and stays either way.
func TestVerifyWhatIsThere(t *testing.T) {
	w := newWorld()
	if _, _, err := run(t.Context(), w, "a"); err != nil {
		t.Fatal(err)
	}
	exports := w.count("export")
	for n, tt := range []struct {
		by    string
		fails bool
		seen  int
	}{{"x", true, 1}, {"x", false, 1}, {"x", false, 0}, {"y", false, 1}, {"y", true, 0}} {
		i := &inspector{by: tt.by}
		if tt.fails {
			i.verify = noBoot
		}
		results, said, err := runWith(t.Context(), w, with(i), "a")
		if fails := tt.fails && tt.seen > 0; fails != (err != nil) || len(i.seen) != tt.seen || results[0].Image != "debian@a" {
			t.Errorf("%d: %v, %q, %+v\n%s", n, err, i.seen, results, said)
		}
		mustLeave(t, w, "image debian@a")
	}
	if n := w.count("export"); n != exports {
		t.Errorf("%d exports", n)
	}
}

// The source goes only after every destination has been verified.
func TestSourceStaysUntilVerified(t *testing.T) {
	w := newWorld()
	i := &inspector{by: "x", verify: noBoot}
	remove := func(c *Copy) { c.Targets[0].Verify, c.RemoveSource = i, true }
	if _, _, err := runWith(t.Context(), w, remove, "a"); err == nil || w.index("remove source") >= 0 {
		t.Errorf("%v, %q", err, w.steps)
	}
	i.verify = nil
	if _, _, err := runWith(t.Context(), w, remove, "a"); err != nil || w.index("remove source") < w.index("seal a") {
		t.Errorf("%v, %q", err, w.steps)
	}
}

// A verification that cannot take place is known before anything is exported.
func TestVerifyIsChecked(t *testing.T) {
	w := newWorld()
	no := errors.New("there is no subnet")
	_, _, err := runWith(t.Context(), w, with(&inspector{check: no}), "a", "b")
	if !errors.Is(err, no) || !strings.Contains(err.Error(), "destination a: verify: there is no subnet") || w.count("export") != 0 {
		t.Errorf("%v, %q", err, w.steps)
	}
	mustLeave(t, w)
}

// An image that could not be looked at stays, whatever is to become of bad ones, and the
// next run goes on with it.
func TestVerifyIsNotTried(t *testing.T) {
	for name, try := range map[string]func(cancel func()) error{
		"no machine": func(func()) error { return &Untried{errNoBoot} },
		"Ctrl-C":     func(cancel func()) error { cancel(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			i := &inspector{by: "x", verify: func(context.Context, string) error { return try(cancel) }}
			results, _, err := runWith(ctx, w, with(i), "a")
			if err == nil || !strings.Contains(err.Error(), "It stays") || results[0].Unverified == "" || results[0].Image != "" {
				t.Errorf("%v, %+v", err, results)
			}
			mustLeave(t, w, "image debian-unverified@a (unfinished)")
			i.verify = nil
			if _, _, err := runWith(t.Context(), w, with(i), "a"); err != nil || w.count("import a") != 1 || w.count("export") != 1 {
				t.Errorf("%v, %q", err, w.steps)
			}
			mustLeave(t, w, "image debian-unverified@a")
		})
	}
}

// A machine that stays makes the run fail, and the image no worse; the next run looks for
// the machine although the image has passed.
func TestVerifyLeavesAMachine(t *testing.T) {
	w := newWorld()
	stays := errors.New("machine m could not be terminated")
	i := &inspector{by: "x", verify: func(context.Context, string) error { return &Left{stays} }}
	source := func(c *Copy) { c.Targets[0].Verify, c.RemoveSource = i, true }
	results, _, err := runWith(t.Context(), w, source, "a")
	if !errors.Is(err, stays) || results[0].Err != nil || !errors.Is(results[0].Left, stays) || results[0].Image != "debian-unverified@a" || !w.source {
		t.Errorf("%v, %+v", err, results)
	}
	if f := w.images["debian-unverified@a"]; f.Unfinished || f.Verified == nil {
		t.Errorf("%+v", f)
	}
	if _, _, err := runWith(t.Context(), w, with(i), "a"); err != nil || i.tidied != 2 || len(i.seen) != 1 {
		t.Errorf("%v, looked %d times", err, i.tidied)
	}
}

// One that has passed is not thrown away because its tags cannot be changed now.
func TestVerifiedAndNotSealed(t *testing.T) {
	w := newWorld()
	no := errors.New("a bad day")
	w.fail["seal a"] = no
	i := &inspector{by: "x"}
	results, _, err := runWith(t.Context(), w, with(i), "a")
	if !errors.Is(err, no) || !strings.Contains(err.Error(), "has passed") || results[0].Unverified == "" || results[0].Image != "" {
		t.Errorf("%v, %+v", err, results)
	}
	mustLeave(t, w, "image debian-unverified@a (unfinished)")
	delete(w.fail, "seal a")
	if _, _, err := runWith(t.Context(), w, with(i), "a"); err != nil || w.count("import a") != 1 {
		t.Errorf("%v, %q", err, w.steps)
	}
	mustLeave(t, w, "image debian-unverified@a")
}

// One that a run without verify began to import does not have its name while it is looked
// at.
func TestVerifyHidesWhatIsAdopted(t *testing.T) {
	w := newWorld()
	w.after = func(step string) {
		if step == "await a" {
			w.mu.Lock()
			w.dead = true
			w.mu.Unlock()
		}
	}
	if _, _, err := run(t.Context(), w, "a"); err == nil || w.images["debian@a"].Name != "debian" {
		t.Fatalf("%v, %+v", err, w.images)
	}
	w.dead, w.after = false, nil
	i := &inspector{by: "x", verify: func(_ context.Context, image string) error {
		w.mu.Lock() // the other destinations go on
		defer w.mu.Unlock()
		if f := w.images[image]; f.Name != "debian-unverified" || !f.Unfinished {
			t.Errorf("%+v", f)
		}
		return nil
	}}
	if _, _, err := runWith(t.Context(), w, with(i), "a"); err != nil || len(i.seen) != 1 || w.images["debian@a"].Name != "debian" {
		t.Errorf("%v, %+v", err, w.images)
	}
}

// What people tagged a finished image with while it was verified stays.
func TestVerifyLaterKeepsTags(t *testing.T) {
	w := newWorld()
	if _, _, err := run(t.Context(), w, "a"); err != nil {
		t.Fatal(err)
	}
	tag := func(value string) {
		f := w.images["debian@a"]
		f.Tags = map[string]string{"team": value}
		w.images["debian@a"] = f
	}
	tag("before")
	i := &inspector{by: "x", verify: func(context.Context, string) error { tag("meanwhile"); return nil }}
	if _, _, err := runWith(t.Context(), w, with(i), "a"); err != nil || len(i.seen) != 1 || w.images["debian@a"].Tags["team"] != "meanwhile" {
		t.Errorf("%v, %+v", err, w.images)
	}
}

func TestProvisionalNames(t *testing.T) {
	for _, name := range []string{"debian", "", strings.Repeat("x", 255), strings.Repeat("ä", 127)} {
		got := provisional(name)
		if len(got) > 255 || !utf8.ValidString(got) || !strings.HasSuffix(got, "-unverified") || got == name {
			t.Errorf("%q is %q", name, got)
		}
	}
}
