// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// image is an AMI.
type image struct {
	resourceBase
	name, description string
	state             string // pending, available, failed, deregistered…
	reason            *Fault // why it failed
	arch              string
	root              string // device name
	devices           []disk
	bootMode          string
	imds              string // v2.0 or ""
	tpm               string
	ena               bool
	public            bool
	shared            sharing // launch permissions
	freeTier          bool
	productCode       string // of the Marketplace
	alias             string // of the owner
	sourceInstance    string
	sourceImage       string
	sourceRegion      string
	deprecated        time.Time
	seeded            bool   // it was there from the start
	protection        string // disabled, enabled-without-cooldown, enabled-with-cooldown
}

// DebianAccount owns the images that Debian publishes.
const DebianAccount = "136693071363"

// BaseImage is an image that exists from the start.
type BaseImage struct {
	Name string
	Path string // qcow2, which the cloud does not change
	// Owner is nil for Debian, whose images everybody sees.
	Owner *Account
	// Regions that have it; nil for all.
	Regions []string
	SizeGiB int    // of its root volume; default 8
	Arch    string // default arm64
	Root    string // device name of the root volume; default /dev/xvda
	// BootMode is empty for images that leave it to the type, as Debian's do.
	BootMode string
	Created  time.Time
	// NotFreeTier makes it an image that accounts of the free plan may not use.
	NotFreeTier bool
	// Encrypted makes its snapshot an encrypted one.
	Encrypted bool
	// ProductCode is that of the Marketplace, if the image comes from there.
	ProductCode string
}

// DebianImages are like those that Debian publishes: three builds of each
// release, for both architectures. Their disks are all the same.
func DebianImages(path string) []BaseImage {
	var list []BaseImage
	for _, release := range []string{"12", "13"} {
		for i, build := range []string{"20260101-2345", "20260606-2501", "20261112-2658"} {
			for _, arch := range []string{"arm64", "amd64"} {
				when := time.Date(2026, time.Month(1+5*i), 12, 8, 0, 0, 0, time.UTC)
				b := BaseImage{Name: "debian-" + release + "-" + arch + "-" + build, Path: path, Created: when}
				if arch == "amd64" {
					b.Arch = x86
				}
				list = append(list, b)
			}
		}
	}
	return list
}

// debianOwner is the account of Debian. Nobody has its keys.
func (c *Cloud) debianOwner() *Account {
	for _, img := range all[*image](c) {
		if img.account.ID == DebianAccount {
			return img.account
		}
	}
	return &Account{Name: "debian", ID: DebianAccount}
}

// seedImage puts a base image, of which so many bytes are used, into its regions.
func (c *Cloud) seedImage(b BaseImage, used int64) error {
	owner := b.Owner
	if owner == nil {
		owner = c.debianOwner()
	}
	if b.SizeGiB == 0 {
		b.SizeGiB = 8
	}
	if b.Arch == "" {
		b.Arch = arm64
	}
	if b.Root == "" {
		b.Root = "/dev/xvda"
	}
	if b.Created.IsZero() {
		b.Created = time.Now()
	}
	if used < 0 {
		return fmt.Errorf("image %s: %s is not a disk", b.Name, b.Path)
	}
	for _, r := range c.regions {
		if b.Regions != nil && !slices.Contains(b.Regions, r.name) {
			continue
		}
		at := home{owner, r}
		s := &snapshot{resourceBase: seeded(at, "snapshot"), volumeID: "vol-ffffffff", sizeGiB: b.SizeGiB, state: "completed",
			begun: b.Created, path: b.Path, kept: true, used: used, encrypted: b.Encrypted}
		img := &image{resourceBase: seeded(at, "image"), name: b.Name, description: b.Name, state: "available", arch: b.Arch, root: b.Root,
			ena: true, seeded: true, public: b.Owner == nil, freeTier: !b.NotFreeTier, protection: "disabled",
			devices: []disk{{device: b.Root, source: s, sizeGiB: b.SizeGiB, kind: "gp3", iops: 3000, throughput: 125, deletes: true, encrypted: b.Encrypted}}}
		img.bootMode, img.productCode = b.BootMode, b.ProductCode
		img.created, s.created = b.Created, b.Created
		c.resources.put(s)
		c.resources.put(img)
	}
	return nil
}

// ImageID is the id of a base image in a region, "" if there is none.
func (c *Cloud) ImageID(region, name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, img := range all[*image](c) {
		if img.region.name == region && img.name == name {
			return img.id
		}
	}
	return ""
}

// publicImages lists the images of Debian in a region, for SSM's public
// parameters.
func (c *Cloud) publicImages(r *region) []*image {
	return slices.DeleteFunc(all[*image](c), func(img *image) bool { return img.region != r || !img.public })
}

