// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// vnic is a network interface and its attachment to an instance.
type vnic struct {
	place
	revision
	body       vnicBody
	attachment vnicAttachmentBody
	privateIP  privateIPBody
}

type vnicBody struct {
	tags
	ID                  string   `json:"id"`
	CompartmentID       string   `json:"compartmentId"`
	AvailabilityDomain  string   `json:"availabilityDomain"`
	DisplayName         string   `json:"displayName"`
	HostnameLabel       *string  `json:"hostnameLabel"`
	IsPrimary           bool     `json:"isPrimary"`
	LifecycleState      string   `json:"lifecycleState"`
	MACAddress          string   `json:"macAddress"`
	NSGIDs              []string `json:"nsgIds"`
	PrivateIP           string   `json:"privateIp"`
	PublicIP            *string  `json:"publicIp"`
	SkipSourceDestCheck bool     `json:"skipSourceDestCheck"`
	SubnetID            string   `json:"subnetId"`
	VLANID              *string  `json:"vlanId"`
	TimeCreated         wireTime `json:"timeCreated"`
}

type vnicAttachmentBody struct {
	ID                 string   `json:"id"`
	AvailabilityDomain string   `json:"availabilityDomain"`
	CompartmentID      string   `json:"compartmentId"`
	DisplayName        *string  `json:"displayName"`
	InstanceID         string   `json:"instanceId"`
	LifecycleState     string   `json:"lifecycleState"`
	NICIndex           int      `json:"nicIndex"`
	SubnetID           string   `json:"subnetId"`
	VLANID             *string  `json:"vlanId"`
	VLANTag            *int     `json:"vlanTag"`
	VnicID             *string  `json:"vnicId"` // null until ATTACHED
	TimeCreated        wireTime `json:"timeCreated"`
}

type privateIPBody struct {
	tags
	ID                 string   `json:"id"`
	AvailabilityDomain string   `json:"availabilityDomain"`
	CompartmentID      string   `json:"compartmentId"`
	DisplayName        string   `json:"displayName"`
	HostnameLabel      *string  `json:"hostnameLabel"`
	IPAddress          string   `json:"ipAddress"`
	IsPrimary          bool     `json:"isPrimary"`
	SubnetID           string   `json:"subnetId"`
	VLANID             *string  `json:"vlanId"`
	VnicID             string   `json:"vnicId"`
	TimeCreated        wireTime `json:"timeCreated"`
}

type createVnicDetails struct {
	tags
	AssignIPv6       *bool    `json:"assignIpv6Ip"`
	AssignPublicIP   *bool    `json:"assignPublicIp"`
	AssignPrivateDNS *bool    `json:"assignPrivateDnsRecord"`
	DisplayName      *string  `json:"displayName"`
	HostnameLabel    *string  `json:"hostnameLabel"`
	NSGIDs           []string `json:"nsgIds"`
	PrivateIP        *string  `json:"privateIp"`
	SkipSourceDest   *bool    `json:"skipSourceDestCheck"`
	SubnetCIDR       *string  `json:"subnetCidr"`
	SubnetID         *string  `json:"subnetId"`

	PrivateIPID     *string         `json:"privateIpId"` // of a reserved address; there are none
	VLANID          *string         `json:"vlanId"`      // there are none
	MissingIPv6     json.RawMessage `json:"ipv6AddressIpv6SubnetCidrPairDetails"`
	MissingSecurity json.RawMessage `json:"securityAttributes"`
}

// hostnameLabel is a label of RFC 1123.
var hostnameLabel = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)

