// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"fmt"
	"time"
)

// network is a tenancy's network in one region: one VCN with two subnets that
// reach through the region, and in each availability domain a public one. The
// compartment below has another VCN, in which there is nothing yet.
type network struct {
	vcn, empty      vcnBody
	public, private subnetBody
	local           []subnetBody
}

func (n *network) vcns() []vcnBody { return []vcnBody{n.vcn, n.empty} }

func (n *network) subnets() []subnetBody {
	return append([]subnetBody{n.public, n.private}, n.local...)
}

// The addresses of all instances, and the first of them, which none gets.
const (
	vcnCIDR  = "127.80.0.0/16"
	routerIP = "127.80.0.1"
)

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
	oneVCN := func(label, compartment, cidr string) vcnBody {
		return vcnBody{
			tags: tags{}.normal(), ID: newOCID("vcn", r.ocid), CompartmentID: compartment, DisplayName: "vcn-" + label,
			LifecycleState: "AVAILABLE", CIDRBlock: cidr, CIDRBlocks: []string{cidr},
			DNSLabel: label, VCNDomainName: label + ".oraclevcn.com", DefaultRouteTableID: newOCID("routetable", r.ocid),
			DefaultSecurityListID: newOCID("securitylist", r.ocid), DefaultDHCPOptionsID: newOCID("dhcpoptions", r.ocid),
			TimeCreated: created,
		}
	}
	vcn := oneVCN("main", t.CompartmentID, vcnCIDR)
	subnet := func(label string, private bool) subnetBody {
		return subnetBody{
			tags: tags{}.normal(), ID: newOCID("subnet", r.ocid), CompartmentID: t.CompartmentID, VCNID: vcn.ID,
			DisplayName: "subnet-" + label, LifecycleState: "AVAILABLE", CIDRBlock: vcn.CIDRBlock, DNSLabel: label,
			SubnetDomainName: label + "." + vcn.VCNDomainName, RouteTableID: vcn.DefaultRouteTableID,
			SecurityListIDs: []string{vcn.DefaultSecurityListID}, DHCPOptionsID: vcn.DefaultDHCPOptionsID,
			VirtualRouterIP: routerIP, VirtualRouterMAC: "00:00:17:00:00:01",
			ProhibitInternetIngress: private, ProhibitPublicIPOnVnic: private, TimeCreated: created,
		}
	}
	n := &network{vcn: vcn, empty: oneVCN("empty", t.ChildCompartmentID, "10.99.0.0/16"),
		public: subnet("public", false), private: subnet("private", true)}
	for i, ad := range r.availabilityDomains(t.adPrefix) {
		s := subnet(fmt.Sprintf("ad%d", i+1), false)
		s.AvailabilityDomain = &ad
		n.local = append(n.local, s)
	}
	return n
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
	vcn, err := q.vcn(q.vars["id"])
	if err != nil {
		return nil, err
	}
	return ok(vcn), nil
}

// vcn finds one of the caller's VCNs.
func (q *call) vcn(id string) (vcnBody, error) {
	for _, v := range q.network().vcns() {
		if v.ID == id {
			return v, nil
		}
	}
	return vcnBody{}, errNotFound()
}

func (c *Cloud) listVCNs(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	found := []vcnBody{}
	for _, v := range q.network().vcns() {
		if q.selects("compartmentId", v.CompartmentID) && q.selects("displayName", v.DisplayName) &&
			q.selects("lifecycleState", v.LifecycleState) {
			found = append(found, v)
		}
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
	if s, exists := q.network().find(id); exists {
		return s, nil
	}
	return subnetBody{}, errNotFound()
}

// find is the subnet of an OCID.
func (n *network) find(id string) (subnetBody, bool) {
	for _, s := range n.subnets() {
		if s.ID == id {
			return s, true
		}
	}
	return subnetBody{}, false
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
