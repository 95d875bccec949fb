// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

func TestOrder(t *testing.T) {
	w := newWorld()
	results, said, err := run(t.Context(), w, "a")
	if err != nil || len(results) != 1 || results[0].Image != "debian@a" || results[0].Route != "direct" || results[0].Destination != "a" || results[0].Err != nil {
		t.Fatalf("%+v, %v\n%s", results, err, said)
	}
	want := []string{
		"describe", "check store", "notes", "size", "images a", "check a", "note",
		"share write", "export", "await export", "unshare export", "size",
		"share read", "import a", "await a", "seal a",
		"unshare export", "unshare import", "delete", "notes", "abort", "notes", "forget",
	}
	if !slices.Equal(w.steps, want) {
		t.Errorf("steps %q\nwant  %q", w.steps, want)
	}
	mustLeave(t, w, "image debian@a")
	if strings.Contains(said, "secret") {
		t.Errorf("a link was printed: %s", said)
	}
}

func TestEverythingWrongIsSaidBeforeAnythingStarts(t *testing.T) {
	w := newWorld()
	w.fail["describe"] = errors.New("no such image")
	w.fail["check store"] = errors.New("no such bucket")
	w.fail["check a"] = errors.New("wrong key")
	w.fail["check b"] = errors.New("no room")
	_, _, err := run(t.Context(), w, "a", "b")
	for _, want := range []string{"nothing was started", "no such image", "no such bucket", "destination a: wrong key", "destination b: no room"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
	if slices.Sort(w.steps); !slices.Equal(w.steps, []string{"check a", "check b", "check store", "describe", "images a", "images b"}) {
		t.Errorf("steps %q", w.steps)
	}
}

// Each single reason stops the copy, too.
func TestNothingStartsWhenACheckFails(t *testing.T) {
	for _, step := range []string{"describe", "check store", "notes", "size", "images a", "check a", "check b"} {
		t.Run(step, func(t *testing.T) {
			w := newWorld()
			cause := errors.New("because")
			w.fail[step] = cause
			results, _, err := run(t.Context(), w, "a", "b")
			if !errors.Is(err, cause) || results != nil {
				t.Errorf("%v, %v", results, err)
			}
			for _, s := range w.steps {
				if strings.HasPrefix(s, "share") || strings.HasPrefix(s, "unshare") || s == "export" || s == "remove" || s == "delete" || s == "note" {
					t.Errorf("steps %q", w.steps)
				}
			}
		})
	}
}

// An object of the same name is the user's: it is neither overwritten nor
// removed.
func TestAnObjectThatExistsIsKept(t *testing.T) {
	w := newWorld()
	w.objects["o"] = 7
	_, _, err := run(t.Context(), w, "a")
	if err == nil || !strings.Contains(err.Error(), `the object "o" exists already`) {
		t.Errorf("%v", err)
	}
	mustLeave(t, w, "object o")
}

func TestAnExportWithoutAnObject(t *testing.T) {
	for name, prepare := range map[string]func(*world){
		"none":  func(w *world) { w.empty = true },
		"empty": func(w *world) { w.after = func(s string) { emptied(w, s) } },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			prepare(w)
			_, _, err := run(t.Context(), w, "a", "b")
			if err == nil || strings.Count(err.Error(), "reported as finished") != 1 || strings.Contains(err.Error(), "destination") || w.index("import a") >= 0 || w.index("share read") >= 0 {
				t.Errorf("%v; steps %q", err, w.steps)
			}
			mustLeave(t, w)
		})
	}
}

func emptied(w *world, step string) {
	if step == "export" {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.objects["o"] = 0
	}
}

