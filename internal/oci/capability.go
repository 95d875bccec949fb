// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// The capabilities that a template may set.
const (
	launchModeCapability = "Compute.LaunchMode"
	nicCapability        = "Network.AttachmentType"
	firmwareCapability   = "Compute.Firmware"
)

// setCapabilities writes the defaults that a template wants into the capability
// schema of an image; wanted has the value of each capability. An image without
// a schema gets one with the values that the global schema allows.
func (b *Build) setCapabilities(ctx context.Context, image string, wanted map[string]string) error {
	var own core.ListComputeImageCapabilitySchemasResponse
	err := repeat(ctx, "list capability schemas of", image, func(ctx context.Context) (err error) {
		own, err = b.compute.ListComputeImageCapabilitySchemas(shield(ctx), core.ListComputeImageCapabilitySchemasRequest{
			CompartmentId: &b.cfg.Image.Compartment, ImageId: &image, RequestMetadata: once(),
		})
		return err
	})
	if err != nil {
		return err
	}
	version, global, err := b.globalCapabilities(ctx)
	if err != nil {
		return err
	}
	data := map[string]core.ImageCapabilitySchemaDescriptor{}
	id := ""
	if len(own.Items) > 0 {
		id = text(own.Items[0].Id)
		for k, v := range own.Items[0].SchemaData {
			data[k] = v
		}
	}
	for name, value := range wanted {
		values := allowed(data[name])
		if len(values) == 0 {
			values = allowed(global[name])
		}
		if !slices.Contains(values, value) {
			return fmt.Errorf("the service allows no %s for %s, only %v", value, name, values)
		}
		data[name] = core.EnumStringImageCapabilitySchemaDescriptor{
			Values: values, DefaultValue: &value, Source: core.ImageCapabilitySchemaDescriptorSourceImage,
		}
	}
	if id != "" {
		return repeat(ctx, "update capability schema", id, func(ctx context.Context) error {
			_, err := b.compute.UpdateComputeImageCapabilitySchema(shield(ctx), core.UpdateComputeImageCapabilitySchemaRequest{
				ComputeImageCapabilitySchemaId:            &id,
				UpdateComputeImageCapabilitySchemaDetails: core.UpdateComputeImageCapabilitySchemaDetails{SchemaData: data}, RequestMetadata: once(),
			})
			return err
		})
	}
	token := b.owner.Token("schema", image)
	return repeatWithToken(ctx, patience{limit: repeatFor}, "create capability schema of", image, token, func(ctx context.Context, token string) error {
		_, err := b.compute.CreateComputeImageCapabilitySchema(shield(ctx), core.CreateComputeImageCapabilitySchemaRequest{
			CreateComputeImageCapabilitySchemaDetails: core.CreateComputeImageCapabilitySchemaDetails{
				CompartmentId: &b.cfg.Image.Compartment, ImageId: &image, SchemaData: data, ComputeGlobalImageCapabilitySchemaVersionName: &version,
				FreeformTags: b.current().Tag(owner.RoleSchema).With(nil), // a leftover if its image is one
			},
			OpcRetryToken: &token, RequestMetadata: once(),
		})
		return err
	})
}

// allowed are the values of a capability that has some.
func allowed(d core.ImageCapabilitySchemaDescriptor) []string {
	switch d := d.(type) {
	case core.EnumStringImageCapabilitySchemaDescriptor:
		return d.Values
	case *core.EnumStringImageCapabilitySchemaDescriptor:
		return d.Values
	}
	return nil
}

// globalCapabilities is the current version of the global schema.
func (b *Build) globalCapabilities(ctx context.Context) (version string, data map[string]core.ImageCapabilitySchemaDescriptor, err error) {
	var all core.ListComputeGlobalImageCapabilitySchemasResponse
	err = repeat(ctx, "list global capability schemas", "", func(ctx context.Context) (err error) {
		all, err = b.compute.ListComputeGlobalImageCapabilitySchemas(shield(ctx), core.ListComputeGlobalImageCapabilitySchemasRequest{RequestMetadata: once()})
		return err
	})
	if err != nil {
		return "", nil, err
	}
	if len(all.Items) == 0 || all.Items[0].Id == nil || all.Items[0].CurrentVersionName == nil {
		return "", nil, errors.New("the service has no global capability schema")
	}
	id, version := *all.Items[0].Id, *all.Items[0].CurrentVersionName
	var r core.GetComputeGlobalImageCapabilitySchemaVersionResponse
	err = repeat(ctx, "get global capability schema", version, func(ctx context.Context) (err error) {
		r, err = b.compute.GetComputeGlobalImageCapabilitySchemaVersion(shield(ctx), core.GetComputeGlobalImageCapabilitySchemaVersionRequest{
			ComputeGlobalImageCapabilitySchemaId: &id, ComputeGlobalImageCapabilitySchemaVersionName: &version, RequestMetadata: once(),
		})
		return err
	})
	return version, r.SchemaData, err
}

// capabilities are what the template wants in the image's schema.
func (c ImageConfig) capabilities() map[string]string {
	wanted := map[string]string{}
	if c.LaunchMode != "" {
		wanted[launchModeCapability] = c.LaunchMode
	}
	if c.NICAttachment != "" {
		wanted[nicCapability] = c.NICAttachment
	}
	if c.Firmware != "" {
		wanted[firmwareCapability] = c.Firmware
	}
	return wanted
}
