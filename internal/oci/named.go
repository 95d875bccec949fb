// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"slices"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/identity"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// What a template names and is not there would otherwise show late: when a
// machine is launched, as a refusal that does not say of what, or when the image
// is made, at the very end of a build.

// checkGroups looks at the network security groups of the machine.
func (s *survey) checkGroups(ctx context.Context) {
	b := s.b
	for _, id := range b.cfg.NSGs {
		var g core.NetworkSecurityGroup
		err := repeat(ctx, "get network security group", id, func(ctx context.Context) error {
			r, err := b.network.GetNetworkSecurityGroup(shield(ctx), core.GetNetworkSecurityGroupRequest{NetworkSecurityGroupId: &id, RequestMetadata: once()})
			g = r.NetworkSecurityGroup
			return err
		})
		switch {
		case missing(err):
			s.problem(fmt.Errorf("nsg_ids: there is no network security group %s in %s that this user may see: %w", id, b.Region, err))
		case err != nil:
			s.problem(fmt.Errorf("nsg_ids: %w", err))
		case s.vcn != "" && text(g.VcnId) != "" && text(g.VcnId) != s.vcn:
			s.problem(fmt.Errorf("nsg_ids: network security group %s is in another VCN than subnet %s", id, b.cfg.Subnet))
		}
	}
}

// checkImageShapes sees whether the image's shapes exist. Those of the machine
// are looked at with the places.
func (s *survey) checkImageShapes(ctx context.Context) {
	b := s.b
	wanted := slices.DeleteFunc(slices.Clone(b.cfg.Image.Shapes), func(shape string) bool { return slices.Contains(b.shapes(), shape) })
	if b.cfg.Image.Skip || len(wanted) == 0 {
		return
	}
	for _, d := range s.inRegion {
		has, err := b.shapesIn(ctx, d, "")
		if err != nil {
			if !missing(err) { // of a compartment that is not there is said elsewhere
				s.problem(err)
			}
			return
		}
		wanted = slices.DeleteFunc(wanted, func(shape string) bool { _, ok := has[shape]; return ok })
	}
	for _, shape := range wanted {
		if !s.whole {
			s.note("image_shapes: %s does not exist in %s; whether another availability domain has it cannot be seen", shape, strings.Join(s.inRegion, ", "))
			continue
		}
		s.problem(fmt.Errorf("image_shapes: %s does not exist in %s", shape, b.Region))
	}
}

// checkTags sees whether the defined tags of the template exist. Who may not look
// them up can still use them.
func (s *survey) checkTags(ctx context.Context) {
	cfg := s.b.cfg
	wanted := []struct {
		option string
		tags   DefinedTags
	}{{"instance_defined_tags", cfg.InstanceDefinedTags}, {"create_vnic_details: defined_tags", cfg.VNICDefinedTags}}
	add := func(option string, tags DefinedTags) {
		wanted = append(wanted, struct {
			option string
			tags   DefinedTags
		}{option, tags})
	}
	if !cfg.Image.Skip {
		add("defined_tags", cfg.Image.DefinedTags)
	}
	if cfg.Bastion != nil && cfg.Bastion.ID == "" {
		add("oci_bastion: defined_tags", cfg.Bastion.DefinedTags)
	}
	known := tagLookup{c: s.b.Client, keys: map[string]map[string]tagInfo{}}
	for _, w := range wanted {
		for _, namespace := range slices.Sorted(maps.Keys(w.tags)) {
			for _, key := range slices.Sorted(maps.Keys(w.tags[namespace])) {
				if err := known.problem(ctx, namespace, key); err != nil {
					s.problem(fmt.Errorf("%s: %w", w.option, err))
				}
				if known.failed {
					return
				}
			}
		}
	}
}

// tagInfo is a namespace, or a key of one.
type tagInfo struct {
	id, name string
	retired  bool
}

// tagLookup reads namespaces and their keys when they are asked for. Names are
// the same in any case of letters.
type tagLookup struct {
	c          *Client
	namespaces map[string]tagInfo
	keys       map[string]map[string]tagInfo
	failed     bool // it cannot be read
}

