// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// What an import made whose reply was lost is looked for until a list would show it, and
// goes if nobody wants it any more.
func TestLostImport(t *testing.T) {
	for _, tt := range []struct {
		name   string
		lag    time.Duration // of the list of images
		cancel time.Duration // after the reply was lost; negative is never
		fails  string
		says   string
		left   []string
	}{
		{name: "there at once", cancel: -1, left: []string{"image debian@a"}},
		{name: "there late", lag: 100 * time.Second, cancel: -1, left: []string{"image debian@a"}},
		{name: "never there", lag: time.Hour, cancel: -1, fails: "nothing that it made has shown up", left: []string{"image debian@a (unfinished)"}},
		{name: "there at once, and Ctrl-C", cancel: 0, fails: "interrupted"},
		{name: "there late, and Ctrl-C", lag: 100 * time.Second, cancel: 0, fails: "interrupted", says: "looking for the image that it made, up to 2m0s after it was sent"},
		{name: "there late, and Ctrl-C while it is looked for", lag: 100 * time.Second, cancel: 30 * time.Second, fails: "interrupted", says: "looking for the image that it made"},
		{name: "never there, and Ctrl-C", lag: time.Hour, cancel: 0, fails: "interrupted", says: "nothing that it made has shown up", left: []string{"image debian@a (unfinished)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w := newWorld()
				w.lag, w.lose["import a"] = tt.lag, errLost
				var mark string
				open, asked := 0, time.Time{}
				w.after = func(step string) {
					w.mu.Lock()
					defer w.mu.Unlock()
					switch {
					case step == "import a":
						asked = time.Now()
						if tt.cancel == 0 {
							cancel()
						} else if tt.cancel > 0 {
							time.AfterFunc(tt.cancel, cancel)
						}
					case step == "images a" && !asked.IsZero() && ctx.Err() != nil && time.Since(asked) > time.Minute:
						open = max(open, len(w.links)+len(w.objects)+len(w.notes))
					}
				}
				results, said, err := runWith(ctx, w, func(c *Copy) {
					c.Cleanup = 10 * time.Minute
					mark = c.mark(c.Targets[0])
				}, "a")
				if tt.fails == "" && (err != nil || results[0].Image != "debian@a") || tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) {
					t.Errorf("%v\n%s", err, said)
				}
				if tt.cancel >= 0 != errors.Is(err, context.Canceled) {
					t.Errorf("%v", err)
				}
				if !strings.Contains(said, tt.says) {
					t.Errorf("%q is not in\n%s", tt.says, said)
				}
				if tt.lag > wait.Unseen && !strings.Contains(fmt.Sprint(said, err), mark) {
					t.Errorf("the mark %s is not named: %v\n%s", mark, err, said)
				}
				if open > 0 {
					t.Error("links, the object or the note wait for the image")
				}
				if d := time.Since(asked); d > wait.Unseen+10*time.Second {
					t.Errorf("it was looked for %s", d)
				}
				mustLeave(t, w, tt.left...)
			})
		})
	}
}

// A lost import that cannot be looked up says both, and is looked for once more at the end.
func TestLostAndNotFound(t *testing.T) {
	for name, heals := range map[string]bool{"later": true, "not at all": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				blind := errors.New("cannot look")
				w.lose["import a"] = errLost
				w.after = func(step string) {
					w.mu.Lock()
					defer w.mu.Unlock()
					if step == "import a" {
						w.fail["images a"] = blind
					}
					if step == "delete" && heals {
						delete(w.fail, "images a")
					}
				}
				_, said, err := run(t.Context(), w, "a")
				if !errors.Is(err, errLost) || !errors.Is(err, blind) {
					t.Errorf("%v", err)
				}
				if heals {
					mustLeave(t, w)
					return
				}
				mark := newCopy(w, nil, "a").mark(newCopy(w, nil, "a").Targets[0])
				if !strings.Contains(said, "cannot look") || !strings.Contains(said, mark) {
					t.Errorf("the mark %s is not named:\n%s", mark, said)
				}
				mustLeave(t, w, "image debian@a (unfinished)")
			})
		})
	}
}

// One that is found too late, and cannot be deleted, is named.
func TestLostAndLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := newWorld()
		w.lag, w.lose["import a"], w.fail["delete a"] = time.Minute, errLost, errors.New("no")
		w.after = func(step string) {
			if step == "import a" {
				cancel()
			}
		}
		_, said, err := runWith(ctx, w, func(c *Copy) { c.Cleanup = 10 * time.Minute }, "a")
		if !errors.Is(err, context.Canceled) || !strings.Contains(said, "the unfinished image debian@a is left") {
			t.Errorf("%v\n%s", err, said)
		}
	})
}
