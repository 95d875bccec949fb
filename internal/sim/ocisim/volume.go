// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"context"

	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// bootVolume is the disk of an instance and its attachment.
type bootVolume struct {
	place
	revision
	body       bootVolumeBody
	attachment bootVolumeAttachmentBody
	path       string // the disk's file, "" until it has been made
}

type bootVolumeBody struct {
	tags
	ID                 string   `json:"id"`
	AvailabilityDomain string   `json:"availabilityDomain"`
	CompartmentID      string   `json:"compartmentId"`
	DisplayName        string   `json:"displayName"`
	ImageID            *string  `json:"imageId"`
	IsHydrated         bool     `json:"isHydrated"`
	LifecycleState     string   `json:"lifecycleState"`
	SizeInGBs          int64    `json:"sizeInGBs"`
	SizeInMBs          int64    `json:"sizeInMBs"`
	VPUsPerGB          int64    `json:"vpusPerGB"`
	KMSKeyID           *string  `json:"kmsKeyId,omitempty"` // absent: Oracle's own key
	TimeCreated        wireTime `json:"timeCreated"`
}

type bootVolumeAttachmentBody struct {
	ID                 string   `json:"id"`
	AvailabilityDomain string   `json:"availabilityDomain"`
	BootVolumeID       string   `json:"bootVolumeId"`
	CompartmentID      string   `json:"compartmentId"`
	DisplayName        *string  `json:"displayName"`
	InstanceID         string   `json:"instanceId"`
	LifecycleState     string   `json:"lifecycleState"` // "" while there is no attachment at all
	PVEncryption       bool     `json:"isPvEncryptionInTransitEnabled"`
	TimeCreated        wireTime `json:"timeCreated"`
}

func (c *Cloud) volumeRoutes() []route {
	return []route{
		op("GetBootVolume", "GET /20160918/bootVolumes/{id}", c.getBootVolume),
		op("ListBootVolumes", "GET /20160918/bootVolumes", c.listBootVolumes,
			"compartmentId", "availabilityDomain", "limit", "page", "volumeGroupId"),
		op("DeleteBootVolume", "DELETE /20160918/bootVolumes/{id}", c.deleteBootVolume),
		op("ListBootVolumeAttachments", "GET /20160918/bootVolumeAttachments", c.listBootVolumeAttachments,
			"availabilityDomain!", "compartmentId!", "limit", "page", "instanceId", "bootVolumeId"),
	}
}

func (c *Cloud) findBootVolume(q *call, id string) (*bootVolume, error) {
	v, exists := c.volumes.get(id)
	if !exists || !v.ownedBy(q) {
		return nil, errNotFound()
	}
	return v, nil
}

func (c *Cloud) getBootVolume(q *call) (*reply, error) {
	v, err := c.findBootVolume(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	return withEtag(v.body, v.revision), nil
}

func (c *Cloud) listBootVolumes(q *call) (*reply, error) {
	if id := q.param("compartmentId"); id != "" {
		if err := q.compartment(id); err != nil {
			return nil, err
		}
	}
	found := []bootVolumeBody{}
	for _, v := range c.volumes.all() {
		if v.ownedBy(q) && q.selects("compartmentId", v.body.CompartmentID) &&
			q.selects("availabilityDomain", v.body.AvailabilityDomain) && q.param("volumeGroupId") == "" {
			found = append(found, v.body)
		}
	}
	return paginate(q, found)
}

func (c *Cloud) listBootVolumeAttachments(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	found := []bootVolumeAttachmentBody{}
	for _, v := range c.volumes.all() {
		a := v.attachment
		if v.ownedBy(q) && a.LifecycleState != "" && q.selects("compartmentId", a.CompartmentID) &&
			q.selects("availabilityDomain", a.AvailabilityDomain) && q.selects("instanceId", a.InstanceID) &&
			q.selects("bootVolumeId", a.BootVolumeID) {
			found = append(found, a)
		}
	}
	return paginate(q, found)
}

func (c *Cloud) deleteBootVolume(q *call) (*reply, error) {
	v, err := c.findBootVolume(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	if err := v.ifMatch(q); err != nil {
		return nil, err
	}
	switch {
	case v.attachment.LifecycleState != "" && v.attachment.LifecycleState != "DETACHED":
		return nil, fail(409, "Conflict", "Volume %s currently attached", v.body.ID)
	case v.body.LifecycleState != "AVAILABLE":
		return nil, errState("Volume %s is %s", v.body.ID, v.body.LifecycleState)
	}
	v.body.LifecycleState = "TERMINATING"
	c.background(func(ctx context.Context) {
		if schedule.Pause(ctx, c.delays.Terminate) == nil {
			c.dropVolume(v)
		}
	})
	return noContent(), nil
}

// dropVolume ends a boot volume and removes its bytes.
func (c *Cloud) dropVolume(v *bootVolume) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.body.LifecycleState = "TERMINATED"
	if v.path != "" {
		c.cfg.Disks.Remove(v.path)
		v.path = ""
	}
}
