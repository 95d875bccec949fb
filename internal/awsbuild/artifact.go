// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awsbuild

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// BuilderID identifies artifacts that are images on AWS, whichever builder made
// them.
const BuilderID = "armfree.aws"

// destroyTimeout limits the removal of images when Packer discards them.
const destroyTimeout = 5 * time.Minute

// Artifact is a finished image, and its copies in other regions.
type Artifact struct {
	Images map[string]string // AMI by region
	Name   string
	Region string // where it was made
	Source string // the AMI that the machine started from
	Remove func(ctx context.Context, region, image string) error
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

// regions are those that have the image, sorted.
func (a *Artifact) regions() []string { return slices.Sorted(maps.Keys(a.Images)) }

// Id implements packersdk.Artifact: "region:ami-...", sorted and separated by
// commas, as that of amazon-ebs.
func (a *Artifact) Id() string {
	var parts []string
	for _, r := range a.regions() {
		parts = append(parts, r+":"+a.Images[r])
	}
	return strings.Join(parts, ",")
}

// String implements packersdk.Artifact, in the words of the amazon-ebs builder,
// which scripts read.
func (a *Artifact) String() string {
	text := "AMIs were created:\n"
	for _, r := range a.regions() {
		text += r + ": " + a.Images[r] + "\n"
	}
	return text
}

// State implements packersdk.Artifact.
func (a *Artifact) State(name string) interface{} {
	switch name {
	case buildcfg.HoldState:
		a.held.Store(true)
		return true
	case "cloud":
		return "aws"
	case "region":
		return a.Region
	case "image_name":
		return a.Name
	case "generated_data":
		return a.Data
	case "source_image_id":
		return a.Source
	case "atlas.artifact.metadata":
		m := map[string]string{}
		for r, id := range a.Images {
			m["region."+r] = id
		}
		return m
	case registryimage.ArtifactStateURI:
		return a.registry()
	}
	return nil
}

// registry is the artifact as HCP Packer keeps it: an image for each region.
func (a *Artifact) registry() interface{} {
	var list []*registryimage.Image
	for _, r := range a.regions() {
		img, err := registryimage.FromArtifact(a,
			registryimage.WithProvider("aws"), registryimage.WithID(a.Images[r]), registryimage.WithRegion(r), registryimage.WithSourceID(a.Source))
		if err != nil {
			log.Printf("[WARN] HCP Packer gets no metadata of %s: %v", a.Images[r], err)
			continue
		}
		img.Labels = buildcfg.Labels(a.Data, GeneratedNames())
		list = append(list, img)
	}
	return list
}

// Destroy implements packersdk.Artifact: it removes the images and their
// snapshots, in every region, unless a post-processor asked to hold them, or they are what
// is left of their series.
func (a *Artifact) Destroy() error {
	if a.held.Load() || a.Retained {
		log.Printf("[INFO] %s is kept: a post-processor asked for it, or older ones were deleted in its favour (retain)", a.Id())
		return nil
	}
	ctx, cancel := wait.Cleanup(context.Background(), destroyTimeout)
	defer cancel()
	var errs []error
	for _, r := range a.regions() {
		if err := a.Remove(ctx, r, a.Images[r]); err != nil {
			errs = append(errs, fmt.Errorf("%s in %s: %w", a.Images[r], r, err))
		}
	}
	return errors.Join(errs...)
}
