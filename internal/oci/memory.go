// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"slices"
)

// usualMemory is the memory for each OCPU where the service tells no default.
const usualMemory = 6

// settleMemory gives the sizes of flexible shapes whose memory was left to OCI
// the memory that it would give: limits, reports and the free-tier guard count
// it. Each shape has a default of its own, the same in all domains.
func (b *Build) settleMemory(ctx context.Context, domains []string) {
	open := func(s Size) bool { return s.OCPUs > 0 && s.MemoryGB == 0 }
	if !slices.ContainsFunc(b.cfg.Sizes, open) {
		return
	}
	b.cfg.Sizes = slices.Clone(b.cfg.Sizes) // other regions have the same ones
	for _, d := range domains {
		shapes, err := b.shapesIn(ctx, d, "")
		if err != nil {
			break // whoever needs the shapes says so
		}
		for i, s := range b.cfg.Sizes {
			if m := shapes[s.Shape].MemoryOptions; open(s) && m != nil {
				b.cfg.Sizes[i].MemoryGB = s.OCPUs * number(m.DefaultPerOcpuInGBs)
			}
		}
	}
	for i, s := range b.cfg.Sizes {
		if open(s) {
			b.cfg.Sizes[i].MemoryGB = s.OCPUs * usualMemory
		}
	}
}
