// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// Leftovers is what can be swept before a build: all places of those sites that know
// what builds like theirs may leave.
func (f *Fleet) Leftovers() []sweep.Cloud {
	var all []sweep.Cloud
	for _, p := range f.places {
		if s, ok := p.Site.(interface{ Leftovers() []sweep.Cloud }); ok {
			all = append(all, s.Leftovers()...)
		}
	}
	return all
}

// Extend tells all sites until when what they make from now on may be needed.
func (f *Fleet) Extend(until time.Time) {
	for _, p := range f.places {
		if s, ok := p.Site.(interface{ Extend(until time.Time) }); ok {
			s.Extend(until)
		}
	}
}
