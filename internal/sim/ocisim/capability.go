// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// globalSchemaVersion is the one version of the global schema that exists.
const globalSchemaVersion = "8d47a4ee-6e0b-4a5a-9a5e-5c1c2a1f7a10"

// capabilitySchema says how an image may be launched, beyond its own launch
// options.
type capabilitySchema struct {
	place
	revision
	body    schemaBody
	deleted bool
}

type schemaBody struct {
	tags
	ID            string                     `json:"id"`
	CompartmentID string                     `json:"compartmentId"`
	GlobalID      string                     `json:"computeGlobalImageCapabilitySchemaId"`
	GlobalVersion string                     `json:"computeGlobalImageCapabilitySchemaVersionName"`
	ImageID       string                     `json:"imageId"`
	DisplayName   string                     `json:"displayName"`
	SchemaData    map[string]json.RawMessage `json:"schemaData"`
	TimeCreated   wireTime                   `json:"timeCreated"`
}

// globalSchema is what Oracle says that images may choose from.
func globalSchema() map[string]json.RawMessage {
	enum := func(fallback string, values ...string) json.RawMessage {
		return mustJSON(map[string]any{"descriptorType": "enumstring", "source": "GLOBAL",
			"defaultValue": fallback, "values": values})
	}
	boolean := func(fallback bool) json.RawMessage {
		return mustJSON(map[string]any{"descriptorType": "boolean", "source": "GLOBAL", "defaultValue": fallback})
	}
	return map[string]json.RawMessage{
		"Compute.LaunchMode":                     enum("PARAVIRTUALIZED", "NATIVE", "EMULATED", "VDPA", "PARAVIRTUALIZED", "CUSTOM"),
		"Compute.Firmware":                       enum("UEFI_64", "BIOS", "UEFI_64"),
		"Storage.BootVolumeType":                 enum("PARAVIRTUALIZED", "ISCSI", "SCSI", "IDE", "NVME", "PARAVIRTUALIZED"),
		"Storage.RemoteDataVolumeType":           enum("PARAVIRTUALIZED", "ISCSI", "SCSI", "IDE", "NVME", "PARAVIRTUALIZED"),
		"Storage.LocalDataVolumeType":            enum("PARAVIRTUALIZED", "ISCSI", "SCSI", "IDE", "NVME", "PARAVIRTUALIZED"),
		"Network.AttachmentType":                 enum("PARAVIRTUALIZED", "VFIO", "PARAVIRTUALIZED", "E1000", "VDPA"),
		"Storage.ConsistentVolumeNaming":         boolean(true),
		"Compute.SecureBoot":                     boolean(false),
		"Storage.Iscsi.MultipathDeviceSupported": boolean(false),
	}
}

func mustJSON(value any) json.RawMessage {
	raw, err := json.Marshal(value)
	if err != nil {
		panic("a literal does not marshal: " + err.Error())
	}
	return raw
}

// checkSchemaData holds an image's schema against the global one.
func checkSchemaData(data map[string]json.RawMessage) error {
	known := globalSchema()
	for key, raw := range data {
		var global struct {
			Type   string   `json:"descriptorType"`
			Values []string `json:"values"`
		}
		if known[key] == nil || json.Unmarshal(known[key], &global) != nil {
			return errInvalid("Unknown capability %s", key)
		}
		var enum struct {
			Type    string   `json:"descriptorType" oci:"required"`
			Source  string   `json:"source" oci:"required"`
			Values  []string `json:"values" oci:"required"`
			Default *string  `json:"defaultValue"`
		}
		var boolean struct {
			Type    string `json:"descriptorType" oci:"required"`
			Source  string `json:"source" oci:"required"`
			Default *bool  `json:"defaultValue"`
		}
		kind, err := decodeUnion(raw, "descriptorType", map[string]any{"enumstring": &enum, "boolean": &boolean})
		if err != nil {
			return err
		}
		if kind != global.Type {
			return errInvalid("Capability %s is a %s", key, global.Type)
		}
		if source := enum.Source + boolean.Source; source != "GLOBAL" && source != "IMAGE" {
			return errInvalid("Unknown source %q of capability %s", source, key)
		}
		for _, value := range enum.Values {
			if !slices.Contains(global.Values, value) {
				return errInvalid("Capability %s cannot be %s", key, value)
			}
		}
		if enum.Default != nil && !slices.Contains(enum.Values, *enum.Default) {
			return errInvalid("Capability %s: the default value is not one of the values", key)
		}
	}
	return nil
}

