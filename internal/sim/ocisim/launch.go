// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// launchDetails is the body of LaunchInstance, as far as the simulator goes.
// What it does not have is in Missing… and refused by name.
type launchDetails struct {
	tags
	AvailabilityDomain string              `json:"availabilityDomain" oci:"required"`
	CompartmentID      string              `json:"compartmentId" oci:"required"`
	CreateVnicDetails  *createVnicDetails  `json:"createVnicDetails"`
	DisplayName        *string             `json:"displayName"`
	ExtendedMetadata   map[string]any      `json:"extendedMetadata"`
	FaultDomain        *string             `json:"faultDomain"`
	HostnameLabel      *string             `json:"hostnameLabel"`
	ImageID            *string             `json:"imageId"` // deprecated form of sourceDetails
	LaunchOptions      *launchOptions      `json:"launchOptions"`
	InstanceOptions    *instanceOptions    `json:"instanceOptions"`
	AvailabilityConfig *availabilityConfig `json:"availabilityConfig"`
	Preemptible        *struct {
		Action struct {
			Type               string `json:"type" oci:"required"`
			PreserveBootVolume *bool  `json:"preserveBootVolume"`
		} `json:"preemptionAction" oci:"required"`
	} `json:"preemptibleInstanceConfig"`
	Metadata      map[string]string `json:"metadata"`
	AgentConfig   *agentConfig      `json:"agentConfig"`
	Shape         *string           `json:"shape"`
	ShapeConfig   *shapeConfig      `json:"shapeConfig"`
	SourceDetails json.RawMessage   `json:"sourceDetails"`
	SubnetID      *string           `json:"subnetId"` // deprecated form of createVnicDetails
	PVEncryption  *bool             `json:"isPvEncryptionInTransitEnabled"`

	CapacityReservationID   *string         `json:"capacityReservationId"` // "" opts out of a default one
	DedicatedHostID         *string         `json:"dedicatedVmHostId"`     // there are none
	PlatformConfig          json.RawMessage `json:"platformConfig"`
	MissingSecurity         json.RawMessage `json:"securityAttributes"`
	MissingPlacementGroup   json.RawMessage `json:"clusterPlacementGroupId"`
	MissingComputeCluster   json.RawMessage `json:"computeClusterId"`
	MissingIPXE             json.RawMessage `json:"ipxeScript"`
	MissingVolumes          json.RawMessage `json:"launchVolumeAttachments"`
	MissingPlacement        json.RawMessage `json:"placementConstraintDetails"`
	MissingAI               json.RawMessage `json:"isAIEnterpriseEnabled"`
	MissingConfiguration    json.RawMessage `json:"instanceConfigurationId"`
	MissingLicensingConfigs json.RawMessage `json:"licensingConfigs"`
}

// missing names a feature that the request asks for and the simulator lacks.
// It must not be taken for a fault of the client.
func (d launchDetails) missing() error {
	for name, raw := range map[string]json.RawMessage{
		"securityAttributes":      d.MissingSecurity,
		"clusterPlacementGroupId": d.MissingPlacementGroup, "computeClusterId": d.MissingComputeCluster,
		"ipxeScript": d.MissingIPXE, "launchVolumeAttachments": d.MissingVolumes,
		"placementConstraintDetails": d.MissingPlacement, "isAIEnterpriseEnabled": d.MissingAI,
		"instanceConfigurationId": d.MissingConfiguration, "licensingConfigs": d.MissingLicensingConfigs,
	} {
		if !absent(raw) {
			return errNotSimulated(name)
		}
	}
	return nil
}

type shapeConfig struct {
	OCPUs    *float64 `json:"ocpus"`
	VCPUs    *int     `json:"vcpus"`
	Memory   *float64 `json:"memoryInGBs"`
	Baseline *string  `json:"baselineOcpuUtilization"`
	NVMEs    *int     `json:"nvmes"`

	ResourceManagement *string         `json:"resourceManagement"` // reserved for internal use
	MissingLocalVolume json.RawMessage `json:"localVolumeSizeInGBs"`
}

type imageSource struct {
	SourceType          string  `json:"sourceType"`
	ImageID             *string `json:"imageId"`
	BootVolumeSizeInGBs *int64  `json:"bootVolumeSizeInGBs"`
	BootVolumeVPUsPerGB *int64  `json:"bootVolumeVpusPerGB"`
	KMSKeyID            *string `json:"kmsKeyId"`

	MissingFilter json.RawMessage `json:"instanceSourceImageFilterDetails"`
}

