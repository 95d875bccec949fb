// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// marketOf is the market of an offer.
func marketOf(o capacity.Offer) Market {
	if o.Market == string(Spot) {
		return Spot
	}
	return OnDemand
}

// request is what asks for a machine on an offer. A request that was made for a
// token stays what it is: EC2 refuses another one with the same token.
func (b *Build) request(ctx context.Context, o capacity.Offer, token string) (*ec2.RunInstancesInput, error) {
	b.mu.Lock()
	in := b.asked[token]
	b.mu.Unlock()
	if in != nil {
		return in, nil
	}
	subnet, err := b.subnetIn(o.Zone)
	if err != nil {
		return nil, err
	}
	groups := b.found.groups
	if len(groups) == 0 {
		g, err := b.temporaryGroup(ctx, aws.ToString(subnet.VpcId))
		if err != nil {
			return nil, err
		}
		groups = []string{g}
	}
	key, err := b.keyName(ctx)
	if err != nil {
		return nil, err
	}
	profile, err := b.profile(ctx)
	if err != nil {
		return nil, err
	}
	in = b.input(o, token, subnet, groups)
	in.KeyName, in.IamInstanceProfile = text(key), profile
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked[token] = in
	return in, nil
}

// errCrowded says that no subnet of a zone has a free address.
var errCrowded = errors.New("no subnet there has a free address")

// subnetIn is the subnet for a zone: the first that is not known to be full.
func (b *Build) subnetIn(zone string) (types.Subnet, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range 2 {
		for _, s := range b.found.subnets {
			if aws.ToString(s.AvailabilityZone) == zone && !b.crowded[aws.ToString(s.SubnetId)] {
				return s, nil
			}
		}
		// All were full when they were tried; they may not be any more.
		for _, s := range b.found.subnets {
			if aws.ToString(s.AvailabilityZone) == zone {
				delete(b.crowded, aws.ToString(s.SubnetId))
			}
		}
	}
	return types.Subnet{}, &Error{Op: "choose a subnet in", Subject: zone, Message: errCrowded.Error(), Cause: errCrowded}
}

// volumeTags are those of the machine's volumes. EC2 gives all of them the same; if
// one is to stay, they have no expiry. The others go with the machine.
func (b *Build) volumeTags(token string, all map[string]string) map[string]string {
	if slices.ContainsFunc(b.cfg.Volumes, func(v BlockDevice) bool { return v.KeepVolume }) {
		all[owner.Key] = owner.Tag{Build: b.owner.ID, Role: owner.RoleVolume, Attempt: token}.String()
	}
	return all
}

// input is the request without what had to be made for it.
func (b *Build) input(o capacity.Offer, token string, subnet types.Subnet, groups []string) *ec2.RunInstancesInput {
	cfg, words := &b.cfg, b.found.words
	tags := func(role string, user map[string]string) map[string]string {
		if user == nil {
			user = words.RunTags
		}
		return b.tagged(role, token, false, user)
	}
	in := &ec2.RunInstancesInput{
		MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: &token,
		ImageId: b.found.image.ImageId, InstanceType: types.InstanceType(o.Shape),
		BlockDeviceMappings: b.devices(),
		MetadataOptions:     b.metadataOptions(),
		TagSpecifications: []types.TagSpecification{
			spec(types.ResourceTypeInstance, tags(owner.RoleInstance, nil)),
			spec(types.ResourceTypeVolume, b.volumeTags(token, tags(owner.RoleVolume, words.VolumeTags))),
			spec(types.ResourceTypeNetworkInterface, tags(owner.RoleNetwork, nil)),
		},
		InstanceInitiatedShutdownBehavior: types.ShutdownBehavior(cfg.Shutdown),
	}
	if len(cfg.UserData) > 0 {
		in.UserData = aws.String(base64.StdEncoding.EncodeToString(cfg.UserData))
	}
	if aws.ToBool(b.found.sizes[o.Shape].BurstablePerformanceSupported) {
		in.CreditSpecification = &types.CreditSpecificationRequest{CpuCredits: aws.String("standard")}
		if cfg.Unlimited {
			in.CreditSpecification.CpuCredits = aws.String("unlimited")
		}
	}
	if marketOf(o) == Spot {
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot, SpotOptions: &types.SpotMarketOptions{
			SpotInstanceType: types.SpotInstanceTypeOneTime, InstanceInterruptionBehavior: types.InstanceInterruptionBehaviorTerminate, MaxPrice: text(cfg.Spot.MaxPrice),
		}}
		in.TagSpecifications = append(in.TagSpecifications, spec(types.ResourceTypeSpotInstancesRequest, tags(owner.RoleSpot, words.SpotTags)))
		if in.InstanceInitiatedShutdownBehavior == types.ShutdownBehaviorStop {
			in.InstanceInitiatedShutdownBehavior = "" // a one-time spot machine cannot be stopped
		}
	}
	b.placement(in)
	b.network(in, subnet, groups)
	return in
}

// network puts the machine into a subnet. A public address or one of IPv6 is asked
// for by the network interface.
func (b *Build) network(in *ec2.RunInstancesInput, subnet types.Subnet, groups []string) {
	six := b.cfg.Interface == "ipv6" && !aws.ToBool(subnet.AssignIpv6AddressOnCreation)
	if b.cfg.Network.PublicIP == nil && !six {
		in.SubnetId, in.SecurityGroupIds = subnet.SubnetId, groups
		return
	}
	nic := types.InstanceNetworkInterfaceSpecification{
		DeviceIndex: aws.Int32(0), SubnetId: subnet.SubnetId, Groups: groups, AssociatePublicIpAddress: b.cfg.Network.PublicIP, DeleteOnTermination: aws.Bool(true),
	}
	if six {
		nic.Ipv6AddressCount = aws.Int32(1)
	}
	in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{nic}
}

