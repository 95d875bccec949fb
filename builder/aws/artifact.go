// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Artifact is a finished image, and its copies in other regions.
type Artifact struct {
	images map[string]string // AMI by region
	name   string
	region string // where it was made
	source string // the AMI that the machine started from
	remove func(ctx context.Context, region, image string) error
	// data is what post-processors see as build.*.
	data map[string]interface{}
	held atomic.Bool
}

// BuilderId implements packersdk.Artifact.
func (*Artifact) BuilderId() string { return BuilderID }

// Files implements packersdk.Artifact: there are none.
func (*Artifact) Files() []string { return nil }

// regions are those that have the image, sorted.
func (a *Artifact) regions() []string { return slices.Sorted(maps.Keys(a.images)) }

// Id implements packersdk.Artifact: "region:ami-...", sorted and separated by
// commas, as that of amazon-ebs.
func (a *Artifact) Id() string {
	var parts []string
	for _, r := range a.regions() {
		parts = append(parts, r+":"+a.images[r])
	}
	return strings.Join(parts, ",")
}

// String implements packersdk.Artifact, in the words of the amazon-ebs builder,
// which scripts read.
func (a *Artifact) String() string {
	text := "AMIs were created:\n"
	for _, r := range a.regions() {
		text += r + ": " + a.images[r] + "\n"
	}
	return text
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
	case "atlas.artifact.metadata":
		m := map[string]string{}
		for r, id := range a.images {
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
	labels := map[string]string{}
	for _, name := range generatedNames() {
		if v := a.data[name]; v != nil && fmt.Sprint(v) != "" {
			labels[name] = fmt.Sprint(v)
		}
	}
	var list []*registryimage.Image
	for _, r := range a.regions() {
		img, err := registryimage.FromArtifact(a,
			registryimage.WithProvider("aws"), registryimage.WithID(a.images[r]), registryimage.WithRegion(r), registryimage.WithSourceID(a.source))
		if err != nil {
			log.Printf("[WARN] HCP Packer gets no metadata of %s: %v", a.images[r], err)
			continue
		}
		img.Labels = maps.Clone(labels)
		list = append(list, img)
	}
	return list
}

// Destroy implements packersdk.Artifact: it removes the images and their
// snapshots, in every region, unless a post-processor asked to hold them.
func (a *Artifact) Destroy() error {
	if a.held.Load() {
		log.Printf("[INFO] %s is kept: a post-processor asked for it", a.Id())
		return nil
	}
	ctx, cancel := wait.Cleanup(context.Background(), destroyTimeout)
	defer cancel()
	var errs []error
	for _, r := range a.regions() {
		if err := a.remove(ctx, r, a.images[r]); err != nil {
			errs = append(errs, fmt.Errorf("%s in %s: %w", a.images[r], r, err))
		}
	}
	return errors.Join(errs...)
}