func (c *Cloud) planNetwork(q *call, p *launchPlan) error {
	d := &p.details
	if d.CreateVnicDetails == nil {
		d.CreateVnicDetails = &createVnicDetails{}
	}
	v := d.CreateVnicDetails
	for _, twice := range []struct {
		name     string
		into     **string
		outdated *string
	}{
		{"subnetId", &v.SubnetID, d.SubnetID}, {"hostnameLabel", &v.HostnameLabel, d.HostnameLabel},
	} {
		switch {
		case *twice.into == nil:
			*twice.into = twice.outdated
		case twice.outdated != nil && **twice.into != *twice.outdated:
			return errInvalid("%s and createVnicDetails.%s do not match", twice.name, twice.name)
		}
	}
	if v.SubnetID == nil {
		return errMissing("createVnicDetails.subnetId")
	}
	var err error
	if p.subnet, err = q.subnet(*v.SubnetID); err != nil {
		return err
	}
	if ad := p.subnet.AvailabilityDomain; ad != nil && *ad != d.AvailabilityDomain { // our wording
		return errInvalid("Subnet %s is in availability domain %s, and the instance would be in %s", p.subnet.ID, *ad, d.AvailabilityDomain)
	}
	p.publicIP = !p.subnet.ProhibitPublicIPOnVnic
	if v.AssignPublicIP != nil {
		if *v.AssignPublicIP && p.subnet.ProhibitPublicIPOnVnic {
			return errInvalid("Subnet %s prohibits public IPs: assignPublicIp cannot be true", p.subnet.ID)
		}
		p.publicIP = *v.AssignPublicIP
	}
	switch {
	case v.PrivateIPID != nil || v.VLANID != nil:
		return errNotFound()
	case v.AssignIPv6 != nil && *v.AssignIPv6:
		return errInvalid("Subnet %s has no IPv6 CIDR block", p.subnet.ID)
	case !absent(v.MissingIPv6):
		return errNotSimulated("ipv6AddressIpv6SubnetCidrPairDetails")
	case !absent(v.MissingSecurity):
		return errNotSimulated("createVnicDetails.securityAttributes")
	}
	if err := c.planAddress(q, p); err != nil {
		return err
	}
	if err := c.planHostname(q, p); err != nil {
		return err
	}
	if err := c.checkNSGs(q, v.NSGIDs, p.subnet); err != nil {
		return err
	}
	if err := checkName(v.DisplayName); err != nil {
		return err
	}
	return v.tags.check(q.tenancy())
}

// planAddress checks the private address that a launch asks for. Whether it is
// in use is found out only once the launch has been accepted. The first two
// addresses of a subnet and the last one are Oracle's.
func (c *Cloud) planAddress(q *call, p *launchPlan) error {
	v := p.details.CreateVnicDetails
	if v.SubnetCIDR != nil {
		switch {
		case v.PrivateIP != nil:
			return errInvalid("privateIp and subnetCidr cannot be given both")
		case *v.SubnetCIDR != p.subnet.CIDRBlock:
			return errInvalid("%s is not a CIDR block of subnet %s", *v.SubnetCIDR, p.subnet.ID)
		}
	}
	if v.PrivateIP == nil {
		return nil
	}
	ip, err := netip.ParseAddr(*v.PrivateIP)
	if err != nil || !ip.Is4() {
		return errInvalid("privateIp %s is not an IPv4 address", *v.PrivateIP)
	}
	block := netip.MustParsePrefix(p.subnet.CIDRBlock)
	if !block.Contains(ip) {
		return errInvalid("Private IP %s is not within the CIDR block %s of subnet %s", ip, block, p.subnet.ID)
	}
	if first := block.Masked().Addr(); ip == first || ip == first.Next() || !block.Contains(ip.Next()) {
		return errInvalid("Private IP %s is reserved", ip)
	}
	p.wantedIP = ip.String()
	if c.addressInUse(p.wantedIP) {
		p.vnicProblem = fmt.Sprintf("Private IP %s is already in use in subnet %s", ip, p.subnet.ID)
	}
	return nil
}

// planHostname checks the name that a launch gives its machine.
func (c *Cloud) planHostname(q *call, p *launchPlan) error {
	v := p.details.CreateVnicDetails
	if v.HostnameLabel == nil {
		return nil
	}
	label := *v.HostnameLabel
	if !hostnameLabel.MatchString(label) {
		return errInvalid("hostnameLabel %s does not comply with RFC 952 and RFC 1123", label)
	}
	if !orElse(v.AssignPrivateDNS, true) {
		return errInvalid("Hostname %s is provided when AssignPrivateDnsRecord is false", label)
	}
	for _, other := range c.vnics.all() {
		if other.alive() && other.body.SubnetID == p.subnet.ID && strings.EqualFold(orElse(other.body.HostnameLabel, ""), label) {
			p.vnicProblem = fmt.Sprintf("Hostname %s is already used in subnet %s", label, p.subnet.ID)
		}
	}
	return nil
}

func (v *vnic) alive() bool { return v.body.LifecycleState != "TERMINATED" }

// addressInUse tells whether a machine or a bastion of anybody has an address.
// All networks are the same 127.80.0.0/16 of this host.
func (c *Cloud) addressInUse(ip string) bool {
	return slices.ContainsFunc(c.vnics.all(), func(v *vnic) bool { return v.alive() && v.body.PrivateIP == ip }) ||
		slices.ContainsFunc(c.bastions.all(), func(b *bastion) bool { return b.alive() && b.body.PrivateEndpointIP == ip })
}