// problem says why a tag cannot be used.
func (l *tagLookup) problem(ctx context.Context, namespace, key string) error {
	if l.namespaces == nil {
		var err error
		if l.namespaces, err = l.c.tagNamespaces(ctx); err != nil {
			log.Printf("[WARN] the tag namespaces are not known: %v", err)
			l.failed = true
			return nil
		}
	}
	of, ok := l.namespaces[strings.ToLower(namespace)]
	switch {
	case !ok:
		return fmt.Errorf("there is no tag namespace %q in this tenancy; there are: %s", namespace, tagNames(l.namespaces))
	case of.retired:
		return fmt.Errorf("the tag namespace %q is retired", namespace)
	}
	keys, ok := l.keys[of.id]
	if !ok {
		var err error
		if keys, err = l.c.tagKeys(ctx, of.id); err != nil {
			log.Printf("[WARN] the keys of the tag namespace %s are not known: %v", of.name, err)
		}
		l.keys[of.id] = keys
	}
	k, ok := keys[strings.ToLower(key)]
	switch {
	case keys == nil:
		return nil
	case !ok:
		return fmt.Errorf("the tag namespace %q has no key %q; it has: %s", namespace, key, tagNames(keys))
	case k.retired:
		return fmt.Errorf("the key %q of the tag namespace %q is retired", key, namespace)
	}
	return nil
}

func tagNames(of map[string]tagInfo) string {
	var names []string
	for _, i := range of {
		names = append(names, i.name)
	}
	slices.Sort(names)
	return orNone(strings.Join(names, ", "))
}

// tagNamespaces are those of the whole tenancy.
func (c *Client) tagNamespaces(ctx context.Context) (map[string]tagInfo, error) {
	all, found := true, map[string]tagInfo{}
	err := cloud.Pages(func(page *string) (*string, error) {
		var r identity.ListTagNamespacesResponse
		err := repeat(ctx, "list tag namespaces", "", func(ctx context.Context) (err error) {
			r, err = c.identity.ListTagNamespaces(shield(ctx), identity.ListTagNamespacesRequest{
				CompartmentId: &c.Tenancy, IncludeSubcompartments: &all, Page: page, RequestMetadata: once(),
			})
			return err
		})
		for _, n := range r.Items {
			if n.Id != nil && n.Name != nil {
				found[strings.ToLower(*n.Name)] = tagInfo{*n.Id, *n.Name, n.IsRetired != nil && *n.IsRetired}
			}
		}
		return r.OpcNextPage, err
	})
	return found, err
}

func (c *Client) tagKeys(ctx context.Context, namespace string) (map[string]tagInfo, error) {
	found := map[string]tagInfo{}
	err := cloud.Pages(func(page *string) (*string, error) {
		var r identity.ListTagsResponse
		err := repeat(ctx, "list tags of", namespace, func(ctx context.Context) (err error) {
			r, err = c.identity.ListTags(shield(ctx), identity.ListTagsRequest{TagNamespaceId: &namespace, Page: page, RequestMetadata: once()})
			return err
		})
		for _, k := range r.Items {
			if k.Name != nil {
				found[strings.ToLower(*k.Name)] = tagInfo{text(k.Id), *k.Name, k.IsRetired != nil && *k.IsRetired}
			}
		}
		return r.OpcNextPage, err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// maybeAbout adds to a launch's 404 which options it may be about: OCI does not
// say what was not found, unless it is the shape.
func (b *Build) maybeAbout(err error) error {
	var e *Error
	if !errors.As(err, &e) || !missing(err) || e.Code == "" || aboutShape(e) {
		return err
	}
	var names []string
	for _, o := range []struct {
		name string
		set  bool
	}{
		{"subnet_ocid", true}, {"nsg_ids", len(b.cfg.NSGs) > 0}, {"kms_key_ocid", b.cfg.KMSKey != ""}, {"compartment_ocid", true},
		{"capacity_reservation_ocid", b.cfg.Reservation != ""},
	} {
		if o.set {
			names = append(names, o.name)
		}
	}
	last := len(names) - 1
	e.Message = fmt.Sprintf("%s It may be about %s or %s, or this user lacks a permission.", e.Message, strings.Join(names[:last], ", "), names[last])
	return err
}
