// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// direct is the route straight from the source's bucket.
const direct = "direct"

// each imports into every destination that lacks the image, at the same time.
func (c *Copy) each(ctx context.Context, have []standing, results []Result) {
	var wg sync.WaitGroup
	for i, h := range have {
		if proven(c.Targets[i], h) {
			continue
		}
		wg.Go(func() {
			start, r := time.Now(), &results[i]
			r.Image, r.Route, r.Err = c.one(ctx, i, h)
			c.imported(ctx, i)
			r.Took = time.Since(start)
			c.found.of(c.Targets[i], r)
			if r.Err != nil {
				r.Err = fmt.Errorf("destination %s: %w", r.Destination, r.Err)
			}
		})
	}
	wg.Wait()
}

// readers are the destinations, by number, that may still read the object.
type readers struct {
	mu   sync.Mutex
	left map[int]bool
}

func (r *readers) add(i int, reads bool) {
	if r.left == nil {
		r.left = map[int]bool{}
	}
	if reads {
		r.left[i] = true
	}
}

// gone notes that a destination reads no more, and says whether it was the last.
func (r *readers) gone(i int) (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.left[i] {
		return false
	}
	delete(r.left, i)
	return len(r.left) == 0
}

// imported notes that a destination needs the object no more. After the last one it is
// removed, unless that comes at once anyway.
func (c *Copy) imported(ctx context.Context, i int) {
	verifies := slices.ContainsFunc(c.Targets, func(t Target) bool { return t.Verify != nil })
	if c.reading.gone(i) && verifies && ctx.Err() == nil {
		c.clearEarly(ctx)
	}
}

// one brings the image to one destination.
func (c *Copy) one(ctx context.Context, i int, h standing) (id, route string, err error) {
	t := c.Targets[i]
	defer c.board.drop(t.Name())
	if h.done != "" {
		return h.done, "", c.proveLater(ctx, t, h)
	}
	if id, err = c.adopt(ctx, t, h.begun); err != nil {
		return "", "", err
	}
	route = direct
	if id == "" {
		if id, route, err = c.fresh(ctx, i); err != nil {
			return "", route, err
		}
	}
	c.Say("Image %s is ready in %s", id, t.Name())
	c.succeed(ctx, t, h, id)
	return id, route, nil
}

// replace deletes the images that had the name before.
func (c *Copy) replace(ctx context.Context, t Target, h standing) {
	if c.Conflict != Replace {
		return
	}
	for _, old := range h.older {
		c.Say("Deleting the image %s in %s, which has the same name", old.ID, t.Name())
		if err := t.Delete(ctx, old.ID); err != nil {
			c.Warn("%s: the image is finished, but %s, which has the same name, could not be deleted: %v", t.Name(), old.ID, err)
		}
	}
}

// succeed removes what a finished copy takes the place of. The copy is good whatever
// comes of that.
func (c *Copy) succeed(ctx context.Context, t Target, h standing, id string) {
	c.replace(ctx, t, h)
	if t.Retain == nil {
		return
	}
	if err := t.Retain.Retain(ctx, id, c.image); err != nil {
		c.Warn("%s: image %s is finished, but older copies of its series could not all be deleted (retain): %v", t.Name(), id, err)
	}
}

// adopt completes an import that an earlier run began. None that can be
// completed is no error: there will be another.
func (c *Copy) adopt(ctx context.Context, t Target, begun []cloud.Found) (string, error) {
	done := ""
	var failed error
	for _, f := range begun {
		if done != "" || failed != nil {
			if err := c.discard(ctx, t, f.ID); err != nil {
				c.Warn("%s: %v", t.Name(), err)
			}
			continue
		}
		c.Say("%s: an earlier run began to import %s, it is waited for", t.Name(), f.ID)
		renewed := c.renew(ctx, t, f)
		err := c.finish(ctx, t, f, renewed, "", c.spec(t))
		if err == nil {
			done = f.ID
			continue
		}
		if ctx.Err() != nil || isUnproven(err) || isReplaced(err) {
			failed = c.fail(ctx, t, f.ID, err)
			continue
		}
		c.Say("%s: %s is of no use, it is imported again: %v", t.Name(), f.ID, err)
		if err := c.discard(ctx, t, f.ID); err != nil {
			return "", err
		}
	}
	return done, failed
}

// fresh imports by the first route that is not refused.
func (c *Copy) fresh(ctx context.Context, i int) (id, route string, err error) {
	t := c.Targets[i]
	c.board.set(t.Name(), "waiting")
	from, err := c.read.get(func() (cloud.Link, error) { return c.deliver(ctx) })
	if err != nil {
		return "", "", err
	}
	if t.Direct {
		if id, err = c.importFrom(ctx, t, from, direct); err == nil {
			return id, direct, nil
		}
		if len(t.Ways) == 0 || ctx.Err() != nil || isUnproven(err) || !t.Refused(err) {
			if !isUnproven(err) && t.Refused(err) {
				err = help.About(help.Links, err)
			}
			return "", direct, err
		}
		c.Say("%s: the import straight from the source's bucket was refused: %v", t.Name(), err)
	}
	errs := []error{err}
	for _, w := range t.Ways {
		if id, err = c.detour(ctx, i, w, from); err == nil {
			return id, w.Route(), nil
		}
		errs = append(errs, fmt.Errorf("by the route %s: %w", w.Route(), err))
		if ctx.Err() != nil || isUnproven(err) || isReplaced(err) || isForm(err) {
			break
		}
		c.Say("%s: the route %s does not work: %v", t.Name(), w.Route(), err)
	}
	if err = errors.Join(errs...); !isUnproven(err) && !isReplaced(err) && !isForm(err) {
		err = help.About(help.Links, err)
	}
	return "", t.Ways[len(t.Ways)-1].Route(), err
}