func (c *Cloud) schemaRoutes() []route {
	const local, global = "/20160918/computeImageCapabilitySchemas", "/20160918/computeGlobalImageCapabilitySchemas"
	return []route{
		op("CreateComputeImageCapabilitySchema", "POST "+local, c.createSchema),
		op("ListComputeImageCapabilitySchemas", "GET "+local, c.listSchemas,
			"compartmentId", "imageId", "displayName", "limit", "page", "sortBy", "sortOrder"),
		op("GetComputeImageCapabilitySchema", "GET "+local+"/{id}", c.getSchema, "isMergeEnabled").enum("isMergeEnabled", "true", "false"),
		op("UpdateComputeImageCapabilitySchema", "PUT "+local+"/{id}", c.updateSchema),
		op("DeleteComputeImageCapabilitySchema", "DELETE "+local+"/{id}", c.deleteSchema),
		op("ListComputeGlobalImageCapabilitySchemas", "GET "+global, c.listGlobalSchemas,
			"compartmentId", "displayName", "limit", "page", "sortBy", "sortOrder"),
		op("GetComputeGlobalImageCapabilitySchema", "GET "+global+"/{id}", c.getGlobalSchema),
		op("ListComputeGlobalImageCapabilitySchemaVersions", "GET "+global+"/{id}/versions", c.listGlobalVersions,
			"displayName", "limit", "page", "sortBy", "sortOrder"),
		op("GetComputeGlobalImageCapabilitySchemaVersion", "GET "+global+"/{id}/versions/{name}", c.getGlobalVersion),
	}
}

func (c *Cloud) createSchema(q *call) (*reply, error) {
	var details struct {
		tags
		CompartmentID string                     `json:"compartmentId" oci:"required"`
		GlobalVersion string                     `json:"computeGlobalImageCapabilitySchemaVersionName" oci:"required"`
		ImageID       string                     `json:"imageId" oci:"required"`
		SchemaData    map[string]json.RawMessage `json:"schemaData" oci:"required"`
		DisplayName   *string                    `json:"displayName"`
	}
	if err := q.decode(&details); err != nil {
		return nil, err
	}
	if err := q.compartment(details.CompartmentID); err != nil {
		return nil, err
	}
	img, err := c.findImage(q, details.ImageID)
	if err != nil || !img.ownedBy(q) {
		return nil, errNotFound()
	}
	if details.GlobalVersion != globalSchemaVersion {
		return nil, errNotFound()
	}
	if err := checkSchemaData(details.SchemaData); err != nil {
		return nil, err
	}
	if err := details.tags.check(q.tenancy()); err != nil {
		return nil, err
	}
	for _, s := range c.schemas.all() {
		if !s.deleted && s.body.ImageID == details.ImageID {
			return nil, fail(409, "Conflict", "Image %s already has a capability schema", details.ImageID)
		}
	}
	s := &capabilitySchema{place: q.here(), body: schemaBody{
		tags: details.tags.normal(), ID: newOCID("computeimgcapschema", q.region().ocid),
		CompartmentID: details.CompartmentID, GlobalID: globalSchemaID(q.region()), GlobalVersion: globalSchemaVersion,
		ImageID: details.ImageID, DisplayName: nameOr(details.DisplayName, "imagecapabilityschema"),
		SchemaData: details.SchemaData, TimeCreated: wireNow(),
	}}
	s.touch()
	c.schemas.put(s.body.ID, s)
	return withEtag(s.body, s.revision), nil
}

func (c *Cloud) findSchema(q *call) (*capabilitySchema, error) {
	s, exists := c.schemas.get(q.vars["id"])
	if !exists || !s.ownedBy(q) || s.deleted {
		return nil, errNotFound()
	}
	return s, nil
}

