// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/identity"
	"github.com/oracle/oci-go-sdk/v65/limits"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
)

// Plan checks against the cloud whatever can be checked before something costs
// money, and returns the offers of the search: each size, in each availability
// domain, first where OCI likes and then in each fault domain. Every problem is
// reported, not only the first.
func (b *Build) Plan(ctx context.Context) ([]capacity.Offer, error) {
	all, err := b.signIn(ctx)
	switch {
	case missing(err) && b.cfg.AvailabilityDomain != "":
		all = []string{b.cfg.AvailabilityDomain} // it is pinned: no need to see the others
	case missing(err):
		return nil, fmt.Errorf("this user may not list availability domains; allow it to inspect compartments in the tenancy, or name one by availability_domain: %w", err)
	case err != nil:
		return nil, err
	}
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	note(b.checkImage(ctx))
	note(b.checkSubnet(ctx))
	if !b.cfg.SkipImage {
		note(b.checkImageLimit(ctx))
	}
	domains, err := b.domains(all)
	note(err)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var places []place
	if len(errs) == 0 {
		places, err = b.places(ctx, domains)
		note(err)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("this build cannot work, and nothing was started:\n%w", errors.Join(errs...))
	}
	var offers []capacity.Offer
	for _, size := range b.cfg.Sizes {
		for _, p := range places {
			for _, fd := range append([]string{""}, p.faultDomains...) {
				offers = append(offers, capacity.Offer{
					Cloud: "oci", Region: b.Region, Zone: p.domain, FaultDomain: fd,
					Shape: b.cfg.Shape, OCPUs: size.OCPUs, MemoryGB: size.MemoryGB,
				})
			}
		}
	}
	return offers, nil
}

// checkImage looks at the base image.
func (b *Build) checkImage(ctx context.Context) error {
	id := b.cfg.BaseImage
	img, err := b.image(ctx, id)
	switch {
	case missing(err):
		return fmt.Errorf("base_image_ocid: there is no image %s in %s that this user may see; an image's OCID belongs to one region, and another tenancy's images cannot be used: %w", id, b.Region, err)
	case err != nil:
		return fmt.Errorf("base_image_ocid: %w", err)
	case img.state != core.ImageLifecycleStateAvailable:
		return fmt.Errorf("base_image_ocid: image %s (%s) is %s, it must be AVAILABLE", id, img.name, img.state)
	case armShape(b.cfg.Shape) && img.firmware != "" && img.firmware != string(core.LaunchOptionsFirmwareUefi64):
		return fmt.Errorf("base_image_ocid: image %s (%s) has the firmware %s, and %s starts only images with UEFI_64; import it again with UEFI_64", id, img.name, img.firmware, b.cfg.Shape)
	}
	return nil
}

// checkSubnet looks at the subnet and whether it may have public addresses.
func (b *Build) checkSubnet(ctx context.Context) error {
	var s core.Subnet
	err := repeat(ctx, "get subnet", b.cfg.Subnet, func(ctx context.Context) error {
		r, err := b.network.GetSubnet(shield(ctx), core.GetSubnetRequest{SubnetId: &b.cfg.Subnet, RequestMetadata: once()})
		s = r.Subnet
		return err
	})
	switch {
	case missing(err):
		return fmt.Errorf("subnet_ocid: there is no subnet %s in %s that this user may see: %w", b.cfg.Subnet, b.Region, err)
	case err != nil:
		return fmt.Errorf("subnet_ocid: %w", err)
	}
	if private := s.ProhibitPublicIpOnVnic; private != nil && *private && b.cfg.AssignPublicIP != nil && *b.cfg.AssignPublicIP {
		return fmt.Errorf("assign_public_ip: subnet %s is private and allows no public addresses; set assign_public_ip = false and use_private_ip = true, or choose a public subnet", b.cfg.Subnet)
	}
	return nil
}

// checkImageLimit sees whether the tenancy may have one more custom image.
// Accounts that only have Always Free resources are reported to have a limit
// of 0 since 2026: without this check the build would fail at its very end.
func (b *Build) checkImageLimit(ctx context.Context) error {
	left, known := b.imagesLeft(ctx)
	if known && left <= 0 {
		return fmt.Errorf("the limit \"custom-image-count\" of tenancy %s in %s leaves no room for another image (%d left); delete images that are no longer needed, or ask for a higher limit (accounts with only Always Free resources may have to upgrade to Pay As You Go, which keeps the free allowance)", b.Tenancy, b.Region, left)
	}
	return nil
}

