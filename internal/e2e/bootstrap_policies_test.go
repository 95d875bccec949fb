// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/armfree/packer-plugin-armfree/internal/sim/awsstage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// set is options of a template.
type set = map[string]interface{}

// The policies of the bootstrap are enough for every documented kind of build, and
// each action in each statement is needed by one of them: which, is in ACTIONS.md.
// RECORD=1 writes it anew.
func TestBootstrapPolicies(t *testing.T) {
	c := newCI(t, awsstage.ForTest(t, awsstage.Options{}))
	ctx := t.Context()

	// With what the script attaches unasked.
	plain := c.build("a build on demand, from a parameter of SSM", set{"source_ami": nil, "source_ami_ssm_parameter": "/aws/service/debian/release/12/latest/arm64", "ami_name": "plain"})
	c.build("a build in a VPC found by a filter", set{"vpc_filter": set{"filters": set{"is-default": "true"}}, "ami_name": "vpc"})
	pair, err := c.ec2.CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: aws.String(graviton + "-key"), KeyType: types.KeyTypeEd25519})
	c.must(err)
	c.build("a build with the key pair, a given subnet and a given security group", set{
		"ssh_keypair_name": graviton + "-key", "ssh_private_key": *pair.KeyMaterial, "security_group_id": c.byHand(),
		"subnet_id": c.Cloud.DefaultSubnet(c.Build, awsstage.Region, awsstage.Region+"b"), "ami_name": "given",
	})
	c.long = true
	c.build("a build that takes longer than it seemed", set{"ami_name": "long"})
	c.long = false
	c.must(c.Cloud.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultImageFails, Op: "RegisterImage", Times: 1}))
	if _, said, err := c.run(set{"ami_name": "failed"}); err == nil {
		t.Errorf("the build whose image fails:\n%s", said)
	}
	c.look("a build whose image fails")
	source := c.build("a build with a volume more in its image", set{"ami_name": "more", "ami_block_device_mappings": set{
		"device_name": "/dev/sdf", "snapshot_id": c.snapshotOf(plain), "volume_type": "gp3", "delete_on_termination": false,
	}})
	c.build("a build from an image whose volume would stay", set{"source_ami": source, "ami_name": "less"})

	// With everything.
	_, others := features()
	c.attach(others[:len(others)-1]...)
	c.spotRole()
	c.build("a spot build", set{"spot_price": "auto", "instance_type": "t4g.small", "ami_name": "spot"})
	c.build("a build with `image_method = \"image\"`", set{"image_method": "image", "ami_name": "by CreateImage"})
	c.build("a build with a key pair of its own", set{"ssh_key_delivery": "key_pair", "ami_name": "key"})
	c.build("a build with a copy, shared, deprecated and protected", set{
		"ami_name": "copied", "ami_regions": gravitonOther, "ami_users": c.Other.ID, "snapshot_users": c.Other.ID, "deprecate_at": "720h",
		"deregistration_protection": set{"enabled": true},
	})
	last := c.build("a build that replaces it", set{"ami_name": "copied", "ami_regions": gravitonOther, "force_deregister": true, "force_delete_snapshot": true})
	c.machineProfile()
	c.build("a build with an instance profile", set{"iam_instance_profile": graviton + "-machine", "ami_name": "profile"})
	c.readSnapshot(last)
	c.look("reading a snapshot for a copy to OCI")
	unused := c.unused
	c.detach("ebs-direct")
	c.attach("export-image")
	c.must(c.Cloud.AddBucket(c.Build, awsstage.Region, ciExports))
	c.exporter()
	c.export(last)
	c.look("a copy to OCI with `export_image`, begun again after runs that were killed")
	c.unused = append(c.unused, unused...)

	for _, g := range c.unused {
		t.Errorf("nothing needs %s", g)
	}
	c.record()
}

// record holds the table of actions against what was written.
func (c *ci) record() {
	c.t.Helper()
	file := filepath.Join(bootstrapAWS, "ACTIONS.md")
	text := "# What needs which action\n\nWritten by a test: it runs these builds, one after the other, against a simulated IAM with the policies of this folder. " +
		"Each row says which build was the first that could not have done without the action, in that statement. No row is missing, and nothing was refused.\n\n" +
		"| policy | statement | action | first needed by |\n|---|---|---|---|\n" + strings.Join(c.firstUses, "\n") + "\n"
	if os.Getenv("RECORD") != "" {
		c.must(os.WriteFile(file, []byte(text), 0o600))
	}
	written, err := os.ReadFile(file)
	c.must(err)
	if string(written) != text {
		c.t.Errorf("%s is not what the builds need; RECORD=1 writes it anew:\n%s", file, text)
	}
}