// Wherever a copy fails, its cause is told and nothing is left.
func TestFailureAnywhere(t *testing.T) {
	for _, step := range []string{"share write", "export", "await export", "unshare export", "share read", "import a", "await a", "seal a"} {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, late %t", step, late), func(t *testing.T) {
				w := newWorld()
				cause := errors.New("because")
				if step == "unshare export" {
					// Only the first time: the write link must go before an import.
					w.after = func(s string) {
						w.mu.Lock()
						defer w.mu.Unlock()
						if s == step {
							delete(w.fail, step)
							delete(w.lose, step)
						}
					}
				}
				if late {
					if step == "import a" {
						cause = fmt.Errorf("%w: because", errLost) // found by its token
					}
					w.lose[step] = cause
				} else {
					w.fail[step] = cause
				}
				_, said, err := run(t.Context(), w, "a")
				if late && step == "import a" {
					if err != nil || w.index("images a") < 0 {
						t.Errorf("%v; steps %q", err, w.steps)
					}
					mustLeave(t, w, "image debian@a")
					return
				}
				if !errors.Is(err, cause) {
					t.Errorf("%v\n%s", err, said)
				}
				if step == "unshare export" && w.index("share read") >= 0 {
					t.Errorf("went on with the write link open: %q", w.steps)
				}
				mustLeave(t, w)
				if a, b := w.index("unshare import"), w.index("delete"); a < 0 || b < a && step != "share write" {
					t.Errorf("the object goes before the links: %q", w.steps)
				}
				if step == "share write" && w.index("delete") >= 0 { // nothing had been asked to write it
					t.Errorf("an object goes that this copy did not make: %q", w.steps)
				}
			})
		}
	}
}

// What cannot be removed is named, and does not keep the rest.
func TestCleanupThatFails(t *testing.T) {
	w := newWorld()
	w.fail["unshare import"], w.fail["delete"] = errors.New("no way in"), errors.New("no way out")
	results, said, err := run(t.Context(), w, "a")
	if err != nil || results[0].Image == "" {
		t.Errorf("a finished copy is lost: %v", err)
	}
	for _, want := range []string{"the pre-authenticated request armfree-", "-import-", "no way in", "the object o is left: no way out"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}
	w = newWorld()
	w.fail["await a"], w.fail["delete a"] = errors.New("DELETED"), errors.New("stays")
	_, _, err = run(t.Context(), w, "a")
	if err == nil || !strings.Contains(err.Error(), "DELETED") || !strings.Contains(err.Error(), "the unfinished image debian@a is left, please delete it by hand: stays") {
		t.Errorf("%v", err)
	}
	if got := w.left(); len(got) != 1 || !strings.HasPrefix(got[0], "image debian@a") {
		t.Errorf("left %q", got)
	}
}

func TestOneDestinationDoesNotStopTheOthers(t *testing.T) {
	w := newWorld()
	w.fail["import a"], w.fail["await c"] = errors.New("a is full"), errors.New("c is odd")
	results, _, err := run(t.Context(), w, "a", "b", "c", "d")
	if err == nil || !strings.Contains(err.Error(), "destination a: a is full") || !strings.Contains(err.Error(), "destination c: c is odd") || strings.Contains(err.Error(), "destination b") {
		t.Errorf("%v", err)
	}
	for i, want := range []string{"", "debian@b", "", "debian@d"} {
		if r := results[i]; r.Image != want || (r.Err == nil) != (want != "") || r.Destination != []string{"a", "b", "c", "d"}[i] {
			t.Errorf("%+v", r)
		}
	}
	mustLeave(t, w, "image debian@b", "image debian@d")
	if n := len(slices.DeleteFunc(slices.Clone(w.steps), func(s string) bool { return s != "export" })); n != 1 {
		t.Errorf("%d exports", n)
	}
}

// Cancelled after any step, a copy leaves nothing but what it had finished.
func TestCancelAfterAnyStep(t *testing.T) {
	rehearsal := newWorld()
	if _, _, err := run(t.Context(), rehearsal, "a"); err != nil {
		t.Fatal(err)
	}
	for i, step := range rehearsal.steps {
		t.Run(fmt.Sprintf("%d %s", i, step), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w := newWorld()
				n := 0
				w.after = func(string) {
					w.mu.Lock()
					defer w.mu.Unlock()
					if n++; n == i+1 {
						cancel()
					}
				}
				_, said, err := run(ctx, w, "a")
				if i >= rehearsal.index("seal a") {
					if err != nil {
						t.Errorf("it was finished: %v\n%s", err, said)
					}
					mustLeave(t, w, "image debian@a")
					return
				}
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%v\n%s", err, said)
				}
				mustLeave(t, w)
			})
		})
	}
}
