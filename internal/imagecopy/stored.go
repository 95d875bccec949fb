// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"context"
	"errors"
	"fmt"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// Stored is the source of an image that is an object already: a disk that was captured.
// A Copy of it has Given set.
type Stored struct {
	Image  cloud.Image // what is known of it
	Store  Store
	Object string
	// Checksum, if set, is what Sum must say of the object.
	Checksum string
	// Sum is the checksum by which the store knows an object.
	Sum func(ctx context.Context, object string) (string, error)
	// Problem, if set, is a reason that is known already why it must not be copied.
	Problem error
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
	if s.Checksum == "" {
		return s.Image, nil
	}
	got, err := s.Sum(ctx, s.Object)
	if err == nil && got != s.Checksum {
		err = fmt.Errorf("the object %q is not the disk that was captured: its checksum is %q, not %q", s.Object, got, s.Checksum)
	}
	return s.Image, err
}

// Deliver implements Source: it is there.
func (s *Stored) Deliver(context.Context, Delivery) error { return nil }

// Remove implements Source.
func (s *Stored) Remove(ctx context.Context) error { return s.Store.Remove(ctx, s.Object) }
