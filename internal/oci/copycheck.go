// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/help"
)

// Check implements imagecopy.Destination. Images, which comes before it, has
// proven the credentials and the compartment.
func (m *Importer) Check(ctx context.Context, room bool) error {
	var errs []error
	if left, known := m.imagesLeft(ctx); room && known && left <= 0 {
		errs = append(errs, help.About(help.Limits, fmt.Errorf("the limit \"custom-image-count\" of tenancy %s in %s leaves no room for another image (%d left); delete images that are no longer needed, or ask for a higher limit (accounts with only Always Free resources may have to upgrade to Pay As You Go, which keeps the free allowance; without any room for images an account can start Oracle's own only)", m.Tenancy, m.Region, left)))
	}
	known := tagLookup{c: m.Client, keys: map[string]map[string]tagInfo{}}
	for _, namespace := range slices.Sorted(maps.Keys(m.DefinedTags)) {
		for _, key := range slices.Sorted(maps.Keys(m.DefinedTags[namespace])) {
			if err := known.problem(ctx, namespace, key); err != nil {
				errs = append(errs, fmt.Errorf("defined_tags_json: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// Preflight finds what keeps images from being imported, before there is one.
func (m *Importer) Preflight(ctx context.Context) error {
	if _, err := m.Images(ctx); err != nil {
		return err
	}
	return m.Check(ctx, true)
}

// mayShare says why the user cannot make and delete links of the bucket.
func (b *Bucket) mayShare(ctx context.Context) error {
	one := 1
	err := repeat(ctx, "list pre-authenticated requests of", b.Bucket, func(ctx context.Context) error {
		_, err := b.objects.ListPreauthenticatedRequests(shield(ctx), objectstorage.ListPreauthenticatedRequestsRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, Limit: &one, RequestMetadata: once()})
		return err
	})
	if missing(err) {
		return help.About(help.Links, fmt.Errorf("bucket: this user may not manage the pre-authenticated requests of the bucket %q (PAR_MANAGE, a part of \"manage buckets\"): %w", b.Bucket, err))
	}
	return err
}
