// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awsbuild

import (
	"cmp"
	"slices"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// Interval is the pace of the search: EC2 throttles accounts that launch more often
// than about twice a second, and refills slowly.
const Interval = 2 * time.Second

// Places are the sites of builds.
func Places(client *ec2.Client, builds []ec2.BuildConfig, id owner.Build, say func(string, ...any)) []fleet.Place {
	var places []fleet.Place
	for _, cfg := range builds {
		places = append(places, fleet.Place{Cloud: "aws", Region: cfg.Region, Site: ec2.NewBuild(client.In(cfg.Region), cfg, id, say)})
	}
	return places
}

// Site is the build in a region among those of Places.
func Site(places []fleet.Place, region string) *ec2.Build {
	for _, p := range places {
		if p.Region == region {
			return p.Site.(*ec2.Build)
		}
	}
	return places[0].Site.(*ec2.Build)
}

// Builds are the options in the adapter's terms, one for each region: that of the
// template first.
func (o *Options) Builds(g Given, keys Keys) ([]ec2.BuildConfig, error) {
	main, err := o.build(g, keys, AdditionalRegion{Region: g.Region, KMSKeyID: o.KMSKeyID, SSHKeyPairName: g.Comm.SSHKeyPairName})
	if err != nil {
		return nil, err
	}
	all := []ec2.BuildConfig{main}
	for _, r := range o.AdditionalRegions {
		b, err := o.build(g, keys, r)
		if err != nil {
			return nil, err
		}
		// What has an id belongs to the region of the template.
		b.Source.ID, b.Zones = r.SourceAMI, r.AvailabilityZones
		b.Network.VPC, b.Network.Subnets, b.Network.SecurityGroups = r.VPCID, r.SubnetIDs, r.SecurityGroupIDs
		switch {
		case len(r.SubnetIDs) > 0:
			b.Network.From, b.Network.SubnetFilter = "additional_region: subnet_id", nil
		case r.VPCID != "":
			b.Network.From, b.Network.VPCFilter = "additional_region: vpc_id", nil
		case b.Network.SubnetFilter == nil && b.Network.VPCFilter == nil:
			b.Network.From = ""
		}
		if len(r.SecurityGroupIDs) > 0 {
			b.Network.SecurityGroupFilter = nil
		}
		all = append(all, b)
	}
	return all, nil
}

// build is the build in one region, with the network and the image of the template.
func (o *Options) build(g Given, keys Keys, r AdditionalRegion) (ec2.BuildConfig, error) {
	m, c := &o.Machine, g.Comm
	port := 0
	if c.Type == "ssh" {
		port = c.SSHPort
	}
	needed := c.Type == "ssh" && keys.Public != "" && r.SSHKeyPairName == ""
	userData, err := o.complete(keys, needed && m.SSHKeyDelivery == byUserData)
	if err != nil {
		return ec2.BuildConfig{}, err
	}
	image := o.image(g, r.Region)
	image.KMSKey = o.key(g.Region, r.Region, r.KMSKeyID)
	b := ec2.BuildConfig{
		Region: r.Region, SkipRegionCheck: o.SkipRegionValidation,
		Types: o.InstanceTypes, TypesNamed: len(o.InstanceTypes) > 0, SizeFirst: g.Limits.SizeFirst(),
		Spot: ec2.SpotConfig{MaxPrice: o.SpotPrice, Strategy: o.SpotAllocationStrategy}, Zones: o.AvailabilityZones,
		FreeTier:  ec2.FreeTier(o.FreeTier),
		Allowance: ec2.Allowance{Types: o.FreeAllowance.InstanceTypes, StorageGB: o.FreeAllowance.StorageInGBs},
		Source:    m.source, Network: o.network(port),
		MachineConfig: ec2.MachineConfig{
			Root: m.root(&o.Image, image.KMSKey), Volumes: o.volumes(image.KMSKey),
			UserData: userData, Lifetime: m.MachineLifetime,
			Profile: m.IAMInstanceProfile, SkipProfileCheck: m.SkipProfileValidation, Policy: m.policy,
			Metadata: ec2.MetadataOptions{
				Disabled: m.Metadata.HTTPEndpoint == "disabled", TokensNeeded: m.Metadata.HTTPTokens != "optional",
				HopLimit: m.Metadata.HTTPPutResponseHopLimit, Tags: m.Metadata.InstanceMetadataTags == "enabled",
			},
			Shutdown: m.ShutdownBehavior, StopsItself: m.DisableStopInstance, Unlimited: m.EnableUnlimitedCredits,
			Placement:   ec2.Placement{Tenancy: m.Placement.Tenancy, HostID: m.Placement.HostID, HostResourceGroup: m.Placement.HostResourceGroupARN},
			Reservation: ec2.Reservation{Preference: m.CapacityReservationPreference, ID: m.CapacityReservationID, GroupARN: m.CapacityReservationGroupARN},
			Interface:   m.SSHInterface,
		},
		Image:           image,
		InstanceTimeout: g.Limits.InstanceTimeout, ImageTimeout: g.Limits.ImageTimeout,
	}
	for _, market := range o.Markets {
		b.Markets = append(b.Markets, ec2.Market(market))
	}
	if !b.TypesNamed {
		b.Types = defaultTypes()
	}
	if c.Type == "ssh" {
		b.KeyName = r.SSHKeyPairName
	}
	if needed && m.SSHKeyDelivery == byKeyPair {
		b.ImportKey = keys.Public
	}
	b.Render = func(source ec2.SourceImage) (ec2.Words, error) { return o.Render(r.Region, source) }
	return b, nil
}

// volumes are the devices of the machine: encrypted, if the image is to be.
func (o *Options) volumes(key string) []ec2.BlockDevice {
	list := toDevices(o.LaunchBlockDeviceMappings)
	for i := range list {
		if d := &list[i]; o.EncryptBoot.True() && d.Encrypted == nil && !d.NoDevice && d.VirtualName == "" {
			d.Encrypted, d.KMSKey = o.EncryptBoot.ToBoolPointer(), key
		}
	}
	return list
}

// image is the image in the adapter's terms, made in one region.
func (o *Options) image(g Given, made string) ec2.ImageConfig {
	i := &o.Image
	if i.Captures() {
		return ec2.ImageConfig{Skip: true, Name: i.AMIName}
	}
	replace := i.ForceDeregister || g.Force
	c := ec2.ImageConfig{
		Skip: i.SkipCreateAMI, Name: i.AMIName, Method: ec2.Method(i.ImageMethod),
		NameMustBeFree: !replace, Replace: replace, ReplaceSnapshots: replace && i.ForceDeleteSnapshot,
		Devices: toDevices(i.AMIBlockDeviceMappings), IMDSv2: i.IMDSSupport == "v2.0",
		Encrypt: i.EncryptBoot.ToBoolPointer(), CopyMinutes: i.SnapshotCopyDurationMinutes,
		Share: ec2.Sharing{
			Users: i.AMIUsers, Groups: i.AMIGroups, Organizations: i.AMIOrgARNs, Units: i.AMIOUARNs,
			SnapshotUsers: i.SnapshotUsers, SnapshotGroups: i.SnapshotGroups,
		},
		DeprecateAt: i.deprecateAt, DeprecateAfter: i.deprecateAfter,
		Series: i.Series(i.AMINamePrefix, g.Source), Retain: i.Retain,
		Protect: i.DeregistrationProtection.Enabled, Cooldown: i.DeregistrationProtection.WithCooldown,
	}
	for _, r := range i.others(made) {
		c.Copies = append(c.Copies, ec2.Copy{Region: r, Encrypt: c.Encrypt, KMSKey: o.key(g.Region, r, "")})
	}
	c.SkipBuildRegion = i.SkipSaveBuildRegion && len(c.Copies) > 0
	return c
}

// key is the KMS key of a region; empty is the account's default.
func (o *Options) key(main, region, own string) string {
	if !o.EncryptBoot.True() {
		return ""
	}
	for _, r := range o.AdditionalRegions {
		if r.Region == region {
			own = cmp.Or(own, r.KMSKeyID)
		}
	}
	if region == main {
		own = cmp.Or(own, o.KMSKeyID)
	}
	return cmp.Or(own, o.RegionKMSKeyIDs[region])
}

// checkEncryption settles whether the image is encrypted, and by which keys.
func (o *Options) checkEncryption(n *notes, main string) {
	i := &o.Image
	regions := append([]string{main}, i.AMIRegions...)
	keyed := i.KMSKeyID != ""
	for _, r := range o.AdditionalRegions {
		regions, keyed = append(regions, r.Region), keyed || r.KMSKeyID != ""
	}
	for region, key := range i.RegionKMSKeyIDs {
		keyed = keyed || key != ""
		if !slices.Contains(regions, region) && !slices.ContainsFunc(regions, tmpl.Unknown) {
			n.bad("region_kms_key_ids: %s is neither region nor in ami_regions", region)
		}
	}
	if keyed && i.EncryptBoot.False() {
		n.bad("kms_key_id and region_kms_key_ids need encrypt_boot = true, it is false")
	}
	if keyed && i.EncryptBoot == config.TriUnset {
		i.EncryptBoot = config.TriTrue
	}
	if !i.EncryptBoot.True() {
		return
	}
	for _, d := range o.LaunchBlockDeviceMappings {
		if d.Encrypted.False() {
			n.bad("launch_block_device_mappings: %s: encrypted is false, and encrypt_boot is true", d.DeviceName)
		}
	}
	if i.public() || len(i.SnapshotGroups) > 0 {
		n.bad("an encrypted image cannot be public: encrypt_boot excludes ami_groups and snapshot_groups")
	}
	if len(i.AMIUsers)+len(i.AMIOrgARNs)+len(i.AMIOUARNs)+len(i.SnapshotUsers) == 0 {
		return
	}
	slices.Sort(regions[1:])
	for _, r := range slices.Compact(regions) {
		if o.key(main, r, "") == "" && !tmpl.Unknown(r) {
			n.bad("an image that is encrypted by the account's default key cannot be shared: name a key for %s by kms_key_id or region_kms_key_ids", r)
		}
	}
}

// checkFree sees what free_tier = "require" forbids whatever the cloud says.
func (o *Options) checkFree(n *notes) {
	if o.FreeTier != string(ec2.FreeRequire) {
		return
	}
	const ask = ", and free_tier = \"require\" asks for nothing else"
	if spot, _ := o.spot(); spot {
		n.bad("spot machines are not part of the free tier" + ask)
	}
	if o.EnableUnlimitedCredits {
		n.bad("enable_unlimited_credits may cost money" + ask)
	}
	if p := o.Placement; p.HostID != "" || p.HostResourceGroupARN != "" || p.Tenancy == "dedicated" || p.Tenancy == "host" {
		n.bad("dedicated machines and hosts are not part of the free tier" + ask)
	}
	if o.CapacityReservationID != "" || o.CapacityReservationGroupARN != "" {
		n.bad("reserved capacity is not part of the free tier" + ask)
	}
	if o.SnapshotCopyDurationMinutes != 0 {
		n.bad("snapshot_copy_duration_minutes costs money" + ask)
	}
	var size int64
	for _, d := range o.LaunchBlockDeviceMappings {
		size += d.VolumeSize
		if d.VolumeType != "" && d.VolumeType != "gp3" && d.VolumeType != "gp2" {
			n.bad("volumes of the type %s are not part of the free tier"+ask, d.VolumeType)
		}
	}
	if size = max(size, o.RootVolumeSize); size > o.FreeAllowance.StorageInGBs {
		n.bad("volumes of %d GiB are more than the free tier has, which is %d"+ask, size, o.FreeAllowance.StorageInGBs)
	}
	if len(o.FreeAllowance.InstanceTypes) == 0 {
		return
	}
	for _, t := range o.InstanceTypes {
		if !slices.Contains(o.FreeAllowance.InstanceTypes, t) {
			n.bad("%s is not among the types that free_allowance says are free"+ask, t)
		}
	}
}
