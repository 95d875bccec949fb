// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package awsbuild

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/armfree/packer-plugin-armfree/internal/awscfg"
	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// DeregistrationProtection keeps people from removing the image.
type DeregistrationProtection struct {
	// Whether the image is protected. Defaults to `false`.
	Enabled bool `mapstructure:"enabled" required:"false"`
	// Whether it stays so for 24 hours after the protection is taken off. Defaults
	// to `false`.
	WithCooldown bool `mapstructure:"with_cooldown" required:"false"`
}

// Image describes the image that is made.
type Image struct {
	// The name of the image (AMI): 3 to 128 letters, digits and
	// `()[] ./-'@_`; `{{ clean_resource_name ... }}` makes others `-`. No other
	// image of the account may have it, in any region of the build. This or
	// `ami_name_prefix` is needed.
	AMIName string `mapstructure:"ami_name" required:"false"`
	// Makes the name of the image: `<prefix>-YYYYMMDDhhmmss`, in UTC. Excludes
	// `ami_name`.
	AMINamePrefix string `mapstructure:"ami_name_prefix" required:"false"`
	// A description of the image, at most 255 characters. May speak of the source
	// image; see [Values for tags](#values-for-tags).
	AMIDescription string `mapstructure:"ami_description" required:"false"`
	// How the image is made. `snapshot` stops the machine, takes a snapshot and
	// registers an AMI of it, which is there as soon as the snapshot is; `image`
	// leaves it to EC2's CreateImage, as is done for a spot machine in any case.
	// `capture` makes no AMI and no snapshot: from within the machine its disk
	// becomes an object in a bucket on OCI (`capture_to`), which
	// `armfree-oci-cross-tenancy-copy` imports; options that are for AMIs only are
	// then mistakes. See [capture](../capture.md#a-machine-on-aws). Defaults to
	// `ami`, which is an AMI by `snapshot`.
	ImageMethod        string `mapstructure:"image_method" required:"false"`
	buildcfg.Retention `mapstructure:",squash"`
	// Build and check, but make no image. Defaults to `false`.
	SkipCreateAMI bool `mapstructure:"skip_create_ami" required:"false"`
	// The regions to which the image is copied, beside that in which it is made.
	AMIRegions []string `mapstructure:"ami_regions" required:"false"`
	// Have the copies complete after so many minutes, from 15 to 2880 in steps of
	// 15, which AWS charges for. By default they take as long as they take.
	SnapshotCopyDurationMinutes int64 `mapstructure:"snapshot_copy_duration_minutes" required:"false"`
	// Remove the image where it was made once it has been copied. Needs
	// `ami_regions`. Defaults to `false`.
	SkipSaveBuildRegion bool `mapstructure:"skip_save_build_region" required:"false"`
	// Whether the image is encrypted. `true` encrypts the root volume from the
	// launch on, so that no copy is needed. Defaults to what the source image and
	// the account say, or to `true` with a KMS key.
	EncryptBoot config.Trilean `mapstructure:"encrypt_boot" required:"false"`
	// The KMS key that encrypts the image, in `region`: id, ARN or alias. Defaults
	// to the account's key for EBS.
	KMSKeyID string `mapstructure:"kms_key_id" required:"false"`
	// The KMS keys of other regions, by region. Empty means the account's key for
	// EBS there.
	RegionKMSKeyIDs map[string]string `mapstructure:"region_kms_key_ids" required:"false"`
	// Replace images of the account that have the name, in every region of the
	// build. They go when the new one is finished, never before. `packer build
	// -force` does the same. Defaults to `false`. No two images have one name, so for
	// a moment nothing has it; if the new one cannot get it then, the build fails,
	// says which image is called what, and the new one stays.
	ForceDeregister bool `mapstructure:"force_deregister" required:"false"`
	// Remove the snapshots of those images as well. Defaults to `false`.
	ForceDeleteSnapshot bool `mapstructure:"force_delete_snapshot" required:"false"`
	// `v2.0` makes machines of the image have the second version of the metadata
	// service only. Defaults to what the source image has.
	IMDSSupport string `mapstructure:"imds_support" required:"false"`
	// The devices of the image. See [Block devices](#block-devices).
	AMIBlockDeviceMappings []BlockDevice `mapstructure:"ami_block_device_mappings" required:"false"`

	// The accounts that may use the image.
	AMIUsers []string `mapstructure:"ami_users" required:"false"`
	// `all` lets everybody use the image.
	AMIGroups []string `mapstructure:"ami_groups" required:"false"`
	// The ARNs of organizations whose accounts may use the image.
	AMIOrgARNs []string `mapstructure:"ami_org_arns" required:"false"`
	// The ARNs of organizational units whose accounts may use the image.
	AMIOUARNs []string `mapstructure:"ami_ou_arns" required:"false"`
	// The accounts that may make volumes of the image's snapshots.
	SnapshotUsers []string `mapstructure:"snapshot_users" required:"false"`
	// `all` lets everybody make volumes of the image's snapshots.
	SnapshotGroups []string `mapstructure:"snapshot_groups" required:"false"`
	// When the image is deprecated: a time such as `2027-01-31T00:00:00Z`, or how
	// long after it is finished, such as `720h`. At most ten years, and two for an
	// image that is public.
	DeprecateAt string `mapstructure:"deprecate_at" required:"false"`
	// Keeps people from removing the image. See
	// [`deregistration_protection`](#deregistration_protection).
	DeregistrationProtection DeregistrationProtection `mapstructure:"deregistration_protection" required:"false"`

	deprecateAt    time.Time
	deprecateAfter time.Duration
}

