// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package preflight

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
)

// Check looks at every destination at the same time and returns what keeps images
// from being copied there, all of it. names are those that it was looked at
// under, in the order of places.
func Check(ctx context.Context, places []CheckedPlace, o oci.Options) (names []string, err error) {
	names = make([]string, len(places))
	bad := make([]error, len(places))
	var wg sync.WaitGroup
	for i := range places {
		wg.Go(func() {
			names[i], bad[i] = places[i].check(ctx, o)
			if bad[i] != nil {
				bad[i] = fmt.Errorf("destination %s: %w", names[i], bad[i])
			}
		})
	}
	wg.Wait()
	return names, errors.Join(bad...)
}

func (p *CheckedPlace) check(ctx context.Context, o oci.Options) (name string, err error) {
	name = p.Region
	who, err := oci.SignIn(ctx, p.credentials, o)
	if err != nil {
		return name, err
	}
	m, err := p.Importer(who)
	if err != nil {
		return name, err
	}
	err = m.Preflight(ctx)
	if p.Verify != nil && ctx.Err() == nil {
		if verr := p.Verify.check(ctx, m); verr != nil {
			err = errors.Join(err, fmt.Errorf("verify: %w", verr))
		}
	}
	return m.Label, err
}
