// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Renewer is a Cloud that can write the mark of a thing.
type Renewer interface {
	Cloud
	// Renew writes the mark of t, and nothing else of it.
	Renew(ctx context.Context, t Thing) error
}

// renewable are the kinds whose expiry is renewed. Images and snapshots are not among
// them: their build may finish them at the same moment, and what was finished would be
// marked as unfinished again. Bastions, roles and what a copy makes say from the
// beginning until when they can be needed.
func renewable() []Kind { return []Kind{Instance, Spot, Interface, Volume, Group, KeyPair} }

// Renew lets what a build has be needed for life from now on, by the clouds' clock: a
// build may take longer than it seemed. It returns what could not be renewed; a place
// that cannot list or write something does not keep the others from it.
func Renew(ctx context.Context, clouds []Cloud, build string, life time.Duration) error {
	var errs []error
	for _, c := range clouds {
		r, ok := c.(Renewer)
		if !ok {
			continue
		}
		l, err := c.List(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.Place(), err))
			continue
		}
		for _, b := range l.Blind {
			if slices.Contains(renewable(), b.Kind) && !b.Refused {
				errs = append(errs, fmt.Errorf("%s: no %s could be listed: %w", c.Place(), b.Kind, b.Err))
			}
		}
		for _, t := range outlived(l, build, life) {
			if err := r.Renew(ctx, t); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", t, err))
			}
		}
	}
	return errors.Join(errs...)
}

// outlived are the things of a build that are to be renewed, with the mark that they
// are to have.
func outlived(l Listing, build string, life time.Duration) (list []Thing) {
	if l.Now.IsZero() {
		return nil
	}
	until := l.Now.Add(life).UTC().Truncate(time.Second)
	for _, t := range l.Things {
		if !t.Ours || t.Mark.Build != build || !slices.Contains(renewable(), t.Kind) || !slices.Contains(roles(t.Kind), t.Mark.Role) {
			continue
		}
		if t.Mark.Expires.IsZero() || !t.Mark.Expires.Before(until) {
			continue // it is to stay, or has time enough
		}
		t.Mark.Expires = until
		list = append(list, t)
	}
	return list
}
