// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"context"
	"encoding/json"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// instance is a virtual machine. What happens to it takes time and happens in
// the background, one operation after the other.
type instance struct {
	place
	revision
	body   instanceBody
	size   size
	image  *image
	volume *bootVolume
	vnic   *vnic
	seat   seat

	machine machine.Machine // nil while the power is off
	current *operation      // the latest one, ended or not; nil before the first
}

type instanceBody struct {
	tags
	ID                 string             `json:"id"`
	AvailabilityDomain string             `json:"availabilityDomain"`
	Reservation        *string            `json:"capacityReservationId,omitempty"`
	CompartmentID      string             `json:"compartmentId"`
	DisplayName        string             `json:"displayName"`
	ExtendedMetadata   map[string]any     `json:"extendedMetadata"`
	FaultDomain        string             `json:"faultDomain"`
	ImageID            string             `json:"imageId"`
	InstanceOptions    instanceOptions    `json:"instanceOptions"`
	LaunchMode         string             `json:"launchMode"`
	LaunchOptions      launchOptions      `json:"launchOptions"`
	LifecycleState     string             `json:"lifecycleState"`
	Metadata           map[string]string  `json:"metadata"`
	PlatformConfig     json.RawMessage    `json:"platformConfig,omitempty"`
	Preemptible        json.RawMessage    `json:"preemptibleInstanceConfig"`
	Region             string             `json:"region"`
	Shape              string             `json:"shape"`
	ShapeConfig        shapeConfigBody    `json:"shapeConfig"`
	SourceDetails      sourceDetailsBody  `json:"sourceDetails"`
	AvailabilityConfig availabilityConfig `json:"availabilityConfig"`
	AgentConfig        agentConfig        `json:"agentConfig"`
	TimeCreated        wireTime           `json:"timeCreated"`
}

type shapeConfigBody struct {
	OCPUs                float64 `json:"ocpus"`
	VCPUs                int     `json:"vcpus"`
	MemoryInGBs          float64 `json:"memoryInGBs"`
	ProcessorDescription string  `json:"processorDescription"`
	NetworkingBandwidth  float64 `json:"networkingBandwidthInGbps"`
	MaxVnicAttachments   int     `json:"maxVnicAttachments"`
}

type sourceDetailsBody struct {
	SourceType          string  `json:"sourceType"`
	ImageID             string  `json:"imageId"`
	BootVolumeSizeInGBs int64   `json:"bootVolumeSizeInGBs"`
	BootVolumeVPUsPerGB int64   `json:"bootVolumeVpusPerGB"`
	KMSKeyID            *string `json:"kmsKeyId,omitempty"`
}

// is tells whether the instance is in one of the given lifecycle states.
func (i *instance) is(states ...string) bool {
	for _, s := range states {
		if i.body.LifecycleState == s {
			return true
		}
	}
	return false
}

// operation is something that happens to an instance in the background.
type operation struct {
	cancel context.CancelFunc
	done   chan struct{}
	// finishes is set for work that the end of the instance does not stop: an
	// image that is being made of its disk.
	finishes bool
}

// operate starts the next operation of an instance. It begins when the one
// before has ended. The cloud's lock is held.
func (c *Cloud) operate(i *instance, finishes bool, work func(ctx context.Context)) *operation {
	ctx, cancel := context.WithCancel(c.base)
	before := i.current
	now := &operation{cancel: cancel, done: make(chan struct{}), finishes: finishes}
	i.current = now
	c.background(func(context.Context) {
		defer close(now.done)
		defer cancel()
		if before != nil {
			<-before.done
		}
		work(ctx)
	})
	return now
}

