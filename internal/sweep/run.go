// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// Cloud is one place that can be swept: a region, and what of it is in scope.
type Cloud interface {
	// Place names it in messages: "oci eu-frankfurt-1".
	Place() string
	// List lists what is there, of ours and of others. What could not be listed is
	// in the listing; an error means that nothing could.
	List(ctx context.Context) (Listing, error)
	// Remove asks for the removal of a thing. One that is gone is no error. An image,
	// and what is in a bucket, is looked at once more right before: if its mark is no
	// longer that of t, nothing is done, and the error is a *Changed.
	Remove(ctx context.Context, t Thing) error
	// Gone waits until a thing that Remove was called for is gone.
	Gone(ctx context.Context, t Thing) error
}

// Sweep is one sweep of one place.
type Sweep struct {
	Cloud Cloud
	Rules Rules
	// DryRun only says what would go.
	DryRun bool
	// Each limits the removal of one thing, and the wait until it is gone, in turn;
	// default 5 minutes.
	Each time.Duration
	// Most limits how many things are removed; 0 means all.
	Most int
	// Removing, if set, is called before a thing is removed, by one at a time.
	Removing func(Thing)
}

// parallel is how many removals are asked for at the same time.
const parallel = 4

// watched is how many are waited for at the same time.
const watched = 50

const defaultEach = 5 * time.Minute

// Left is something that should be gone and is not, and why.
type Left struct {
	Thing
	Err error
	// Waiting means that what uses it is on its way out: the next sweep will remove
	// it.
	Waiting bool
}

// Result is what a sweep came to.
type Result struct {
	Place string
	Now   time.Time // by the cloud's clock
	// Removed is gone; in a dry run it is what would go.
	Removed []Thing
	// UnderWay was asked to go and had not gone when the time was over.
	UnderWay []Thing
	Left     []Left
	Kept     []Kept
	Blind    []Blind
	Foreign  int
}

// Changed is why a thing was not removed: it is no longer what was listed.
type Changed struct {
	Mark owner.Tag
	Ours bool // it still carries our mark
}

// Error implements error.
func (*Changed) Error() string { return "it has changed since it was listed" }

var (
	errNoTime = errors.New("there was no time left for it")
	errMost   = errors.New("this sweep removes no more at a time; the next one will")
)

// Run lists, decides and removes. The error means that the place could not be looked
// at; what could not be removed is in the result.
func (s Sweep) Run(ctx context.Context) (Result, error) {
	r := Result{Place: s.Cloud.Place()}
	l, err := s.Cloud.List(ctx)
	if err != nil {
		return r, err
	}
	c := Select(l, s.Rules)
	r.Now, r.Kept, r.Blind, r.Foreign = l.Now, c.Keep, l.Blind, c.Foreign
	if s.DryRun {
		r.Removed = c.Remove
		return r, nil
	}
	todo := c.Remove
	if s.Most > 0 && len(todo) > s.Most {
		for _, t := range todo[s.Most:] {
			r.Left = append(r.Left, Left{Thing: t, Err: errMost})
		}
		todo = todo[:s.Most]
	}
	w := work{Sweep: s, result: &r, now: l.Now, there: map[string]string{}, going: map[string]string{}, stay: map[string]bool{}}
	for _, x := range r.Left {
		w.there[x.ID] = x.String()
	}
	for _, kind := range order() {
		w.remove(ctx, todo, kind)
	}
	return r, nil
}

// work is a sweep under way.
type work struct {
	Sweep
	now    time.Time
	mu     sync.Mutex
	result *Result
	stay   map[string]bool   // what is not to go after all, by id
	there  map[string]string // what should be gone and is not, by id
	going  map[string]string // what was asked to go and had not gone in time
}

// remove removes the things of one kind: it asks for all of them, some at a time, and
// then waits for all of them at the same time.
func (w *work) remove(ctx context.Context, todo []Thing, kind Kind) {
	var things, asked []Thing
	for _, t := range todo {
		if t.Kind == kind {
			things = append(things, t)
		}
	}
	var mu sync.Mutex
	each(things, parallel, func(t Thing) {
		if w.ask(ctx, t) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, t)
		}
	})
	each(asked, watched, func(t Thing) { w.await(ctx, t) })
}

// each does something to all things, to some at the same time.
func each(things []Thing, some int, do func(Thing)) {
	slots := make(chan struct{}, some)
	var wg sync.WaitGroup
	for _, t := range things {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(t)
		})
	}
	wg.Wait()
}

// ask asks for the removal of a thing, unless it has turned out that it is to stay.
func (w *work) ask(ctx context.Context, t Thing) bool {
	if w.keptByUser(t) {
		return false
	}
	waiting, err := w.begin(ctx, t)
	if err == nil {
		c, cancel := context.WithTimeout(ctx, cmp.Or(w.Each, defaultEach))
		defer cancel()
		err = w.Cloud.Remove(c, t)
		var changed *Changed
		if errors.As(err, &changed) {
			t.Mark, t.Ours = changed.Mark, changed.Ours
			if why := w.why(t); why != "" {
				w.keep(t, why)
				return false
			}
			err = w.Cloud.Remove(c, t)
		}
	}
	if err != nil {
		w.left(t, err, waiting)
	}
	return err == nil
}

// why says why a thing that was to go stays, by what its mark is now.
func (w *work) why(t Thing) string {
	if !t.Ours {
		return "it is no longer marked as this plugin's"
	}
	return w.Rules.stays(t, w.now)
}

// keptByUser keeps what something that stays uses.
func (w *work) keptByUser(t Thing) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range t.UsedBy {
		if w.stay[id] {
			w.stay[t.ID] = true
			w.result.Kept = append(w.result.Kept, Kept{t, "it is used by " + id})
			return true
		}
	}
	return false
}

func (w *work) keep(t Thing, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stay[t.ID] = true
	w.result.Kept = append(w.result.Kept, Kept{t, why})
}

// await waits until a thing is gone.
func (w *work) await(ctx context.Context, t Thing) {
	c, cancel := context.WithTimeout(ctx, cmp.Or(w.Each, defaultEach))
	defer cancel()
	err := w.Cloud.Gone(c, t)
	if err != nil && c.Err() == nil {
		w.left(t, err, false)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.result.Removed = append(w.result.Removed, t)
		return
	}
	w.going[t.ID] = t.String()
	w.result.UnderWay = append(w.result.UnderWay, t)
}

// begin says that a thing is about to be removed, or why it cannot be.
func (w *work) begin(ctx context.Context, t Thing) (waiting bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range t.UsedBy {
		if what := w.there[id]; what != "" {
			return false, fmt.Errorf("%s uses it, and is still there", what)
		}
		if what := w.going[id]; what != "" {
			return true, fmt.Errorf("%s uses it, and is still on its way out", what)
		}
	}
	if ctx.Err() != nil {
		return false, errNoTime
	}
	if w.Removing != nil {
		w.Removing(t)
	}
	return false, nil
}

func (w *work) left(t Thing, err error, waiting bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if waiting {
		w.going[t.ID] = t.String()
	} else {
		w.there[t.ID] = t.String()
	}
	w.result.Left = append(w.result.Left, Left{t, err, waiting})
}