// imagesLeft is how many more custom images the limits allow. The answer is
// unknown where the user may not read limits.
func (c *Client) imagesLeft(ctx context.Context) (left int64, known bool) {
	service, limit := "compute", "custom-image-count"
	var r limits.GetResourceAvailabilityResponse
	err := repeat(ctx, "get limit", limit, func(ctx context.Context) (err error) {
		r, err = c.limits.GetResourceAvailability(shield(ctx), limits.GetResourceAvailabilityRequest{
			ServiceName: &service, LimitName: &limit, CompartmentId: &c.Tenancy, RequestMetadata: once(),
		})
		return err
	})
	if err != nil || r.Available == nil {
		log.Printf("[WARN] the limit custom-image-count is not known: %v", err)
		return 0, false
	}
	return *r.Available, true
}

// domains picks the availability domains to look in: the one that is pinned,
// or all, the preferred one first.
func (b *Build) domains(all []string) ([]string, error) {
	if pin := b.cfg.AvailabilityDomain; pin != "" {
		if !slices.Contains(all, pin) {
			return nil, fmt.Errorf("availability_domain: %q does not exist in %s for this tenancy; there are: %s", pin, b.Region, strings.Join(all, ", "))
		}
		return []string{pin}, nil
	}
	slices.SortStableFunc(all, func(x, y string) int {
		switch {
		case x == y:
			return 0
		case x == b.cfg.FirstDomain:
			return -1
		case y == b.cfg.FirstDomain:
			return 1
		}
		return 0
	})
	return all, nil
}

// place is an availability domain that has the shape.
type place struct {
	domain       string
	faultDomains []string
}

// places keeps the domains that have the shape for the image, with their fault
// domains.
func (b *Build) places(ctx context.Context, domains []string) ([]place, error) {
	var found []place
	anywhere := false // the shape exists, whatever the image
	for _, d := range domains {
		fits, err := b.hasShape(ctx, d, b.cfg.BaseImage)
		if err != nil {
			return nil, err
		}
		if !fits {
			has, err := b.hasShape(ctx, d, "")
			if err != nil {
				return nil, err
			}
			anywhere = anywhere || has
			continue
		}
		var r identity.ListFaultDomainsResponse
		err = repeat(ctx, "list fault domains of", d, func(ctx context.Context) (err error) {
			r, err = b.identity.ListFaultDomains(shield(ctx), identity.ListFaultDomainsRequest{CompartmentId: &b.Tenancy, AvailabilityDomain: &d, RequestMetadata: once()})
			return err
		})
		if err != nil && !missing(err) { // without the permission OCI chooses the fault domain
			return nil, err
		}
		p := place{domain: d}
		for _, fd := range r.Items {
			p.faultDomains = append(p.faultDomains, text(fd.Name))
		}
		found = append(found, p)
	}
	switch {
	case len(found) > 0:
		return found, nil
	case anywhere:
		return nil, fmt.Errorf("image %s cannot start on %s; add the shape to the image's compatible shapes, or choose an image for it", b.cfg.BaseImage, b.cfg.Shape)
	}
	return nil, fmt.Errorf("shape: %s does not exist in %s", b.cfg.Shape, strings.Join(domains, ", "))
}

// hasShape says whether an availability domain has the shape, and, if image is
// set, whether the image can start on it.
func (b *Build) hasShape(ctx context.Context, domain, image string) (bool, error) {
	found := false
	err := pages(func(page *string) (*string, error) {
		req := core.ListShapesRequest{CompartmentId: &b.cfg.Compartment, AvailabilityDomain: &domain, Page: page, RequestMetadata: once()}
		if image != "" {
			req.ImageId = &image
		}
		var r core.ListShapesResponse
		err := repeat(ctx, "list shapes of", domain, func(ctx context.Context) (err error) {
			r, err = b.compute.ListShapes(shield(ctx), req)
			return err
		})
		for _, s := range r.Items {
			found = found || text(s.Shape) == b.cfg.Shape
		}
		return r.OpcNextPage, err
	})
	return found, err
}
