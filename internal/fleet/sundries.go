// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

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