func (c *Cloud) instanceRoutes() []route {
	return []route{
		op("LaunchInstance", "POST /20160918/instances", c.launchInstance),
		op("GetInstance", "GET /20160918/instances/{id}", c.getInstance),
		op("ListInstances", "GET /20160918/instances", c.listInstances, "compartmentId!", "availabilityDomain",
			"capacityReservationId", "computeClusterId", "displayName", "limit", "page", "sortBy", "sortOrder", "lifecycleState").
			enum("lifecycleState", "MOVING", "PROVISIONING", "RUNNING", "STARTING", "STOPPING", "STOPPED", "CREATING_IMAGE",
				"TERMINATING", "TERMINATED"),
		op("UpdateInstance", "PUT /20160918/instances/{id}", c.updateInstance),
		op("GetWindowsInstanceInitialCredentials", "GET /20160918/instances/{id}/initialCredentials", c.getCredentials),
		op("InstanceAction", "POST /20160918/instances/{id}", c.instanceAction, "action!"),
		op("TerminateInstance", "DELETE /20160918/instances/{id}", c.terminateInstance,
			"preserveBootVolume", "preserveDataVolumesCreatedAtLaunch", "recycleLevel").
			enum("preserveBootVolume", "true", "false").enum("preserveDataVolumesCreatedAtLaunch", "true", "false").
			enum("recycleLevel", "FULL_RECYCLE"),
	}
}

func (c *Cloud) findInstance(q *call, id string) (*instance, error) {
	i, exists := c.instances.get(id)
	if !exists || !i.ownedBy(q) {
		return nil, errNotFound()
	}
	return i, nil
}

func (c *Cloud) getInstance(q *call) (*reply, error) {
	i, err := c.findInstance(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	return withEtag(i.body, i.revision), nil
}

// listInstances includes TERMINATED ones, as the real list does for hours.
func (c *Cloud) listInstances(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	found := []instanceBody{}
	for _, i := range c.instances.all() {
		b := i.body
		if i.ownedBy(q) && q.selects("compartmentId", b.CompartmentID) && q.selects("displayName", b.DisplayName) &&
			q.selects("availabilityDomain", b.AvailabilityDomain) && q.selects("lifecycleState", b.LifecycleState) &&
			q.selects("capacityReservationId", orElse(b.Reservation, "")) && q.param("computeClusterId") == "" {
			found = append(found, b)
		}
	}
	sortResources(q, found, func(b instanceBody) (string, wireTime) { return b.DisplayName, b.TimeCreated })
	return paginate(q, found)
}

// getCredentials are those of an instance with a password. None here has one.
func (c *Cloud) getCredentials(q *call) (*reply, error) {
	if _, err := c.findInstance(q, q.vars["id"]); err != nil {
		return nil, err
	}
	return nil, errNotFound()
}

// updateInstance changes what can be changed without touching the machine.
func (c *Cloud) updateInstance(q *call) (*reply, error) {
	var details struct {
		tags
		DisplayName      *string           `json:"displayName"`
		Metadata         map[string]string `json:"metadata"`
		ExtendedMetadata map[string]any    `json:"extendedMetadata"`
		InstanceOptions  *instanceOptions  `json:"instanceOptions"`
		AgentConfig      *agentConfig      `json:"agentConfig"`
	}
	if err := q.decode(&details); err != nil {
		return nil, err
	}
	if err := details.AgentConfig.checkEnums(); err != nil {
		return nil, err
	}
	i, err := c.findInstance(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	if err := i.ifMatch(q); err != nil {
		return nil, err
	}
	if i.is("TERMINATING", "TERMINATED") {
		return nil, errState("Instance %s is %s", i.body.ID, i.body.LifecycleState)
	}
	if err := checkName(details.DisplayName); err != nil {
		return nil, err
	}
	if err := details.tags.check(q.tenancy()); err != nil {
		return nil, err
	}
	if details.Metadata != nil {
		for _, fixed := range []string{"ssh_authorized_keys", "user_data"} {
			if details.Metadata[fixed] != i.body.Metadata[fixed] {
				return nil, errInvalid("Metadata key %s cannot be changed after launch", fixed)
			}
		}
		i.body.Metadata = details.Metadata
	}
	if details.ExtendedMetadata != nil {
		i.body.ExtendedMetadata = details.ExtendedMetadata
	}
	if details.DisplayName != nil {
		i.body.DisplayName = *details.DisplayName
	}
	if details.InstanceOptions != nil {
		i.body.InstanceOptions = *details.InstanceOptions
	}
	if details.AgentConfig != nil {
		i.body.AgentConfig = *details.AgentConfig
	}
	i.body.tags = i.body.tags.updated(details.tags)
	i.touch()
	work := c.newWork(i.place, "UpdateInstance", i.body.CompartmentID, "instance", i.body.ID, "UPDATED")
	work.begin()
	work.end("SUCCEEDED")
	return withEtag(i.body, i.revision).with("Opc-Work-Request-Id", work.body.ID), nil
}
