// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package outlook is what the command capacity and the data source armfree-capacity have
// in common: which regions are asked, all at the same time, and the words of the answer.
// It makes no machine.
package outlook

import (
	"context"
	"fmt"
	"sync"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
)

// Question is who asks, and where.
type Question struct {
	Credentials oci.Credentials
	// Regions are empty for the one of who signs in.
	Regions []string
	// AllRegions asks in each region to which the tenancy is subscribed.
	AllRegions bool
}

// Clients signs in and returns a client for each region, in the order of the question.
func (q Question) Clients(ctx context.Context, o oci.Options) (all []*oci.Client, err error) {
	who, err := oci.SignIn(ctx, q.Credentials, o)
	if err != nil {
		return nil, err
	}
	regions := q.Regions
	if len(regions) == 0 {
		regions = []string{who.Region}
	}
	if q.AllRegions {
		home, err := who.Client(oci.FullRegion(who.Region))
		if err != nil {
			return nil, err
		}
		if regions, err = home.Subscribed(ctx); err != nil {
			return nil, fmt.Errorf("the regions of the tenancy are not known: %w", err)
		}
	}
	for _, r := range regions {
		client, err := who.Client(oci.FullRegion(r))
		if err != nil {
			return nil, err
		}
		all = append(all, client)
	}
	return all, nil
}

// Found is what a region has, or why that is not known.
type Found struct {
	oci.Outlook
	Err error
}

// Look asks each region about the sizes, all at the same time.
func Look(ctx context.Context, clients []*oci.Client, sizes []oci.Size) []Found {
	all := make([]Found, len(clients))
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() { all[i].Outlook, all[i].Err = c.Outlook(ctx, sizes) })
	}
	wg.Wait()
	return all
}

// Status is the word for what a report says of a place.
func Status(h capacity.Hint) string {
	switch h {
	case capacity.Free:
		return "free"
	case capacity.Full:
		return "full"
	case capacity.Missing:
		return "missing"
	default:
		return "unknown"
	}
}

// Left is how many cores the limit leaves beside what runs; nil if the limit is not known.
func Left(p oci.OutlookPlace) *float64 {
	if p.Cores == nil {
		return nil
	}
	left := max(0, float64(*p.Cores)-float64(p.Used))
	return &left
}
