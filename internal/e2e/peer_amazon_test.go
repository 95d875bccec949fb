// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/sim/awsstage"
)

// The unmodified packer-plugin-amazon completes a whole build against the
// simulated cloud, with a copy in another region, tags, and on the spot
// market. It was written by others, for the real service.
// PEER_AMAZON_PLUGIN is the path of its binary.
func TestAccPeerAmazon(t *testing.T) {
	acceptance(t)
	plugin := os.Getenv("PEER_AMAZON_PLUGIN")
	if plugin == "" {
		t.Skip("PEER_AMAZON_PLUGIN does not name a binary of packer-plugin-amazon")
	}
	p := packer(t, plugin, "github.com/hashicorp/amazon")
	for _, price := range []string{"", "auto"} {
		t.Run("spot_price="+price, func(t *testing.T) {
			s := awsstage.ForTest(t, awsstage.Options{})
			env := append(s.Env(), "AWS_POLL_DELAY_SECONDS=1", "AWS_MAX_ATTEMPTS=600") // else it waits 15 s between looks
			said, err := packerBuild(t.Context(), p, env, "amazon-ebs.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()), "-var", "spot_price="+price)
			t.Log(said)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(said, "aarch64") {
				t.Error("the provisioner did not say which machine it ran on")
			}
			var kept []string
			for _, region := range []string{awsstage.Region, "eu-central-1"} {
				out, err := ec2.NewFromConfig(s.Config(region)).DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
				if err != nil {
					t.Fatal(err)
				}
				if len(out.Images) != 1 {
					t.Fatalf("%d images in %s", len(out.Images), region)
				}
				img := out.Images[0]
				if img.State != types.ImageStateAvailable || *img.Name != "by-amazon-ebs" || img.ImdsSupport != "v2.0" || *img.Description != "words" ||
					img.DeprecationTime == nil || !hasTag(img.Tags, "Release", "latest") || !strings.Contains(said, region+": "+*img.ImageId) {
					t.Errorf("in %s: %+v", region, img)
				}
				kept = append(kept, *img.ImageId, *img.BlockDeviceMappings[0].Ebs.SnapshotId)
			}
			if left := s.Left(kept...); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func hasTag(tags []types.Tag, key, value string) bool {
	for _, tag := range tags {
		if *tag.Key == key && *tag.Value == value {
			return true
		}
	}
	return false
}
