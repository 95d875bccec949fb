// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import "time"

// Method is how an image is made of a machine.
type Method string

// The two ways.
const (
	// BySnapshot stops the machine, takes snapshots of its volumes and registers
	// an image of them: StopInstances, CreateSnapshot, RegisterImage.
	BySnapshot Method = "snapshot"
	// ByCreateImage leaves that to EC2.
	ByCreateImage Method = "image"
)

// ImageConfig describes the image that is made, in the region where the machine is
// and in those that it is copied to.
type ImageConfig struct {
	Skip   bool // nothing will be imaged
	Name   string
	Method Method
	// NameMustBeFree: no image of the account may have the name, in the region and
	// in those of Copies, before anything is launched.
	NameMustBeFree bool
	// Replace: others of that name go when this one is finished, in every region;
	// ReplaceSnapshots: with their snapshots.
	Replace, ReplaceSnapshots bool

	Devices []BlockDevice // mappings of the image
	// IMDSv2: machines of the image have the second version of the metadata
	// service only. False leaves it as the source image has it.
	IMDSv2 bool

	// Encrypt is the user's wish for the snapshots of the image, by KMSKey (empty
	// is the account's default key); nil if there is none. With true RootVolume and
	// Volumes ask for encrypted volumes, so that the snapshots are encrypted in the
	// region of the build without a copy; false asks for an image that is not.
	Encrypt *bool
	KMSKey  string

	Copies []Copy
	// CopyMinutes asks for copies that are complete after so many minutes, which
	// costs more; 0 does not.
	CopyMinutes int64
	// SkipBuildRegion: the image is removed where it was made once it is copied.
	// There are Copies then.
	SkipBuildRegion bool

	// Series is the mark of the images that it follows, empty if there is none, and
	// Retain how many of them stay, in each region, itself among them; 0 keeps all.
	Series string
	Retain int

	Share Sharing
	// An image is deprecated at a time, or so long after it is finished; both are
	// zero if it is not.
	DeprecateAt    time.Time
	DeprecateAfter time.Duration
	// Protect: it cannot be deregistered; Cooldown: nor within a day after that
	// protection is taken off.
	Protect, Cooldown bool
}

// Copy is one region that the image is copied to; never the region of the build.
type Copy struct {
	Region  string
	Encrypt *bool  // as in ImageConfig
	KMSKey  string // a key of that region
}

// Sharing says who may use the image and its snapshots, in every region.
type Sharing struct {
	Users          []string // account ids
	Groups         []string // "all"
	Organizations  []string // ARNs
	Units          []string // ARNs of organizational units
	SnapshotUsers  []string
	SnapshotGroups []string
}
