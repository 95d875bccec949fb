// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"
	"log"
	"slices"
	"strings"
	"sync"

	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/identity"
	"github.com/oracle/oci-go-sdk/v65/limits"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/help"
)

// checkImage looks at the base image.
func (s *survey) checkImage(ctx context.Context) {
	b := s.b
	if err := s.findImage(ctx); err != nil {
		s.problem(err)
		return
	}
	id := b.BaseImage()
	img, err := b.image(ctx, id)
	switch {
	case missing(err):
		s.problem(fmt.Errorf("base_image_ocid: there is no image %s in %s that this user may see; an image's OCID belongs to one region, and another tenancy's images cannot be used: %w", id, b.Region, err))
		return
	case err != nil:
		s.problem(fmt.Errorf("base_image_ocid: %w", err))
		return
	// Oracle: "You can still launch instances while the image is exporting".
	case img.state != core.ImageLifecycleStateAvailable && img.state != core.ImageLifecycleStateExporting:
		s.problem(fmt.Errorf("base_image_ocid: image %s (%s) is %s, it must be AVAILABLE", id, img.name, img.state))
	}
	s.image = img
	b.os, b.osVersion = img.os, img.osVersion
	for _, shape := range b.shapes() {
		if Ampere(shape) && img.firmware != "" && img.firmware != string(core.LaunchOptionsFirmwareUefi64) {
			s.problem(fmt.Errorf("base_image_ocid: image %s (%s) has the firmware %s, and %s starts only images with UEFI_64; import it again with UEFI_64", id, img.name, img.firmware, shape))
		}
	}
	if size := (img.sizeMB + 1023) / 1024; b.cfg.DiskGB > 0 && b.cfg.DiskGB < size {
		s.problem(fmt.Errorf("disk_size: image %s (%s) needs a boot volume of %d GB, %d is too small", id, img.name, size, b.cfg.DiskGB))
	}
}

// bootGB is how large the boot volume will be. OCI's own are 47 GB at least.
func (s *survey) bootGB() int64 {
	if s.b.cfg.DiskGB > 0 {
		return s.b.cfg.DiskGB
	}
	return max(47, (s.image.sizeMB+1023)/1024)
}

// checkSubnet looks at the subnet and whether it may have public addresses.
func (s *survey) checkSubnet(ctx context.Context) {
	b := s.b
	var subnet core.Subnet
	err := repeat(ctx, "get subnet", b.cfg.Subnet, func(ctx context.Context) error {
		r, err := b.network.GetSubnet(shield(ctx), core.GetSubnetRequest{SubnetId: &b.cfg.Subnet, RequestMetadata: once()})
		subnet = r.Subnet
		return err
	})
	switch {
	case missing(err):
		s.problem(fmt.Errorf("subnet_ocid: there is no subnet %s in %s that this user may see: %w", b.cfg.Subnet, b.Region, err))
		return
	case err != nil:
		s.problem(fmt.Errorf("subnet_ocid: %w", err))
		return
	case subnet.LifecycleState != "" && subnet.LifecycleState != core.SubnetLifecycleStateAvailable && subnet.LifecycleState != core.SubnetLifecycleStateUpdating:
		s.problem(fmt.Errorf("subnet_ocid: subnet %s is %s, it must be AVAILABLE", b.cfg.Subnet, subnet.LifecycleState))
	}
	s.vcn, s.subnetAD = text(subnet.VcnId), text(subnet.AvailabilityDomain)
	if private := subnet.ProhibitPublicIpOnVnic; private != nil && *private && b.cfg.AssignPublicIP != nil && *b.cfg.AssignPublicIP {
		s.problem(fmt.Errorf("assign_public_ip: subnet %s is private and allows no public addresses; set assign_public_ip = false and use_private_ip = true, or choose a public subnet", b.cfg.Subnet))
	}
}

