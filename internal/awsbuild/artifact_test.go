// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awsbuild

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
)

// debian is a source image.
func debian() ec2.SourceImage {
	return ec2.SourceImage{
		ID: "ami-0aaaaaaaaaaaaaaaa", Name: "debian-12-arm64-20260101-2000", CreationDate: "2026-01-01T00:00:00.000Z", Owner: "136693071363", OwnerName: "amazon",
	}
}

func TestArtifact(t *testing.T) {
	var removed []string
	data := Generated("i-1", "b1", capacity.Offer{Cloud: "aws", Region: "us-east-1", Zone: "us-east-1c", Shape: "t4g.micro", OCPUs: 2, MemoryGB: 1, Market: "spot"}, debian())
	a := &Artifact{
		Images: map[string]string{"us-west-2": "ami-2", "us-east-1": "ami-1"}, Name: "debian", Region: "us-east-1", Source: debian().ID, Data: data,
		Remove: func(_ context.Context, region, image string) error {
			removed = append(removed, region+" "+image)
			return errors.New("gone wrong")
		},
	}
	if a.Id() != "us-east-1:ami-1,us-west-2:ami-2" || a.String() != "AMIs were created:\nus-east-1: ami-1\nus-west-2: ami-2\n" || a.BuilderId() != "armfree.aws" || a.Files() != nil {
		t.Errorf("%q, %q", a.Id(), a)
	}
	if got := a.State("atlas.artifact.metadata"); !reflect.DeepEqual(got, map[string]string{"region.us-east-1": "ami-1", "region.us-west-2": "ami-2"}) {
		t.Errorf("metadata %v", got)
	}
	if got := []interface{}{a.State("cloud"), a.State("region"), a.State("image_name"), a.State("source_image_id"), a.State("other")}; !reflect.DeepEqual(got, []interface{}{"aws", "us-east-1", "debian", debian().ID, nil}) {
		t.Errorf("states %v", got)
	}
	for _, name := range append(GeneratedNames(), "ID") {
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
