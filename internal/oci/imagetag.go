// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"maps"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// TagImage implements cloud.Tagger. Tags of the user's are kept.
func (b *Build) TagImage(tags map[string]string) error {
	all := maps.Clone(tags)
	maps.Copy(all, b.cfg.Image.Tags)
	if err := owner.CheckTags("tags", all); err != nil {
		return err
	}
	b.cfg.Image.Tags = all
	return nil
}

// ImageTag is the value of one of the tags that the image is to have.
func (b *Build) ImageTag(key string) string { return b.cfg.Image.Tags[key] }