// What EC2 wants of names, accounts and organizations.
var (
	imageName = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./'@_-]{3,128}$`)
	account   = regexp.MustCompile(`^[0-9]{12}$`)
	organARN  = regexp.MustCompile(`^arn:[a-z-]+:organizations::[0-9]{12}:organization/o-`)
	unitARN   = regexp.MustCompile(`^arn:[a-z-]+:organizations::[0-9]{12}:ou/o-`)
)

func (i *Image) prepare(n *notes, g Given, now time.Time) {
	i.prepareName(n, now)
	n.oneOf("image_method", i.ImageMethod, anyAMI, string(ec2.BySnapshot), string(ec2.ByCreateImage), captureDisk)
	if i.ImageMethod == "" || i.ImageMethod == anyAMI {
		i.ImageMethod = string(ec2.BySnapshot)
	}
	i.AMIRegions = set(i.AMIRegions)
	n.twice("ami_regions", i.AMIRegions)
	for _, r := range i.AMIRegions {
		if err := awscfg.CheckRegion(n.block+"ami_regions", r); err != nil {
			n.errs = append(n.errs, err)
		}
	}
	if m := i.SnapshotCopyDurationMinutes; m != 0 && (m < 15 || m > 2880 || m%15 != 0) {
		n.bad("snapshot_copy_duration_minutes must be from 15 to 2880 in steps of 15, it is %d", m)
	}
	if i.SkipSaveBuildRegion && len(i.others(g.Region)) == 0 {
		n.bad("skip_save_build_region needs ami_regions with another region than %s: no image would be left", g.Region)
	}
	for _, err := range i.Problems("ami_name_prefix", i.AMINamePrefix, i.SkipCreateAMI) {
		n.bad("%w", err)
	}
	n.oneOf("imds_support", i.IMDSSupport, "v2.0")
	i.AMIBlockDeviceMappings = n.devices(ofImage, i.AMIBlockDeviceMappings)
	i.prepareSharing(n)
	i.prepareDeprecation(n, now)
	if p := i.DeregistrationProtection; p.WithCooldown && !p.Enabled {
		n.bad("deregistration_protection: with_cooldown needs enabled = true")
	}
}

func (i *Image) prepareName(n *notes, now time.Time) {
	switch {
	case i.AMIName != "" && i.AMINamePrefix != "":
		n.bad("ami_name and ami_name_prefix exclude each other")
	case i.AMINamePrefix != "":
		i.AMIName = i.AMINamePrefix + "-" + now.UTC().Format("20060102150405")
	case i.AMIName == "" && !i.SkipCreateAMI:
		n.bad("ami_name or ami_name_prefix must be set")
	}
	if i.AMIName != "" && !tmpl.Unknown(i.AMIName) && !imageName.MatchString(i.AMIName) {
		n.bad("ami_name must have 3 to 128 letters, digits and ()[] ./-'@_ and is %q; {{ clean_resource_name ... }} replaces others", i.AMIName)
	}
}

func (i *Image) prepareSharing(n *notes) {
	for _, o := range []struct {
		name string
		list *[]string
		form *regexp.Regexp
		what string
	}{
		{"ami_users", &i.AMIUsers, account, "ids of accounts, which have 12 digits"},
		{"snapshot_users", &i.SnapshotUsers, account, "ids of accounts, which have 12 digits"},
		{"ami_org_arns", &i.AMIOrgARNs, organARN, "ARNs of organizations, such as arn:aws:organizations::123456789012:organization/o-example"},
		{"ami_ou_arns", &i.AMIOUARNs, unitARN, "ARNs of organizational units, such as arn:aws:organizations::123456789012:ou/o-example/ou-example"},
	} {
		*o.list = set(*o.list)
		for _, v := range *o.list {
			if !o.form.MatchString(v) && !tmpl.Unknown(v) {
				n.bad("%s must be %s, one is %q", o.name, o.what, v)
			}
		}
		n.twice(o.name, *o.list)
	}
	i.AMIGroups, i.SnapshotGroups = set(i.AMIGroups), set(i.SnapshotGroups)
	for _, g := range i.AMIGroups {
		n.oneOf("ami_groups", g, "all")
	}
	for _, g := range i.SnapshotGroups {
		n.oneOf("snapshot_groups", g, "all")
	}
}

// public says whether everybody may use the image.
func (i *Image) public() bool { return slices.Contains(i.AMIGroups, "all") }

const year = 365 * 24 * time.Hour

func (i *Image) prepareDeprecation(n *notes, now time.Time) {
	text := strings.TrimSpace(i.DeprecateAt)
	if text == "" || tmpl.Unknown(text) {
		return
	}
	limit, years := 10*year, 10
	if i.public() {
		limit, years = 2*year, 2
	}
	after, err := time.ParseDuration(text)
	if err == nil {
		i.deprecateAfter = after
	} else {
		at, terr := time.Parse(time.RFC3339, text)
		if terr != nil {
			n.bad("deprecate_at must be a time such as 2027-01-31T00:00:00Z or a duration such as 720h, it is %q", text)
			return
		}
		i.deprecateAt, after = at, at.Sub(now)
	}
	switch {
	case after <= 0:
		n.bad("deprecate_at must be in the future, it is %s", text)
	case after > limit+24*time.Hour:
		n.bad("deprecate_at must be within %d years, it is %s", years, text)
	}
}

// others are the regions to which an image that is made in one is copied.
func (i *Image) others(made string) (list []string) {
	for _, r := range i.AMIRegions {
		if r != made && !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}
