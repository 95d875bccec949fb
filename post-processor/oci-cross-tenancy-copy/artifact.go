// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"log"
	"strconv"
	"strings"
	"time"

	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
)

// Artifact is the images in all destinations.
type Artifact struct {
	source  string // OCID of the image that was copied
	places  []place
	results []imagecopy.Result
}

// BuilderId implements packersdk.Artifact.
func (*Artifact) BuilderId() string { return BuilderID }

// Files implements packersdk.Artifact: there are none.
func (*Artifact) Files() []string { return nil }

// Id implements packersdk.Artifact: the OCIDs of the images, in the order of
// the destinations, separated by commas.
func (a *Artifact) Id() string {
	ids := make([]string, len(a.results))
	for i, r := range a.results {
		ids[i] = r.Image
	}
	return strings.Join(ids, ",")
}

// String implements packersdk.Artifact.
func (a *Artifact) String() string {
	names := map[string]bool{}
	for _, r := range a.results {
		names[r.Name] = true
	}
	var b strings.Builder
	if len(names) == 1 {
		b.WriteString("The image '" + a.results[0].Name + "' was copied:")
	} else {
		b.WriteString("The image was copied:")
	}
	for _, r := range a.results {
		b.WriteString("\n" + r.Destination + ": " + r.Image)
		if len(names) > 1 {
			b.WriteString(" ('" + r.Name + "')")
		}
	}
	return b.String()
}

// registryProvider is how HCP Packer knows images of OCI.
const registryProvider = "packer.oracle.oci"

// State implements packersdk.Artifact: HCP Packer gets every image.
func (a *Artifact) State(name string) interface{} {
	if name != registryimage.ArtifactStateURI {
		return nil
	}
	var images []*registryimage.Image
	for i, r := range a.results {
		img, err := registryimage.FromArtifact(a,
			registryimage.WithProvider(registryProvider), registryimage.WithID(r.Image), registryimage.WithRegion(a.places[i].region), registryimage.WithSourceID(a.source))
		if err != nil {
			log.Printf("[WARN] HCP Packer gets no metadata of %s: %v", r.Image, err)
			continue
		}
		img.Labels = map[string]string{"tenancy_ocid": a.places[i].tenancy, "compartment_ocid": a.places[i].compartment, "image_name": r.Name}
		if v := r.Verified; v != nil {
			img.Labels["verified_at"], img.Labels["verified_tests"], img.Labels["verified_sha256"] = v.Time.UTC().Format(time.RFC3339), strconv.Itoa(v.Tests), v.Digest
		}
		images = append(images, img)
	}
	return images
}

// Destroy implements packersdk.Artifact. The copies are what the template was
// run for: Packer's wish to tidy up after a later post-processor does not
// delete them.
func (*Artifact) Destroy() error { return nil }
