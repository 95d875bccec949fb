// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"fmt"
	"time"
)

// network is a tenancy's network in one region: one VCN with two subnets that
// reach through the region, and in each availability domain a public one.
type network struct {
	vcn             vcnBody
	public, private subnetBody
	local           []subnetBody
}

func (n *network) subnets() []subnetBody {
	return append([]subnetBody{n.public, n.private}, n.local...)
}

type vcnBody struct {
	tags
	ID                    string   `json:"id"`
	CompartmentID         string   `json:"compartmentId"`
	DisplayName           string   `json:"displayName"`
	LifecycleState        string   `json:"lifecycleState"`
	CIDRBlock             string   `json:"cidrBlock"`
	CIDRBlocks            []string `json:"cidrBlocks"`
	DNSLabel              string   `json:"dnsLabel"`
	VCNDomainName         string   `json:"vcnDomainName"`
	DefaultRouteTableID   string   `json:"defaultRouteTableId"`
	DefaultSecurityListID string   `json:"defaultSecurityListId"`
	DefaultDHCPOptionsID  string   `json:"defaultDhcpOptionsId"`
	TimeCreated           wireTime `json:"timeCreated"`
}

type subnetBody struct {
	tags
	ID                      string   `json:"id"`
	CompartmentID           string   `json:"compartmentId"`
	VCNID                   string   `json:"vcnId"`
	DisplayName             string   `json:"displayName"`
	LifecycleState          string   `json:"lifecycleState"`
	AvailabilityDomain      *string  `json:"availabilityDomain"` // null: a regional subnet
	CIDRBlock               string   `json:"cidrBlock"`
	DNSLabel                string   `json:"dnsLabel"`
	SubnetDomainName        string   `json:"subnetDomainName"`
	RouteTableID            string   `json:"routeTableId"`
	SecurityListIDs         []string `json:"securityListIds"`
	DHCPOptionsID           string   `json:"dhcpOptionsId"`
	VirtualRouterIP         string   `json:"virtualRouterIp"`
	VirtualRouterMAC        string   `json:"virtualRouterMac"`
	ProhibitInternetIngress bool     `json:"prohibitInternetIngress"`
	ProhibitPublicIPOnVnic  bool     `json:"prohibitPublicIpOnVnic"`
	TimeCreated             wireTime `json:"timeCreated"`
}

// newNetwork makes the VCN and the subnets of a tenancy in a region. The
// CIDR blocks are those of the loopback addresses that instances really have.
func newNetwork(t *Tenancy, r region) *network {
	created := wireTime{time.Now().Add(-30 * 24 * time.Hour)}
	vcn := vcnBody{
		tags: tags{}.normal(), ID: newOCID("vcn", r.ocid), CompartmentID: t.CompartmentID, DisplayName: "vcn-main",
		LifecycleState: "AVAILABLE", CIDRBlock: "127.80.0.0/16", CIDRBlocks: []string{"127.80.0.0/16"},
		DNSLabel: "main", VCNDomainName: "main.oraclevcn.com", DefaultRouteTableID: newOCID("routetable", r.ocid),
		DefaultSecurityListID: newOCID("securitylist", r.ocid), DefaultDHCPOptionsID: newOCID("dhcpoptions", r.ocid),
		TimeCreated: created,
	}
	subnet := func(label string, private bool) subnetBody {
		return subnetBody{
			tags: tags{}.normal(), ID: newOCID("subnet", r.ocid), CompartmentID: t.CompartmentID, VCNID: vcn.ID,
			DisplayName: "subnet-" + label, LifecycleState: "AVAILABLE", CIDRBlock: vcn.CIDRBlock, DNSLabel: label,
			SubnetDomainName: label + "." + vcn.VCNDomainName, RouteTableID: vcn.DefaultRouteTableID,
			SecurityListIDs: []string{vcn.DefaultSecurityListID}, DHCPOptionsID: vcn.DefaultDHCPOptionsID,
			VirtualRouterIP: "127.80.0.1", VirtualRouterMAC: "00:00:17:00:00:01",
			ProhibitInternetIngress: private, ProhibitPublicIPOnVnic: private, TimeCreated: created,
		}
	}
	n := &network{vcn: vcn, public: subnet("public", false), private: subnet("private", true)}
	for i, ad := range r.availabilityDomains(t.adPrefix) {
		s := subnet(fmt.Sprintf("ad%d", i+1), false)
		s.AvailabilityDomain = &ad
		n.local = append(n.local, s)
	}
	return n
}

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

