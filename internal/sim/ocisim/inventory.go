// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

// Inventory is everything that exists. A build that cleans up behind itself
// leaves it as it was.
type Inventory struct {
	Tenancies []TenancyInventory `json:"tenancies"`
}

// TenancyInventory is what one tenancy has.
type TenancyInventory struct {
	Name    string            `json:"name"`
	ID      string            `json:"id"`
	Regions []RegionInventory `json:"regions"`
}

// RegionInventory is what one tenancy has in one region. Lists are in the
// order of creation and never null; platform images are not in them.
type RegionInventory struct {
	Region            string         `json:"region"`
	Instances         []Resource     `json:"instances"` // all but TERMINATED ones
	Machines          []string       `json:"machines"`  // OCIDs of instances whose machine has power
	BootVolumes       []Resource     `json:"bootVolumes"`
	Images            []Resource     `json:"images"`
	CapabilitySchemas []Resource     `json:"capabilitySchemas"`
	ConsoleHistories  []Resource     `json:"consoleHistories"`
	Reservations      []Resource     `json:"capacityReservations"`
	SecurityGroups    []Resource     `json:"networkSecurityGroups"`
	Bastions          []Resource     `json:"bastions"`        // all but DELETED ones
	BastionSessions   []Resource     `json:"bastionSessions"` // all but DELETED ones
	Buckets           []StoredBucket `json:"buckets"`
}

// Resource is one resource of Compute.
type Resource struct {
	ID           string            `json:"id"`
	Name         string            `json:"displayName"`
	State        string            `json:"lifecycleState"`
	FreeformTags map[string]string `json:"freeformTags"`
}

// Inventory lists what exists now.
func (c *Cloud) Inventory() Inventory {
	c.mu.Lock()
	defer c.mu.Unlock()
	inventory := Inventory{Tenancies: []TenancyInventory{}}
	for _, t := range c.cfg.Tenancies {
		of := TenancyInventory{Name: t.Name, ID: t.ID, Regions: []RegionInventory{}}
		for _, regionName := range t.Regions {
			of.Regions = append(of.Regions, c.regionInventory(t, regionName))
		}
		inventory.Tenancies = append(inventory.Tenancies, of)
	}
	return inventory
}

func (c *Cloud) regionInventory(t *Tenancy, regionName string) RegionInventory {
	in := RegionInventory{Region: regionName, Instances: []Resource{}, Machines: []string{}, BootVolumes: []Resource{},
		Images: []Resource{}, CapabilitySchemas: []Resource{}, ConsoleHistories: []Resource{}, Reservations: []Resource{},
		SecurityGroups: []Resource{}, Bastions: []Resource{}, BastionSessions: []Resource{},
		Buckets: c.objects.inventory(t.Namespace, regionName)}
	here := func(p place) bool { return p.tenancy == t && p.region.name == regionName }
	row := func(id, name, state string, tagged tags) Resource {
		copied := map[string]string{}
		for k, v := range tagged.FreeformTags {
			copied[k] = v
		}
		return Resource{id, name, state, copied}
	}
	for _, i := range c.instances.all() {
		if !here(i.place) {
			continue
		}
		if i.body.LifecycleState != "TERMINATED" {
			in.Instances = append(in.Instances, row(i.body.ID, i.body.DisplayName, i.body.LifecycleState, i.body.tags))
		}
		if i.machine != nil {
			in.Machines = append(in.Machines, i.body.ID)
		}
	}
	for _, v := range c.volumes.all() {
		if here(v.place) && v.body.LifecycleState != "TERMINATED" {
			in.BootVolumes = append(in.BootVolumes, row(v.body.ID, v.body.DisplayName, v.body.LifecycleState, v.body.tags))
		}
	}
	for _, img := range c.images.all() {
		if here(img.place) && img.body.LifecycleState != "DELETED" {
			in.Images = append(in.Images, row(img.body.ID, img.body.DisplayName, img.body.LifecycleState, img.body.tags))
		}
	}
	for _, s := range c.schemas.all() {
		if here(s.place) && !s.deleted {
			in.CapabilitySchemas = append(in.CapabilitySchemas, row(s.body.ID, s.body.DisplayName, "CREATED", s.body.tags))
		}
	}
	for _, h := range c.consoles.all() {
		if here(h.place) && h.body.LifecycleState != "DELETED" {
			in.ConsoleHistories = append(in.ConsoleHistories, row(h.body.ID, h.body.DisplayName, h.body.LifecycleState, h.body.tags))
		}
	}
	for _, r := range c.reservations.all() {
		if here(r.place) && !r.is("DELETED") {
			in.Reservations = append(in.Reservations, row(r.body.ID, r.body.DisplayName, r.body.LifecycleState, r.body.tags))
		}
	}
	for _, g := range c.nsgs.all() {
		if here(g.place) && g.body.LifecycleState != "TERMINATED" {
			in.SecurityGroups = append(in.SecurityGroups, row(g.body.ID, g.body.DisplayName, g.body.LifecycleState, g.body.tags))
		}
	}
	for _, b := range c.bastions.all() {
		if here(b.place) && b.alive() {
			in.Bastions = append(in.Bastions, row(b.body.ID, b.body.Name, b.body.LifecycleState, b.body.tags))
		}
	}
	for _, s := range c.jumps.all() {
		if here(s.place) && !s.is("DELETED") {
			in.BastionSessions = append(in.BastionSessions, row(s.body.ID, s.body.DisplayName, s.body.LifecycleState, tags{}))
		}
	}
	return in
}
