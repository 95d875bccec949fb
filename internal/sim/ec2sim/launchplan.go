// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"encoding/base64"
	"slices"
	"strconv"
)

// launchPlan is a launch that has passed all checks of its parameters.
type launchPlan struct {
	home
	spec       instanceType
	image      *image
	subnet     *subnet // nil: EC2 chooses one of the default VPC
	az         string  // "" for any
	groups     []*securityGroup
	devices    []disk
	keyName    string
	publicKey  string
	profile    string // name
	profileARN string
	role       *iamRole // of the profile
	market     string
	maxPrice   float64 // 0: none
	persistent bool
	interrupt  string
	metadata   metadataOptions
	credits    string
	userData   []byte
	onShutdown string
	protected  bool
	public     *bool // nil: as the subnet has it
	wantedIP   string
	keepsENI   bool
	optimized  bool
	preference string // of capacity reservations
	token      string
	tags       map[string]tagMap
}

// plan checks a launch in the order in which EC2 seems to.
func (c *Cloud) plan(q *call, p *launchParams) (*launchPlan, error) {
	l := &launchPlan{home: q.home(), market: onDemand, onShutdown: "stop", preference: "open", interrupt: "terminate"}
	for _, check := range []func(*call, *launchParams, *launchPlan) error{
		c.planImage, c.planNetwork, c.planDisks, c.planAccess, c.planMarket, c.planMetadata, c.planTags,
	} {
		if err := check(q, p, l); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (c *Cloud) planImage(q *call, p *launchParams, l *launchPlan) (err error) {
	if err := p.missing(); err != nil {
		return err
	}
	if p.ImageID == "" {
		return errMissing("ImageId")
	}
	if l.image, err = c.findImage(q, p.ImageID); err != nil {
		return err
	}
	if l.image.state != "available" {
		return refuse("InvalidAMIID.Unavailable", "The image ID '%s' is not available", l.image.id)
	}
	name := orText(p.InstanceType, "m1.small") // what EC2 takes if nobody says anything
	var known bool
	if l.spec, known = c.lookUpType(name); !known || !l.spec.soldIn(q.region) {
		return errValue("Invalid value '%s' for InstanceType.", name)
	}
	if l.spec.arch != l.image.arch {
		return errValue("The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. "+
			"Specify an instance type and an AMI that have matching architectures, and try again. You can use 'describe-instance-types' or "+
			"'describe-images' to discover the architecture of the instance type or AMI.", l.spec.arch, l.image.arch)
	}
	if p.EbsOptimized != nil {
		l.optimized = *p.EbsOptimized
	}
	if p.Credits != nil && p.Credits.CPU != "" {
		if !l.spec.burstable {
			return errCombination("The specified instance type does not support CPU credits: %s", l.spec.name)
		}
		l.credits = p.Credits.CPU
	} else if l.spec.burstable {
		l.credits = "unlimited"
	}
	if p.Enclave != nil && p.Enclave.Enabled != nil && *p.Enclave.Enabled && l.spec.vcpus < 4 {
		return errCombination("Enclaves are not supported on the instance type %s", l.spec.name)
	}
	if p.Reservation != nil {
		l.preference = orText(p.Reservation.Preference, l.preference)
		if l.preference == "capacity-reservations-only" {
			return errNotSimulated("capacity reservations")
		}
	}
	return nil
}

func (c *Cloud) planNetwork(q *call, p *launchParams, l *launchPlan) error {
	subnetID, groups := "", p.Groups
	if len(p.Interfaces) == 1 {
		card := p.Interfaces[0]
		if len(p.Groups) > 0 || len(p.GroupNames) > 0 {
			return errCombination("Network interfaces and an instance-level security groups may not be specified on the same request")
		}
		if card.DeviceIndex == nil || *card.DeviceIndex != 0 {
			return errValue("The primary network interface needs the device index 0")
		}
		subnetID, groups, l.public, l.wantedIP = card.SubnetID, card.Groups, card.Public, card.PrivateIP
		l.keepsENI = card.DeleteOnTermination != nil && !*card.DeleteOnTermination
	}
	if p.Placement != nil {
		l.az = orText(p.Placement.AvailabilityZone, p.Placement.AvailabilityZoneID)
	}
	if l.az != "" {
		z, known := q.region.zone(l.az)
		if !known {
			return errValue("Invalid availability zone: [%s]", l.az)
		}
		l.az = z.name
	}
	if l.subnet == nil && subnetID != "" {
		s, err := find[*subnet](c, q, "subnet", subnetID)
		if err != nil {
			return err
		}
		l.subnet = s
	}
	return c.planGroups(q, l, groups, p.GroupNames)
}

// planGroups finds the security groups, which must be of the VPC.
func (c *Cloud) planGroups(q *call, l *launchPlan, ids, names []string) error {
	for _, name := range names {
		at := slices.IndexFunc(own[*securityGroup](c, q), func(g *securityGroup) bool { return g.name == name && g.vpc.isDefault })
		if at < 0 {
			return refuse("InvalidGroup.NotFound", "The security group '%s' does not exist in default VPC", name)
		}
		ids = append(ids, own[*securityGroup](c, q)[at].id)
	}
	for _, id := range ids {
		g, err := find[*securityGroup](c, q, "security-group", id)
		if err != nil {
			return err
		}
		l.groups = append(l.groups, g)
	}
	if len(l.groups) > 5 {
		return refuse("SecurityGroupsPerInterfaceLimitExceeded", "The maximum number of security groups per interface has been reached.")
	}
	return nil
}

// settleNetwork checks subnet, zone and groups against each other.
func (c *Cloud) settleNetwork(q *call, l *launchPlan) error {
	var v *vpc
	if l.subnet != nil {
		v = l.subnet.vpc
		if l.az != "" && l.az != l.subnet.az.name {
			return errValue("The availability zone '%s' does not match the one of the subnet '%s'", l.az, l.subnet.id)
		}
		l.az = l.subnet.az.name
	} else {
		n := c.networks[q.home()]
		if n == nil || n.vpc == nil {
			return refuse("VPCIdNotSpecified", "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.")
		}
		v = n.vpc
	}
	for _, g := range l.groups {
		if g.vpc != v {
			return refuse("InvalidParameter", "Security group %s and subnet %s belong to different networks.", g.id, subnetName(l))
		}
	}
	if len(l.groups) == 0 {
		for _, g := range own[*securityGroup](c, q) {
			if g.vpc == v && g.name == "default" {
				l.groups = append(l.groups, g)
			}
		}
	}
	return nil
}

func subnetName(l *launchPlan) string {
	if l.subnet == nil {
		return "of the default VPC"
	}
	return l.subnet.id
}

func (c *Cloud) planDisks(q *call, p *launchParams, l *launchPlan) error {
	l.devices = slices.Clone(l.image.devices)
	seen := map[string]bool{}
	for _, d := range p.Devices {
		if d.DeviceName == "" {
			return errMissing("deviceName")
		}
		if seen[d.DeviceName] {
			return refuse("InvalidBlockDeviceMapping", "The device '%s' is used in more than one block-device mapping", d.DeviceName)
		}
		seen[d.DeviceName] = true
		at := slices.IndexFunc(l.devices, func(known disk) bool { return known.device == d.DeviceName })
		switch {
		case d.NoDevice != nil && d.DeviceName == l.image.root:
			return refuse("InvalidBlockDeviceMapping", "The root device cannot be left out")
		case d.NoDevice != nil && at >= 0:
			l.devices = slices.Delete(l.devices, at, at+1)
		case d.NoDevice != nil, d.VirtualName != "" && d.Ebs == nil: // there are no ephemeral disks
		case at < 0:
			made, err := c.apply(q, disk{device: d.DeviceName}, d.Ebs)
			if err != nil {
				return err
			}
			l.devices = append(l.devices, made)
		default:
			made, err := c.apply(q, l.devices[at], d.Ebs)
			if err != nil {
				return err
			}
			l.devices[at] = made
		}
	}
	return nil
}

// maxUserData bounds user data, in bytes before they are encoded.
const maxUserData = 16384

// planAccess is the ways into the machine and out of it.
func (c *Cloud) planAccess(q *call, p *launchParams, l *launchPlan) error {
	if p.KeyName != "" {
		k, err := c.findKeyPair(q, p.KeyName)
		if err != nil {
			return err
		}
		l.keyName, l.publicKey = k.name, k.public
	}
	if p.UserData != "" {
		raw, err := base64.StdEncoding.DecodeString(p.UserData)
		if err != nil {
			return refuse("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
		}
		if len(raw) > maxUserData {
			return errValue("User data is limited to %d bytes", maxUserData)
		}
		l.userData = raw
	}
	if p.Profile != nil && (p.Profile.Name != "" || p.Profile.ARN != "") {
		if p.Profile.Name != "" && p.Profile.ARN != "" {
			return errCombination("The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'")
		}
		found, arn := c.instanceProfile(q.who.Account, p.Profile.Name, p.Profile.ARN)
		if found != nil {
			l.profile, l.profileARN, l.role = found.name, arn, found.role
		}
		switch {
		case found != nil && found.role == nil:
			return errValue("IAM Instance Profile %s has no associated IAM Roles", arn)
		case l.profile == "" && p.Profile.Name != "":
			return errValue("Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", p.Profile.Name)
		case l.profile == "":
			return errValue("Value (%s) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN", p.Profile.ARN)
		}
	}
	l.onShutdown = orText(p.OnShutdown, l.onShutdown)
	l.protected = p.Protected != nil && *p.Protected
	return nil
}

func (c *Cloud) planMarket(_ *call, p *launchParams, l *launchPlan) error {
	if p.Market == nil || p.Market.Type != spot {
		if p.Market != nil && p.Market.Spot != nil {
			return errCombination("SpotOptions need the MarketType spot")
		}
		return nil
	}
	l.market = spot
	s := p.Market.Spot
	if s == nil {
		return nil
	}
	l.persistent = s.Type == "persistent"
	l.interrupt = orText(s.Interruption, l.interrupt)
	switch {
	case s.Block != nil:
		return errValue("The BlockDurationMinutes parameter is not supported any more")
	case !l.persistent && s.ValidUntil != "":
		return errCombination("ValidUntil is not supported for one-time requests")
	case !l.persistent && l.interrupt != "terminate":
		return errCombination("InstanceInterruptionBehavior %s needs a persistent request", l.interrupt)
	case l.persistent:
		return errNotSimulated("persistent spot requests")
	case l.protected:
		return errCombination("DisableApiTermination is not supported for Spot Instances")
	}
	if s.MaxPrice != "" {
		price, err := strconv.ParseFloat(s.MaxPrice, 64)
		if err != nil || price <= 0 {
			return errValue("Value (%s) for parameter price is invalid. \"%s\" is an invalid spot instance price", s.MaxPrice, s.MaxPrice)
		}
		l.maxPrice = price
	}
	return nil
}

func (c *Cloud) planMetadata(_ *call, p *launchParams, l *launchPlan) error {
	l.metadata = metadataOptions{endpoint: "enabled", tokens: "optional", tags: "disabled", ipv6: "disabled", hops: 1}
	if l.image.imds == "v2.0" {
		l.metadata.tokens, l.metadata.hops = "required", 2
	}
	m := p.Metadata
	if m == nil {
		return nil
	}
	l.metadata.endpoint = orText(m.Endpoint, l.metadata.endpoint)
	l.metadata.tokens = orText(m.Tokens, l.metadata.tokens)
	l.metadata.tags = orText(m.Tags, l.metadata.tags)
	l.metadata.ipv6 = orText(m.IPv6, l.metadata.ipv6)
	if m.Hops != nil {
		if *m.Hops < 1 || *m.Hops > 64 {
			return errValue("The HttpPutResponseHopLimit must be between 1 and 64")
		}
		l.metadata.hops = *m.Hops
	}
	if l.metadata.endpoint == "disabled" && (m.Tokens != "" || m.Hops != nil) {
		return errCombination("You can't set HttpTokens or HttpPutResponseHopLimit when HttpEndpoint is disabled")
	}
	return nil
}

func (c *Cloud) planTags(_ *call, p *launchParams, l *launchPlan) error {
	kinds := []string{"instance", "volume", "network-interface"}
	if l.market == spot {
		kinds = append(kinds, "spot-instances-request")
	}
	tags, err := specified(p.Specs, kinds...)
	l.tags = tags
	return err
}
