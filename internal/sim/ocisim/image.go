// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// image is a disk that instances can be made of.
type image struct {
	place
	revision
	body   imageBody
	path   string // a qcow2 file
	seeded bool   // the file is not the cloud's own
	shapes []shapeEntry
}

type imageBody struct {
	tags
	ID                     string        `json:"id"`
	BaseImageID            *string       `json:"baseImageId"`
	CompartmentID          *string       `json:"compartmentId"` // null for platform images
	CreateImageAllowed     bool          `json:"createImageAllowed"`
	DisplayName            string        `json:"displayName"`
	LaunchMode             string        `json:"launchMode"`
	LaunchOptions          launchOptions `json:"launchOptions"`
	LifecycleState         string        `json:"lifecycleState"`
	ListingType            *string       `json:"listingType"`
	OperatingSystem        string        `json:"operatingSystem"`
	OperatingSystemVersion string        `json:"operatingSystemVersion"`
	SizeInMBs              int64         `json:"sizeInMBs"`
	BillableSizeInGBs      int64         `json:"billableSizeInGBs"`
	TimeCreated            wireTime      `json:"timeCreated"`
}

// BaseImage is an image that exists from the start.
type BaseImage struct {
	Name                   string // display name
	OperatingSystem        string // such as "Debian"
	OperatingSystemVersion string
	Path                   string // a qcow2 file, which is only read

	// Tenancy is the name of the owner. Empty makes it one of Oracle's
	// platform images: everybody sees it, nobody can export it.
	Tenancy string

	// Regions in which it exists, with an OCID of its own in each. Default:
	// every region that the owner, or for a platform image any tenancy,
	// subscribes to.
	Regions []string

	// Firmware defaults to UEFI_64.
	Firmware machine.Firmware

	// Shapes that it is compatible with. Default: all A1, A2 and A4 shapes.
	Shapes []string

	// Age is how long ago it was created. Default: a day.
	Age time.Duration
}

// seedImage makes a base image in all its regions.
func (c *Cloud) seedImage(base BaseImage) error {
	size, err := checkQCOW2(base.Path)
	if err != nil {
		return fmt.Errorf("base image %s: %w", base.Name, err)
	}
	var owner *Tenancy
	var everywhere []string
	for _, t := range c.cfg.Tenancies {
		if t.Name == base.Tenancy {
			owner = t
		}
		if base.Tenancy == "" || t.Name == base.Tenancy {
			everywhere = append(everywhere, t.Regions...)
		}
	}
	if base.Tenancy != "" && owner == nil {
		return fmt.Errorf("base image %s: there is no tenancy %q", base.Name, base.Tenancy)
	}
	if base.Regions == nil {
		slices.Sort(everywhere)
		base.Regions = slices.Compact(everywhere)
	}
	if base.Firmware == "" {
		base.Firmware = machine.UEFI64
	}
	if base.Shapes == nil {
		base.Shapes = armShapes()
	}
	if base.Age == 0 {
		base.Age = 24 * time.Hour
	}
	for _, name := range base.Regions {
		r, err := lookUpRegion(name)
		if err != nil {
			return fmt.Errorf("base image %s: %w", base.Name, err)
		}
		img := &image{place: place{owner, r}, path: base.Path, seeded: true, body: imageBody{
			tags: tags{}.normal(), ID: newOCID("image", r.ocid), CreateImageAllowed: true, DisplayName: base.Name,
			LaunchMode: "PARAVIRTUALIZED", LaunchOptions: paravirtualized(base.Firmware), LifecycleState: "AVAILABLE",
			OperatingSystem: base.OperatingSystem, OperatingSystemVersion: base.OperatingSystemVersion,
			SizeInMBs: bootSizeMB(size), BillableSizeInGBs: billableGB(base.Path),
			TimeCreated: wireTime{time.Now().Add(-base.Age)},
		}}
		if owner != nil {
			img.body.CompartmentID = &owner.CompartmentID
		}
		img.setShapes(base.Shapes)
		img.touch()
		c.images.put(img.body.ID, img)
	}
	return nil
}

// bootSizeMB is the least boot volume for a disk of so many bytes: Oracle's
// own images come with 46.6 GB (47,694 MB), and none is smaller.
func bootSizeMB(bytes int64) int64 { return max(47694, (bytes+1<<20-1)>>20) }

// billableGB is what is stored of an image, which is far less than its boot
// volume: lists of real images have 2 and even 0 beside 47694 MB.
func billableGB(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return (info.Size() + 1<<30 - 1) >> 30
}

// ImageID is the AVAILABLE image of a display name that a tenancy sees in a
// region, of several the one that came last, or "".
func (c *Cloud) ImageID(t *Tenancy, regionName, displayName string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	newest := ""
	for _, img := range c.images.all() {
		if (img.tenancy == nil || img.tenancy == t) && img.region.name == regionName &&
			img.body.DisplayName == displayName && img.body.LifecycleState == "AVAILABLE" {
			newest = img.body.ID
		}
	}
	return newest
}