// nextAddress gives an instance a loopback address of its own. Addresses are
// not reused, so that a client which holds a stale one reaches nobody, unless
// a launch asks for one by name.
func (c *Cloud) nextAddress() (string, error) {
	for {
		c.addresses++
		if c.addresses >= 1<<16-1 {
			return "", errInvalid("The subnet has no free addresses")
		}
		ip := fmt.Sprintf("127.80.%d.%d", c.addresses>>8, c.addresses&0xff)
		if !c.addressInUse(ip) {
			return ip, nil
		}
	}
}

func newVnic(q *call, p *launchPlan, instanceID, address string) *vnic {
	d := p.details.CreateVnicDetails
	compartment, ad, now := p.details.CompartmentID, p.details.AvailabilityDomain, wireNow()
	v := &vnic{place: q.here()}
	v.body = vnicBody{tags: d.tags.normal(), ID: newOCID("vnic", q.region().ocid), CompartmentID: compartment,
		AvailabilityDomain: ad, DisplayName: nameOr(d.DisplayName, "vnic"), HostnameLabel: d.HostnameLabel, IsPrimary: true,
		LifecycleState: "PROVISIONING", MACAddress: "02:00:17:" + macTail(), NSGIDs: append([]string{}, d.NSGIDs...),
		PrivateIP: address, SkipSourceDestCheck: orElse(d.SkipSourceDest, false), SubnetID: p.subnet.ID, TimeCreated: now}
	if p.publicIP {
		v.body.PublicIP = &address
	}
	v.attachment = vnicAttachmentBody{ID: newOCID("vnicattachment", q.region().ocid), AvailabilityDomain: ad,
		CompartmentID: compartment, InstanceID: instanceID, LifecycleState: "ATTACHING", SubnetID: p.subnet.ID, TimeCreated: now}
	v.privateIP = privateIPBody{tags: tags{}.normal(), ID: newOCID("privateip", q.region().ocid), AvailabilityDomain: ad,
		CompartmentID: compartment, DisplayName: v.body.DisplayName, HostnameLabel: d.HostnameLabel, IPAddress: address, IsPrimary: true,
		SubnetID: p.subnet.ID, VnicID: v.body.ID, TimeCreated: now}
	v.touch()
	return v
}

func macTail() string {
	h := randomHex(3)
	return fmt.Sprintf("%s:%s:%s", h[0:2], h[2:4], h[4:6])
}

func (c *Cloud) getVnic(q *call) (*reply, error) {
	v, exists := c.vnics.get(q.vars["id"])
	if !exists || !v.ownedBy(q) || v.body.LifecycleState == "TERMINATED" {
		return nil, errNotFound()
	}
	return withEtag(v.body, v.revision), nil
}

func (c *Cloud) listVnicAttachments(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	found := []vnicAttachmentBody{}
	for _, v := range c.vnics.all() {
		a := v.attachment
		if v.ownedBy(q) && q.selects("compartmentId", a.CompartmentID) && q.selects("instanceId", a.InstanceID) &&
			q.selects("availabilityDomain", a.AvailabilityDomain) && q.selects("vnicId", v.body.ID) {
			found = append(found, a)
		}
	}
	return paginate(q, found)
}

func (c *Cloud) getPrivateIP(q *call) (*reply, error) {
	for _, v := range c.vnics.all() {
		if v.ownedBy(q) && v.privateIP.ID == q.vars["id"] && v.body.LifecycleState != "TERMINATED" {
			return ok(v.privateIP), nil
		}
	}
	return nil, errNotFound()
}

func (c *Cloud) listPrivateIPs(q *call) (*reply, error) {
	if q.param("subnetId") == "" && q.param("vnicId") == "" && q.param("vlanId") == "" {
		return nil, errInvalid("One of subnetId, vnicId and vlanId is required")
	}
	found := []privateIPBody{}
	for _, v := range c.vnics.all() {
		p := v.privateIP
		if v.ownedBy(q) && v.body.LifecycleState != "TERMINATED" && q.selects("subnetId", p.SubnetID) &&
			q.selects("vnicId", p.VnicID) && q.selects("ipAddress", p.IPAddress) && q.param("vlanId") == "" {
			found = append(found, p)
		}
	}
	return paginate(q, found)
}
