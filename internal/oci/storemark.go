// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// What is in a bucket has no tags: names are all that says who made it. The names of
// links and notes have their expiry; objects and uploads of a copy that can be taken
// up, and captured disks, have the same name however often that is begun, so that their
// expiry is that of what lies beside them.

const (
	ociSuffix  = ".oci"
	vmdkSuffix = ".vmdk"
	copyPrefix = "armfree-copy-"
)

// needs is until when what is in a bucket is needed, by build or copy.
type needs struct {
	any   map[string]time.Time // by its notes and links
	notes map[string]time.Time // by its notes
}

func (n *needs) link(m owner.Tag) { later(&n.any, m) }

func (n *needs) note(m owner.Tag) {
	later(&n.any, m)
	later(&n.notes, m)
}

func later(in *map[string]time.Time, m owner.Tag) {
	if *in == nil {
		*in = map[string]time.Time{}
	}
	if m.Expires.After((*in)[m.Build]) {
		(*in)[m.Build] = m.Expires
	}
}

// nameMark is what a name says of who made it.
func nameMark(name string) (owner.Tag, bool) {
	by, role, err := owner.ParseName(name)
	return owner.Tag{Build: by.ID, Role: role, Expires: by.Expires}, err == nil
}

// noteMark is what the name of a note says: that of a copy or capture, or of a copy's
// object on its way to one destination, whose role has the number of that.
func noteMark(name string) (owner.Tag, bool) {
	m, is := nameMark(name)
	n, numbered := strings.CutPrefix(m.Role, owner.RoleCopy+"-")
	if !is || m.Role != owner.RoleCopy && (!numbered || !digits(n)) {
		return owner.Tag{}, false
	}
	m.Role = owner.RoleCopy
	return m, true
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// copiedName is the name of the object of a copy without its ending, also where it has
// the number of the destination to which it was brought nearer.
func copiedName(name string) (string, bool) {
	if !strings.HasPrefix(name, copyPrefix) {
		return "", false
	}
	if i := strings.LastIndexByte(name, '.'); i >= 0 && digits(name[i+1:]) {
		name = name[:i]
	}
	for _, suffix := range []string{ociSuffix, vmdkSuffix} {
		if bare, is := strings.CutSuffix(name, suffix); is {
			return bare, true
		}
	}
	return "", false
}

// objectMark is what the name of an object, or of an upload of one, says: an image's
// own, "armfree-BUILD-image-EXPIRY.oci"; that of a copy that can be taken up,
// "armfree-copy-IMAGE-BUILD.oci" or ".vmdk", also with ".N" where it was brought nearer,
// whose expiry is that of the copy's note or link, and which has none where those are
// gone: it stays until its copy is named; or that of a captured disk,
// "armfree-capture-IMAGE-BUILD.oci", which is finished as soon as there is no note. An
// upload is never finished.
func objectMark(kind sweep.Kind, name string, n needs) (owner.Tag, bool) {
	bare, isImage := copiedName(name)
	if !isImage {
		bare, isImage = strings.CutSuffix(name, ociSuffix)
	}
	if m, is := nameMark(bare); is {
		return m, true
	}
	rest, is := strings.CutPrefix(bare, copyPrefix)
	disk := false
	if !is {
		rest, disk = strings.CutPrefix(bare, capturePrefix)
	}
	i := strings.LastIndexByte(rest, '-')
	if !is && !disk || !isImage || i < 0 || rest[i+1:] == "" {
		return owner.Tag{}, false
	}
	build := rest[i+1:]
	if disk && kind == sweep.Object {
		return owner.Tag{Build: build, Role: owner.RoleCapture, Expires: n.notes[build]}, true
	}
	return owner.Tag{Build: build, Role: owner.RoleCopy, Expires: n.any[build]}, true
}