func (c *Cloud) imageRoutes() []route {
	const one = "/20160918/images/{id}"
	return []route{
		op("CreateImage", "POST /20160918/images", c.createImage),
		op("GetImage", "GET "+one, c.getImage),
		op("ListImages", "GET /20160918/images", c.listImages, "compartmentId!", "displayName", "operatingSystem",
			"operatingSystemVersion", "shape", "limit", "page", "sortBy", "sortOrder", "lifecycleState").
			enum("lifecycleState", "PROVISIONING", "IMPORTING", "AVAILABLE", "EXPORTING", "DISABLED", "DELETED"),
		op("UpdateImage", "PUT "+one, c.updateImage),
		op("DeleteImage", "DELETE "+one, c.deleteImage),
		op("ExportImage", "POST "+one+"/actions/export", c.exportImage),
		op("ChangeImageCompartment", "POST "+one+"/actions/changeCompartment", c.changeImageCompartment),
		op("AddImageShapeCompatibilityEntry", "PUT "+one+"/shapes/{shape}", c.addShapeEntry),
		op("GetImageShapeCompatibilityEntry", "GET "+one+"/shapes/{shape}", c.getShapeEntry),
		op("RemoveImageShapeCompatibilityEntry", "DELETE "+one+"/shapes/{shape}", c.removeShapeEntry),
		op("ListImageShapeCompatibilityEntries", "GET "+one+"/shapes", c.listShapeEntries, "limit", "page"),
	}
}

// findImage finds an image that the caller can see, own or Oracle's.
func (c *Cloud) findImage(q *call, id string) (*image, error) {
	img, exists := c.images.get(id)
	if !exists || !img.seenBy(q) {
		return nil, errNotFound()
	}
	return img, nil
}

// findOwnImage finds an image that the caller may change.
func (c *Cloud) findOwnImage(q *call) (*image, error) {
	img, err := c.findImage(q, q.vars["id"])
	if err != nil || img.tenancy == nil || img.body.LifecycleState == "DELETED" {
		return nil, errNotFound()
	}
	return img, img.ifMatch(q)
}

// getImage still shows a DELETED image, which is how a failed import ends.
func (c *Cloud) getImage(q *call) (*reply, error) {
	img, err := c.findImage(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	return withEtag(img.body, img.revision), nil
}

// listImages leaves DELETED images out unless they are asked for. Platform
// images are part of every compartment's list.
func (c *Cloud) listImages(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	found := []imageBody{}
	for _, img := range c.images.all() {
		b := img.body
		inCompartment := img.tenancy == nil || q.selects("compartmentId", *b.CompartmentID)
		if img.seenBy(q) && inCompartment && q.selects("displayName", b.DisplayName) &&
			q.selects("operatingSystem", b.OperatingSystem) && q.selects("operatingSystemVersion", b.OperatingSystemVersion) &&
			q.selects("lifecycleState", b.LifecycleState) &&
			(b.LifecycleState != "DELETED" || q.param("lifecycleState") == "DELETED") &&
			(q.param("shape") == "" || img.entry(q.param("shape")) != nil) {
			found = append(found, b)
		}
	}
	sortResources(q, found, func(b imageBody) (string, wireTime) { return b.DisplayName, b.TimeCreated })
	return paginate(q, found)
}

func (c *Cloud) updateImage(q *call) (*reply, error) {
	var details struct {
		tags
		DisplayName            *string `json:"displayName"`
		OperatingSystem        *string `json:"operatingSystem"`
		OperatingSystemVersion *string `json:"operatingSystemVersion"`
	}
	if err := q.decode(&details); err != nil {
		return nil, err
	}
	img, err := c.findOwnImage(q)
	if err != nil {
		return nil, err
	}
	if err := c.checkImageName(details.DisplayName); err != nil {
		return nil, err
	}
	if err := details.tags.check(q.tenancy()); err != nil {
		return nil, err
	}
	img.body.DisplayName = orElse(details.DisplayName, img.body.DisplayName)
	img.body.OperatingSystem = orElse(details.OperatingSystem, img.body.OperatingSystem)
	img.body.OperatingSystemVersion = orElse(details.OperatingSystemVersion, img.body.OperatingSystemVersion)
	img.body.tags = img.body.tags.updated(details.tags)
	img.touch()
	return withEtag(img.body, img.revision), nil
}

// checkImageName keeps the names of platform images to Oracle.
func (c *Cloud) checkImageName(name *string) error {
	if err := checkName(name); err != nil || name == nil {
		return err
	}
	for _, img := range c.images.all() {
		if img.tenancy == nil && img.body.DisplayName == *name {
			return errInvalid("You cannot use a platform image name as a custom image name.")
		}
	}
	return nil
}

func (c *Cloud) changeImageCompartment(q *call) (*reply, error) {
	var details struct {
		CompartmentID string `json:"compartmentId" oci:"required"`
	}
	if err := q.decode(&details); err != nil {
		return nil, err
	}
	img, err := c.findOwnImage(q)
	if err != nil {
		return nil, err
	}
	if err := q.compartment(details.CompartmentID); err != nil {
		return nil, err
	}
	img.body.CompartmentID = &details.CompartmentID
	img.touch()
	return noContent().with("Etag", img.etag), nil
}

// deleteImage takes effect at once, unlike most deletions: there is no state
// between AVAILABLE and DELETED.
func (c *Cloud) deleteImage(q *call) (*reply, error) {
	img, err := c.findOwnImage(q)
	if err != nil {
		return nil, err
	}
	if img.body.LifecycleState != "AVAILABLE" {
		return nil, fail(409, "Conflict", "Image %s is %s and cannot be deleted", img.body.ID, img.body.LifecycleState)
	}
	c.dropImage(img)
	return noContent(), nil
}

// dropImage ends an image, its bytes and its capability schema. The cloud's
// lock is held.
func (c *Cloud) dropImage(img *image) {
	c.imageBecomes(img, "DELETED")
	img.touch()
	if !img.seeded && img.path != "" {
		_ = os.Remove(img.path) // an image that never got bytes has no file
	}
	img.path = ""
	for _, s := range c.schemas.all() {
		if s.body.ImageID == img.body.ID {
			s.deleted = true
		}
	}
}
