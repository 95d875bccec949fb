// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"fmt"
	"maps"
)

// MaxTags is how many tags of the user's EC2 allows: 50, of which two are ours.
const MaxTags = 48

// TagImage implements cloud.Tagger: the image and its snapshots are made with the
// tags, and so are their copies in other regions. Tags of the user's are kept. It
// comes after Plan, which says what those are.
func (b *Build) TagImage(tags map[string]string) error {
	w := b.found.words
	for _, t := range []struct {
		option string
		all    *map[string]string
	}{{"tags", &w.ImageTags}, {"snapshot_tags", &w.SnapshotTags}} {
		more := maps.Clone(tags)
		maps.Copy(more, *t.all)
		if len(more) > MaxTags {
			return fmt.Errorf("%s: EC2 allows %d tags beside those of this plugin, and all are taken", t.option, MaxTags)
		}
		*t.all = more
	}
	b.found.words = w
	return nil
}
