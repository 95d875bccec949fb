// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"

	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// BucketLeftovers is one bucket, for the sweep of builds that capture into it and take
// place elsewhere; it implements sweep.Cloud. What is in a bucket cannot be renewed: its
// names say until when it is needed.
type BucketLeftovers struct{ Bucket *Bucket }

// all is the bucket as a part of its region.
func (l BucketLeftovers) all() *Leftovers {
	return &Leftovers{Client: l.Bucket.Client, Bucket: CaptureConfig{Bucket: l.Bucket.Bucket, Namespace: l.Bucket.Namespace}}
}

// Place implements sweep.Cloud.
func (l BucketLeftovers) Place() string { return "oci " + l.Bucket.Region }

// Part tells it from the rest of the place, which may be swept as well.
func (l BucketLeftovers) Part() string { return "bucket " + l.Bucket.Bucket }

// List implements sweep.Cloud.
func (l BucketLeftovers) List(ctx context.Context) (sweep.Listing, error) {
	all := l.all()
	var out sweep.Listing
	err := all.listBucket(ctx, func(t sweep.Thing) { out.Things = append(out.Things, t) })
	switch {
	case err == nil:
	case len(out.Things) == 0:
		return sweep.Listing{}, fmt.Errorf("nothing can be listed in the bucket %s: %w", l.Bucket.Bucket, err)
	default:
		out.Blind = append(out.Blind, blind(sweep.Object, []error{err}, 1))
	}
	out.Now = all.now()
	return out, nil
}

// Remove implements sweep.Cloud.
func (l BucketLeftovers) Remove(ctx context.Context, t sweep.Thing) error {
	return l.all().Remove(ctx, t)
}

// Gone implements sweep.Cloud: what is in a bucket is gone at once.
func (BucketLeftovers) Gone(context.Context, sweep.Thing) error { return nil }