// nextAddress gives an instance a loopback address of its own. Addresses are
// not reused, so that a client which holds a stale one reaches nobody.
func (c *Cloud) nextAddress() (string, error) {
	c.addresses++
	if c.addresses >= 1<<16-1 {
		return "", errInvalid("The subnet has no free addresses")
	}
	return fmt.Sprintf("127.80.%d.%d", c.addresses>>8, c.addresses&0xff), nil
}

func (c *Cloud) networkRoutes() []route {
	states := []string{"PROVISIONING", "AVAILABLE", "TERMINATING", "TERMINATED", "UPDATING"}
	return []route{
		op("GetVcn", "GET /20160918/vcns/{id}", c.getVCN),
		op("ListVcns", "GET /20160918/vcns", c.listVCNs,
			"compartmentId!", "limit", "page", "displayName", "sortBy", "sortOrder", "lifecycleState").
			enum("lifecycleState", states...),
		op("GetSubnet", "GET /20160918/subnets/{id}", c.getSubnet),
		op("ListSubnets", "GET /20160918/subnets", c.listSubnets,
			"compartmentId!", "limit", "page", "vcnId", "displayName", "sortBy", "sortOrder", "lifecycleState").
			enum("lifecycleState", states...),
		op("GetVnic", "GET /20160918/vnics/{id}", c.getVnic),
		op("ListVnicAttachments", "GET /20160918/vnicAttachments", c.listVnicAttachments,
			"compartmentId!", "availabilityDomain", "instanceId", "limit", "page", "vnicId"),
		op("GetPrivateIp", "GET /20160918/privateIps/{id}", c.getPrivateIP),
		op("ListPrivateIps", "GET /20160918/privateIps", c.listPrivateIPs,
			"limit", "page", "ipAddress", "subnetId", "vnicId", "vlanId"),
	}
}

// network is the caller's network in the region that was called.
func (q *call) network() *network { return q.tenancy().networks[q.region().name] }

func (c *Cloud) getVCN(q *call) (*reply, error) {
	if n := q.network(); n.vcn.ID == q.vars["id"] {
		return ok(n.vcn), nil
	}
	return nil, errNotFound()
}

func (c *Cloud) listVCNs(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	n := q.network()
	found := []vcnBody{}
	if q.selects("compartmentId", n.vcn.CompartmentID) && q.selects("displayName", n.vcn.DisplayName) &&
		q.selects("lifecycleState", n.vcn.LifecycleState) {
		found = append(found, n.vcn)
	}
	return paginate(q, found)
}

// selects tells whether a filter parameter is absent or equal to a value.
func (q *call) selects(param, value string) bool {
	want := q.param(param)
	return want == "" || want == value
}

// subnet finds one of the caller's subnets.
func (q *call) subnet(id string) (subnetBody, error) {
	n := q.network()
	for _, s := range n.subnets() {
		if s.ID == id {
			return s, nil
		}
	}
	return subnetBody{}, errNotFound()
}

func (c *Cloud) getSubnet(q *call) (*reply, error) {
	s, err := q.subnet(q.vars["id"])
	if err != nil {
		return nil, err
	}
	return ok(s), nil
}

func (c *Cloud) listSubnets(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	n := q.network()
	found := []subnetBody{}
	for _, s := range n.subnets() {
		if q.selects("compartmentId", s.CompartmentID) && q.selects("vcnId", s.VCNID) &&
			q.selects("displayName", s.DisplayName) && q.selects("lifecycleState", s.LifecycleState) {
			found = append(found, s)
		}
	}
	sortResources(q, found, func(s subnetBody) (string, wireTime) { return s.DisplayName, s.TimeCreated })
	return paginate(q, found)
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
