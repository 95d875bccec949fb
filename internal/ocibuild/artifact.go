// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocibuild

import (
	"context"
	"log"
	"sync/atomic"
	"time"

	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// BuilderID identifies artifacts that are images on OCI, whichever builder made
// them.
const BuilderID = "armfree.oci"

// destroyTimeout limits the removal of an image when Packer discards it.
const destroyTimeout = 5 * time.Minute

// Artifact is a finished custom image.
type Artifact struct {
	Image  string // OCID
	Name   string
	Region string
	Source string // OCID of the image that the machine started from
	Remove func(ctx context.Context, image string) error
	// Retained means that older images have been deleted in favour of this one.
	Retained bool
	// Data is what post-processors see as build.*.
	Data map[string]interface{}

	held atomic.Bool
}

// BuilderId implements packersdk.Artifact.
func (*Artifact) BuilderId() string { return BuilderID }

// Files implements packersdk.Artifact: there are none.
func (*Artifact) Files() []string { return nil }

// Id implements packersdk.Artifact: the bare OCID of the image.
func (a *Artifact) Id() string { return a.Image }

// String implements packersdk.Artifact, in the words of the oracle-oci builder,
// which scripts read.
func (a *Artifact) String() string {
	return "An image was created: '" + a.Name + "' (OCID: " + a.Image + ") in region '" + a.Region + "'"
}

// State implements packersdk.Artifact.
func (a *Artifact) State(name string) interface{} {
	switch name {
	case buildcfg.HoldState:
		a.held.Store(true)
		return true
	case "cloud":
		return "oci"
	case "region":
		return a.Region
	case "image_name":
		return a.Name
	case "generated_data":
		return a.Data
	case "source_image_id":
		return a.Source
	case registryimage.ArtifactStateURI:
		return a.registry()
	}
	return nil
}

// registry is the artifact as HCP Packer keeps it.
func (a *Artifact) registry() interface{} {
	img, err := registryimage.FromArtifact(a,
		registryimage.WithProvider(registryProvider), registryimage.WithID(a.Image), registryimage.WithRegion(a.Region), registryimage.WithSourceID(a.Source))
	if err != nil {
		log.Printf("[WARN] HCP Packer gets no metadata of %s: %v", a.Image, err)
		return nil
	}
	img.Labels = buildcfg.Labels(a.Data, GeneratedNames())
	return img
}

// registryProvider is how HCP Packer knows images of OCI: by the builder that was
// there first.
const registryProvider = "packer.oracle.oci"

// Destroy implements packersdk.Artifact: it deletes the image, unless a
// post-processor asked to hold it, or it is what is left of its series.
func (a *Artifact) Destroy() error {
	if a.held.Load() || a.Retained {
		log.Printf("[INFO] image %s is kept: a post-processor asked for it, or older ones were deleted in its favour (retain)", a.Image)
		return nil
	}
	ctx, cancel := wait.Cleanup(context.Background(), destroyTimeout)
	defer cancel()
	return a.Remove(ctx, a.Image)
}
