// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awsbuild

import (
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
)

// The values of image_method that are no ways of EC2.
const (
	anyAMI      = "ami"
	captureDisk = "capture"
)

// Captures says that the disk of the machine becomes an object on OCI, and no AMI is made.
func (i *Image) Captures() bool { return i.ImageMethod == captureDisk }

// ofAMI are the options that the template has and that say what an AMI is to be like, or
// how one is made. It comes before what fills in defaults.
func (o *Options) ofAMI() (names []string) {
	i, t := &o.Image, &o.Tags
	keys := i.KMSKeyID != ""
	for _, r := range o.AdditionalRegions {
		keys = keys || r.KMSKeyID != ""
	}
	for _, x := range []named{
		{i.AMIDescription != "", "ami_description"},
		{i.Retain != 0, "retain"},
		{i.ImageSeries != "", "image_series"},
		{len(set(i.AMIRegions)) > 0, "ami_regions"},
		{i.SnapshotCopyDurationMinutes != 0, "snapshot_copy_duration_minutes"},
		{i.SkipSaveBuildRegion, "skip_save_build_region"},
		{i.EncryptBoot != config.TriUnset, "encrypt_boot"},
		{keys, "kms_key_id"},
		{len(i.RegionKMSKeyIDs) > 0, "region_kms_key_ids"},
		{i.ForceDeregister, "force_deregister"},
		{i.ForceDeleteSnapshot, "force_delete_snapshot"},
		{i.IMDSSupport != "", "imds_support"},
		{len(i.AMIBlockDeviceMappings) > 0, "ami_block_device_mappings"},
		{len(set(i.AMIUsers)) > 0, "ami_users"},
		{len(set(i.AMIGroups)) > 0, "ami_groups"},
		{len(set(i.AMIOrgARNs)) > 0, "ami_org_arns"},
		{len(set(i.AMIOUARNs)) > 0, "ami_ou_arns"},
		{len(set(i.SnapshotUsers)) > 0, "snapshot_users"},
		{len(set(i.SnapshotGroups)) > 0, "snapshot_groups"},
		{i.DeprecateAt != "", "deprecate_at"},
		{i.DeregistrationProtection != DeregistrationProtection{}, "deregistration_protection"},
		{len(t.ImageTags)+len(t.ImageTag) > 0, "tags"},
		{len(t.SnapshotTags)+len(t.SnapshotTag) > 0, "snapshot_tags"},
		{t.SkipAMIRunTags, "skip_ami_run_tags"},
	} {
		if x.is {
			names = append(names, x.name)
		}
	}
	return names
}

// checkCapture sees what does not go with a disk that is captured.
func (o *Options) checkCapture(n *notes, force bool) {
	if !o.Captures() {
		return
	}
	if names := o.ofAMI(); len(names) > 0 {
		n.bad("image_method = %q makes no AMI and no snapshot, so that %s would have no effect: remove what is for AMIs only", captureDisk, strings.Join(names, ", "))
	}
	if force {
		n.warn("image_method = %q makes no AMI, so packer build -force has no effect; the post-processor armfree-oci-cross-tenancy-copy has image_name_conflict = \"replace\"", captureDisk)
	}
	if o.DisableStopInstance {
		n.bad("image_method = %q reads the disk of a machine that runs, and with disable_stop_instance the last provisioner shuts it down", captureDisk)
	}
	if o.RootVolumeSize > diskimage.MaxImage>>30 {
		n.bad("root_volume_size is %d GiB, and OCI imports captured disks of up to %d", o.RootVolumeSize, int64(diskimage.MaxImage)>>30)
	}
}
