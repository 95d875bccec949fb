// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"strings"
)

type reservationXML struct {
	ID        string           `xml:"reservationId"`
	OwnerID   string           `xml:"ownerId"`
	Groups    set[struct{}]    `xml:"groupSet"`
	Instances set[instanceXML] `xml:"instancesSet"`
}

type instanceXML struct {
	ID              string                    `xml:"instanceId"`
	ImageID         string                    `xml:"imageId"`
	State           stateXML                  `xml:"instanceState"`
	PrivateDNS      string                    `xml:"privateDnsName"`
	DNS             string                    `xml:"dnsName"`
	Transition      string                    `xml:"reason"`
	KeyName         string                    `xml:"keyName,omitempty"`
	Index           int                       `xml:"amiLaunchIndex"`
	ProductCodes    set[struct{}]             `xml:"productCodes"`
	Type            string                    `xml:"instanceType"`
	Launched        string                    `xml:"launchTime"`
	Placement       placementXML              `xml:"placement"`
	Monitoring      nested[string]            `xml:"monitoring"`
	SubnetID        string                    `xml:"subnetId,omitempty"`
	VpcID           string                    `xml:"vpcId,omitempty"`
	PrivateIP       string                    `xml:"privateIpAddress,omitempty"`
	PublicIP        string                    `xml:"ipAddress,omitempty"`
	SourceDestCheck bool                      `xml:"sourceDestCheck"`
	Groups          set[groupName]            `xml:"groupSet"`
	Reason          *reasonXML                `xml:"stateReason"`
	Arch            string                    `xml:"architecture"`
	RootType        string                    `xml:"rootDeviceType"`
	Root            string                    `xml:"rootDeviceName"`
	Devices         set[instanceDeviceXML]    `xml:"blockDeviceMapping"`
	Virtualization  string                    `xml:"virtualizationType"`
	Lifecycle       string                    `xml:"instanceLifecycle,omitempty"`
	SpotRequest     string                    `xml:"spotInstanceRequestId,omitempty"`
	ClientToken     string                    `xml:"clientToken"`
	Tags            set[tagXML]               `xml:"tagSet"`
	Hypervisor      string                    `xml:"hypervisor"`
	Cards           set[instanceInterfaceXML] `xml:"networkInterfaceSet"`
	Profile         *profileXML               `xml:"iamInstanceProfile"`
	EbsOptimized    bool                      `xml:"ebsOptimized"`
	ENA             bool                      `xml:"enaSupport"`
	CPU             struct {
		Cores   int `xml:"coreCount"`
		Threads int `xml:"threadsPerCore"`
	} `xml:"cpuOptions"`
	Reservation struct {
		Preference string `xml:"capacityReservationPreference"`
	} `xml:"capacityReservationSpecification"`
	Metadata        metadataXML `xml:"metadataOptions"`
	BootMode        string      `xml:"bootMode,omitempty"`
	CurrentBootMode string      `xml:"currentInstanceBootMode"`
	PlatformDetails string      `xml:"platformDetails"`
	UsageOperation  string      `xml:"usageOperation"`
}

type nested[T any] struct {
	State T `xml:"state"`
}

type placementXML struct {
	AZ      string `xml:"availabilityZone"`
	AZID    string `xml:"availabilityZoneId"`
	Group   string `xml:"groupName"`
	Tenancy string `xml:"tenancy"`
}

type groupName struct {
	ID   string `xml:"groupId"`
	Name string `xml:"groupName"`
}

type instanceDeviceXML struct {
	Device string `xml:"deviceName"`
	EBS    struct {
		VolumeID string `xml:"volumeId"`
		Status   string `xml:"status"`
		At       string `xml:"attachTime"`
		Deletes  bool   `xml:"deleteOnTermination"`
	} `xml:"ebs"`
}

type profileXML struct {
	ARN string `xml:"arn"`
	ID  string `xml:"id"`
}

type metadataXML struct {
	State    string `xml:"state"`
	Tokens   string `xml:"httpTokens"`
	Hops     int    `xml:"httpPutResponseHopLimit"`
	Endpoint string `xml:"httpEndpoint"`
	IPv6     string `xml:"httpProtocolIpv6"`
	Tags     string `xml:"instanceMetadataTags"`
}

type instanceInterfaceXML struct {
	ID          string         `xml:"networkInterfaceId"`
	SubnetID    string         `xml:"subnetId"`
	VpcID       string         `xml:"vpcId"`
	OwnerID     string         `xml:"ownerId"`
	Description string         `xml:"description"`
	Status      string         `xml:"status"`
	MAC         string         `xml:"macAddress"`
	PrivateIP   string         `xml:"privateIpAddress"`
	Groups      set[groupName] `xml:"groupSet"`
	Attachment  struct {
		InstanceID string `xml:"instanceId,omitempty"`
		Index      int    `xml:"deviceIndex"`
		Status     string `xml:"status"`
		At         string `xml:"attachTime"`
		Deletes    bool   `xml:"deleteOnTermination"`
	} `xml:"attachment"`
	Association *associationXML `xml:"association"`
}

