// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

var amiID = regexp.MustCompile(`ami-[0-9a-f]{17}`)

// The unmodified packer-plugin-amazon completes whole builds against the
// simulated cloud: on demand and as a spot instance, with a copy in another
// region. It was written by others, for the real service: what it gets away
// with here it gets away with there. PEER_AMAZON_PLUGIN is the path of its
// binary.
func TestAccPeerAmazon(t *testing.T) {
	acceptance(t)
	plugin := os.Getenv("PEER_AMAZON_PLUGIN")
	if plugin == "" {
		t.Skip("PEER_AMAZON_PLUGIN does not name a binary of packer-plugin-amazon")
	}
	p := packer(t, plugin, "github.com/hashicorp/amazon")
	for _, how := range []struct {
		name, price, launch string
		needs               []string
	}{
		{"on-demand", "", "RunInstances", []string{"ec2:DescribeVpcs", "ec2:DescribeSubnets", "ec2:DescribeInstanceTypeOfferings", "ec2:StopInstances"}},
		{"spot", "auto", "CreateFleet", []string{"ec2:CreateLaunchTemplate", "ec2:CreateFleet", "ec2:DeleteLaunchTemplate", "iam:CreateServiceLinkedRole"}},
	} {
		t.Run(how.name, func(t *testing.T) {
			s := stage.ForTest(t, stage.Options{AdjustAWS: func(a *ec2sim.Account) { a.InstanceProfiles = []string{"builder"} }})
			_, keys, err := s.AWS.Cloud.AddUserWithPolicy(s.AWS.Build, "peer", peerPolicy(how.needs))
			if err != nil {
				t.Fatal(err)
			}
			env := append(s.Env(), "AWS_POLL_DELAY_SECONDS=1", "AWS_MAX_ATTEMPTS=600",
				"AWS_ACCESS_KEY_ID="+keys.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+keys.SecretAccessKey)
			said, err := packerBuild(t.Context(), p, env, "amazon-ebs.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.AWS.Cloud.SSHPort()),
				"-var", "name=by-"+how.name, "-var", "spot_price="+how.price,
				"-var", "instance_profile=builder")
			t.Log(said)
			if err != nil {
				for _, r := range s.AWS.Cloud.Requests() {
					t.Logf("%s %s: %d %s", r.Service, r.Op, r.Status, r.Code)
				}
				t.Fatal(err)
			}
			for _, want := range []string{"aarch64", "AMIs were created:", stage.AWSRegion + ": ami-", "eu-west-1: ami-"} {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said", want)
				}
			}
			if n := s.AWS.Cloud.CountRequests(how.launch); n != 1 {
				t.Errorf("%d requests %s", n, how.launch)
			}
			checkPeerImages(t, s, said[strings.Index(said, "AMIs were created:"):])
		})
	}
}

// checkPeerImages looks at what is left: both images with their snapshots, and
// nothing else.
func checkPeerImages(t *testing.T, s *stage.Stage, artifact string) {
	t.Helper()
	ids := amiID.FindAllString(artifact, -1)
	if len(ids) != 2 {
		t.Fatalf("images: %q", ids)
	}
	var kept []string
	for _, a := range s.AWS.Cloud.Inventory().Accounts {
		for _, r := range a.Regions {
			for _, x := range r.Resources {
				if x.Kind != "image" && x.Kind != "snapshot" || a.Name != "build" {
					continue
				}
				kept = append(kept, x.ID)
				if x.Tags["made"] != "by the peer" || !strings.HasPrefix(x.Tags["base"], "debian-12-arm64-") {
					t.Errorf("%s %s in %s has the tags %v", x.Kind, x.ID, r.Region, x.Tags)
				}
				if x.Kind == "snapshot" && (x.State != "completed" || x.Tags["kept"] != "yes") {
					t.Errorf("snapshot %+v", x)
				}
			}
		}
	}
	if len(kept) != 4 {
		t.Errorf("images and snapshots: %q", kept)
	}
	if left := s.Left(kept...); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for _, u := range s.AWS.Cloud.IAMRefusals(s.AWS.Build, "peer") {
		t.Errorf("refused: %+v", u)
	}
	if unused := s.AWS.Cloud.UnusedGrants(s.AWS.Build, "peer"); len(unused) > 0 {
		t.Errorf("nothing needed %v", unused)
	}
}

// peerPolicy is what the peer's documentation says that it needs, without what
// is for other builds than ours.
func peerPolicy(more []string) string {
	actions := append([]string{
		"ec2:AuthorizeSecurityGroupIngress", "ec2:CopyImage", "ec2:CreateImage", "ec2:CreateKeyPair", "ec2:CreateSecurityGroup", "ec2:CreateTags",
		"ec2:DeleteKeyPair", "ec2:DeleteSecurityGroup", "ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeRegions",
		"ec2:DescribeSecurityGroups", "ec2:DescribeVolumes", "ec2:EnableImageDeprecation", "ec2:ModifyImageAttribute",
		"ec2:RunInstances", "ec2:TerminateInstances", "iam:GetInstanceProfile", "iam:PassRole",
	}, more...)
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["` + strings.Join(actions, `","`) + `"],"Resource":"*"}]}`
}
