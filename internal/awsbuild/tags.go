// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package awsbuild

import (
	"cmp"
	"maps"
)

// Tag is one tag.
type Tag struct {
	// The key of the tag.
	Key string `mapstructure:"key" required:"false"`
	// The same as `key`, as amazon-ebs calls it in `run_volume_tag`.
	Name string `mapstructure:"name" required:"false"`
	// The value of the tag. It may be empty.
	Value string `mapstructure:"value" required:"false"`
}

// Tags are put on what a build makes, from the first request on. Keys and values
// may speak of the source image; see [Values for tags](#values-for-tags). Beside
// them everything has one tag more, `armfree`, which says which build made it and
// until when it is needed.
type Tags struct {
	// Tags of the machine and of everything else that is made for the build, and,
	// unless `skip_ami_run_tags` is set, of the image and its snapshots.
	RunTags map[string]string `mapstructure:"run_tags" required:"false"`
	// The same as a block that may be repeated, with `key` and `value`.
	RunTag []Tag `mapstructure:"run_tag" required:"false"`
	// Tags of the volumes of the machine.
	RunVolumeTags map[string]string `mapstructure:"run_volume_tags" required:"false"`
	// The same as a block that may be repeated, with `key` and `value`.
	RunVolumeTag []Tag `mapstructure:"run_volume_tag" required:"false"`
	// Tags of the request for a spot machine.
	SpotTags map[string]string `mapstructure:"spot_tags" required:"false"`
	// The same as a block that may be repeated, with `key` and `value`.
	SpotTag []Tag `mapstructure:"spot_tag" required:"false"`
	// Tags of the image and its snapshots, in every region.
	ImageTags map[string]string `mapstructure:"tags" required:"false"`
	// The same as a block that may be repeated, with `key` and `value`.
	ImageTag []Tag `mapstructure:"tag" required:"false"`
	// Tags of the snapshots of the image. They count before `tags`.
	SnapshotTags map[string]string `mapstructure:"snapshot_tags" required:"false"`
	// The same as a block that may be repeated, with `key` and `value`.
	SnapshotTag []Tag `mapstructure:"snapshot_tag" required:"false"`
	// Keep the run tags off the image and its snapshots. Defaults to `false`.
	SkipAMIRunTags bool `mapstructure:"skip_ami_run_tags" required:"false"`
}

// Late are the options that may speak of the source image, and so are not to be
// interpolated when a template is decoded.
func Late() []string {
	return []string{
		"ami_description", "run_tags", "run_tag", "run_volume_tags", "run_volume_tag", "spot_tags", "spot_tag",
		"tags", "tag", "snapshot_tags", "snapshot_tag", "fleet_tags", "fleet_tag",
	}
}

// prepare puts the blocks into the maps.
func (t *Tags) prepare(n *notes) {
	for _, o := range []struct {
		name string
		list []Tag
		into *map[string]string
	}{
		{"run_tag", t.RunTag, &t.RunTags}, {"run_volume_tag", t.RunVolumeTag, &t.RunVolumeTags}, {"spot_tag", t.SpotTag, &t.SpotTags},
		{"tag", t.ImageTag, &t.ImageTags}, {"snapshot_tag", t.SnapshotTag, &t.SnapshotTags},
	} {
		merged := maps.Clone(*o.into)
		for _, tag := range o.list {
			key := cmp.Or(tag.Key, tag.Name)
			if key == "" {
				n.bad("%s: key must be set", o.name)
				continue
			}
			if merged == nil {
				merged = map[string]string{}
			}
			merged[key] = tag.Value
		}
		*o.into = merged
	}
}
