// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

// maxNSGs is how many network security groups a VNIC can be in.
const maxNSGs = 5

// nsg is a network security group. It groups VNICs of one VCN; rules it has
// none, since nothing here is a firewall.
type nsg struct {
	place
	revision
	body nsgBody
}

type nsgBody struct {
	tags
	ID             string   `json:"id"`
	CompartmentID  string   `json:"compartmentId"`
	DisplayName    string   `json:"displayName"`
	LifecycleState string   `json:"lifecycleState"`
	VCNID          string   `json:"vcnId"`
	TimeCreated    wireTime `json:"timeCreated"`
}

func (c *Cloud) nsgRoutes() []route {
	const all, one = "/20160918/networkSecurityGroups", "/20160918/networkSecurityGroups/{id}"
	return []route{
		op("CreateNetworkSecurityGroup", "POST "+all, c.createNSG),
		op("GetNetworkSecurityGroup", "GET "+one, c.getNSG),
		op("ListNetworkSecurityGroups", "GET "+all, c.listNSGs, "compartmentId", "vlanId", "vcnId", "limit", "page",
			"displayName", "sortBy", "sortOrder", "lifecycleState").
			enum("lifecycleState", "PROVISIONING", "AVAILABLE", "TERMINATING", "TERMINATED"),
		op("UpdateNetworkSecurityGroup", "PUT "+one, c.updateNSG),
		op("DeleteNetworkSecurityGroup", "DELETE "+one, c.deleteNSG),
		op("ListNetworkSecurityGroupVnics", "GET "+one+"/vnics", c.listNSGVnics, "limit", "page", "sortBy", "sortOrder").
			enum("sortBy", "TIMEASSOCIATED"),
	}
}

// checkNSGs holds the groups of a new VNIC against the VCN of its subnet.
func (c *Cloud) checkNSGs(q *call, ids []string, in subnetBody) error {
	if len(ids) > maxNSGs {
		return errInvalid("A VNIC can be in at most %d network security groups, not %d", maxNSGs, len(ids))
	}
	seen := map[string]bool{}
	for _, id := range ids {
		g, err := c.findNSG(q, id)
		switch {
		case err != nil:
			return err
		case seen[id]:
			return errInvalid("Network security group %s is named twice", id)
		case g.body.VCNID != in.VCNID:
			return errInvalid("Network security group %s is not in the VCN of subnet %s", id, in.ID)
		}
		seen[id] = true
	}
	return nil
}

func (c *Cloud) findNSG(q *call, id string) (*nsg, error) {
	g, exists := c.nsgs.get(id)
	if !exists || !g.ownedBy(q) || g.body.LifecycleState == "TERMINATED" {
		return nil, errNotFound()
	}
	return g, nil
}

func (c *Cloud) createNSG(q *call) (*reply, error) {
	var details struct {
		tags
		CompartmentID string  `json:"compartmentId" oci:"required"`
		VCNID         string  `json:"vcnId" oci:"required"`
		DisplayName   *string `json:"displayName"`
	}
	if err := q.decode(&details); err != nil {
		return nil, err
	}
	if err := q.compartment(details.CompartmentID); err != nil {
		return nil, err
	}
	if _, err := q.vcn(details.VCNID); err != nil {
		return nil, err
	}
	if err := checkName(details.DisplayName); err != nil {
		return nil, err
	}
	if err := details.tags.check(q.tenancy()); err != nil {
		return nil, err
	}
	g := &nsg{place: q.here(), body: nsgBody{tags: details.tags.normal(), ID: newOCID("networksecuritygroup", q.region().ocid),
		CompartmentID: details.CompartmentID, DisplayName: nameOr(details.DisplayName, "networksecuritygroup"),
		LifecycleState: "AVAILABLE", VCNID: details.VCNID, TimeCreated: wireNow()}}
	g.touch()
	c.nsgs.put(g.body.ID, g)
	return withEtag(g.body, g.revision), nil
}

func (c *Cloud) getNSG(q *call) (*reply, error) {
	g, err := c.findNSG(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	return withEtag(g.body, g.revision), nil
}

// listNSGs is by compartment or by VLAN, and there are no VLANs.
func (c *Cloud) listNSGs(q *call) (*reply, error) {
	switch compartment, vlan := q.param("compartmentId"), q.param("vlanId"); {
	case (compartment == "") == (vlan == ""):
		return nil, errInvalid("Exactly one of compartmentId and vlanId is required")
	case vlan != "":
		return nil, errNotFound()
	}
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	if id := q.param("vcnId"); id != "" {
		if _, err := q.vcn(id); err != nil {
			return nil, err
		}
	}
	found := []nsgBody{}
	for _, g := range c.nsgs.all() {
		b := g.body
		if g.ownedBy(q) && b.LifecycleState != "TERMINATED" && q.selects("compartmentId", b.CompartmentID) &&
			q.selects("vcnId", b.VCNID) && q.selects("displayName", b.DisplayName) && q.selects("lifecycleState", b.LifecycleState) {
			found = append(found, b)
		}
	}
	sortResources(q, found, func(b nsgBody) (string, wireTime) { return b.DisplayName, b.TimeCreated })
	return paginate(q, found)
}

func (c *Cloud) updateNSG(q *call) (*reply, error) {
	var details struct {
		tags
		DisplayName *string `json:"displayName"`
	}
	if err := q.decode(&details); err != nil {
		return nil, err
	}
	g, err := c.findNSG(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	if err := g.ifMatch(q); err != nil {
		return nil, err
	}
	if err := checkName(details.DisplayName); err != nil {
		return nil, err
	}
	if err := details.tags.check(q.tenancy()); err != nil {
		return nil, err
	}
	g.body.DisplayName = orElse(details.DisplayName, g.body.DisplayName)
	g.body.tags = g.body.tags.updated(details.tags)
	g.touch()
	return withEtag(g.body, g.revision), nil
}

func (c *Cloud) deleteNSG(q *call) (*reply, error) {
	g, err := c.findNSG(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	if err := g.ifMatch(q); err != nil {
		return nil, err
	}
	if len(c.vnicsOf(g)) > 0 {
		return nil, errState("NetworkSecurityGroup %s cannot be deleted since it still has vnics attached to it.", g.body.ID)
	}
	g.body.LifecycleState = "TERMINATED"
	g.touch()
	return noContent(), nil
}

// vnicsOf lists the interfaces in a group.
func (c *Cloud) vnicsOf(g *nsg) []*vnic {
	var found []*vnic
	for _, v := range c.vnics.all() {
		if v.alive() && oneOf(g.body.ID, v.body.NSGIDs) {
			found = append(found, v)
		}
	}
	return found
}

func (c *Cloud) listNSGVnics(q *call) (*reply, error) {
	g, err := c.findNSG(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	type row struct {
		VnicID         string   `json:"vnicId"`
		ResourceID     string   `json:"resourceId"`
		TimeAssociated wireTime `json:"timeAssociated"`
	}
	found := []row{}
	for _, v := range c.vnicsOf(g) {
		found = append(found, row{v.body.ID, v.attachment.InstanceID, v.body.TimeCreated})
	}
	return paginate(q, found)
}
