// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// MakeSundries implements cloud.Sundries, where the place of the offer does.
func (f *Fleet) MakeSundries(ctx context.Context, o capacity.Offer, token string) error {
	p := f.place(o.Cloud, o.Region)
	if s, ok := p.Site.(cloud.Sundries); ok {
		return p.err(s.MakeSundries(ctx, o, token))
	}
	return nil
}

// RemoveSundries implements cloud.Sundries: in every place that makes any.
func (f *Fleet) RemoveSundries(ctx context.Context) error {
	var errs []error
	for _, p := range f.places {
		if s, ok := p.Site.(cloud.Sundries); ok {
			errs = append(errs, p.err(s.RemoveSundries(ctx)))
		}
	}
	return errors.Join(errs...)
}