// checkImageLimit sees whether the tenancy may have one more custom image.
// Accounts that only have Always Free resources are reported to have a limit
// of 0 since 2026: without this check the build would fail at its very end.
func (s *survey) checkImageLimit(ctx context.Context) {
	b := s.b
	// Also where the name does not matter: who cannot list the images of the
	// compartment would hardly make one there, or it does not exist.
	ids, whole, err := b.namesakes(ctx)
	switch {
	case missing(err):
		option := "image_compartment_ocid"
		if b.cfg.Image.Compartment == b.cfg.Compartment {
			option, s.noCompartment = "compartment_ocid", true
		}
		s.problem(fmt.Errorf("%s: compartment %s, in which the image is to be made, does not exist, or this user may not list images in it: %w", option, b.cfg.Image.Compartment, err))
	case err != nil:
		s.problem(fmt.Errorf("image_name: %w", err))
	case len(ids) > 0 && b.cfg.Image.NameMustBeFree:
		s.problem(fmt.Errorf("image_name: there is an image %q already (%s), and image_name_conflict is \"fail\"; choose another name, or run packer build -force to replace it", b.cfg.Image.Name, strings.Join(ids, ", ")))
	}
	if b.cfg.Image.Replace {
		b.older = whole
	}
	left, known := b.imagesLeft(ctx)
	if known && left <= 0 {
		s.problem(help.About(help.Limits, fmt.Errorf("the limit \"custom-image-count\" of tenancy %s in %s leaves no room for another image (%d left); delete images that are no longer needed, or ask for a higher limit (accounts with only Always Free resources may have to upgrade to Pay As You Go, which keeps the free allowance), or let image_method = \"capture\" make an object of the disk in place of an image", b.Tenancy, b.Region, left)))
	}
}

// imagesLeft is how many more custom images the limits allow. The answer is
// unknown where the user may not read limits.
func (c *Client) imagesLeft(ctx context.Context) (left int64, known bool) {
	r, err := c.availability(ctx, "compute", "custom-image-count", "")
	if err != nil || r.Available == nil {
		log.Printf("[WARN] the limit custom-image-count is not known: %v", err)
		return 0, false
	}
	return *r.Available, true
}

// availability reads what is used and left of a limit; domain is set for
// limits of an availability domain and empty for the region's.
func (c *Client) availability(ctx context.Context, service, limit, domain string) (limits.ResourceAvailability, error) {
	req := limits.GetResourceAvailabilityRequest{ServiceName: &service, LimitName: &limit, CompartmentId: &c.Tenancy, AvailabilityDomain: optional(domain), RequestMetadata: once()}
	var r limits.GetResourceAvailabilityResponse
	err := repeat(ctx, "get limit", limit, func(ctx context.Context) (err error) {
		r, err = c.limits.GetResourceAvailability(shield(ctx), req)
		return err
	})
	return r.ResourceAvailability, err
}

// subscriptions lists the regions that the tenancy has.
func (c *Client) subscriptions(ctx context.Context) ([]identity.RegionSubscription, error) {
	var r identity.ListRegionSubscriptionsResponse
	err := repeat(ctx, "list region subscriptions", "", func(ctx context.Context) (err error) {
		r, err = c.identity.ListRegionSubscriptions(shield(ctx), identity.ListRegionSubscriptionsRequest{TenancyId: &c.Tenancy, RequestMetadata: once()})
		return err
	})
	return r.Items, err
}

// homeRegion is the tenancy's home region, or empty if the user may not know.
func (c *Client) homeRegion(ctx context.Context) string {
	all, err := c.subscriptions(ctx)
	if err != nil {
		log.Printf("[WARN] the region subscriptions are not known: %v", err)
		return ""
	}
	for _, s := range all {
		if s.IsHomeRegion != nil && *s.IsHomeRegion {
			return text(s.RegionName)
		}
	}
	return ""
}

// place is an availability domain that has at least one of the shapes.
type place struct {
	domain       string
	shapes       []string
	faultDomains []string
	account      account
	full         string // why no boot volume fits there
}

