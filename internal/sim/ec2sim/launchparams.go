// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

// launchParams are what RunInstances and launch templates have in common. What
// the simulator does not have is refused by name.
type launchParams struct {
	ImageID      string `aws:"ImageId"`
	InstanceType string
	KeyName      string
	UserData     string
	Groups       []string         `aws:"SecurityGroupId"`
	GroupNames   []string         `aws:"SecurityGroup"`
	Interfaces   []interfaceParam `aws:"NetworkInterface"`
	Devices      []deviceParams   `aws:"BlockDeviceMapping"`
	Profile      *struct {
		ARN  string `aws:"Arn"`
		Name string
	} `aws:"IamInstanceProfile"`
	Placement *struct {
		AvailabilityZone   string
		AvailabilityZoneID string `aws:"AvailabilityZoneId"`
		Tenancy            string `aws:"Tenancy,enum=default|dedicated|host"`
		GroupName          string
		Affinity           string
		HostID             string `aws:"HostId"`
	}
	EbsOptimized *bool
	Enclave      *struct {
		Enabled *bool
	} `aws:"EnclaveOptions"`
	Hibernation *struct {
		Configured *bool
	} `aws:"HibernationOptions"`
	Credits *struct {
		CPU string `aws:"CpuCredits,required,enum=standard|unlimited"`
	} `aws:"CreditSpecification"`
	Metadata *struct {
		Endpoint string `aws:"HttpEndpoint,enum=enabled|disabled"`
		Tokens   string `aws:"HttpTokens,enum=optional|required"`
		Hops     *int   `aws:"HttpPutResponseHopLimit"`
		Tags     string `aws:"InstanceMetadataTags,enum=enabled|disabled"`
		IPv6     string `aws:"HttpProtocolIpv6,enum=enabled|disabled"`
	} `aws:"MetadataOptions"`
	Monitoring *struct {
		Enabled *bool
	}
	OnShutdown  string `aws:"InstanceInitiatedShutdownBehavior,enum=stop|terminate"`
	Protected   *bool  `aws:"DisableApiTermination"`
	StopGuard   *bool  `aws:"DisableApiStop"`
	Reservation *struct {
		Preference string `aws:"CapacityReservationPreference,enum=open|none|capacity-reservations-only"`
	} `aws:"CapacityReservationSpecification"`
	Market *struct {
		Type string `aws:"MarketType,enum=spot|capacity-block"`
		Spot *struct {
			MaxPrice     string
			Type         string `aws:"SpotInstanceType,enum=one-time|persistent"`
			Interruption string `aws:"InstanceInterruptionBehavior,enum=hibernate|stop|terminate"`
			Block        *int   `aws:"BlockDurationMinutes"`
			ValidUntil   string
		} `aws:"SpotOptions"`
	} `aws:"InstanceMarketOptions"`
	Maintenance *struct {
		Recovery string `aws:"AutoRecovery,enum=disabled|default"`
	} `aws:"MaintenanceOptions"`
	DNS *struct {
		HostnameType string `aws:"HostnameType,enum=ip-name|resource-name"`
		ARecord      *bool  `aws:"EnableResourceNameDnsARecord"`
		AAAARecord   *bool  `aws:"EnableResourceNameDnsAAAARecord"`
	} `aws:"PrivateDnsNameOptions"`
	Specs []tagSpecification `aws:"TagSpecification"`
}

// interfaceParam is a network card in a request.
type interfaceParam struct {
	DeviceIndex         *int
	SubnetID            string `aws:"SubnetId"`
	Public              *bool  `aws:"AssociatePublicIpAddress"`
	DeleteOnTermination *bool
	Groups              []string `aws:"SecurityGroupId"`
	Description         string
	PrivateIP           string `aws:"PrivateIpAddress"`
	InterfaceType       string `aws:"InterfaceType,enum=interface|efa"`
	ID                  string `aws:"NetworkInterfaceId"`
}

// runParams are the parameters of RunInstances.
type runParams struct {
	launchParams
	MinCount    int `aws:",required"`
	MaxCount    int `aws:",required"`
	ClientToken string
	SubnetID    string         `aws:"SubnetId"`
	PrivateIP   string         `aws:"PrivateIpAddress"`
	Template    *templateParam `aws:"LaunchTemplate"`
}

// templateParam names a launch template.
type templateParam struct {
	ID      string `aws:"LaunchTemplateId"`
	Name    string `aws:"LaunchTemplateName"`
	Version string
}

// missing names a feature that the request asks for and the simulator lacks.
// It must not be taken for a fault of the client.
func (p *launchParams) missing() error {
	on := func(b *bool) bool { return b != nil && *b }
	switch {
	case len(p.Interfaces) > 1:
		return errNotSimulated("more than one network interface")
	case len(p.Interfaces) == 1 && p.Interfaces[0].ID != "":
		return errNotSimulated("network interfaces that exist already")
	case p.Placement != nil && (p.Placement.HostID != "" || p.Placement.Tenancy == "host" || p.Placement.Tenancy == "dedicated"):
		return errNotSimulated("dedicated hosts and instances")
	case p.Placement != nil && p.Placement.GroupName != "":
		return errNotSimulated("placement groups")
	case p.Hibernation != nil && on(p.Hibernation.Configured):
		return errNotSimulated("hibernation")
	case p.Market != nil && p.Market.Type == "capacity-block":
		return errNotSimulated("capacity blocks")
	}
	return nil
}
