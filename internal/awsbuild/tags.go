// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package awsbuild

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
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
	// unless `skip_ami_run_tags` is set, of the image and its snapshots. Without a
	// tag `Name` there is one, `Packer Builder`, as with amazon-ebs.
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

// values are what a template may speak of, under the names that amazon-ebs has.
type values struct {
	BuildRegion           string
	SourceAMI             string
	SourceAMIName         string
	SourceAMICreationDate string
	SourceAMIOwner        string
	SourceAMIOwnerName    string
	SourceAMITags         map[string]string
}

// exampleImage stands for the source image where a template is only checked.
func exampleImage() ec2.SourceImage {
	return ec2.SourceImage{ID: "ami-0123456789abcdef0", Name: "source", CreationDate: "2026-01-31T00:00:00.000Z", Owner: "123456789012", OwnerName: "self"}
}

// nameless is what a machine is called that the template does not name.
const nameless = "Packer Builder"

// Render gives the texts of a build in a region, once the source image is known.
func (o *Options) Render(region string, source ec2.SourceImage) (ec2.Words, error) {
	return o.render(region, source, "")
}

func (o *Options) render(region string, source ec2.SourceImage, block string) (ec2.Words, error) {
	ctx := o.ctx
	ctx.Data = &values{
		BuildRegion: region, SourceAMI: source.ID, SourceAMIName: source.Name, SourceAMICreationDate: source.CreationDate,
		SourceAMIOwner: source.Owner, SourceAMIOwnerName: source.OwnerName, SourceAMITags: source.Tags,
	}
	var errs []error
	text := func(option, in string) string {
		if tmpl.Unknown(in) {
			return in
		}
		out, err := interpolate.Render(in, &ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s%s: %w", block, option, err))
		}
		return out
	}
	tags := func(option string, in map[string]string) map[string]string {
		out := map[string]string{}
		for k, v := range in {
			out[text(option, k)] = text(option, v)
		}
		errs = append(errs, checkTags(block+option, out))
		return out
	}
	w := ec2.Words{
		Description: text("ami_description", o.AMIDescription),
		RunTags:     tags("run_tags", o.RunTags), VolumeTags: tags("run_volume_tags", o.RunVolumeTags), SpotTags: tags("spot_tags", o.SpotTags),
		ImageTags: map[string]string{}, SnapshotTags: map[string]string{},
	}
	if len(w.Description) > 255 {
		errs = append(errs, fmt.Errorf("%sami_description has %d characters, EC2 takes at most 255", block, len(w.Description)))
	}
	if _, named := w.RunTags["Name"]; !named {
		w.RunTags["Name"] = nameless
	}
	if !o.SkipAMIRunTags {
		maps.Copy(w.ImageTags, w.RunTags)
	}
	maps.Copy(w.ImageTags, tags("tags", o.ImageTags))
	maps.Copy(w.SnapshotTags, w.ImageTags)
	maps.Copy(w.SnapshotTags, tags("snapshot_tags", o.SnapshotTags))
	errs = append(errs, tooMany(block+"tags with run_tags", w.ImageTags), tooMany(block+"snapshot_tags with tags and run_tags", w.SnapshotTags))
	return w, errors.Join(errs...)
}

// What EC2 allows: 50 tags, of which one is ours.
const maxTags, maxTagKey, maxTagValue = 49, 128, 256

func tooMany(option string, tags map[string]string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("%s: EC2 allows 50 tags, of which this plugin needs one; there are %d", option, len(tags))
	}
	return nil
}

// checkTags says why tags cannot be used beside ours.
func checkTags(option string, tags map[string]string) error {
	errs := []error{tooMany(option, tags)}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		switch v := tags[k]; {
		case tmpl.Unknown(k + v):
		case k == owner.Key || strings.HasPrefix(k, owner.Key+":"):
			errs = append(errs, fmt.Errorf("%s: the key %q is what this plugin finds its own things by; use another", option, k))
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			errs = append(errs, fmt.Errorf("%s: keys that begin with aws: are Amazon's: %q", option, k))
		case k == "" || len([]rune(k)) > maxTagKey || len([]rune(v)) > maxTagValue:
			errs = append(errs, fmt.Errorf("%s: a key may have 1 to %d characters and a value up to %d: %q", option, maxTagKey, maxTagValue, k))
		}
	}
	return errors.Join(errs...)
}

// Functions are those of templates for AWS beside Packer's own.
func Functions() map[string]interface{} {
	return map[string]interface{}{"clean_resource_name": cleanName, "clean_ami_name": cleanName}
}

// cleanName makes a name of a text that an image may have.
func cleanName(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 128 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("()[] ./-'@_", r)) {
			return r
		}
		return '-'
	}, text)
}