// findPlaces keeps the domains that have one of the shapes for the image, with
// their fault domains, and looks at what else decides about a launch there.
func (s *survey) findPlaces(ctx context.Context, domains []string) {
	b := s.b
	bootGB := s.bootGB()
	var usedGB int64
	var full map[string]string
	home := ""
	there := make([]domainLook, len(domains))
	var wg sync.WaitGroup
	wg.Go(func() { usedGB, full = s.storage(ctx, domains, bootGB) })
	if b.cfg.FreeTier != FreeIgnore {
		wg.Go(func() { home = b.homeRegion(ctx) })
	}
	abreast(len(domains), func(i int) { there[i] = b.lookAt(ctx, domains[i]) })
	wg.Wait()
	anywhere := map[string]bool{} // shapes that exist, whatever the image
	for i, d := range domains {
		fits, err := there[i].fits, there[i].err
		switch {
		case missing(err) && s.noCompartment:
			return
		case missing(err):
			s.problem(fmt.Errorf("compartment_ocid: compartment %s does not exist, or this user may not list shapes in it: %w", b.cfg.Compartment, err))
			return
		case err != nil:
			s.problem(err)
			return
		}
		p := place{domain: d, full: full[d]}
		for _, shape := range b.shapes() {
			if of, ok := fits[shape]; ok {
				p.shapes = append(p.shapes, shape)
				s.billing[shape] = string(of.BillingType)
				s.checkSizes(of)
			}
		}
		if there[i].more != nil {
			s.problem(there[i].more)
			return
		}
		for shape := range there[i].all {
			anywhere[shape] = true
		}
		if len(p.shapes) == 0 {
			continue
		}
		p.faultDomains = there[i].faultDomains
		s.places = append(s.places, p)
	}
	s.missingShapes(domains, anywhere)
	if b.cfg.FreeTier == FreeIgnore {
		return
	}
	for i := range s.places {
		s.places[i].account = account{
			region: b.Region, home: home, billing: s.billing, used: s.use, storageGB: usedGB, bootGB: bootGB, bootNamed: b.cfg.DiskGB > 0,
			allowance: b.cfg.Allowance, extra: map[string]string{"reserved": "reserved capacity", "preemptible": "a preemptible machine"}[b.market()],
		}
	}
}

// domainLook is what an availability domain has.
type domainLook struct {
	fits         map[string]core.Shape // for the base image
	err          error                 // of that
	all          map[string]core.Shape // for any, where the image fits not all that are asked for
	faultDomains []string              // where one of them fits
	more         error                 // of all or faultDomains
}

func (b *Build) lookAt(ctx context.Context, domain string) (l domainLook) {
	if l.fits, l.err = b.shapesIn(ctx, domain, b.BaseImage()); l.err != nil {
		return l
	}
	fit := 0
	for _, shape := range b.shapes() {
		if _, ok := l.fits[shape]; ok {
			fit++
		}
	}
	if fit < len(b.shapes()) {
		if l.all, l.more = b.shapesIn(ctx, domain, ""); l.more != nil {
			return l
		}
	}
	if fit > 0 {
		l.faultDomains, l.more = b.faultDomains(ctx, domain)
	}
	return l
}

// missingShapes reports shapes that no domain has, or none for the image. One
// of several is a note, since the others may do.
func (s *survey) missingShapes(domains []string, anywhere map[string]bool) {
	b := s.b
	for _, shape := range b.shapes() {
		if slices.ContainsFunc(s.places, func(p place) bool { return slices.Contains(p.shapes, shape) }) {
			continue
		}
		err := fmt.Errorf("shape: %s does not exist in %s", shape, strings.Join(domains, ", "))
		if anywhere[shape] {
			err = fmt.Errorf("image %s cannot start on %s; add the shape to the image's compatible shapes, or choose an image for it", b.BaseImage(), shape)
		}
		if len(s.places) > 0 {
			s.note("%s is left out: %v", shape, err)
			continue
		}
		s.problem(err)
	}
}