// placement adds what decides about the host, beside zone and market.
func (b *Build) placement(in *ec2.RunInstancesInput) {
	if p := b.cfg.Placement; p != (Placement{}) {
		in.Placement = &types.Placement{Tenancy: types.Tenancy(p.Tenancy), HostId: text(p.HostID), HostResourceGroupArn: text(p.HostResourceGroup)}
	}
	if r := b.cfg.Reservation; r != (Reservation{}) {
		s := &types.CapacityReservationSpecification{CapacityReservationPreference: types.CapacityReservationPreference(r.Preference)}
		if r.ID != "" || r.GroupARN != "" {
			s.CapacityReservationTarget = &types.CapacityReservationTarget{CapacityReservationId: text(r.ID), CapacityReservationResourceGroupArn: text(r.GroupARN)}
		}
		in.CapacityReservationSpecification = s
	}
}

func (b *Build) metadataOptions() *types.InstanceMetadataOptionsRequest {
	m := b.cfg.Metadata
	if m.Disabled {
		return &types.InstanceMetadataOptionsRequest{HttpEndpoint: types.InstanceMetadataEndpointStateDisabled}
	}
	o := &types.InstanceMetadataOptionsRequest{HttpEndpoint: types.InstanceMetadataEndpointStateEnabled, HttpTokens: types.HttpTokensStateOptional}
	if m.TokensNeeded {
		o.HttpTokens = types.HttpTokensStateRequired
	}
	if m.HopLimit > 0 {
		o.HttpPutResponseHopLimit = aws.Int32(int32(m.HopLimit)) //nolint:gosec // 1 to 64
	}
	if m.Tags {
		o.InstanceMetadataTags = types.InstanceMetadataTagsStateEnabled
	}
	return o
}

// rootName is the device name of the root volume.
func (b *Build) rootName() string { return aws.ToString(b.found.image.RootDeviceName) }

// Beside are the volumes that a machine has beside its root volume, by device, once Plan
// has found the source image.
func (b *Build) Beside() (devices []string) {
	own := b.cfg.volumes(b.found.image)
	for _, d := range own {
		if d.Device != b.rootName() && !d.NoDevice && d.VirtualName == "" {
			devices = append(devices, d.Device)
		}
	}
	for _, d := range b.found.image.BlockDeviceMappings {
		name := aws.ToString(d.DeviceName)
		if d.Ebs != nil && name != b.rootName() && !slices.ContainsFunc(own, func(x BlockDevice) bool { return x.Device == name }) {
			devices = append(devices, name)
		}
	}
	return devices
}

// volumes are those of a machine of an image: the user's, and the root volume,
// unless that is one of them.
func (cfg *BuildConfig) volumes(img types.Image) (list []BlockDevice) {
	name, root := aws.ToString(img.RootDeviceName), false
	for _, d := range cfg.Volumes {
		if d.Device == name {
			root = true
			if d.SizeGB == 0 {
				d.SizeGB = imageGB(img)
			}
		}
		list = append(list, d)
	}
	if root {
		return list
	}
	r := cfg.Root
	d := BlockDevice{Device: name, SizeGB: r.SizeGB, Type: r.Type, Encrypted: r.Encrypted, KMSKey: r.KMSKey}
	if !r.SizeNamed {
		d.SizeGB = max(r.SizeGB, imageGB(img))
	}
	return append([]BlockDevice{d}, list...)
}

// devices are the volumes as EC2 wants them.
func (b *Build) devices() (list []types.BlockDeviceMapping) {
	for _, d := range b.cfg.volumes(b.found.image) {
		list = append(list, d.mapping())
	}
	return list
}

// imageGB is the least size of an image's root volume.
func imageGB(i types.Image) int64 {
	for _, d := range i.BlockDeviceMappings {
		if d.Ebs != nil && aws.ToString(d.DeviceName) == aws.ToString(i.RootDeviceName) {
			return int64(aws.ToInt32(d.Ebs.VolumeSize))
		}
	}
	return 0
}

// mapping is a device as EC2 wants it.
func (d BlockDevice) mapping() types.BlockDeviceMapping {
	m := types.BlockDeviceMapping{DeviceName: &d.Device}
	switch {
	case d.NoDevice:
		m.NoDevice = aws.String("")
	case d.VirtualName != "" && !strings.HasPrefix(d.VirtualName, "ephemeral") || d.VirtualName == "":
		m.Ebs = &types.EbsBlockDevice{
			DeleteOnTermination: aws.Bool(!d.KeepVolume), Encrypted: d.Encrypted, KmsKeyId: text(d.KMSKey), SnapshotId: text(d.Snapshot),
			VolumeType: types.VolumeType(d.Type), VolumeSize: positive(d.SizeGB), Iops: positive(d.IOPS), Throughput: positive(d.Throughput),
		}
	}
	m.VirtualName = text(d.VirtualName)
	return m
}

func positive(n int64) *int32 {
	if n <= 0 {
		return nil
	}
	return aws.Int32(int32(n)) //nolint:gosec // of volumes: at most 256000
}
