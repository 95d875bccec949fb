// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
)

// Artifact is the images in all destinations.
type Artifact struct {
	name    string
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
	var b strings.Builder
	b.WriteString("The image '" + a.name + "' was copied:")
	for _, r := range a.results {
		b.WriteString("\n" + r.Destination + ": " + r.Image)
	}
	return b.String()
}

// State implements packersdk.Artifact.
func (*Artifact) State(string) interface{} { return nil }

// Destroy implements packersdk.Artifact. The copies are what the template was
// run for: Packer's wish to tidy up after a later post-processor does not
// delete them.
func (*Artifact) Destroy() error { return nil }