// storage is what is in use of the storage limits (-1: not known), and why no
// boot volume fits in some of the domains to look in. What is free is so for the
// whole region, wherever in it the storage is.
func (s *survey) storage(ctx context.Context, domains []string, bootGB int64) (usedGB int64, full map[string]string) {
	known, full := s.whole, map[string]string{}
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(domains, s.inRegion))))
	answers, errs := make([]limits.ResourceAvailability, len(all)), make([]error, len(all))
	abreast(len(all), func(i int) { answers[i], errs[i] = s.b.availability(ctx, "block-storage", "total-storage-gb", all[i]) })
	for i, d := range all {
		full[d] = ""
		r, err := answers[i], errs[i]
		if err != nil || r.Available == nil || r.Used == nil {
			log.Printf("[WARN] the limit total-storage-gb in %s is not known: %v", d, err)
			known = false
			continue
		}
		usedGB += *r.Used
		if *r.Available < bootGB {
			full[d] = fmt.Sprintf("the limit \"total-storage-gb\" leaves %d GB in %s (%d in use), and the boot volume needs %d; delete boot or block volumes that are no longer needed", *r.Available, d, *r.Used, bootGB)
		}
	}
	if !known {
		usedGB = -1
	}
	return usedGB, full
}

// checkSizes sees whether a flexible shape comes in the sizes that are asked for.
// A launch of one that it does not come in would be refused each time.
func (s *survey) checkSizes(of core.Shape) {
	for _, size := range s.b.cfg.Sizes {
		if size.Shape != text(of.Shape) || size.OCPUs == 0 {
			continue
		}
		bad := func(format string, a ...any) {
			err := fmt.Errorf("shape_config: %s cannot be had: "+format, append([]any{size}, a...)...)
			if !slices.ContainsFunc(s.problems, func(p error) bool { return p.Error() == err.Error() }) {
				s.problem(err)
			}
		}
		if o := of.OcpuOptions; o != nil && (below(size.OCPUs, o.Min) || above(size.OCPUs, o.Max)) {
			bad("the shape has %g to %g OCPUs", number(o.Min), number(o.Max))
		}
		m := of.MemoryOptions
		if m == nil {
			continue
		}
		per := size.MemoryGB / size.OCPUs
		switch {
		case below(size.MemoryGB, m.MinInGBs) || above(size.MemoryGB, m.MaxInGBs):
			bad("the shape has %g to %g GB of memory", number(m.MinInGBs), number(m.MaxInGBs))
		case below(per, m.MinPerOcpuInGBs) || above(per, m.MaxPerOcpuInGBs):
			bad("the shape has %g to %g GB of memory for each OCPU", number(m.MinPerOcpuInGBs), number(m.MaxPerOcpuInGBs))
		}
	}
}

// A bound that the service does not tell is none.
func below(v float32, least *float32) bool { return least != nil && v < *least }
func above(v float32, most *float32) bool  { return most != nil && v > *most }

// shapesIn lists the shapes of an availability domain with what they come in;
// if image is set, only those on which the image can start.
func (b *Build) shapesIn(ctx context.Context, domain, image string) (map[string]core.Shape, error) {
	found := map[string]core.Shape{}
	err := cloud.Pages(func(page *string) (*string, error) {
		req := core.ListShapesRequest{CompartmentId: &b.cfg.Compartment, AvailabilityDomain: &domain, ImageId: optional(image), Page: page, RequestMetadata: once()}
		var r core.ListShapesResponse
		err := repeat(ctx, "list shapes of", domain, func(ctx context.Context) (err error) {
			r, err = b.compute.ListShapes(shield(ctx), req)
			return err
		})
		for _, s := range r.Items {
			found[text(s.Shape)] = s
		}
		return r.OpcNextPage, err
	})
	return found, err
}

// faultDomains lists the fault domains of an availability domain. Without the
// permission to do so OCI chooses.
func (c *Client) faultDomains(ctx context.Context, domain string) (names []string, err error) {
	var r identity.ListFaultDomainsResponse
	err = repeat(ctx, "list fault domains of", domain, func(ctx context.Context) (err error) {
		r, err = c.identity.ListFaultDomains(shield(ctx), identity.ListFaultDomainsRequest{CompartmentId: &c.Tenancy, AvailabilityDomain: &domain, RequestMetadata: once()})
		return err
	})
	if missing(err) {
		return nil, nil
	}
	for _, fd := range r.Items {
		if fd.Name != nil {
			names = append(names, *fd.Name)
		}
	}
	return names, err
}