// launchPlan is a launch that has passed all checks.
type launchPlan struct {
	details     launchDetails
	spec        shapeSpec
	size        size
	image       *image
	subnet      subnetBody
	publicIP    bool
	wantedIP    string // "" for any
	vnicProblem string // what will go wrong once the launch is accepted
	faultDomain string
	seat        seat
	volumeGB    int64
	askedGB     int64 // 0 when the client left the size to the image
	vpus        int64
	kmsKey      *string
	options     launchOptions
	mode        string // launch mode
}

// launchInstance checks in the order in which the real service seems to: what
// cannot work fails before limits, limits fail before capacity.
func (c *Cloud) launchInstance(q *call) (*reply, error) {
	var plan launchPlan
	if err := q.decode(&plan.details); err != nil {
		return nil, err
	}
	for _, check := range []func(*call, *launchPlan) error{
		c.planPlacement, c.planShape, c.planNetwork, c.planImage, c.planOptions,
		c.planPlatform, c.planMetadata, c.planSeat,
	} {
		if err := check(q, &plan); err != nil {
			return nil, err
		}
	}
	d := plan.details
	if err := c.checkLimits(q, &plan); err != nil {
		return nil, err
	}
	if plan.seat.reservation != nil {
		return c.place(q, &plan) // there is capacity, whatever it is like elsewhere
	}
	t := q.target()
	t.ad, t.shape, t.ocpus, t.memory = d.AvailabilityDomain, plan.spec.name, plan.size.ocpus, plan.size.memory
	candidates := faultDomains()
	switch {
	case d.FaultDomain != nil:
		candidates = []string{*d.FaultDomain}
	case c.cfg.Switches.PicksOneFaultDomain:
		next := c.picked[d.AvailabilityDomain] % len(candidates)
		candidates = candidates[next : next+1]
		c.picked[d.AvailabilityDomain]++
	}
	free := c.faults.freeFaultDomains(t, candidates, true)
	if len(free) == 0 {
		return nil, errCapacity()
	}
	plan.faultDomain = free[0]
	return c.place(q, &plan)
}

func (c *Cloud) planPlacement(q *call, p *launchPlan) error {
	d := p.details
	if err := d.missing(); err != nil {
		return err
	}
	if err := d.checkEnums(); err != nil {
		return err
	}
	if err := q.compartment(d.CompartmentID); err != nil {
		return err
	}
	if !q.tenancy().hasAD(q.region(), d.AvailabilityDomain) || d.DedicatedHostID != nil {
		return errNotFound()
	}
	if d.FaultDomain != nil && !slices.Contains(faultDomains(), *d.FaultDomain) {
		return errInvalid("Unknown faultDomain %s", *d.FaultDomain)
	}
	if err := checkName(d.DisplayName); err != nil {
		return err
	}
	return d.tags.check(q.tenancy())
}

func (c *Cloud) planShape(q *call, p *launchPlan) error {
	d := p.details
	if d.Shape == nil {
		return errMissing("shape")
	}
	spec, known := lookUpShape(*d.Shape)
	if !known || !c.shapeIn(q, d.AvailabilityDomain, *d.Shape) {
		return fail(http.StatusNotFound, "NotAuthorizedOrNotFound",
			"Authorization failed or requested resource not found: shape %s not found", *d.Shape)
	}
	p.spec = spec
	asked := shapeConfig{}
	if d.ShapeConfig != nil {
		asked = *d.ShapeConfig
	}
	var err error
	if p.size, err = spec.sizeFor(asked.OCPUs, asked.Memory); err != nil {
		return err
	}
	switch {
	case asked.Baseline != nil && *asked.Baseline != "BASELINE_1_1":
		return errInvalid("Shape %s does not support baselineOcpuUtilization %s", spec.name, *asked.Baseline)
	case asked.NVMEs != nil:
		return errInvalid("Shape %s has no NVMe drives", spec.name)
	case d.Preemptible != nil && orElse(d.CapacityReservationID, "") != "": // our wording
		return errInvalid("A preemptible instance cannot use a capacity reservation")
	case d.Preemptible != nil && !spec.preemptible:
		return errInvalid("Shape %s does not support preemptible instances", spec.name)
	case asked.ResourceManagement != nil:
		return errNotSimulated("resourceManagement")
	case !absent(asked.MissingLocalVolume):
		return errNotSimulated("localVolumeSizeInGBs")
	}
	return nil
}

