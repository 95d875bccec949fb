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
	notes   map[string]string // name -> object
	noted   map[string]time.Time
	given   map[string]bool        // notes that say so
	uploads map[string][]time.Time // when those of an object were begun
	images  map[string]cloud.Found
	source  bool // the source image is there
	img     cloud.Image
	after   func(step string) // is called when a step has taken effect
	fail    map[string]error  // by step, before its effect
	lose    map[string]error  // by step, after its effect
	empty   bool              // exports end well without an object
	dead    bool              // nothing reaches the cloud any more
	ahead   time.Duration     // of the cloud's clock
	mute    bool              // it never says what time it is
	lag     time.Duration     // of its lists of images behind what has just been made
	born    map[string]time.Time
}

func newWorld() *world {
	return &world{
		links: map[string]int{}, objects: map[string]int64{}, notes: map[string]string{}, noted: map[string]time.Time{}, given: map[string]bool{}, uploads: map[string][]time.Time{}, images: map[string]cloud.Found{}, born: map[string]time.Time{},
		fail: map[string]error{}, lose: map[string]error{}, source: true, img: cloud.Image{ID: "i", Name: "debian", SizeGB: 3},
	}
}

var errDead = errors.New("killed")

// step is one call. A call that must not begin once its context is done says
// so; effect is what it does to the world.
func (w *world) step(ctx context.Context, name string, effect func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w.mu.Lock()
	if w.dead {
		w.mu.Unlock()
		return errDead
	}
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
	for n := range w.notes {
		all = append(all, "note "+n)
	}
	for o, begun := range w.uploads {
		for range begun {
			all = append(all, "upload "+o)
		}
	}
	for i, f := range w.images {
		if f.Unfinished {
			i += " (unfinished)"
		}
		all = append(all, "image "+i)
	}
	slices.Sort(all)
	return all
}

// index is when a step was first taken, or -1.
func (w *world) index(step string) int { return slices.Index(w.steps, step) }

type source struct{ *world }

func (s source) Describe(ctx context.Context) (cloud.Image, error) {
	return s.img, s.step(ctx, "describe", nil)
}

func (s source) Export(ctx context.Context, to cloud.Link, _ string) (string, error) {
	return "job", s.step(context.WithoutCancel(ctx), "export", func() {
		// The cloud writes on its own, as long as the link is open.
		if !s.empty && s.links[to.ID] > 0 {
			s.objects["o"] = 1000
		}
	})
}

func (s source) LastExport(ctx context.Context) string {
	_ = s.step(ctx, "last export", nil)
	return "job"
}

func (s source) AwaitExport(ctx context.Context, _ string, progress func(float64)) error {
	progress(50)
	return s.step(ctx, "await export", nil)
}

func (s source) Remove(ctx context.Context) error {
	return s.step(ctx, "remove source", func() { s.source = false })
}

// store is a bucket; the first is the source's own and has no name.
type store struct {
	*world
	name string
}

func (s store) at(step string) string { return strings.TrimSpace(step + " " + s.name) }

func (s store) Now() time.Time {
	if s.mute {
		return time.Time{}
	}
	return time.Now().Add(s.ahead)
}

func (s store) Check(ctx context.Context) error { return s.step(ctx, s.at("check store"), nil) }

func (s store) Size(ctx context.Context, object string) (n int64, ok bool, err error) {
	err = s.step(ctx, s.at("size"), func() { n, ok = s.objects[s.name+object] })
	return n, ok, err
}

func (s store) Share(ctx context.Context, _, name string, a cloud.Access, _ time.Time) (cloud.Link, error) {
	kind := map[cloud.Access]string{cloud.Read: "read", cloud.Write: "write"}[a]
	name = s.name + name
	err := s.step(ctx, s.at("share "+kind), func() { s.links[name]++ })
	if err != nil {
		return cloud.Link{}, err
	}
	return cloud.Link{ID: name, URL: "https://secret/" + kind + s.name}, nil
}

func (s store) Unshare(ctx context.Context, id, role string) error {
	return s.step(ctx, s.at("unshare "+role), func() {
		for l := range s.links {
			b, as, err := owner.ParseName(strings.TrimPrefix(l, s.name))
			if err == nil && strings.HasPrefix(l, s.name+"armfree") && b.ID == id && as == role {
				delete(s.links, l)
			}
		}
	})
}

func (s store) Remove(ctx context.Context, object string) error {
	return s.step(ctx, s.at("remove"), func() {
		delete(s.objects, s.name+object)
		delete(s.uploads, s.name+object)
	})
}

func (s store) Delete(ctx context.Context, object string) error {
	return s.step(ctx, s.at("delete"), func() { delete(s.objects, s.name+object) })
}

func (s store) Abort(ctx context.Context, object string, mine func(time.Time) bool) error {
	return s.step(ctx, s.at("abort"), func() {
		s.uploads[s.name+object] = slices.DeleteFunc(s.uploads[s.name+object], func(begun time.Time) bool { return mine == nil || mine(begun) })
	})
}

func (s store) Note(ctx context.Context, n cloud.Note) error {
	return s.step(ctx, s.at("note"), func() {
		name := s.name + n.Name
		s.notes[name], s.noted[name], s.given[name] = n.Object, time.Now().Add(s.ahead), n.Given
	})
}

