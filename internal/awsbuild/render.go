// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awsbuild

import (
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

// opening stands for what opens an action, in what others wrote: a text is rendered
// until it does not change any more, and the tag of a source image is no template.
const opening = "{\x00{"

func inert(text string) string { return strings.ReplaceAll(text, "{{", opening) }

// Render gives the texts of a build in a region, once the source image is known.
func (o *Options) Render(region string, source ec2.SourceImage) (ec2.Words, error) {
	return o.render(region, source, "")
}

func (o *Options) render(region string, source ec2.SourceImage, block string) (ec2.Words, error) {
	ctx := o.ctx
	v := &values{
		BuildRegion: region, SourceAMI: source.ID, SourceAMIName: inert(source.Name), SourceAMICreationDate: source.CreationDate,
		SourceAMIOwner: source.Owner, SourceAMIOwnerName: inert(source.OwnerName), SourceAMITags: map[string]string{},
	}
	for key, value := range source.Tags {
		v.SourceAMITags[key] = inert(value)
	}
	ctx.Data = v
	var errs []error
	text := func(option, in string) string {
		if tmpl.Unknown(in) {
			return in
		}
		out, err := interpolate.Render(in, &ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s%s: %w", block, option, err))
		}
		return strings.ReplaceAll(out, opening, "{{")
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
	if !o.SkipAMIRunTags {
		maps.Copy(w.ImageTags, w.RunTags)
	}
	maps.Copy(w.ImageTags, tags("tags", o.ImageTags))
	maps.Copy(w.SnapshotTags, w.ImageTags)
	maps.Copy(w.SnapshotTags, tags("snapshot_tags", o.SnapshotTags))
	errs = append(errs, tooMany(block+"tags with run_tags", w.ImageTags), tooMany(block+"snapshot_tags with tags and run_tags", w.SnapshotTags))
	return w, errors.Join(errs...)
}

// What EC2 allows.
const maxTagKey, maxTagValue = 128, 256

func tooMany(option string, tags map[string]string) error {
	if len(tags) > ec2.MaxTags {
		return fmt.Errorf("%s: EC2 allows %d tags beside the two that this plugin needs; there are %d", option, ec2.MaxTags, len(tags))
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