// isForm says that no route to the destination helps.
func isForm(err error) bool { return errors.As(err, new(*cloud.FormError)) }

// detourName is the object's name in a bucket nearer to a destination. It is of this
// plugin and this copy, also if the object in the source's bucket is not: a sweep knows
// it by that, and two copies of one object do not meet there.
func (c *Copy) detourName(i int) string {
	name := c.Object
	if !ours(name) {
		name = ObjectName(cmp.Or(c.image.ID, "object"), c.Owner, c.Form)
	}
	return name + "." + strconv.Itoa(i+1)
}

// detourNote is the note beside that object, which says until when it is needed. Each
// has its own: several destinations may share a bucket, also with the source.
func (c *Copy) detourNote(i int) cloud.Note {
	return cloud.Note{Name: c.Owner.Name(owner.RoleCopy + "-" + strconv.Itoa(i+1)), Object: c.detourName(i)}
}

// forgetDetour removes the notes beside the object in a bucket nearer to a destination,
// those of earlier runs as well.
func (c *Copy) forgetDetour(ctx context.Context, w Way, i int) error {
	notes, err := w.Notes(ctx)
	errs := []error{err}
	for _, n := range notes {
		if b, _, perr := owner.ParseName(n.Name); perr == nil && b.ID == c.Owner.ID && n.Object == c.detourName(i) {
			errs = append(errs, w.Forget(ctx, n.Name))
		}
	}
	return errors.Join(errs...)
}

// detour imports from a bucket nearer to the destination.
func (c *Copy) detour(ctx context.Context, i int, w Way, from cloud.Link) (string, error) {
	t := c.Targets[i]
	if err := w.Check(ctx); err != nil {
		return "", err
	}
	c.board.gone(i, w.Route())
	c.Say("%s: bringing the object nearer by the route %s", t.Name(), w.Route())
	if err := w.Note(ctx, c.detourNote(i)); err != nil {
		return "", fmt.Errorf("the bucket cannot be written to: %w", err)
	}
	start := time.Now()
	err := w.Bring(ctx, c.Object, from, c.detourName(i), func(p float64) { c.board.set(t.Name(), w.Route()+" "+percent(p)) })
	if err != nil {
		return "", err
	}
	want, _, err := c.Store.Size(ctx, c.Object)
	if err != nil {
		return "", err
	}
	got, there, err := w.Size(ctx, c.detourName(i))
	if err != nil {
		return "", err
	}
	if !there || got != want {
		return "", fmt.Errorf("the object should have %d bytes in the other bucket and has %d", want, got)
	}
	c.Say("%s: the object is there after %s", t.Name(), time.Since(start).Round(time.Second))
	near, err := c.share(ctx, w, c.detourName(i))
	if err != nil {
		return "", err
	}
	return c.importFrom(ctx, t, near, w.Route())
}

// spec is the image that a destination is to have.
func (c *Copy) spec(t Target) cloud.Import {
	return cloud.Import{Name: c.nameIn(t), Mark: c.mark(t), Source: c.image}
}

// importFrom imports from a link. A half-made image does not stay.
func (c *Copy) importFrom(ctx context.Context, t Target, from cloud.Link, route string) (string, error) {
	spec := c.spec(t)
	spec.From, spec.Token = from, c.ThisRun.Token("import", t.Key, route)
	c.Say("Importing into %s", t.Name())
	c.board.set(t.Name(), "waiting")
	first := spec
	if t.Verify != nil {
		first.Name = provisional(spec.Name)
	}
	id, job, err := t.Import(ctx, first)
	if err != nil && t.Lost(err) {
		id, err = c.lookUp(ctx, t, err)
	}
	if err != nil {
		return "", err
	}
	if err = ctx.Err(); err == nil {
		c.Say("Image %s is being imported into %s", id, t.Name())
		if err = c.finish(ctx, t, cloud.Found{ID: id, Name: first.Name}, true, job, spec); err == nil {
			return id, nil
		}
	}
	return "", c.fail(ctx, t, id, err)
}

// finish makes an image that is being imported one that counts. ours says that its tag
// and its name are those that this run gave it.
func (c *Copy) finish(ctx context.Context, t Target, f cloud.Found, ours bool, job string, spec cloud.Import) error {
	id := f.ID
	err := t.AwaitImport(ctx, id, job, func(p float64) { c.board.set(t.Name(), percent(p)) })
	if err != nil {
		return err
	}
	if source, is := c.Source.(Confirmer); is {
		if err := source.Confirm(ctx); err != nil {
			return err
		}
	}
	if !ours {
		if err := c.hide(ctx, t, f); err != nil {
			return err
		}
	}
	if t.Verify != nil { // whatever comes of that, the image is not imported again
		c.imported(ctx, c.number(t))
	}
	if err := c.prove(ctx, t, id, &spec); err != nil {
		return err
	}
	err = t.Seal(ctx, id, spec)
	if err != nil && t.Verify != nil {
		return &unproven{err: err, passed: true} // hours went into it, and it is good
	}
	return err
}

// number is that of a target.
func (c *Copy) number(t Target) int {
	return slices.IndexFunc(c.Targets, func(other Target) bool { return other.Key == t.Key })
}

// discard deletes an image that is not finished.
func (c *Copy) discard(ctx context.Context, t Target, id string) error {
	g, cancel := wait.Cleanup(ctx, c.Cleanup)
	defer cancel()
	if err := t.Delete(g, id); err != nil {
		return fmt.Errorf("the unfinished image %s is left, please delete it by hand: %w", id, err)
	}
	return nil
}