func (s store) Notes(ctx context.Context) (all []cloud.Note, err error) {
	err = s.step(ctx, s.at("notes"), func() {
		for n, o := range s.notes {
			if strings.HasPrefix(n, s.name+"armfree-") {
				all = append(all, cloud.Note{Name: n[len(s.name):], Object: o, Created: s.noted[n], Given: s.given[n]})
			}
		}
	})
	return all, err
}

func (s store) Forget(ctx context.Context, name string) error {
	return s.step(ctx, s.at("forget"), func() { delete(s.notes, s.name+name) })
}

// way is a bucket nearer to a destination.
type way struct{ store }

func (w way) Route() string { return w.name }

func (w way) Bring(ctx context.Context, object string, from cloud.Link, as string, progress func(float64)) error {
	progress(10)
	if from.URL != "https://secret/read" {
		return fmt.Errorf("bring from %q", from.URL)
	}
	return w.step(ctx, w.at("bring"), func() { w.objects[w.name+as] = w.objects[object] })
}

type destination struct {
	*world
	name string
}

var errLost, errRefused = errors.New("no reply"), errors.New("refused")

func (d destination) Name() string           { return d.name }
func (d destination) Lost(err error) bool    { return errors.Is(err, errLost) }
func (d destination) Refused(err error) bool { return errors.Is(err, errRefused) }

func (d destination) Check(ctx context.Context, room bool) error {
	return d.step(ctx, map[bool]string{true: "check ", false: "check without room "}[room]+d.name, nil)
}

func (d destination) Images(ctx context.Context) (all []cloud.Found, err error) {
	err = d.step(ctx, "images "+d.name, func() {
		for id, f := range d.images {
			if strings.HasSuffix(id, "@"+d.name) && time.Since(d.born[id]) >= d.lag {
				all = append(all, f)
			}
		}
	})
	return all, err
}

// Import is not cut short by a cancel, as its contract says.
func (d destination) Import(ctx context.Context, i cloud.Import) (string, string, error) {
	near := strings.TrimPrefix(i.From.URL, "https://secret/read")
	step := "import " + d.name
	if near != "" {
		step += " by " + near
	}
	d.mu.Lock()
	id := i.Name + "@" + d.name
	for _, taken := d.images[id]; taken; _, taken = d.images[id] {
		id = "new-" + id
	}
	open := d.links[i.From.ID] > 0
	d.mu.Unlock()
	if !open {
		return "", "", errors.New("the link is closed")
	}
	err := d.step(context.WithoutCancel(ctx), step, func() {
		d.images[id], d.born[id] = cloud.Found{ID: id, Name: i.Name, Mark: i.Mark, Unfinished: true}, time.Now()
	})
	if err != nil {
		return "", "", err
	}
	return id, "job", nil
}

func (d destination) AwaitImport(ctx context.Context, id, _ string, progress func(float64)) error {
	progress(30)
	return d.step(ctx, "await "+d.name, func() {
		f := d.images[id]
		f.Ready = true
		d.images[id] = f
	})
}

func (d destination) Pend(ctx context.Context, id string, i cloud.Import, failed bool) error {
	return d.step(ctx, "pend "+d.name, func() {
		f := d.images[id]
		f.Name, f.Failed = i.Name, failed
		d.images[id] = f
	})
}

func (d destination) Seal(ctx context.Context, id string, i cloud.Import) error {
	return d.step(ctx, "seal "+d.name, func() {
		f := d.images[id]
		f.Unfinished, f.Failed, f.Source, f.Verified = false, false, i.Source.ID, i.Verified
		if i.Has == nil {
			f.Name = i.Name
		} else {
			f.Tags = i.Has
		}
		d.images[id] = f
	})
}

func (d destination) Delete(ctx context.Context, id string) error {
	return d.step(ctx, "delete "+d.name, func() { delete(d.images, id) })
}

// newCopy is a copy of one image to the named destinations. It is the same copy
// each time.
func newCopy(w *world, say func(string, ...any), names ...string) *Copy {
	now := time.Now()
	c := &Copy{
		Source: Exported{source{w}}, Store: store{w, ""}, Object: "o", Owner: owner.Derive(now, time.Hour, "o"), ThisRun: owner.NewBuild(now, time.Hour),
		Conflict: Skip, SizeLimitGB: 20, WriteLife: time.Hour, ReadLife: time.Hour, Cleanup: time.Minute, Say: say, Warn: say, Secret: func(string) {},
	}
	for _, n := range names {
		c.Targets = append(c.Targets, Target{Destination: destination{w, n}, Key: n, Direct: true})
	}
	return c
}

// run copies one image to the named destinations.
func run(ctx context.Context, w *world, names ...string) (results []Result, said string, err error) {
	return runWith(ctx, w, nil, names...)
}

func runWith(ctx context.Context, w *world, change func(*Copy), names ...string) (results []Result, said string, err error) {
	var mu sync.Mutex
	var out strings.Builder
	c := newCopy(w, func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&out, format+"\n", args...)
	}, names...)
	if change != nil {
		change(c)
	}
	results, err = c.Run(ctx)
	mu.Lock()
	defer mu.Unlock()
	return results, out.String(), err
}

func mustLeave(t *testing.T, w *world, want ...string) {
	t.Helper()
	if got := w.left(); !slices.Equal(got, want) {
		t.Errorf("left %q, want %q; steps %q", got, want, w.steps)
	}
}