type associationXML struct {
	PublicIP string `xml:"publicIp"`
	DNS      string `xml:"publicDnsName"`
	OwnerID  string `xml:"ipOwnerId"`
}

// privateName is ip-a-b-c-d.<region>.compute.internal.
func (i *instance) privateName() string {
	name := "ip-" + strings.ReplaceAll(i.eni.private.String(), ".", "-")
	if i.region.name == defaultRegion {
		return name + ".ec2.internal"
	}
	return name + "." + i.region.name + ".compute.internal"
}

// publicName is the DNS name, which nothing here resolves.
func (i *instance) publicName() string {
	if !i.eni.public.IsValid() {
		return ""
	}
	name := "ec2-" + strings.ReplaceAll(i.eni.public.String(), ".", "-")
	if i.region.name == defaultRegion {
		return name + ".compute-1.amazonaws.com"
	}
	return name + "." + i.region.name + ".compute.amazonaws.com"
}

func groupNames(groups []*securityGroup) set[groupName] {
	var rows []groupName
	for _, g := range groups {
		rows = append(rows, groupName{g.id, g.name})
	}
	return setOf(rows)
}

func (i *instance) xml() instanceXML {
	row := instanceXML{ID: i.id, ImageID: i.image.id, State: state(i.state), Transition: i.transition, KeyName: i.launch.keyName,
		Index: i.index, Type: i.spec.name, Launched: stamp(i.launched), Placement: placementXML{i.az().name, i.az().id, "", "default"},
		Monitoring: nested[string]{"disabled"}, SourceDestCheck: true, Reason: i.reason, Arch: i.image.arch, RootType: "ebs", Root: i.image.root,
		Virtualization: "hvm", ClientToken: i.token, Tags: i.tags.xml(), Hypervisor: "xen", EbsOptimized: i.launch.optimized, ENA: true,
		BootMode: i.image.bootMode, CurrentBootMode: "uefi", PlatformDetails: "Linux/UNIX", UsageOperation: "RunInstances"}
	if i.image.bootMode == "" && i.image.arch == x86 {
		row.CurrentBootMode = "legacy-bios"
	}
	row.CPU.Cores, row.CPU.Threads = max(1, i.spec.vcpus/i.spec.threads), i.spec.threads
	row.Reservation.Preference = i.launch.preference
	row.Metadata = metadataXML{"applied", i.metadata.tokens, i.metadata.hops, i.metadata.endpoint, i.metadata.ipv6, i.metadata.tags}
	if i.is(pending) {
		row.Metadata.State = pending
	}
	if i.market == spot {
		row.Lifecycle, row.SpotRequest = spot, i.spotRequest.id
	}
	if i.launch.profile != "" {
		row.Profile = &profileXML{i.launch.profileARN, "AIPA" + strings.ToUpper(i.id[3:])}
	}
	if i.is(terminated) {
		return row
	}
	row.SubnetID, row.VpcID, row.Groups = i.eni.subnet.id, i.eni.subnet.vpc.id, groupNames(i.eni.groups)
	row.PrivateIP, row.PrivateDNS = i.eni.private.String(), i.privateName()
	if i.eni.public.IsValid() && !i.is(pending) {
		row.PublicIP, row.DNS = i.eni.public.String(), i.publicName()
	}
	row.Cards = setOf([]instanceInterfaceXML{i.eni.onInstance(i)})
	var devices []instanceDeviceXML
	for _, a := range i.volumes {
		if a.volume.state == "creating" {
			continue // a mapping appears when the volume does
		}
		d := instanceDeviceXML{Device: a.device}
		d.EBS.VolumeID, d.EBS.Status, d.EBS.At, d.EBS.Deletes = a.volume.id, "attached", stamp(a.at), a.deletes
		devices = append(devices, d)
	}
	row.Devices = setOf(devices)
	return row
}

func (e *networkInterface) onInstance(i *instance) instanceInterfaceXML {
	row := instanceInterfaceXML{ID: e.id, SubnetID: e.subnet.id, VpcID: e.subnet.vpc.id, OwnerID: e.account.ID, Description: e.text,
		Status: e.state, MAC: e.mac, PrivateIP: e.private.String(), Groups: groupNames(e.groups)}
	row.Attachment.Status, row.Attachment.At, row.Attachment.Deletes = "attached", stamp(e.at), e.deletes
	if e.public.IsValid() && !i.is(pending) {
		row.Association = &associationXML{e.public.String(), i.publicName(), "amazon"}
	}
	return row
}

// reservationOf shows instances that were launched together.
func reservationOf(list []*instance) reservationXML {
	var rows []instanceXML
	for _, i := range list {
		rows = append(rows, i.xml())
	}
	return reservationXML{ID: list[0].reservation, OwnerID: list[0].account.ID, Instances: setOf(rows)}
}
