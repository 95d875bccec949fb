// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"

	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Artifact is a finished custom image.
type Artifact struct {
	image  string // OCID
	name   string
	region string
	source string // OCID of the image that the machine started from
	remove func(ctx context.Context, image string) error
	// data is what post-processors see as build.*.
	data map[string]interface{}
	held atomic.Bool
}

// BuilderId implements packersdk.Artifact.
func (*Artifact) BuilderId() string { return BuilderID }

// Files implements packersdk.Artifact: there are none.
func (*Artifact) Files() []string { return nil }

// Id implements packersdk.Artifact: the bare OCID of the image.
func (a *Artifact) Id() string { return a.image }

// String implements packersdk.Artifact, in the words of the oracle-oci builder,
// which scripts read.
func (a *Artifact) String() string {
	return "An image was created: '" + a.name + "' (OCID: " + a.image + ") in region '" + a.region + "'"
}

// State implements packersdk.Artifact.
func (a *Artifact) State(name string) interface{} {
	switch name {
	case buildcfg.HoldState:
		a.held.Store(true)
		return true
	case "region":
		return a.region
	case "image_name":
		return a.name
	case "generated_data":
		return a.data
	case "source_image_id":
		return a.source
	case registryimage.ArtifactStateURI:
		return a.registry()
	}
	return nil
}

// registry is the artifact as HCP Packer keeps it.
func (a *Artifact) registry() interface{} {
	img, err := registryimage.FromArtifact(a,
		registryimage.WithProvider(registryProvider), registryimage.WithID(a.image), registryimage.WithRegion(a.region), registryimage.WithSourceID(a.source))
	if err != nil {
		log.Printf("[WARN] HCP Packer gets no metadata of %s: %v", a.image, err)
		return nil
	}
	img.Labels = map[string]string{}
	for _, name := range generatedNames() {
		if v := fmt.Sprint(a.data[name]); v != "" && a.data[name] != nil {
			img.Labels[name] = v
		}
	}
	return img
}

// registryProvider is how HCP Packer knows images of OCI: by the builder that was
// there first.
const registryProvider = "packer.oracle.oci"

// Destroy implements packersdk.Artifact: it deletes the image, unless a
// post-processor asked to hold it.
func (a *Artifact) Destroy() error {
	if a.held.Load() {
		log.Printf("[INFO] image %s is kept: a post-processor asked for it", a.image)
		return nil
	}
	ctx, cancel := wait.Cleanup(context.Background(), destroyTimeout)
	defer cancel()
	return a.remove(ctx, a.image)
}
