// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclparse"

	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
)

// debian is a source image.
func debian() ec2.SourceImage {
	return ec2.SourceImage{
		ID: "ami-0aaaaaaaaaaaaaaaa", Name: "debian-12-arm64-20260101-2000", CreationDate: "2026-01-01T00:00:00.000Z", Owner: "136693071363", OwnerName: "amazon",
		Tags: map[string]string{"Release": "12.9", "a key": "x"},
	}
}

// fromHCL is a template in HCL, as Packer hands it over.
func fromHCL(t *testing.T, text string) (*Config, []ec2.BuildConfig, []string) {
	t.Helper()
	b := &Builder{Mask: new(mask.Masker)}
	file, diags := hclparse.NewParser().ParseHCL([]byte(text), "t.pkr.hcl")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	value, diags := hcldec.Decode(file.Body, b.ConfigSpec(), nil)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	_, warnings, err := b.Prepare(map[string]interface{}{"packer_build_name": "x"}, value)
	if err != nil {
		t.Fatal(err)
	}
	return &b.config, builds(t, &b.config), warnings
}

// fromJSON is a builder of a template in JSON, with its variables.
func fromJSON(t *testing.T, text string, variables map[string]string) (*Config, []ec2.BuildConfig, []string) {
	t.Helper()
	var in map[string]interface{}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		t.Fatal(err)
	}
	delete(in, "type")
	b := &Builder{Mask: new(mask.Masker)}
	_, warnings, err := b.Prepare(in, map[string]interface{}{"packer_build_name": "x", "packer_user_variables": variables})
	if err != nil {
		t.Fatal(err)
	}
	return &b.config, builds(t, &b.config), warnings
}

