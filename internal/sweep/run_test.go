// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// cloud holds things by id, for as long as they take to go.
type cloud struct {
	place   string
	things  []Thing
	takes   map[string]time.Duration // from Remove to gone
	refuses map[string]error
	deaf    error
	changes map[string]*Changed // what is seen right before a removal

	mu      sync.Mutex
	asked   []string
	at      map[string]time.Time
	busy    int
	busiest int
}

func (c *cloud) Place() string { return c.place }

func (c *cloud) List(ctx context.Context) (Listing, error) {
	if err := errors.Join(c.deaf, ctx.Err()); err != nil {
		return Listing{}, err
	}
	return Listing{Things: c.things, Now: now}, nil
}

func (c *cloud) Remove(ctx context.Context, t Thing) error {
	c.mu.Lock()
	if now := c.changes[t.ID]; now != nil && (now.Mark != t.Mark || now.Ours != t.Ours) {
		c.mu.Unlock()
		return now
	}
	c.asked = append(c.asked, t.ID)
	c.busy++
	c.busiest = max(c.busiest, c.busy)
	c.mu.Unlock()
	time.Sleep(time.Second)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
	if c.at == nil {
		c.at = map[string]time.Time{}
	}
	c.at[t.ID] = time.Now().Add(c.takes[t.ID])
	return errors.Join(c.refuses[t.ID], ctx.Err())
}

func (c *cloud) Gone(ctx context.Context, t Thing) error {
	c.mu.Lock()
	at := c.at[t.ID]
	c.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(at)):
		return nil
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{place: "x", takes: map[string]time.Duration{"i1": time.Minute, "i2": time.Hour}, refuses: map[string]error{"i3": errors.New("no")}}
		for n := range 3 {
			i, g := fmt.Sprint("i", n+1), fmt.Sprint("g", n+1)
			c.things = append(c.things, of(Group, g, usedBy(i)), of(Instance, i))
		}
		for n := range 10 {
			c.things = append(c.things, of(KeyPair, fmt.Sprint("k", n)))
		}
		var said []string
		r, err := Sweep{Cloud: c, Each: 5 * time.Minute, Removing: func(t Thing) { said = append(said, t.ID) }}.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(r.Removed[:2]); got != "i1 g1" || len(r.Removed) != 12 {
			t.Errorf("removed %q", ids(r.Removed))
		}
		if got := ids(r.UnderWay); got != "i2" {
			t.Errorf("under way %q", got)
		}
		left := map[string]string{}
		for _, l := range r.Left {
			left[l.ID] = fmt.Sprint(l.Waiting, " ", l.Err)
		}
		if want := map[string]string{"i3": "false no", "g3": "false instance i3 uses it, and is still there", "g2": "true instance i2 uses it, and is still on its way out"}; fmt.Sprint(left) != fmt.Sprint(want) {
			t.Errorf("left %v", left)
		}
		if slices.Contains(c.asked, "g2") || slices.Contains(c.asked, "g3") || len(said) != 14 {
			t.Errorf("asked %q, said %q", c.asked, said)
		}
		if c.busiest != parallel {
			t.Errorf("%d at a time", c.busiest)
		}
	})
}

// What its build finishes, or needs for longer, while a sweep is under way stays, and
// what it uses with it. What is a leftover all the same goes.
func TestChangedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{place: "x", changes: map[string]*Changed{}}
		for n, change := range []func(*Changed){
			func(m *Changed) { m.Mark.Unfinished, m.Mark.Expires = false, time.Time{} },
			func(m *Changed) { m.Mark.Expires = now.Add(time.Hour) },
			func(m *Changed) { m.Ours = false },
			func(m *Changed) { m.Mark.Attempt = "another" },
		} {
			id := fmt.Sprint("a", n)
			img := of(Image, id)
			c.things = append(c.things, of(Snapshot, fmt.Sprint("s", n), usedBy(id)), img)
			c.changes[id] = &Changed{Mark: img.Mark, Ours: true}
			change(c.changes[id])
		}
		c.things = append(c.things, of(Image, "a9"))
		r, err := Sweep{Cloud: c}.Run(t.Context())
		if err != nil || len(r.Left) > 0 {
			t.Fatalf("%v, left %v", err, r.Left)
		}
		if got := ids(r.Removed); got != "a3 a9 s3" && got != "a9 a3 s3" {
			t.Errorf("removed %q", got)
		}
		why := map[string]string{}
		for _, k := range r.Kept {
			why[k.ID] = k.Why
		}
		want := map[string]string{
			"a0": "it is finished", "a1": "its build may need it until " + now.Add(time.Hour).UTC().Format(time.RFC3339), "a2": "it is no longer marked as this plugin's",
			"s0": "it is used by a0", "s1": "it is used by a1", "s2": "it is used by a2",
		}
		if !maps.Equal(why, want) {
			t.Errorf("kept %v", why)
		}
	})
}

func TestRunIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{place: "x"}
		for n := range 60 {
			c.things = append(c.things, of(KeyPair, fmt.Sprintf("k%02d", n)))
		}
		r, err := Sweep{Cloud: c, Most: 50}.Run(t.Context())
		if err != nil || len(r.Removed) != 50 || len(r.Left) != 10 || !errors.Is(r.Left[0].Err, errMost) {
			t.Errorf("%v: %d removed, left %v", err, len(r.Removed), r.Left)
		}
		c.asked = nil
		if r, err := (Sweep{Cloud: c, DryRun: true}).Run(t.Context()); err != nil || len(r.Removed) != 60 || len(c.asked) > 0 {
			t.Errorf("dry: %v, %d, asked %q", err, len(r.Removed), c.asked)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		r, err = Sweep{Cloud: c}.Run(ctx)
		if err != nil || len(r.Removed)+len(r.UnderWay) != 2*parallel || len(r.Left) != 60-2*parallel {
			t.Errorf("%v: %d removed, %d left", err, len(r.Removed), len(r.Left))
		}
		if len(c.asked) > 3*parallel {
			t.Errorf("asked %d times", len(c.asked))
		}
	})
}

// part is a part of a place.
type part struct {
	*cloud
	name string
}

func (p part) Part() string { return p.name }

// Two builds that go to one place look at it once, and at each part of it once as well.
func TestAtStartInParts(t *testing.T) {
	thing := func(id string) *cloud { return &cloud{place: "a b", things: []Thing{of(Instance, id)}} }
	var said []string
	AtStart(t.Context(), []Cloud{thing("i1"), thing("i1"), part{thing("i2"), "x"}, part{thing("i2"), "x"}, part{thing("i3"), "y"}}, "b", func(format string, a ...any) {
		said = append(said, fmt.Sprintf(format, a...))
	})
	want := "Leftovers of earlier builds in a b, removed: instance i"
	if strings.Join(said, "\n") != want+"1\n"+want+"2\n"+want+"3" {
		t.Errorf("%q", said)
	}
}

func TestAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		var mu sync.Mutex
		say := func(format string, a ...any) {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, fmt.Sprintf(format, a...))
		}
		mine := of(KeyPair, "mine", build("b"))
		full := &cloud{place: "full", things: []Thing{of(Instance, "i"), of(Group, "g", usedBy("i")), of(KeyPair, "k"), mine}, takes: map[string]time.Duration{"i": time.Hour}, refuses: map[string]error{"k": errors.New("no")}}
		deaf := &cloud{place: "deaf", deaf: errors.New("401")}
		begun := time.Now()
		AtStart(t.Context(), []Cloud{full, &cloud{place: "empty"}, deaf, &cloud{place: "full", things: full.things}}, "b", say)
		if d := time.Since(begun); d > startLimit {
			t.Errorf("took %s", d)
		}
		want := "Leftovers of earlier builds in full, removed: instance i; left for the next time: security group g; could not be removed: key pair k"
		const still = "Still looking for leftovers of earlier builds (20s); this takes 30s at most"
		if strings.Join(said, "\n") != want {
			t.Errorf("said %q", said)
		}
		said = nil
		slow := &cloud{place: "slow"}
		for n := range 100 {
			id := fmt.Sprint("i", n)
			slow.things = append(slow.things, of(Instance, id))
		}
		slow.takes = map[string]time.Duration{}
		for _, x := range slow.things {
			slow.takes[x.ID] = time.Hour
		}
		begun = time.Now()
		AtStart(t.Context(), []Cloud{slow}, "b", say)
		if d := time.Since(begun); d > startLimit+2*time.Second {
			t.Errorf("took %s", d)
		}
		if len(said) != 2 || said[0] != still || !strings.Contains(said[1], "and 45 more; left for the next time: ") {
			t.Errorf("said %q", said)
		}
	})
}
