// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// world is a cloud that holds what a copy makes, and remembers in which order
// it was asked for what.
type world struct {
	mu      sync.Mutex
	steps   []string
	links   map[string]int // by name; a name may have several
	objects map[string]int64
	images  map[string]string // id -> token
	after   func(step string) // is called when a step has taken effect
	fail    map[string]error  // by step, before its effect
	lose    map[string]error  // by step, after its effect
	empty   bool              // exports end well without an object
}

func newWorld() *world {
	return &world{links: map[string]int{}, objects: map[string]int64{}, images: map[string]string{}, fail: map[string]error{}, lose: map[string]error{}}
}

// step is one call. A call that must not begin once its context is done says
// so; effect is what it does to the world.
func (w *world) step(ctx context.Context, name string, effect func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.mu.Lock()
	w.steps = append(w.steps, name)
	err := w.fail[name]
	if err == nil && effect != nil {
		effect()
	}
	if err == nil {
		err = w.lose[name]
	}
	after := w.after
	w.mu.Unlock()
	if after != nil {
		after(name)
	}
	return err
}

// left is what exists, in words.
func (w *world) left() (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l, n := range w.links {
		if n > 0 {
			all = append(all, "link "+l)
		}
	}
	for o := range w.objects {
		all = append(all, "object "+o)
	}
	for i := range w.images {
		all = append(all, "image "+i)
	}
	slices.Sort(all)
	return all
}

// index is when a step was first taken, or -1.
func (w *world) index(step string) int { return slices.Index(w.steps, step) }

type source struct{ *world }

func (s source) Describe(ctx context.Context, id string) (cloud.Image, error) {
	return cloud.Image{ID: id, Name: "debian"}, s.step(ctx, "describe", nil)
}

func (s source) Export(ctx context.Context, _ string, to cloud.Link, _ string) (string, error) {
	return "job", s.step(ctx, "export", func() {
		// The cloud writes on its own, as long as the link is open.
		if !s.empty && s.links[to.ID] > 0 {
			s.objects["o"] = 1000
		}
	})
}

func (s source) AwaitExport(ctx context.Context, _, _ string) error {
	return s.step(ctx, "await export", nil)
}

type store struct{ *world }

func (s store) Check(ctx context.Context) error { return s.step(ctx, "check store", nil) }

func (s store) Size(ctx context.Context, object string) (n int64, ok bool, err error) {
	err = s.step(ctx, "size", func() { n, ok = s.objects[object] })
	return n, ok, err
}

func (s store) Share(ctx context.Context, _, name string, a cloud.Access, _ time.Time) (cloud.Link, error) {
	kind := map[cloud.Access]string{cloud.Read: "read", cloud.Write: "write"}[a]
	err := s.step(ctx, "share "+kind, func() { s.links[name]++ })
	if err != nil {
		return cloud.Link{}, err
	}
	return cloud.Link{ID: name, URL: "https://secret/" + kind}, nil
}

func (s store) Unshare(ctx context.Context, name string) error {
	_, role, err := owner.ParseName(name)
	if err != nil {
		return err
	}
	return s.step(ctx, "unshare "+role, func() { delete(s.links, name) })
}

func (s store) Remove(ctx context.Context, object string) error {
	return s.step(ctx, "remove", func() { delete(s.objects, object) })
}

type destination struct {
	*world
	name string
}

var errLost = errors.New("no reply")

func (d destination) Name() string                    { return d.name }
func (d destination) Lost(err error) bool             { return errors.Is(err, errLost) }
func (d destination) Check(ctx context.Context) error { return d.step(ctx, "check "+d.name, nil) }

// Import is not cut short by a cancel, as its contract says.
func (d destination) Import(ctx context.Context, from cloud.Link, name, token string) (string, string, error) {
	if from.URL != "https://secret/read" {
		return "", "", fmt.Errorf("import from %q", from.URL)
	}
	id := name + "@" + d.name
	err := d.step(context.WithoutCancel(ctx), "import "+d.name, func() { d.images[id] = token })
	if err != nil {
		return "", "", err
	}
	return id, "job", nil
}

func (d destination) FinishImport(ctx context.Context, _, _ string) error {
	return d.step(ctx, "finish "+d.name, nil)
}

func (d destination) Find(ctx context.Context, token string) (ids []string, err error) {
	err = d.step(ctx, "find "+d.name, func() {
		for id, t := range d.images {
			if t == token {
				ids = append(ids, id)
			}
		}
	})
	return ids, err
}

func (d destination) Delete(ctx context.Context, id string) error {
	return d.step(ctx, "delete "+d.name, func() { delete(d.images, id) })
}

// run copies one image to the named destinations.
func run(ctx context.Context, w *world, names ...string) (results []Result, said string, err error) {
	var mu sync.Mutex
	var out strings.Builder
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&out, format+"\n", args...)
	}
	c := &Copy{
		Source: source{w}, Store: store{w}, Image: "i", Object: "o", Owner: owner.Build{ID: "b1", Expires: time.Unix(2e9, 0)},
		LinkLife: time.Hour, Cleanup: time.Minute, Say: say, Warn: say, Secret: func(string) {},
	}
	for _, n := range names {
		c.Destinations = append(c.Destinations, destination{w, n})
	}
	results, err = c.Run(ctx)
	return results, out.String(), err
}

func mustLeave(t *testing.T, w *world, want ...string) {
	t.Helper()
	if got := w.left(); !slices.Equal(got, want) {
		t.Errorf("left %q, want %q; steps %q", got, want, w.steps)
	}
}
