// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// cleanup removes the links, then the objects, and the note last.
func (c *Copy) cleanup(ctx context.Context) error {
	g, cancel := wait.Cleanup(ctx, c.Cleanup)
	defer cancel()
	if !c.cleared {
		if err := c.clear(g); err != nil {
			return err // the note stays, for whoever tidies up
		}
	}
	notes, err := c.Store.Notes(g)
	errs := []error{err}
	over := c.over(notes)
	for _, n := range notes {
		b, _, perr := owner.ParseName(n.Name)
		switch {
		case perr != nil:
		case b.ID == c.Owner.ID:
			errs = append(errs, c.Store.Forget(g, n.Name))
		case over[b.ID]:
			errs = append(errs, c.sweep(g, b, n))
		}
	}
	return errors.Join(errs...)
}

// over says of which copies the time is over, by the store's clock: what they left may
// go. A copy that was killed and taken up has a note of each run, and the last one
// counts. If the store has not said what time it is, none is over.
func (c *Copy) over(notes []cloud.Note) map[string]bool {
	now, last := c.Store.Now(), map[string]time.Time{}
	for _, n := range notes {
		if b, _, err := owner.ParseName(n.Name); err == nil && b.Expires.After(last[b.ID]) {
			last[b.ID] = b.Expires
		}
	}
	over := map[string]bool{}
	for id, expires := range last {
		over[id] = !now.IsZero() && now.After(expires.Add(c.Grace))
	}
	return over
}

// clearEarly removes links and objects once nobody reads them any more: verifying may
// take hours, in which a link is a danger and an object costs money. Where that fails it
// is tried again at the end.
func (c *Copy) clearEarly(ctx context.Context) {
	g, cancel := wait.Cleanup(ctx, c.Cleanup)
	defer cancel()
	c.Say("Every import is over: the object and the links to it are removed")
	if err := c.clear(g); err != nil {
		c.Warn("They are tried again at the end: %v", err)
		return
	}
	c.cleared = true
}

// clear removes the links, and then the objects.
func (c *Copy) clear(g context.Context) error {
	var errs []error
	clean := func(s Store, object string) {
		for _, role := range []string{owner.RoleExport, owner.RoleImport} {
			if err := s.Unshare(g, c.Owner.ID, role); err != nil {
				errs = append(errs, fmt.Errorf("the pre-authenticated request %s is left: %w", c.Owner.Name(role), err))
			}
		}
		if err := c.remove(g, s, object); err != nil {
			errs = append(errs, fmt.Errorf("the object %s is left: %w", object, err))
		}
	}
	clean(c.Store, c.Object)
	if t, is := c.Source.(Tidier); is && c.again {
		errs = append(errs, t.Tidy(g))
	}
	for i, t := range c.Targets {
		for _, w := range t.Ways {
			if !c.board.went(i, w.Route()) && (!c.again || w.Check(g) != nil) {
				continue // a bucket that cannot be used was not used
			}
			before := len(errs)
			if clean(w, c.detourName(i)); len(errs) == before {
				errs = append(errs, c.forgetDetour(g, w, i)) // last: a sweep goes by it
			}
		}
	}
	return errors.Join(errs...)
}

// remove removes an object of this copy. What somebody else has put under a name that the
// template chose stays.
func (c *Copy) remove(g context.Context, s Store, object string) error {
	if s != c.Store || object != c.Object {
		return s.Remove(g, object)
	}
	if c.Given {
		return nil
	}
	made, err := c.made(g)
	switch _, uploads := c.Source.(Recognizer); {
	case err != nil:
		return err
	case ours(object):
		return s.Remove(g, object)
	case !made && !uploads: // nothing was asked to write it
		return nil
	case made:
		err = s.Delete(g, object)
	}
	errs := []error{err}
	mine, err := c.mine(g)
	if err == nil {
		err = s.Abort(g, object, mine)
	}
	return errors.Join(append(errs, err)...)
}

// mine tells the uploads of this copy from those of others, by when its runs were under way
// by their notes. It is nil where nobody else uploads under the object's name.
func (c *Copy) mine(ctx context.Context) (func(begun time.Time) bool, error) {
	if ours(c.Object) {
		return nil, nil
	}
	notes, err := c.Store.Notes(ctx)
	if err != nil {
		return nil, err
	}
	return func(begun time.Time) bool {
		for _, n := range notes {
			b, _, err := owner.ParseName(n.Name)
			if err != nil || b.ID != c.Owner.ID || n.Object != c.Object {
				continue
			}
			until := b.Expires
			if n.Name == c.Owner.Name(owner.RoleCopy) {
				until = time.Time{} // this run is under way, whatever this computer's clock says
			}
			if cloud.Within(begun, n.Created, until) {
				return true
			}
		}
		return false
	}, nil
}

// made says whether this copy made the object that is there.
func (c *Copy) made(g context.Context) (bool, error) {
	r, knows := c.Source.(Recognizer)
	switch {
	case ours(c.Object):
		return true, nil
	case !knows: // the cloud wrote it, and nothing on it says so
		return c.asked || c.again, nil
	}
	made, err := r.Recognize(g, c.Object, c.Owner.ID)
	if err != nil {
		return false, fmt.Errorf("who made it is not known: %w", err)
	}
	return made || c.silent, nil
}

// sweep removes what another copy left, which was killed and whose time is over.
func (c *Copy) sweep(ctx context.Context, b owner.Build, n cloud.Note) error {
	if n.Given || captured(n.Object) && !strings.HasSuffix(n.Object, "-"+b.ID+".oci") {
		// A copy of an object that was there, such as a disk that was captured.
		return errors.Join(c.unshare(ctx, b), c.Store.Forget(ctx, n.Name))
	}
	if !ours(n.Object) && !captured(n.Object) {
		return c.sweepNamed(ctx, b, n)
	}
	c.Say("Removing what is left of an earlier copy: %s", n.Object)
	return errors.Join(c.unshare(ctx, b), c.Store.Remove(ctx, n.Object), c.Store.Forget(ctx, n.Name))
}

// unshare removes the links of another copy.
func (c *Copy) unshare(ctx context.Context, b owner.Build) error {
	return errors.Join(c.Store.Unshare(ctx, b.ID, owner.RoleExport), c.Store.Unshare(ctx, b.ID, owner.RoleImport))
}

// sweepNamed removes what a copy left whose object has a name that its template chose: the
// links and what it uploaded, but not the object, which may be anybody's by now. The note
// goes last: without it nobody knows whose the parts are.
func (c *Copy) sweepNamed(ctx context.Context, b owner.Build, n cloud.Note) error {
	c.Say("Removing what an earlier copy, which was broken off, has uploaded of the object %s, and the links to it", n.Object)
	err := errors.Join(
		c.unshare(ctx, b),
		c.Store.Abort(ctx, n.Object, func(begun time.Time) bool { return cloud.Within(begun, n.Created, b.Expires) }),
	)
	if err != nil {
		return err
	}
	_, there, err := c.Store.Size(ctx, n.Object)
	if err != nil {
		return err
	}
	if there {
		c.Warn("An earlier copy was broken off that used the object %s. It does not have a name of this plugin's, so it stays: please delete it if it is not needed", n.Object)
	}
	return c.Store.Forget(ctx, n.Name)
}