func words(t *testing.T, b ec2.BuildConfig) ec2.Words {
	t.Helper()
	w, err := b.Render(debian())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func expect(t *testing.T, what string, got, want interface{}) {
	t.Helper()
	if g, w := dump(got), dump(want); g != w {
		t.Errorf("%s is %s, want %s", what, g, w)
	}
}

// A template of a CI system: a filter, blocks of tags, a role, a private subnet.
func TestDropInHCLBlocks(t *testing.T) {
	clean(t)
	_, all, warnings := fromHCL(t, strings.ReplaceAll(blocksTemplate, "AMINAME", "\"app {{ clean_resource_name `a:b` }}\""))
	b := all[0]
	expect(t, "name", b.Image.Name, "app a-b")
	expect(t, "types", b.Types, []string{"t4g.medium"})
	expect(t, "markets", b.Markets, []ec2.Market{ec2.OnDemand})
	expect(t, "network", []interface{}{b.Network.VPCFilter, b.Network.SubnetFilter, b.Network.PublicIP, b.Network.From}, []interface{}{
		set{"tag:Class": []string{"build"}, "isDefault": []string{"false"}},
		ec2.SubnetFilter{Filters: ec2.Filters{"tag:Class": {"build"}}, MostFree: true}, true, "subnet_filter",
	})
	expect(t, "owners", b.Source.Filter.Owners, []string{"136693071363"})
	expect(t, "volumes", b.Volumes, []ec2.BlockDevice{{Device: "/dev/xvda", SizeGB: 20, Type: "gp3"}, {Device: "/dev/sdb", VirtualName: "ephemeral0"}})
	expect(t, "tokens", b.Metadata.TokensNeeded, false)
	expect(t, "copies", b.Image.Copies, []ec2.Copy{{Region: "us-west-2"}})
	w := words(t, b)
	expect(t, "image's tags", w.ImageTags, set{"Name": "debian-12 debian-12-arm64-20260101-2000", "Team": "infra", "Base": "ami-0aaaaaaaaaaaaaaaa in us-east-1 of 136693071363 (amazon)"})
	expect(t, "snapshots' tags", w.SnapshotTags["Release"], "12.9")
	expect(t, "volumes' tags", w.VolumeTags, set{"Volume": "yes"})
	expect(t, "machine's tags", w.RunTags, set{"Name": "packer-ci", "Team": "infra"})
	if len(warnings) != 2 {
		t.Errorf("warnings %q", warnings)
	}
}

const blocksTemplate = `
region              = "us-east-1"
access_key          = "AKIAIOSFODNN7EXAMPLE"
secret_key          = "example-secret-key"
token               = ""
profile             = null
ami_name            = AMINAME
instance_type       = "t4g.medium"
spot_price          = ""
spot_instance_types = []
subnet_id           = ""
vpc_filter {
  filters = { "tag:Class" = "build", "isDefault" = "false" }
}
subnet_filter {
  filter {
    name  = "tag:Class"
    value = "build"
  }
  most_free = true
  random    = false
}
source_ami = null
source_ami_filter {
  filters = {
    name                = "debian-12-arm64-*"
    root-device-type    = "ebs"
    virtualization-type = "hvm"
  }
  owners      = ["136693071363"]
  most_recent = true
}
assume_role {
  role_arn     = "arn:aws:iam::123456789012:role/packer"
  session_name = "ci"
}
launch_block_device_mappings {
  device_name           = "/dev/xvda"
  volume_size           = 20
  volume_type           = "gp3"
  delete_on_termination = true
}
launch_block_device_mappings {
  device_name  = "/dev/sdb"
  virtual_name = "ephemeral0"
}
metadata_options {
  http_endpoint = "enabled"
  http_tokens   = "optional"
}
aws_polling {
  delay_seconds = 40
  max_attempts  = 90
}
ena_support                 = true
associate_public_ip_address = "true"
ssh_username                = "admin"
ssh_timeout                 = "10m"
ami_users                   = []
ami_regions                 = ["us-west-2", "us-east-1"]
run_tags                    = { Name = "packer-ci", Team = "infra" }
tag {
  key   = "Name"
  value = "debian-12 {{ .SourceAMIName }}"
}
tag {
  key   = "Base"
  value = "{{ .SourceAMI }} in {{ .BuildRegion }} of {{ .SourceAMIOwner }} ({{ .SourceAMIOwnerName }})"
}
run_volume_tag {
  name  = "Volume"
  value = "yes"
}
snapshot_tags = { Release = "{{ .SourceAMITags.Release }}" }
`

// The short template of a tutorial, with everything else from the environment and
// from blocks that are empty.
func TestDropInHCLShort(t *testing.T) {
	clean(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "ASIAIOSFODNN7EXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "example-secret-key")
	t.Setenv("AWS_SESSION_TOKEN", "example-session-token")
	t.Setenv("AWS_DEFAULT_REGION", "eu-west-1")
	c, all, warnings := fromHCL(t, `
ami_name      = "learn-packer-linux-aws"
instance_type = "t4g.micro"
source_ami    = "ami-0123456789abcdef0"
ssh_username  = "admin"
assume_role {
  role_arn = ""
}
placement {}
metadata_options {}
source_ami_filter {}
deregistration_protection {}
tags = { "{{ .BuildRegion }}-{{ .SourceAMI }}" = "{{ isotime \"2006\" | clean_resource_name }}", Empty = "" }
`)
	expect(t, "region", all[0].Region, "eu-west-1")
	expect(t, "roles", len(c.credentials.Roles), 0)
	tags := words(t, all[0]).ImageTags
	if v, there := tags["Empty"]; !there || v != "" || !strings.HasPrefix(tags["eu-west-1-ami-0aaaaaaaaaaaaaaaa"], "20") || tags["Name"] != "" {
		t.Errorf("tags %v", tags)
	}
	if len(warnings) > 0 {
		t.Errorf("warnings %q", warnings)
	}
}

// Spot and an encrypted image that is shared, in HCL.
func TestDropInHCLSpot(t *testing.T) {
	clean(t)
	private := keyText(t)
	t.Setenv("AWS_PROFILE", "somebody")
	_, all, _ := fromHCL(t, strings.ReplaceAll(spotTemplate, "PRIVATE", private))
	b := all[0]
	expect(t, "types", b.Types, []string{"t4g.large", "m7g.large"})
	expect(t, "markets", b.Markets, []ec2.Market{ec2.Spot})
	expect(t, "source", []interface{}{b.Source.ID, b.Source.Filter.Filters}, []interface{}{"ami-0123456789abcdef0", set{"architecture": []string{"arm64"}}})
	expect(t, "root", b.Root, ec2.RootVolume{SizeGB: 10, Type: "gp3", Encrypted: b.Image.Encrypt, KMSKey: "arn:aws:kms:ap-southeast-2:123456789012:key/k"})
	expect(t, "replacing", []bool{b.Image.Replace, b.Image.ReplaceSnapshots, b.Image.NameMustBeFree}, []bool{true, true, false})
	expect(t, "key", []string{b.KeyName, b.ImportKey, b.Interface}, []string{"team", "", "private_ip"})
	expect(t, "tags", words(t, b).SpotTags, set{"Purpose": "debian-12-arm64-20260101-2000"})
	if !strings.Contains(string(b.UserData), "echo hello") || strings.Contains(string(b.UserData), "ssh_authorized_keys") {
		t.Errorf("user data:\n%s", b.UserData)
	}
}

const spotTemplate = `
region              = "ap-southeast-2"
access_key          = "AKIAIOSFODNN7EXAMPLE"
secret_key          = "example-secret-key"
ami_name            = "golden/{{ timestamp }}"
instance_type       = ""
spot_instance_types = ["t4g.large", "m7g.large"]
spot_price          = "auto"
source_ami          = "ami-0123456789abcdef0"
source_ami_filter {
  filters = { architecture = "arm64" }
}
availability_zone       = "ap-southeast-2c"
encrypt_boot            = true
kms_key_id              = "arn:aws:kms:ap-southeast-2:123456789012:key/k"
ami_users               = ["123456789012"]
snapshot_users          = ["123456789012"]
force_deregister        = true
force_delete_snapshot   = true
deprecate_at            = "2035-01-01T00:00:00Z"
imds_support            = "v2.0"
ssh_username            = "admin"
ssh_keypair_name        = "team"
ssh_private_key         = <<KEY
PRIVATEKEY
ssh_interface           = "private_ip"
security_group_ids      = ["sg-0123456789abcdef0"]
temporary_key_pair_type = "rsa"
fleet_tags              = {}
spot_tags               = { Purpose = "{{ .SourceAMIName }}" }
user_data               = "IyEvYmluL3NoCmVjaG8gaGVsbG8K"
`

// Templates in JSON: texts for everything, variables that are not set, lists as
// texts, keys of maps that are templates.
func TestDropInJSON(t *testing.T) {
	clean(t)
	variables := map[string]string{"aws_access_key": "", "aws_secret_key": "", "region": "us-east-1", "spot": "0", "regions": "us-west-2,eu-west-1", "users": "", "subnet": "", "encrypt": "false", "size": "16", "team": "infra"}
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "example-secret-key")
	_, all, warnings := fromJSON(t, `{
		"type": "amazon-ebs",
		"access_key": "{{user `+"`aws_access_key`"+`}}", "secret_key": "{{user `+"`aws_secret_key`"+`}}", "region": "{{user `+"`region`"+`}}",
		"source_ami": "", "source_ami_filter": { "filters": { "name": "debian-12-arm64-*", "architecture": "arm64,arm64_mac" }, "owners": "136693071363", "most_recent": "true" },
		"instance_type": "t4g.small", "spot_price": "{{user `+"`spot`"+`}}", "subnet_id": "{{user `+"`subnet`"+`}}", "vpc_id": null, "security_group_id": "",
		"ami_name": "base-{{isotime \"2006-01-02\" | clean_resource_name}}", "ami_regions": "{{user `+"`regions`"+`}}", "ami_users": "{{user `+"`users`"+`}}", "ami_groups": "",
		"encrypt_boot": "{{user `+"`encrypt`"+`}}", "kms_key_id": "", "region_kms_key_ids": {"us-west-2": "", "eu-west-1": ""},
		"associate_public_ip_address": "", "ebs_optimized": "false", "enable_unlimited_credits": "true", "shutdown_behavior": "", "disable_stop_instance": "",
		"launch_block_device_mappings": [{ "device_name": "/dev/xvda", "volume_size": "{{user `+"`size`"+`}}", "volume_type": "gp3", "iops": "3000", "delete_on_termination": "true" }],
		"ami_block_device_mappings": [{ "device_name": "/dev/sdb", "no_device": "true" }],
		"metadata_options": { "http_tokens": "required", "http_put_response_hop_limit": "2" },
		"ssh_username": "admin", "ssh_port": "22", "ssh_pty": "true", "communicator": "ssh",
		"run_tags": { "Name": "{{build_name}}", "{{user `+"`team`"+`}}": "{{user `+"`team`"+`}}" },
		"tags": { "Base": "{{ .SourceAMIName }}", "Tag": "{{ index .SourceAMITags \"a key\" }}", "Team-{{user `+"`team`"+`}}": "" },
		"snapshot_tags": {}, "skip_ami_run_tags": "true", "force_deregister": "false", "skip_region_validation": "true", "deprecate_at": "", "max_retries": "20"
	}`, variables)
	b := all[0]
	if !strings.HasPrefix(b.Image.Name, "base-20") {
		t.Errorf("name %q", b.Image.Name)
	}
	expect(t, "filter", b.Source.Filter.Filters, set{"name": []string{"debian-12-arm64-*"}, "architecture": []string{"arm64", "arm64_mac"}})
	expect(t, "markets", b.Markets, []ec2.Market{ec2.OnDemand})
	if c := b.Image.Copies; len(c) != 2 || c[0].Region != "us-west-2" || c[0].Encrypt == nil || *c[0].Encrypt {
		t.Errorf("copies %+v", c)
	}
	expect(t, "network", []interface{}{b.Network.PublicIP, b.Network.Subnets, b.Network.SecurityGroups, b.Network.From}, []interface{}{nil, nil, nil, ""})
	expect(t, "volumes", b.Volumes, []ec2.BlockDevice{{Device: "/dev/xvda", SizeGB: 16, Type: "gp3", IOPS: 3000}})
	expect(t, "devices", b.Image.Devices, []ec2.BlockDevice{{Device: "/dev/sdb", NoDevice: true}})
	expect(t, "machine", []interface{}{b.Unlimited, b.Shutdown, b.StopsItself, b.Metadata.HopLimit}, []interface{}{true, "terminate", false, 2})
	w := words(t, b)
	expect(t, "machine's tags", w.RunTags, set{"Name": "x", "infra": "infra"})
	expect(t, "image's tags", w.ImageTags, set{"Base": "debian-12-arm64-20260101-2000", "Tag": "x", "Team-infra": ""})
	expect(t, "snapshots' tags", w.SnapshotTags, w.ImageTags)
	if len(warnings) > 0 {
		t.Errorf("warnings %q", warnings)
	}
}

// The way in of JSON templates: a private name, a password, no connection.
func TestDropInJSONWaysIn(t *testing.T) {
	for name, tt := range map[string]struct {
		text  string
		check func(ec2.BuildConfig) bool
	}{
		"the private name": {
			`"ssh_interface": "private_dns", "iam_instance_profile": "SSM", "pause_before_ssm": "", "session_manager_port": "0", "ssh_username": "admin"`,
			func(b ec2.BuildConfig) bool {
				return b.Interface == "private_dns" && b.Network.Temporary.Port == 22 && b.Profile == "SSM" && strings.Contains(string(b.UserData), publicKey)
			},
		},
		"a password": {
			`"ssh_username": "admin", "ssh_password": "example-password", "user_data_file": ""`,
			func(b ec2.BuildConfig) bool { return !strings.Contains(string(b.UserData), "ssh_authorized_keys") },
		},
		"no connection": {
			`"communicator": "none", "disable_stop_instance": "true", "skip_create_ami": "true"`,
			func(b ec2.BuildConfig) bool {
				return b.Network.Temporary.Port == 0 && b.StopsItself && b.Shutdown == "stop" && b.Image.Skip && b.ImportKey == ""
			},
		},
		"Ignition": {
			`"ssh_username": "core", "user_data": "{\"ignition\":{\"version\":\"3.4.0\"}}"`,
			func(b ec2.BuildConfig) bool {
				return b.ImportKey == publicKey && string(b.UserData) == `{"ignition":{"version":"3.4.0"}}` && b.Lifetime == 0
			},
		},
		"a role that is made": {
			`"ssh_username": "admin", "temporary_iam_instance_profile_policy_document": { "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["*"] }] }`,
			func(b ec2.BuildConfig) bool { return strings.Contains(b.Policy, `"Action":["s3:GetObject"]`) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			_, all, _ := fromJSON(t, `{ "access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "example-secret-key", "region": "us-east-1", "source_ami": "ami-0123456789abcdef0", "instance_type": "t4g.micro", "ami_name": "a-b", `+tt.text+` }`, nil)
			if !tt.check(all[0]) {
				t.Errorf("%+v", all[0])
			}
		})
	}
}

// What is secret is masked, wherever it comes from.
func TestSecretsAreMasked(t *testing.T) {
	in := with(t, set{"token": "example-session-token", "ssh_password": "example-password"})
	t.Setenv("AWS_SECRET_ACCESS_KEY", "another-secret-key")
	b := &Builder{Mask: new(mask.Masker)}
	names, _, err := b.Prepare(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{in["secret_key"].(string), "example-session-token", "example-password", "another-secret-key"} {
		if b.Mask.Text(s) != mask.Hidden {
			t.Errorf("%q is not masked", s)
		}
	}
	for _, want := range []string{"BuildRegion", "SourceAMI", "SourceAMIName", "SourceAMICreationDate", "SourceAMIOwner", "SourceAMIOwnerName", "InstanceType", "BuildID"} {
		if !slices.Contains(names, want) {
			t.Errorf("build.%s is not announced", want)
		}
	}
}
