// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"errors"
	"fmt"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// Content tells the content of an object from any other. The zero value is that of no
// object.
type Content struct {
	Checksum string // of parts; empty if the object was not uploaded in any
	Version  string // another one whenever the object is written
}

// ReplacedError says that an image was made of an object that somebody has written to
// meanwhile, or deleted.
type ReplacedError struct{ Object string }

func (e *ReplacedError) Error() string {
	return fmt.Sprintf("the object %q is not the one any more that was found at first: it was replaced or deleted meanwhile, and what was made of it may be anything; see who writes to the bucket, and capture the disk again", e.Object)
}

func isReplaced(err error) bool { return errors.As(err, new(*ReplacedError)) }

// Stored is the source of an image that is an object already: a disk that was captured.
// A Copy of it has Given set.
type Stored struct {
	Image  cloud.Image // what is known of it
	Store  Store
	Object string
	// Checksum, if set, is what Content must say of the object.
	Checksum string
	// Content is what the store knows of an object.
	Content func(ctx context.Context, object string) (Content, error)
	// Problem, if set, is a reason that is known already why it must not be copied.
	Problem error

	found Content // by Describe
}

// Describe implements Source.
func (s *Stored) Describe(ctx context.Context) (cloud.Image, error) {
	img, err := s.describe(ctx)
	return img, errors.Join(s.Problem, err)
}

func (s *Stored) describe(ctx context.Context) (cloud.Image, error) {
	if err := s.Store.Check(ctx); err != nil {
		return s.Image, err
	}
	size, there, err := s.Store.Size(ctx, s.Object)
	if err != nil {
		return s.Image, err
	}
	if !there || size == 0 {
		return s.Image, fmt.Errorf("there is no object %q in the bucket; capture the disk again", s.Object)
	}
	s.Image.SizeGB = (size + 1<<30 - 1) >> 30
	s.found, err = s.Content(ctx, s.Object)
	if got := s.found.Checksum; err == nil && s.Checksum != "" && got != s.Checksum {
		err = fmt.Errorf("the object %q is not the disk that was captured: its checksum is %q, not %q", s.Object, got, s.Checksum)
	}
	return s.Image, err
}

// Deliver implements Source: it is there.
func (s *Stored) Deliver(context.Context, Delivery) error { return nil }

// Confirm implements Confirmer.
func (s *Stored) Confirm(ctx context.Context) error {
	is, err := s.Content(ctx, s.Object)
	switch {
	case err != nil:
		return fmt.Errorf("whether the object %q is still the one that was found is not known: %w", s.Object, err)
	case is != s.found:
		return &ReplacedError{s.Object}
	}
	return nil
}

// Remove implements Source. What has taken the object's place is not removed.
func (s *Stored) Remove(ctx context.Context) error {
	is, err := s.Content(ctx, s.Object)
	if err == nil && is != s.found && is != (Content{}) {
		err = &ReplacedError{s.Object}
	}
	if err != nil {
		return err
	}
	return s.Store.Remove(ctx, s.Object)
}
