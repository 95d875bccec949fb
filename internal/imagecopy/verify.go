// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// provisionalSuffix ends the name of an image that has yet to pass.
const provisionalSuffix = "-unverified"

// MaxName is how many characters OCI allows in a name.
const MaxName = 255

// provisional is the name of an image until it has passed. Verifying may take long,
// and whoever looks an image up by its name must not get one that does not boot.
func provisional(name string) string {
	if most := MaxName - len(provisionalSuffix); len(name) > most {
		name = strings.ToValidUTF8(name[:most], "")
	}
	return name + provisionalSuffix
}

// unproven is the error of an image that did not pass, or could not be looked at.
type unproven struct {
	err     error
	untried bool // nothing is known about the image
	passed  bool // it is good, and does not say so yet
}

func (e *unproven) Error() string { return e.err.Error() }
func (e *unproven) Unwrap() error { return e.err }

// isUnproven says whether an error is about the verification: another import would
// bring the same image.
func isUnproven(err error) bool {
	var u *unproven
	return errors.As(err, &u)
}

// Untried is the error of a Verifier that never had a machine: it says nothing about
// the image.
type Untried struct{ Err error }

func (e *Untried) Error() string { return e.Err.Error() }
func (e *Untried) Unwrap() error { return e.Err }

// Left is the error of a Verifier that found the image good and could not remove what
// it made.
type Left struct{ Err error }

func (e *Left) Error() string { return e.Err.Error() }
func (e *Left) Unwrap() error { return e.Err }

// proven says whether a destination has a finished image that has passed what it is
// to pass.
func proven(t Target, h standing) bool {
	return h.done != "" && (t.Verify == nil || h.has.Verified != nil && h.has.Verified.By == t.Verify.By())
}

// ledger is what became of the images that were verified, by the target's key.
type ledger struct {
	mu      sync.Mutex
	entries map[string]entry
}

type entry struct {
	good  *cloud.Verified
	stays string // an image that did not pass
	left  error
}

func (l *ledger) of(t Target, r *Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[t.Key]
	r.Verified, r.Unverified, r.Left = e.good, e.stays, e.left
}

// note changes what is known of a target.
func (l *ledger) note(t Target, change func(*entry)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries == nil {
		l.entries = map[string]entry{}
	}
	e := l.entries[t.Key]
	change(&e)
	l.entries[t.Key] = e
}

// prove verifies an image, if that is wanted, and notes in spec that it passed.
func (c *Copy) prove(ctx context.Context, t Target, id string, spec *cloud.Import) error {
	if t.Verify == nil {
		return nil
	}
	c.board.set(t.Name(), "verifying")
	v, err := t.Verify.Verify(ctx, id)
	if left := (*Left)(nil); errors.As(err, &left) {
		c.found.note(t, func(e *entry) {
			e.left = fmt.Errorf("destination %s: the image was verified, but what that took is left: %w", t.Name(), left)
		})
		err = nil
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		var u *Untried
		return &unproven{err: err, untried: errors.As(err, &u) || ctx.Err() != nil}
	}
	v.By = t.Verify.By()
	spec.Verified = &v
	c.found.note(t, func(e *entry) { e.good = &v })
	return nil
}

// proveLater verifies a copy that an earlier run finished without that. It stays,
// whatever comes of it: it may be in use.
func (c *Copy) proveLater(ctx context.Context, t Target, h standing) error {
	c.Say("%s: image %s is a finished copy of %s, and has not been verified in this way yet", t.Name(), h.done, c.image.ID)
	spec := c.spec(t)
	if err := c.prove(ctx, t, h.done, &spec); err != nil {
		return fmt.Errorf("image %s, which was copied before, was not verified, and stays: %w", h.done, err)
	}
	// People may have tagged it meanwhile, and an update replaces all tags.
	if err := c.reread(ctx, t, h.done, &spec); err != nil {
		return fmt.Errorf("image %s was verified, but its tags cannot be read: %w", h.done, err)
	}
	if err := t.Seal(ctx, h.done, spec); err != nil {
		return fmt.Errorf("image %s was verified, but it cannot be tagged with that: %w", h.done, err)
	}
	c.Say("Image %s in %s is verified", h.done, t.Name())
	c.succeed(ctx, t, h, h.done)
	return nil
}