func (c *Cloud) planImage(q *call, p *launchPlan) error {
	d := p.details
	var source imageSource
	if !absent(d.SourceDetails) {
		kind, err := decodeUnion(d.SourceDetails, "sourceType", map[string]any{"image": &source, "bootVolume": &struct {
			SourceType string          `json:"sourceType"`
			ID         string          `json:"bootVolumeId" oci:"required"`
			Size       json.RawMessage `json:"bootVolumeSizeInGBs"`
			Key        json.RawMessage `json:"kmsKeyId"`
		}{}})
		switch {
		case err != nil:
			return err
		case kind != "image":
			return errNotSimulated("sourceType " + kind)
		case !absent(source.MissingFilter):
			return errNotSimulated("instanceSourceImageFilterDetails")
		case d.ImageID != nil && source.ImageID != nil && *source.ImageID != *d.ImageID:
			return errInvalid("imageId and sourceDetails.imageId do not match")
		}
	}
	if source.ImageID == nil {
		source.ImageID = d.ImageID
	}
	if source.ImageID == nil {
		return errMissing("sourceDetails.imageId")
	}
	img, err := c.findImage(q, *source.ImageID)
	if err != nil {
		return err
	}
	p.image = img
	// An image that is being exported can be launched all the same.
	if img.body.LifecycleState != "AVAILABLE" && img.body.LifecycleState != "EXPORTING" {
		return errState("Image %s is %s", img.body.ID, img.body.LifecycleState)
	}
	entry := img.entry(p.spec.name)
	if entry == nil || !entry.allows(p.size) {
		return errInvalid("Shape %s is not valid for image %s.", p.spec.name, img.body.ID)
	}
	if err := q.kmsKey(source.KMSKeyID); err != nil {
		return err
	}
	p.kmsKey = source.KMSKeyID
	smallest := img.body.SizeInMBs / 1024
	p.volumeGB = max(smallest, 47)
	if source.BootVolumeSizeInGBs != nil {
		asked := *source.BootVolumeSizeInGBs
		if asked < 50 || asked > 32768 || asked < smallest {
			return errInvalid("bootVolumeSizeInGBs must be between %d and 32768", max(smallest, 50))
		}
		p.volumeGB, p.askedGB = asked, asked
	}
	p.vpus = 10
	if source.BootVolumeVPUsPerGB != nil {
		if p.vpus = *source.BootVolumeVPUsPerGB; p.vpus < 10 || p.vpus > 120 || p.vpus%10 != 0 {
			return errInvalid("bootVolumeVpusPerGB must be a multiple of 10 between 10 and 120")
		}
	}
	return nil
}

// maxMetadata bounds metadata and extendedMetadata together, in bytes.
const maxMetadata = 32000

func (c *Cloud) planMetadata(_ *call, p *launchPlan) error {
	d := p.details
	total := 0
	if d.ExtendedMetadata != nil {
		total = len(mustJSON(d.ExtendedMetadata))
	}
	for key, value := range d.Metadata {
		total += len(key) + len(value)
	}
	if total > maxMetadata {
		return errInvalid("Metadata is larger than %d bytes", maxMetadata)
	}
	if data, given := d.Metadata["user_data"]; given {
		if _, err := base64.StdEncoding.DecodeString(strings.TrimSpace(data)); err != nil {
			return errInvalid("Metadata user_data is not encoded in base64")
		}
	}
	return nil
}

// kmsKey checks the key that a boot volume is to be encrypted with: nil, or one
// of the tenancy's own in the region.
func (q *call) kmsKey(id *string) error {
	switch {
	case id == nil:
		return nil
	case !strings.HasPrefix(*id, "ocid1.key."):
		return errInvalid("kmsKeyId %q is not the OCID of a key", *id)
	case *id != q.tenancy().KMSKeyID(q.region().name):
		return errNotFound()
	}
	return nil
}

// orElse is the value that a pointer names, or a default.
func orElse[T any](value *T, fallback T) T {
	if value == nil {
		return fallback
	}
	return *value
}