// getSchema merges the image's schema with the global one if it is asked to.
func (c *Cloud) getSchema(q *call) (*reply, error) {
	s, err := c.findSchema(q)
	if err != nil {
		return nil, err
	}
	body := s.body
	if q.param("isMergeEnabled") == "true" {
		body.SchemaData = globalSchema()
		maps.Copy(body.SchemaData, s.body.SchemaData)
	}
	return withEtag(body, s.revision), nil
}

func (c *Cloud) listSchemas(q *call) (*reply, error) {
	if id := q.param("compartmentId"); id != "" {
		if err := q.compartment(id); err != nil {
			return nil, err
		}
	}
	found := []schemaBody{}
	for _, s := range c.schemas.all() {
		if s.ownedBy(q) && !s.deleted && q.selects("compartmentId", s.body.CompartmentID) &&
			q.selects("imageId", s.body.ImageID) && q.selects("displayName", s.body.DisplayName) {
			found = append(found, s.body)
		}
	}
	sortResources(q, found, func(b schemaBody) (string, wireTime) { return b.DisplayName, b.TimeCreated })
	return paginate(q, found)
}

func (c *Cloud) updateSchema(q *call) (*reply, error) {
	var details struct {
		tags
		DisplayName *string                    `json:"displayName"`
		SchemaData  map[string]json.RawMessage `json:"schemaData"`
	}
	if err := q.decode(&details); err != nil {
		return nil, err
	}
	s, err := c.findSchema(q)
	if err != nil {
		return nil, err
	}
	if err := s.ifMatch(q); err != nil {
		return nil, err
	}
	if err := checkSchemaData(details.SchemaData); err != nil {
		return nil, err
	}
	if err := details.tags.check(q.tenancy()); err != nil {
		return nil, err
	}
	if details.SchemaData != nil {
		s.body.SchemaData = details.SchemaData
	}
	if err := checkName(details.DisplayName); err != nil {
		return nil, err
	}
	s.body.DisplayName = orElse(details.DisplayName, s.body.DisplayName)
	s.body.tags = s.body.tags.updated(details.tags)
	s.touch()
	return withEtag(s.body, s.revision), nil
}

func (c *Cloud) deleteSchema(q *call) (*reply, error) {
	s, err := c.findSchema(q)
	if err != nil {
		return nil, err
	}
	if err := s.ifMatch(q); err != nil {
		return nil, err
	}
	s.deleted = true
	return noContent(), nil
}

// globalSchemaID is the same for everybody in a region.
func globalSchemaID(r region) string {
	return "ocid1.computeglobalimgcapschema.oc1." + r.ocid + ".aaaaaaaaglobal"
}

func (c *Cloud) globalSummary(q *call) map[string]any {
	return map[string]any{"id": globalSchemaID(q.region()), "displayName": "Global image capability schema",
		"compartmentId": nil, "currentVersionName": globalSchemaVersion, "timeCreated": schemaEpoch(),
		"freeformTags": map[string]string{}, "definedTags": map[string]any{}}
}

func schemaEpoch() wireTime { return wireTime{time.Date(2020, 10, 1, 0, 0, 0, 0, time.UTC)} }

func (c *Cloud) listGlobalSchemas(q *call) (*reply, error) {
	return paginate(q, []map[string]any{c.globalSummary(q)})
}

func (c *Cloud) getGlobalSchema(q *call) (*reply, error) {
	if q.vars["id"] != globalSchemaID(q.region()) {
		return nil, errNotFound()
	}
	return ok(c.globalSummary(q)), nil
}

func (c *Cloud) globalVersion(q *call) map[string]any {
	return map[string]any{"name": globalSchemaVersion, "computeGlobalImageCapabilitySchemaId": globalSchemaID(q.region()),
		"displayName": "Version 1", "timeCreated": schemaEpoch()}
}

func (c *Cloud) listGlobalVersions(q *call) (*reply, error) {
	if q.vars["id"] != globalSchemaID(q.region()) {
		return nil, errNotFound()
	}
	return paginate(q, []map[string]any{c.globalVersion(q)})
}

func (c *Cloud) getGlobalVersion(q *call) (*reply, error) {
	if q.vars["id"] != globalSchemaID(q.region()) || q.vars["name"] != globalSchemaVersion {
		return nil, errNotFound()
	}
	version := c.globalVersion(q)
	version["schemaData"] = globalSchema()
	return ok(version), nil
}
