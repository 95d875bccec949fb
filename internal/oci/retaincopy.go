// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"maps"
	"slices"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// seriesOf is the mark of the series that a copy belongs to: the template's, or that of
// the image that it is a copy of. Empty means that there is none.
func (m *Importer) seriesOf(source cloud.Image) string {
	of, _ := owner.ParseTag(source.Tags[owner.Key])
	return cmp.Or(m.Series, of.Series)
}

// CheckRetain implements imagecopy.Retainer.
func (m *Importer) CheckRetain(source cloud.Image) error {
	if m.Keep > 0 && m.seriesOf(source) == "" {
		return fmt.Errorf("retain = %d: image %s does not say to which series it belongs; set image_series here, or in the template that makes the image", m.Keep, source.ID)
	}
	return nil
}

// Retain implements imagecopy.Retainer. A copy of which there is a machine stays, in
// whatever compartment the machine is that this user may see: images are kept in one
// compartment, and machines run in others. The image that was copied stays as well. What
// cannot be found out keeps everything.
func (m *Importer) Retain(ctx context.Context, made string, source cloud.Image) error {
	if m.Keep == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, retainFor)
	defer cancel()
	all, err := m.aged(ctx, m.Compartment)
	if err != nil {
		return err
	}
	surplus := owner.Surplus(all, owner.RoleImport, m.seriesOf(source), made, m.Keep)
	surplus = slices.DeleteFunc(surplus, func(i owner.Image) bool { return i.ID == source.ID })
	if len(surplus) == 0 {
		return nil
	}
	used, err := m.inUse(ctx)
	if err != nil {
		return err
	}
	return m.thin(ctx, surplus, used, m.Keep, func(format string, a ...any) {
		m.Say("%s: "+format, append([]any{m.Label}, a...)...)
	})
}

// inUse are the images of which there are machines, each with one of them. What is in a
// compartment that this user may not look into cannot be known.
func (m *Importer) inUse(ctx context.Context) (map[string]string, error) {
	ids, _, err := m.within(ctx, m.Compartment)
	if err != nil && !missing(err) && !code(err, "NotAuthorized") {
		return nil, err
	}
	found, errs := make([]map[string]string, len(ids)), make([]error, len(ids))
	abreast(len(ids), func(i int) { found[i], errs[i] = m.bases(ctx, ids[i:i+1]) })
	used := map[string]string{}
	for i, id := range ids {
		switch err := errs[i]; {
		case err == nil:
			maps.Copy(used, found[i])
		case id != m.Compartment && (missing(err) || code(err, "NotAuthorized")):
			log.Printf("[INFO] whether machines in %s were made of older copies cannot be seen: %v", id, err)
		default:
			return nil, err
		}
	}
	return used, nil
}
