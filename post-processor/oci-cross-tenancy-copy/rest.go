// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"os"

	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
	"github.com/armfree/packer-plugin-armfree/internal/lifeline"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// rest are the commands that remove what a copy leaves if it is ended by force: one for
// each tenancy, since each has credentials of its own. Those are in the environment of
// whoever runs the command, as they are here.
func rest(c *imagecopy.Copy) (all []string) {
	side := func(prefix, tenancy string, places ...sweep.Cloud) {
		all = append(all, sweep.Commands(lifeline.Binary(), c.Owner.ID, places, prefixed(prefix, tenancy)...)...)
	}
	// A bucket may be in any compartment.
	anywhere := func(c *oci.Client) sweep.Cloud {
		return &oci.Leftovers{Client: c, Compartments: []string{"all"}}
	}
	var copied []sweep.Cloud // what the ways lead through
	relays := map[string][]sweep.Cloud{}
	for _, t := range c.Targets {
		for _, w := range t.Ways {
			switch w := w.(type) {
			case *oci.CopyWay:
				copied = append(copied, anywhere(w.Client))
			case *oci.RelayWay:
				relays[w.Tenancy] = append(relays[w.Tenancy], anywhere(w.Client))
			}
		}
	}
	if b, ok := c.Store.(*oci.Bucket); ok {
		side("BUILD_", b.Tenancy, &oci.Leftovers{Client: b.Client})
		side("BUILD_", b.Tenancy, copied...)
	}
	byTenancy := map[string][]sweep.Cloud{}
	var order []string
	for _, t := range c.Targets {
		if m, ok := t.Destination.(*oci.Importer); ok {
			if byTenancy[m.Tenancy] == nil {
				order = append(order, m.Tenancy)
			}
			byTenancy[m.Tenancy] = append(byTenancy[m.Tenancy], &oci.Leftovers{Client: m.Client, Compartments: []string{m.Compartment}})
		}
	}
	for _, tenancy := range order {
		side("PROD_", tenancy, byTenancy[tenancy]...)
		side("PROD_", tenancy, relays[tenancy]...)
	}
	return all
}

// prefixed is the option that names the variables of a tenancy's credentials; nothing
// where those are of another tenancy, and the template has this one's.
func prefixed(prefix, tenancy string) []string {
	if os.Getenv(prefix+"OCI_TENANCY_OCID") != tenancy {
		return nil
	}
	return []string{"--env-prefix", prefix}
}
