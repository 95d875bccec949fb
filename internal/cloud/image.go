// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

// Image is what is known of an image before it is copied.
type Image struct {
	ID   string
	Name string
}

// Access is what a link allows.
type Access int

// The two kinds of links that a copy needs.
const (
	Write Access = iota // put the one object, which need not exist yet
	Read                // read the one object
)

// Link is a URL that gives access to one object. The URL is a secret.
type Link struct {
	ID  string
	URL string
}
