// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// of is a thing of ours that expired an hour ago.
func of(kind Kind, id string, change ...func(*Thing)) Thing {
	t := Thing{Kind: kind, ID: id, Ours: true, Created: now.Add(-9 * time.Hour), Mark: owner.Tag{
		Build: "dead", Role: roles(kind)[0], Expires: now.Add(-time.Hour), Unfinished: kind == Image || kind == Snapshot,
	}}
	for _, c := range change {
		c(&t)
	}
	return t
}

func usedBy(ids ...string) func(*Thing) { return func(t *Thing) { t.UsedBy = ids } }
func expires(at time.Time) func(*Thing) { return func(t *Thing) { t.Mark.Expires = at } }
func build(id string) func(*Thing)      { return func(t *Thing) { t.Mark.Build = id } }
func foreign(t *Thing)                  { t.Ours, t.Mark = false, owner.Tag{} }
func disk(t *Thing)                     { t.Mark.Role = owner.RoleCapture }
func finished(t *Thing)                 { t.Mark.Unfinished, t.Mark.Expires = false, time.Time{} }

func ids(list []Thing) string {
	var out []string
	for _, t := range list {
		out = append(out, t.ID)
	}
	return strings.Join(out, " ")
}

func TestSelect(t *testing.T) {
	grace := Rules{Grace: 15 * time.Minute}
	for name, tt := range map[string]struct {
		things []Thing
		blind  []Kind
		rules  Rules
		now    time.Time
		goes   string
		why    string // of the first that is kept
	}{
		"nothing":                 {},
		"expired":                 {things: []Thing{of(Instance, "i")}, goes: "i"},
		"foreign":                 {things: []Thing{of(Instance, "i", foreign)}},
		"at its expiry":           {things: []Thing{of(Instance, "i", expires(now))}, why: "may need it until 2026-11-26T12:00:00Z"},
		"in its grace":            {things: []Thing{of(Instance, "i", expires(now.Add(-15*time.Minute+time.Second)))}, why: "may need it"},
		"when its grace is over":  {things: []Thing{of(Instance, "i", expires(now.Add(-15*time.Minute)))}, goes: "i"},
		"no expiry":               {things: []Thing{of(Instance, "i", expires(time.Time{}))}, why: "no expiry"},
		"a finished image":        {things: []Thing{of(Image, "a", finished)}, why: "it is finished"},
		"one that has an expiry":  {things: []Thing{of(Image, "a", func(t *Thing) { t.Mark.Unfinished = false })}, why: "it is finished"},
		"an unfinished image":     {things: []Thing{of(Image, "a")}, goes: "a"},
		"another role":            {things: []Thing{of(Instance, "i", func(t *Thing) { t.Mark.Role = owner.RoleBastion })}, why: "another kind of thing (bastion)"},
		"no role":                 {things: []Thing{of(Instance, "i", func(t *Thing) { t.Mark.Role = "" })}, why: "another kind"},
		"a kind nobody knows":     {things: []Thing{of(Instance, "i", func(t *Thing) { t.Kind = "database" })}, why: "another kind"},
		"no id":                   {things: []Thing{of(Instance, "")}, why: "no id"},
		"no clock":                {things: []Thing{of(Instance, "i")}, now: time.Time{}.Add(time.Nanosecond), why: "what time it is"},
		"this build":              {things: []Thing{of(Instance, "i")}, rules: Rules{Except: "dead"}, why: "this one"},
		"older than":              {things: []Thing{of(Instance, "i", expires(now.Add(time.Hour)))}, rules: Rules{OlderThan: 9 * time.Hour}, goes: "i"},
		"not older than":          {things: []Thing{of(Instance, "i", expires(now.Add(time.Hour)))}, rules: Rules{OlderThan: 10 * time.Hour}, why: "may need it"},
		"of unknown age":          {things: []Thing{of(Instance, "i", expires(now.Add(time.Hour)), func(t *Thing) { t.Created = time.Time{} })}, rules: Rules{OlderThan: time.Hour}, why: "may need it"},
		"a finished image is old": {things: []Thing{of(Image, "a", finished)}, rules: Rules{OlderThan: time.Hour}, why: "finished"},
		"a build that is named":   {things: []Thing{of(Instance, "i", expires(now.Add(time.Hour))), of(Instance, "j", build("other"))}, rules: Rules{Builds: []string{"dead"}}, goes: "i", why: "another build's"},
		"a copy without a note":   {things: []Thing{of(Object, "o", expires(time.Time{}))}, why: "sweep --build dead removes it"},
		"one that is named":       {things: []Thing{of(Object, "o", expires(time.Time{})), of(Upload, "u", expires(time.Time{})), of(Object, "p", build("other"), expires(time.Time{}))}, rules: Rules{Builds: []string{"dead"}}, goes: "u o", why: "nothing is left"},
		"a captured disk":         {things: []Thing{of(Object, "o", disk, expires(time.Time{}))}, why: "it is finished"},
		"its build is named":      {things: []Thing{of(Object, "o", disk, expires(time.Time{}))}, rules: Rules{Builds: []string{"dead"}}, why: "it is finished"},
		"it is old":               {things: []Thing{of(Object, "o", disk, expires(time.Time{}))}, rules: Rules{OlderThan: time.Hour}, why: "it is finished"},
		"half of a disk":          {things: []Thing{of(Object, "o", disk), of(Object, "p", disk, expires(now.Add(time.Hour)))}, goes: "o", why: "may need it"},
		"half of one is named":    {things: []Thing{of(Object, "o", disk, expires(now.Add(time.Hour)))}, rules: Rules{Builds: []string{"dead"}}, goes: "o"},
		"a volume to keep":        {things: []Thing{of(Volume, "v", expires(time.Time{}))}, rules: Rules{Builds: []string{"dead"}}, why: "no expiry"},
		"its finished image":      {things: []Thing{of(Image, "a", finished)}, rules: Rules{Builds: []string{"dead"}}, why: "finished"},
		"in order":                {things: []Thing{of(Snapshot, "s"), of(Image, "a"), of(Group, "g"), of(Object, "o"), of(Instance, "i"), of(Link, "l"), of(Note, "n"), of(Upload, "u")}, goes: "l i u o n g a s"},
		"its image is finished":   {things: []Thing{of(Snapshot, "s", usedBy("a")), of(Image, "a", finished)}, why: "it is finished"},
		"its image goes":          {things: []Thing{of(Snapshot, "s", usedBy("a")), of(Image, "a")}, goes: "a s"},
		"used by what is foreign": {things: []Thing{of(Snapshot, "s", usedBy("a")), of(Image, "a", foreign)}, why: "it is used by a"},
		"used by the unseen":      {things: []Thing{of(Schema, "s", usedBy("a"))}, why: "it is used by a"},
		"a chain":                 {things: []Thing{of(Group, "g", usedBy("v")), of(Volume, "v", usedBy("i")), of(Instance, "i", foreign)}, why: "it is used by i"},
		"no image was listed":     {things: []Thing{of(Snapshot, "s"), of(Instance, "i")}, blind: []Kind{Image}, goes: "i", why: "no image could be listed"},
	} {
		t.Run(name, func(t *testing.T) {
			l := Listing{Things: tt.things, Now: now}
			if tt.now != (time.Time{}) {
				l.Now = time.Time{}
			}
			for _, k := range tt.blind {
				l.Blind = append(l.Blind, Blind{Kind: k})
			}
			r := tt.rules
			r.Grace = grace.Grace
			got := Select(l, r)
			if ids(got.Remove) != tt.goes {
				t.Errorf("removes %q, want %q", ids(got.Remove), tt.goes)
			}
			switch {
			case tt.why == "" && len(got.Keep) > 0:
				t.Errorf("keeps %v", got.Keep)
			case tt.why != "" && (len(got.Keep) == 0 || !strings.Contains(got.Keep[0].Why, tt.why)):
				t.Errorf("keeps %v, want one since %q", got.Keep, tt.why)
			}
			if n := len(got.Remove) + len(got.Keep) + got.Foreign; n != len(tt.things) {
				t.Errorf("%d of %d things are accounted for", n, len(tt.things))
			}
		})
	}
}

