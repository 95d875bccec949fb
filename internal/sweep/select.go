// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// DefaultGrace is how long after its expiry a thing is still left alone. A build
// that ends late, or whose computer's clock was wrong, is not disturbed.
const DefaultGrace = 15 * time.Minute

// Rules say what goes.
type Rules struct {
	// Grace is added to each expiry; see DefaultGrace.
	Grace time.Duration
	// OlderThan, if not zero, lets go what was made longer ago than that, although
	// its build may go on. What does not say when it was made is not among it.
	OlderThan time.Duration
	// Builds, if there are any, are the only ones whose things go: all of them,
	// expired or not, for whoever names a build says that it is over.
	Builds []string
	// Except is a build whose things stay: the one that asks.
	Except string
}

// Kept is something of ours that stays, and why.
type Kept struct {
	Thing
	Why string
}

// Choice is what a listing comes to.
type Choice struct {
	Remove  []Thing // in the order in which it is to be removed
	Keep    []Kept
	Foreign int // how many things are not ours
}

// Select decides. It is pure: the same listing and rules give the same choice. If the
// cloud's time is not known, nothing goes.
func Select(l Listing, r Rules) Choice {
	var c Choice
	blind := map[Kind]bool{}
	for _, b := range l.Blind {
		blind[b.Kind] = true
	}
	goes := map[string]bool{}
	var candidates []Thing
	for _, t := range l.Things {
		if !t.Ours {
			c.Foreign++
			continue
		}
		if why := r.stays(t, l.Now); why != "" {
			c.Keep = append(c.Keep, Kept{t, why})
			continue
		}
		if u := user(t.Kind); u != "" && blind[u] {
			c.Keep = append(c.Keep, Kept{t, fmt.Sprintf("no %s could be listed, and one may use it", u)})
			continue
		}
		candidates = append(candidates, t)
		goes[t.ID] = true
	}
	// What stays keeps what it uses, and that in turn.
	for changed := true; changed; {
		changed = false
		candidates = slices.DeleteFunc(candidates, func(t Thing) bool {
			i := slices.IndexFunc(t.UsedBy, func(id string) bool { return !goes[id] })
			if i < 0 {
				return false
			}
			c.Keep = append(c.Keep, Kept{t, "it is used by " + t.UsedBy[i]})
			delete(goes, t.ID)
			changed = true
			return true
		})
	}
	sort(candidates)
	c.Remove = candidates
	return c
}

// sort puts things into the order in which they are removed.
func sort(things []Thing) {
	kinds := order()
	slices.SortStableFunc(things, func(a, b Thing) int {
		return cmp.Or(slices.Index(kinds, a.Kind)-slices.Index(kinds, b.Kind), cmp.Compare(a.ID, b.ID))
	})
}

// copied says whether a thing is what a copy is made through. Its name does not say
// until when it is needed; what says so may be gone.
func copied(t Thing) bool {
	return (t.Kind == Object || t.Kind == Upload) && t.Mark.Role == owner.RoleCopy
}

// stays says why a thing of ours stays, whoever uses it; empty if it may go.
func (r Rules) stays(t Thing, now time.Time) string {
	switch {
	case t.ID == "":
		return "it has no id"
	case !slices.Contains(roles(t.Kind), t.Mark.Role):
		return fmt.Sprintf("its mark is that of another kind of thing (%s)", t.Mark.Role)
	case t.Kind == Image && !t.Mark.Unfinished, t.Mark.Role == owner.RoleCapture && t.Mark.Expires.IsZero():
		return "it is finished"
	case t.Mark.Expires.IsZero() && copied(t) && !slices.Contains(r.Builds, t.Mark.Build):
		return "nothing is left that says until when its copy needs it: sweep --build " + t.Mark.Build + " removes it"
	case t.Mark.Expires.IsZero() && !copied(t):
		return "it has no expiry: it is to stay"
	case t.Mark.Build == r.Except:
		return "its build is this one"
	case len(r.Builds) > 0 && !slices.Contains(r.Builds, t.Mark.Build):
		return "it is another build's"
	case now.IsZero():
		return "the cloud has not said what time it is"
	case len(r.Builds) > 0:
		return ""
	case r.OlderThan > 0 && !t.Created.IsZero() && !t.Created.Add(r.OlderThan).After(now):
		return ""
	case t.Mark.Expires.Add(r.Grace).After(now):
		return "its build may need it until " + t.Mark.Expires.UTC().Format(time.RFC3339)
	}
	return ""
}
