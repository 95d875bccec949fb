// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

// Tagger is a cloud on which an image that is going to be made can be given
// more tags. It is called before StartImage; an error leaves the tags as they
// were.
type Tagger interface {
	TagImage(tags map[string]string) error
}