// imageParameter is what a public parameter of SSM says about an image of
// Debian: /aws/service/debian/release/13/latest/arm64.
func (c *Cloud) imageParameter(r *region, path string) (id string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/aws/service/debian/"), "/")
	if !strings.HasPrefix(path, "/aws/service/debian/") || len(parts) != 4 || parts[0] != "release" {
		return "", false
	}
	release := map[string]string{"12": "12", "bookworm": "12", "13": "13", "trixie": "13"}[parts[1]]
	var newest *image
	for _, img := range c.publicImages(r) {
		build, fits := strings.CutPrefix(img.name, "debian-"+release+"-"+parts[3]+"-")
		if fits && (parts[2] == "latest" || parts[2] == build) && (newest == nil || img.created.After(newest.created)) {
			newest = img
		}
	}
	if newest == nil {
		return "", false
	}
	return newest.id, true
}

// usable tells whether the caller may launch an image, or would see it.
func (img *image) usable(q *call) bool {
	return img.region == q.region && (img.seenBy(q) || img.public && img.account != q.who.Account || img.shared.with(q.who.Account))
}

// findImage looks up an image that the caller may launch.
func (c *Cloud) findImage(q *call, id string) (*image, error) {
	if path, is := strings.CutPrefix(id, "resolve:ssm:"); is {
		found, ok := c.imageParameter(q.region, path)
		if !ok {
			return nil, errValue("Unable to resolve parameter %s: it does not exist", path)
		}
		id = found
	}
	if err := checkID("image", id); err != nil {
		return nil, err
	}
	img, is := c.resources.byID[id].(*image)
	if !is || !img.usable(q) {
		return nil, errUnknownID("image", id)
	}
	return img, nil
}

// asResource is an image with the condition keys of images.
func (img *image) asResource(q *call) AccessResource {
	x := existing(img)
	owner := img.account.ID
	if img.account == q.who.Account {
		owner = q.who.Account.ID
	}
	public := "false"
	if img.public {
		public = "true"
	}
	return x.with("ec2:Owner", owner).with("ec2:Public", public).with("ec2:ImageType", "machine").with("ec2:RootDeviceType", "ebs").
		with("ec2:ImageID", img.id)
}

// usedBytes is how many bytes of a disk's blocks were written, or -1 if the
// file is not a disk.
func usedBytes(path string) int64 {
	disk, err := machine.OpenDisk(path)
	if err != nil {
		return -1
	}
	defer disk.Close()
	blocks, err := disk.Blocks(blockSize)
	if err != nil {
		return -1
	}
	return int64(len(blocks)) * blockSize
}

// blockSize is that of EBS direct.
const blockSize = 512 << 10

// permissionParam is an account or a group in a request.
type permissionParam struct {
	UserID  string `aws:"UserId"`
	Group   string `aws:"Group,enum=all"`
	OrgARN  string `aws:"OrganizationArn"`
	UnitARN string `aws:"OrganizationalUnitArn"`
}

// sharing is who else may use something, or how that is to change.
type sharing struct {
	users, orgs []string
	add, remove []permissionParam
}

func (s sharing) with(a *Account) bool { return slices.Contains(s.users, a.ID) }

// flat takes the older form of a change: OperationType with lists.
func (s *sharing) flat(operation string, users, groups []string) error {
	var list []permissionParam
	for _, u := range users {
		list = append(list, permissionParam{UserID: u})
	}
	for _, g := range groups {
		if g != "all" {
			return errValue("Invalid user group '%s'", g)
		}
		list = append(list, permissionParam{Group: g})
	}
	switch {
	case len(list) == 0:
	case operation == "remove":
		s.remove = append(s.remove, list...)
	case operation == "add", operation == "":
		// Packer's plugin for Amazon repeats in the older form what it says in
		// the newer one.
		s.add = append(s.add, list...)
	}
	if len(s.add)+len(s.remove) == 0 {
		return errMissing("attribute")
	}
	return nil
}

// apply makes the change.
func (s *sharing) apply(public bool, users []string) (bool, []string, error) {
	for _, p := range slices.Concat(s.add, s.remove) {
		if p.UserID != "" && (len(p.UserID) != 12 || strings.Trim(p.UserID, "0123456789") != "") {
			return public, users, refuse("InvalidAMIAttributeItemValue", "Invalid attribute item value \"%s\" for userId item type.", p.UserID)
		}
	}
	for _, p := range s.add {
		public = public || p.Group == "all"
		if p.UserID != "" && !slices.Contains(users, p.UserID) {
			users = append(slices.Clone(users), p.UserID)
		}
	}
	for _, p := range s.remove {
		public = public && p.Group != "all"
		users = slices.DeleteFunc(slices.Clone(users), func(u string) bool { return u == p.UserID })
	}
	return public, users, nil
}