// whatever is anything that a cloud may have.
func whatever(r *rand.Rand) (l Listing, rules Rules) {
	kinds := append(order(), "database")
	words := func() string { return []string{"dead", "alive", "third"}[r.IntN(3)] }
	when := func() time.Time {
		if r.IntN(6) == 0 {
			return time.Time{}
		}
		return now.Add(time.Duration(r.IntN(600)-300) * time.Minute)
	}
	for i := range r.IntN(25) {
		k := kinds[r.IntN(len(kinds))]
		t := Thing{Kind: k, ID: fmt.Sprint("id", i), Ours: r.IntN(4) > 0, Created: when()}
		if t.Ours {
			t.Mark = owner.Tag{Build: words(), Expires: when(), Unfinished: r.IntN(2) == 0, Role: owner.RoleInstance}
			if all := roles(k); len(all) > 0 && r.IntN(8) > 0 {
				t.Mark.Role = all[r.IntN(len(all))]
			}
		}
		for range r.IntN(3) {
			t.UsedBy = append(t.UsedBy, fmt.Sprint("id", r.IntN(28)))
		}
		l.Things = append(l.Things, t)
	}
	if r.IntN(5) > 0 {
		l.Now = now
	}
	if r.IntN(3) == 0 {
		l.Blind = append(l.Blind, Blind{Kind: kinds[r.IntN(len(kinds))]})
	}
	rules.Grace = time.Duration(r.IntN(60)) * time.Minute
	if r.IntN(3) == 0 {
		rules.OlderThan = time.Duration(r.IntN(300)) * time.Minute
	}
	if r.IntN(3) == 0 {
		rules.Builds = []string{words()}
	}
	if r.IntN(3) == 0 {
		rules.Except = words()
	}
	return l, rules
}

