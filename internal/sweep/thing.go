// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package sweep finds and removes what dead builds have left behind.
//
// The cloud is listed first, whole; then a pure function decides what goes; only
// then is anything removed. What decides has no clock and makes no request: it is
// given what is there and what time it is by the cloud's clock, so that a test can
// ask it about anything. Nothing goes that does not carry this plugin's mark, and no
// finished image ever does. An adapter lists and removes; the order, the limits and
// the report are the same for all clouds.
package sweep

import (
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// Kind says what a thing is. Its text is for people.
type Kind string

// The kinds of things that a build or a copy may leave behind.
const (
	Link      Kind = "pre-authenticated request"
	Upload    Kind = "multipart upload"
	Object    Kind = "object"
	Note      Kind = "note of a copy"
	Spot      Kind = "spot request"
	Instance  Kind = "instance"
	Interface Kind = "network interface"
	Volume    Kind = "volume"
	Bastion   Kind = "bastion"
	Group     Kind = "security group"
	KeyPair   Kind = "key pair"
	Profile   Kind = "instance profile"
	Role      Kind = "role"
	Schema    Kind = "image capability schema"
	Export    Kind = "export of an image"
	Image     Kind = "image"
	Snapshot  Kind = "snapshot"
)

// order is in which order kinds are removed: what gives access goes first, then what
// costs most, and what is used after what uses it.
func order() []Kind {
	return []Kind{Link, Instance, Spot, Export, Upload, Object, Note, Interface, Volume, Bastion, Group, KeyPair, Profile, Role, Image, Snapshot, Schema}
}

// roles are those that a thing of a kind is made in. A mark with another role was
// not written by this plugin, or by a version that this one does not know.
func roles(k Kind) []string {
	switch k {
	case Link:
		return []string{owner.RoleExport, owner.RoleImport}
	case Export:
		return []string{owner.RoleExport}
	case Object:
		return []string{owner.RoleCopy, owner.RoleImage, owner.RoleCapture}
	case Upload, Note:
		return []string{owner.RoleCopy, owner.RoleImage}
	case Spot:
		return []string{owner.RoleSpot}
	case Instance:
		return []string{owner.RoleInstance}
	case Interface:
		return []string{owner.RoleNetwork}
	case Volume:
		return []string{owner.RoleVolume}
	case Bastion:
		return []string{owner.RoleBastion}
	case Group:
		return []string{owner.RoleGroup}
	case KeyPair:
		return []string{owner.RoleKeyPair}
	case Profile, Role:
		return []string{RoleNamedProfile, owner.RoleProfile}
	case Schema:
		return []string{owner.RoleSchema}
	case Image:
		return []string{owner.RoleImage, owner.RoleImport}
	case Snapshot:
		return []string{owner.RoleImage, owner.RoleVolume}
	}
	return nil
}

// RoleNamedProfile is that in the name of a temporary role and its instance profile.
const RoleNamedProfile = "profile"

// user is the kind of what may use things of a kind: those are decided on only if
// it could be listed.
func user(k Kind) Kind {
	switch k {
	case Snapshot, Schema:
		return Image
	case Volume, Interface:
		return Instance
	}
	return ""
}

// Thing is one thing that is there.
type Thing struct {
	Kind Kind
	ID   string
	Name string // empty where the id says it all
	Ours bool   // it carries our mark, which Mark is
	Mark owner.Tag
	// Created is when it was made; zero if the cloud does not say.
	Created time.Time
	// UsedBy are the ids of what it cannot be removed before.
	UsedBy []string
	// In is where it is, in the adapter's terms: a compartment, a bucket.
	In string
}

// String is "instance ocid1.instance..." or "key pair armfree-... (key-...)".
func (t Thing) String() string {
	if t.Name == "" || t.Name == t.ID {
		return string(t.Kind) + " " + t.ID
	}
	return string(t.Kind) + " " + t.Name + " (" + t.ID + ")"
}

// Blind is a kind that could not be listed, and why.
type Blind struct {
	Kind Kind
	Err  error
	// Refused means that this user may not list it: nothing is wrong with the cloud.
	Refused bool
}

// Listing is what a cloud has in one place.
type Listing struct {
	Things []Thing
	Blind  []Blind
	// Now is the time by the cloud's clock; zero if it has not told.
	Now time.Time
}
