// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"slices"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/identity"
)

// TestTagNamespaces reads which defined tags there are.
func TestTagNamespaces(t *testing.T) {
	k := newKit(t, nil)
	k.build.TagNamespaces = map[string][]string{"Operations": {"CostCenter", "Live"}, "Finance": {}}
	ctx, c := context.Background(), k.identity(k.build, homeRegion)
	all, err := c.ListTagNamespaces(ctx, identity.ListTagNamespacesRequest{CompartmentId: &k.build.ID, IncludeSubcompartments: common.Bool(true),
		LifecycleState: identity.TagNamespaceLifecycleStateActive})
	if err != nil || len(all.Items) != 2 || *all.Items[0].Name != "Finance" || *all.Items[1].Name != "Operations" || *all.Items[1].IsRetired ||
		*all.Items[1].CompartmentId != k.build.ID || all.Items[1].LifecycleState != "ACTIVE" {
		t.Fatalf("%+v, %v", all.Items, err)
	}
	keys, err := c.ListTags(ctx, identity.ListTagsRequest{TagNamespaceId: all.Items[1].Id})
	var names []string
	for _, k := range keys.Items {
		names = append(names, *k.Name)
	}
	if err != nil || !slices.Equal(names, []string{"CostCenter", "Live"}) || *keys.Items[0].IsCostTracking {
		t.Errorf("%+v, %v", keys.Items, err)
	}
	first, err := c.ListTagNamespaces(ctx, identity.ListTagNamespacesRequest{CompartmentId: &k.build.ID, Limit: common.Int(1)})
	if err != nil || len(first.Items) != 1 || first.OpcNextPage == nil {
		t.Errorf("a page of one: %+v, %v", first.Items, err)
	}
	for _, none := range []identity.ListTagNamespacesRequest{
		{CompartmentId: &k.build.CompartmentID}, {CompartmentId: &k.build.ID, LifecycleState: identity.TagNamespaceLifecycleStateDeleted},
	} {
		if r, err := c.ListTagNamespaces(ctx, none); err != nil || len(r.Items) != 0 {
			t.Errorf("%+v, %v", r.Items, err)
		}
	}
	if r, err := c.ListTags(ctx, identity.ListTagsRequest{TagNamespaceId: all.Items[0].Id}); err != nil || len(r.Items) != 0 {
		t.Errorf("a namespace without keys: %+v, %v", r.Items, err)
	}
	theirs := k.identity(k.production, k.production.HomeRegion)
	_, err = theirs.ListTags(ctx, identity.ListTagsRequest{TagNamespaceId: all.Items[1].Id, RequestMetadata: once()})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	_, err = theirs.ListTagNamespaces(ctx, identity.ListTagNamespacesRequest{CompartmentId: &k.build.ID, RequestMetadata: once()})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
}
