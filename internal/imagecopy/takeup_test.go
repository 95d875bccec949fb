// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"errors"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// What an earlier run began is this run's from the moment on that it is waited for: until
// then it says until when that run needed it, and a sweep would go by it.
func TestAdoptedImageIsRenewed(t *testing.T) {
	for name, tt := range map[string]struct {
		there  cloud.Found
		verify bool
		refuse bool // as long as it is being imported
	}{
		"left by a verification":       {there: cloud.Found{Name: "debian-unverified", Ready: true}, verify: true},
		"one that did not pass":        {there: cloud.Found{Name: "debian-unverified", Ready: true, Failed: true}, verify: true},
		"under way":                    {there: cloud.Found{Name: "debian"}},
		"under way, and hidden":        {there: cloud.Found{Name: "debian-unverified"}, verify: true},
		"not to be changed meanwhile":  {there: cloud.Found{Name: "debian-unverified"}, verify: true, refuse: true},
		"nor if nothing looks at it":   {there: cloud.Found{Name: "debian"}, refuse: true},
		"not to be changed, with name": {there: cloud.Found{Name: "debian"}, verify: true, refuse: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			n := newCopy(w, func(string, ...any) {}, "a")
			f := tt.there
			f.ID, f.Mark, f.Unfinished = "old@a", n.mark(n.Targets[0]), true
			w.images["old@a"] = f
			w.notes[n.Owner.Name(owner.RoleCopy)], w.objects["o"] = "o", 7
			if tt.refuse {
				w.fail["pend a"] = errors.New("IncorrectState")
			}
			w.after = func(step string) {
				w.mu.Lock()
				defer w.mu.Unlock()
				if step == "await a" {
					delete(w.fail, "pend a")
				}
			}
			pended := 0
			i := &inspector{by: "x", verify: func(context.Context, string) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				if pended = w.count("pend a"); w.images["old@a"].Failed != tt.there.Failed || w.images["old@a"].Name != "debian-unverified" {
					t.Errorf("while it is looked at: %+v", w.images["old@a"])
				}
				return nil
			}}
			_, said, err := runWith(t.Context(), w, func(c *Copy) {
				if tt.verify {
					c.Targets[0].Verify = i
				}
			}, "a")
			if err != nil || w.count("import a") != 0 || w.index("pend a") < 0 || w.index("pend a") > w.index("await a") {
				t.Errorf("%v, %q\n%s", err, w.steps, said)
			}
			if want := map[bool]int{false: 1, true: 2}[tt.refuse]; tt.verify && pended != want {
				t.Errorf("its tags were written %d times before it was looked at, want %d: %q", pended, want, w.steps)
			}
			if f := w.images["old@a"]; f.Name != "debian" || f.Unfinished || f.Failed {
				t.Errorf("%+v", f)
			}
		})
	}
}
