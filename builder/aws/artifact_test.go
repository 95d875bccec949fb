// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"errors"
	"strings"
	"testing"

	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/capacity"
)

func TestArtifact(t *testing.T) {
	var removed []string
	data := generated("i-1", "b1", capacity.Offer{Cloud: "aws", Region: "us-east-1", Zone: "us-east-1c", Shape: "t4g.micro", OCPUs: 2, MemoryGB: 1, Market: "spot"}, debian())
	a := &Artifact{
		images: map[string]string{"us-west-2": "ami-2", "us-east-1": "ami-1"}, name: "debian", region: "us-east-1", source: debian().ID, data: data,
		remove: func(_ context.Context, region, image string) error {
			removed = append(removed, region+" "+image)
			return errors.New("gone wrong")
		},
	}
	if a.Id() != "us-east-1:ami-1,us-west-2:ami-2" || a.String() != "AMIs were created:\nus-east-1: ami-1\nus-west-2: ami-2\n" || a.BuilderId() != "armfree.aws" || a.Files() != nil {
		t.Errorf("%q, %q", a.Id(), a)
	}
	expect(t, "metadata", a.State("atlas.artifact.metadata"), map[string]string{"region.us-east-1": "ami-1", "region.us-west-2": "ami-2"})
	expect(t, "states", []interface{}{a.State("region"), a.State("image_name"), a.State("source_image_id"), a.State("other")}, []interface{}{"us-east-1", "debian", debian().ID, nil})
	for _, name := range append(generatedNames(), "ID") {
		if v, ok := data[name].(string); !ok || v == "" {
			t.Errorf("build.%s is %v", name, data[name])
		}
	}
	images, ok := a.State(registryimage.ArtifactStateURI).([]*registryimage.Image)
	if !ok || len(images) != 2 {
		t.Fatalf("HCP is told %v", a.State(registryimage.ArtifactStateURI))
	}
	for i, want := range []string{"us-east-1 ami-1", "us-west-2 ami-2"} {
		if img := images[i]; img.ProviderRegion+" "+img.ImageID != want || img.ProviderName != "aws" || img.SourceImageID != debian().ID || img.Labels["InstanceType"] != "t4g.micro" {
			t.Errorf("HCP is told %+v", img)
		}
	}
	err := a.Destroy()
	if err == nil || !strings.Contains(err.Error(), "ami-1 in us-east-1: gone wrong") || !strings.Contains(err.Error(), "ami-2 in us-west-2") || len(removed) != 2 {
		t.Errorf("%v, %q", err, removed)
	}
	if held := a.State(buildcfg.HoldState); held != true || a.Destroy() != nil || len(removed) != 2 {
		t.Errorf("held %v, %q", held, removed)
	}
}