// reread notes in spec what a finished image is tagged with now.
func (c *Copy) reread(ctx context.Context, t Target, id string, spec *cloud.Import) error {
	images, err := t.Images(ctx)
	if err != nil {
		return err
	}
	for _, f := range images {
		if f.ID == id {
			spec.Mark, spec.Has = f.Mark, f.Tags
			return nil
		}
	}
	return errors.New("the image is not there any more")
}

// pend keeps an image from those who look it up by its name, and notes whether it has
// failed.
func (c *Copy) pend(ctx context.Context, t Target, id string, failed bool) error {
	spec := c.spec(t)
	spec.Name = provisional(spec.Name)
	if failed { // it is to be noted, also if the user does not want to wait any more
		g, cancel := wait.Cleanup(ctx, c.Cleanup)
		defer cancel()
		ctx = g
	}
	return t.Pend(ctx, id, spec, failed)
}

// renewLimit is how long it is tried to renew an image that is still being imported:
// whether OCI changes the tags of one is unverified against the real service.
const renewLimit = 20 * time.Second

// renew makes an image that an earlier run began this run's, which needs it for longer:
// its tag says until when, and a sweep goes by that. It has no final name from then on if
// it is to be verified. Whether that could be done is returned; if not, it is due once
// the image is there.
func (c *Copy) renew(ctx context.Context, t Target, f cloud.Found) (done bool) {
	limited, cancel := context.WithTimeout(ctx, renewLimit)
	defer cancel()
	spec := c.spec(t)
	if spec.Name = f.Name; t.Verify != nil {
		spec.Name = provisional(c.nameIn(t))
	}
	err := t.Pend(limited, f.ID, spec, f.Failed)
	if err != nil && ctx.Err() == nil {
		c.Say("%s: that this run needs %s cannot be noted in its tag yet: %v", t.Name(), f.ID, err)
	}
	return err == nil
}

// hide is renew for an image that is there, and is about to be verified. What is not
// verified is finished next, and has no expiry then.
func (c *Copy) hide(ctx context.Context, t Target, f cloud.Found) error {
	if t.Verify == nil {
		return nil
	}
	if err := c.pend(ctx, t, f.ID, f.Failed); err != nil {
		return &unproven{err: fmt.Errorf("its name and its expiry cannot be changed: %w", err), untried: true}
	}
	return nil
}

// fail is the error of an image that came to nothing, which goes, unless it is to
// stay for people to look at, or nothing is known of it yet: hours of exporting and
// importing are not thrown away because there was no machine.
func (c *Copy) fail(ctx context.Context, t Target, id string, err error) error {
	var u *unproven
	if !errors.As(err, &u) {
		return errors.Join(err, c.discard(ctx, t, id))
	}
	if u.passed {
		c.found.note(t, func(e *entry) { e.stays = id })
		return fmt.Errorf("image %s has passed and could not be tagged as finished. It stays, tagged as unfinished; the next run of this copy goes on with it: %w", id, err)
	}
	if t.KeepUnverified || u.untried {
		c.found.note(t, func(e *entry) { e.stays = id })
		if !u.untried {
			if perr := c.pend(ctx, t, id, true); perr != nil {
				err = errors.Join(err, fmt.Errorf("that it did not pass cannot be noted in its tag; a run without verify would take it for good: %w", perr))
			}
		}
		err = fmt.Errorf("image %s was not verified. It stays, under the name %q and tagged as unfinished; the next run of this copy verifies it again: %w", id, provisional(c.nameIn(t)), err)
		if u.untried {
			return err
		}
		return help.About(help.Boot, err)
	}
	if derr := c.discard(ctx, t, id); derr != nil {
		return errors.Join(fmt.Errorf("image %s was not verified: %w", id, err), derr)
	}
	return help.About(help.Boot, fmt.Errorf("image %s was not verified, and was deleted: %w", id, err))
}