// What may never go, whatever a cloud has and whatever is asked for.
func TestSelectNever(t *testing.T) {
	removed := 0
	for seed := range uint64(20000) {
		l, rules := whatever(rand.New(rand.NewPCG(seed, 1)))
		before := slices.Clone(l.Things)
		c := Select(l, rules)
		if !reflect.DeepEqual(c, Select(l, rules)) || !reflect.DeepEqual(before, l.Things) {
			t.Fatalf("seed %d: not pure", seed)
		}
		if len(c.Remove)+len(c.Keep)+c.Foreign != len(l.Things) {
			t.Fatalf("seed %d: things are lost", seed)
		}
		goes := map[string]int{}
		for i, x := range c.Remove {
			goes[x.ID] = i + 1
		}
		removed += len(c.Remove)
		for i, x := range c.Remove {
			late := !x.Mark.Expires.Add(rules.Grace).After(now)
			old := rules.OlderThan > 0 && !x.Created.IsZero() && now.Sub(x.Created) >= rules.OlderThan
			bad := ""
			switch {
			case !x.Ours:
				bad = "foreign"
			case x.Kind == Image && !x.Mark.Unfinished, x.Mark.Expires.IsZero() && (len(rules.Builds) == 0 || x.Mark.Role != owner.RoleCopy || x.Kind != Object && x.Kind != Upload):
				bad = "finished"
			case l.Now.IsZero():
				bad = "nobody knows the time"
			case x.Mark.Build == rules.Except:
				bad = "this build's"
			case len(rules.Builds) > 0 && x.Mark.Build != rules.Builds[0]:
				bad = "another build's"
			case len(rules.Builds) == 0 && !late && !old:
				bad = "not expired"
			case !slices.Contains(roles(x.Kind), x.Mark.Role):
				bad = "of another role"
			case i > 0 && slices.Index(order(), c.Remove[i-1].Kind) > slices.Index(order(), x.Kind):
				bad = "out of order"
			}
			for _, u := range x.UsedBy {
				if goes[u] == 0 {
					bad = "used by " + u
				}
			}
			for _, b := range l.Blind {
				if user(x.Kind) == b.Kind {
					bad = "perhaps used"
				}
			}
			if bad != "" {
				t.Fatalf("seed %d: %+v goes, and is %s", seed, x, bad)
			}
		}
	}
	if removed < 1000 {
		t.Errorf("only %d things were removed: this proves little", removed)
	}
}

// Every kind has its place in the order, and a role.
func TestKinds(t *testing.T) {
	for _, k := range order() {
		if len(roles(k)) == 0 {
			t.Errorf("%s has no role", k)
		}
		if u := user(k); u != "" && slices.Index(order(), u) > slices.Index(order(), k) {
			t.Errorf("%s goes before %s, which uses it", k, u)
		}
	}
}