// byHand is a security group that an administrator made.
func (c *ci) byHand() string {
	c.t.Helper()
	g, err := c.ec2.CreateSecurityGroup(c.t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("by-hand"), Description: aws.String("lets the tests in")})
	c.must(err)
	port := int32(c.Cloud.SSHPort()) //nolint:gosec // a port
	_, err = c.ec2.AuthorizeSecurityGroupIngress(c.t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{GroupId: g.GroupId, IpPermissions: []types.IpPermission{
		{IpProtocol: aws.String("tcp"), FromPort: &port, ToPort: &port, IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}},
	}})
	c.must(err)
	return *g.GroupId
}

// machineProfile makes the role and the instance profile of machines.
func (c *ci) machineProfile() {
	c.t.Helper()
	name := aws.String(graviton + "-machine")
	_, err := c.iam.CreateRole(c.t.Context(), &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(policyFile(c.t, c.Stage, "trust-machine"))})
	c.must(err)
	_, err = c.iam.CreateInstanceProfile(c.t.Context(), &iam.CreateInstanceProfileInput{InstanceProfileName: name})
	c.must(err)
	_, err = c.iam.AddRoleToInstanceProfile(c.t.Context(), &iam.AddRoleToInstanceProfileInput{InstanceProfileName: name, RoleName: name})
	c.must(err)
}

// What a leaked key cannot do, with nothing but what the script attaches unasked.
func TestBootstrapPoliciesRefuse(t *testing.T) {
	c := newCI(t, awsstage.ForTest(t, awsstage.Options{}))
	ctx := t.Context()
	finished := c.build("a build", set{"ami_name": "finished"})
	shot := c.snapshotOf(finished)
	machine, err := c.ec2.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: &c.BaseImage, InstanceType: "t4g.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
	c.must(err)
	others := *machine.Instances[0].InstanceId
	c.spotRole()

	cfg := c.Config(awsstage.Region)
	cfg.Credentials = credentials.NewStaticCredentialsProvider(c.id, c.key, "")
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	stolen := ec2.NewFromConfig(cfg)
	far := ec2.NewFromConfig(cfg, func(o *ec2.Options) { o.Region = "ap-southeast-1" })
	tagged := func(kinds ...types.ResourceType) (list []types.TagSpecification) {
		for _, k := range kinds {
			list = append(list, types.TagSpecification{ResourceType: k, Tags: []types.Tag{{Key: aws.String("armfree:build"), Value: aws.String("x")}}})
		}
		return list
	}
	whole := tagged("instance", "volume", "network-interface")
	launch := func(change func(*ec2.RunInstancesInput)) error {
		in := &ec2.RunInstancesInput{ImageId: &c.BaseImage, InstanceType: "t4g.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1), TagSpecifications: whole,
			MetadataOptions: &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired}, DryRun: aws.Bool(true)}
		change(in)
		_, err := stolen.RunInstances(ctx, in)
		return err
	}
	if err := launch(func(*ec2.RunInstancesInput) {}); err == nil || !strings.Contains(err.Error(), "DryRunOperation") {
		t.Errorf("a launch that is in order: %v", err)
	}
	retag := func(id, value string) error {
		_, err := stolen.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String("armfree"), Value: &value}}})
		return err
	}
	for what, do := range map[string]func() error{
		"a large machine":        func() error { return launch(func(in *ec2.RunInstancesInput) { in.InstanceType = "c7g.16xlarge" }) },
		"a machine without tags": func() error { return launch(func(in *ec2.RunInstancesInput) { in.TagSpecifications = nil }) },
		"volumes without tags": func() error {
			return launch(func(in *ec2.RunInstancesInput) { in.TagSpecifications = tagged("instance", "network-interface") })
		},
		"metadata without tokens": func() error { return launch(func(in *ec2.RunInstancesInput) { in.MetadataOptions = nil }) },
		"a spot machine": func() error {
			return launch(func(in *ec2.RunInstancesInput) {
				in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
				in.TagSpecifications = tagged("instance", "volume", "network-interface", "spot-instances-request")
			})
		},
		"another region": func() error { _, err := far.DescribeInstances(ctx, nil); return err },
		"ending a machine of others": func() error {
			_, err := stolen.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{others}})
			return err
		},
		"making a machine of others its own": func() error {
			_, err := stolen.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{others}, Tags: whole[0].Tags})
			return err
		},
		"removing a finished image": func() error {
			_, err := stolen.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &finished})
			return err
		},
		"removing its snapshot": func() error {
			_, err := stolen.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: &shot})
			return err
		},
		"calling it unfinished":   func() error { return retag(finished, "build=x role=image state=unfinished") },
		"calling its snapshot so": func() error { return retag(shot, "build=x role=image state=unfinished") },
		"giving the image to others": func() error {
			_, err := stolen.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: &finished, OperationType: "add", UserIds: []string{c.Other.ID}})
			return err
		},
		"a key pair": func() error {
			_, err := stolen.CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: aws.String("mine")})
			return err
		},
		"a security group without it": func() error {
			_, err := stolen.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("g")})
			return err
		},
		"another user's key": func() error {
			_, err := iam.NewFromConfig(cfg).CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &c.Build.UserName})
			return err
		},
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "UnauthorizedOperation") && !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
