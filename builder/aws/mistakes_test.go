// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
)

// newSSHKey is a key pair as ssh-keygen makes it.
func newSSHKey(t *testing.T) (private, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	line, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(line))
}

func manyTags(n int) map[string]string {
	tags := map[string]string{}
	for i := range n {
		tags[fmt.Sprint("t", i)] = "x"
	}
	return tags
}

func keyText(t *testing.T) string {
	private, _ := newSSHKey(t)
	return private
}

// Each mistake gives one sentence, and none beside it.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, []byte("#!/bin/sh\n"+strings.Repeat("#\n", 9000)), 0o600); err != nil {
		t.Fatal(err)
	}
	small := filepath.Join(dir, "small")
	if err := os.WriteFile(small, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	region := func(r set) set { return set{"additional_region": []set{r}} }
	launch := func(d set) set { return set{"launch_block_device_mappings": []set{d}} }
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		set  set
		want string
	}{
		// Who signs in.
		{set{"region": nil}, "region must be set (or the environment variable AWS_REGION, or the region of a profile)"},
		{set{"region": "eu-central-1a"}, `region is "eu-central-1a", which is an availability zone: the region is eu-central-1`},
		{set{"region": "Frankfurt"}, "region must be the name of a region such as eu-central-1"},
		{set{"secret_key": nil}, "secret_key must be set beside access_key"},
		{set{"access_key": nil}, "access_key must be set beside secret_key"},
		{set{"access_key": "ASIAIOSFODNN7EXAMPLE"}, "access_key begins with ASIA, so it is temporary, and token must be set as well"},
		{set{"access_key": "AKIA EXAMPLE"}, "access_key or secret_key has blanks"},
		{set{"access_key": nil, "secret_key": nil, "profile": "nobody"}, `profile: there is no profile "nobody" in `},
		{set{"access_key": nil, "secret_key": nil, "token": "x"}, "token needs access_key and secret_key"},
		{set{"access_key": nil, "secret_key": nil, "skip_metadata_api_check": true}, "nobody can sign in: set access_key and secret_key"},
		{set{"shared_credentials_file": filepath.Join(dir, "none")}, "shared_credentials_file cannot be read"},
		{set{"assume_role": set{"role_arn": "packer"}}, "assume_role: role_arn must be the ARN of a role"},
		{set{"assume_role": set{"session_name": "x"}}, "assume_role: role_arn must be set"},
		{set{"assume_role": set{"role_arn": "arn:aws:iam::123456789012:role/p", "duration_seconds": 60}}, "duration_seconds must be from 900 to 43200"},
		{set{"assume_role": set{"role_arn": "arn:aws:iam::123456789012:role/p", "policy": "{"}}, "policy must be a policy document in JSON"},
		{set{"assume_role_with_web_identity": set{"role_arn": "arn:aws:iam::123456789012:role/p", "web_identity_token": "x"}}, "assume_role_with_web_identity excludes access_key"},
		{set{"max_retries": -1}, "max_retries must not be negative"},
		{set{"custom_endpoint_ec2": "localhost"}, "custom_endpoint_ec2 must be a URL"},
		{set{"mfa_code": "123456"}, "mfa_code is not supported: sign in beforehand"},
		{set{"vault_aws_engine": set{"name": "x"}}, "vault_aws_engine is not supported: read the keys from Vault"},

		// Where and as what a machine is looked for.
		{set{"instance_type": "micro"}, "instance_type must be an instance type such as t4g.micro"},
		{set{"instance_type": "t4g.micro", "instance_types": "t4g.small"}, "instance_type, instance_types and spot_instance_types exclude each other"},
		{set{"instance_types": "t4g.small,t4g.small"}, "instance_types: t4g.small is there twice"},
		{set{"spot_instance_types": []string{"t4g.small"}}, "spot_instance_types needs spot_price"},
		{set{"spot_price": "cheap"}, `spot_price must be "auto" or US dollars an hour`},
		{set{"spot_price": "-1"}, `spot_price must be "auto" or US dollars an hour`},
		{set{"spot_price": "0.1", "markets": []string{"on-demand"}}, `spot_price asks for a spot machine, and markets does not name "spot"`},
		{set{"markets": []string{"ondemand"}}, `markets must be "on-demand" or "spot", it is "ondemand"`},
		{set{"markets": []string{"spot", "spot"}}, "markets: spot is there twice"},
		{set{"spot_allocation_strategy": "luck"}, "spot_allocation_strategy must be"},
		{set{"availability_zone": "us-east-1a"}, "availability_zone: us-east-1a is not in eu-central-1"},
		{set{"availability_zone": "eu-central-1"}, "availability_zone must be the name of a zone such as eu-central-1a"},
		{set{"availability_zone": "eu-central-1a", "availability_zones": []string{"eu-central-1b"}}, "availability_zone and availability_zones exclude each other"},
		{set{"free_tier": "maybe"}, `free_tier must be "prefer", "require" or "ignore", it is "maybe"`},
		{set{"free_tier": "require", "spot_price": "auto"}, "spot machines are not part of the free tier"},
		{set{"free_tier": "require", "enable_unlimited_credits": true}, "enable_unlimited_credits may cost money"},
		{set{"free_tier": "require", "root_volume_size": 31}, "volumes of 31 GiB are more than the free tier has, which is 30"},
		{set{"free_tier": "require", "instance_type": "t4g.large", "free_allowance": set{"instance_types": "t4g.micro"}}, "t4g.large is not among the types that free_allowance says are free"},
		{set{"free_allowance": set{"storage_in_gbs": -1}}, "storage_in_gbs must not be negative"},
		{region(set{"source_ami": "ami-00000001"}), "additional_region: region must be set"},
		{region(set{"region": "eu-central-1", "source_ami": "ami-00000001"}), "additional_region: eu-central-1 is there twice"},
		{region(set{"region": "eu-west-1"}), "additional_region: source_ami must be set for eu-west-1"},
		{region(set{"region": "eu-west-1", "source_ami": "debian"}), "additional_region: source_ami must be an id such as ami-"},
		{region(set{"region": "eu-west-1", "source_ami": "ami-00000001", "subnet_id": "vpc-1"}), "additional_region: subnet_id must be an id such as subnet-"},

		// The network.
		{set{"subnet_id": "10.0.0.0/24"}, "subnet_id must be an id such as subnet-0123456789abcdef0"},
		{set{"subnet_id": "subnet-00000001", "subnet_ids": []string{"subnet-00000002"}}, "subnet_id and subnet_ids exclude each other"},
		{set{"subnet_filter": set{"filters": set{"a": "b"}, "most_free": true, "random": true}}, "subnet_filter: most_free and random exclude each other"},
		{set{"vpc_id": "default"}, "vpc_id must be an id such as vpc-"},
		{set{"security_group_id": "default"}, "security_group_id must be an id such as sg-"},
		{set{"temporary_security_group_source_cidrs": []string{"me"}}, "temporary_security_group_source_cidrs must be blocks of addresses"},
		{set{"temporary_security_group_source_cidrs": []string{"10.0.0.1/8"}}, "10.0.0.1/8 is not the beginning of a block, that would be 10.0.0.0/8"},
		{set{"temporary_security_group_source_cidrs": []string{"10.0.0.0/8"}, "temporary_security_group_source_public_ip": true}, "exclude each other"},

		// The machine.
		{set{"source_ami": nil}, "source_ami, source_ami_filter or source_ami_ssm_parameter must be set (or the environment variable AWS_SOURCE_AMI)"},
		{set{"source_ami": "debian-12"}, "source_ami must be an id such as ami-"},
		{set{"source_ami": nil, "source_ami_filter": set{"filters": set{"name": "debian-*"}}}, "source_ami_filter: owners must be set: anybody can make an image of that name"},
		{set{"source_ami": nil, "source_ami_filter": set{"owners": "self"}}, "source_ami_filter needs filters"},
		{set{"source_ami_ssm_parameter": "/a"}, "source_ami_ssm_parameter excludes source_ami and source_ami_filter"},
		{set{"root_volume_size": -1}, "root_volume_size must be from 1"},
		{set{"root_volume_type": "io2"}, `root_volume_type must be "gp3", "gp2" or "standard"`},
		{launch(set{"volume_size": 8}), "launch_block_device_mappings: device_name must be set"},
		{launch(set{"device_name": "/dev/sdf", "volume_type": "ssd"}), "launch_block_device_mappings: /dev/sdf: volume_type must be"},
		{launch(set{"device_name": "/dev/sdf", "volume_type": "gp2", "iops": 100}), "iops is for io1, io2 and gp3"},
		{launch(set{"device_name": "/dev/sdf", "volume_type": "io2"}), "iops must be set for io2"},
		{launch(set{"device_name": "/dev/sdf", "throughput": 125}), "throughput is for gp3"},
		{launch(set{"device_name": "/dev/sdf", "kms_key_id": "x"}), "kms_key_id needs encrypted = true"},
		{launch(set{"device_name": "/dev/sdf", "virtual_name": "disk0"}), "virtual_name must be from ephemeral0"},
		{launch(set{"device_name": "/dev/sdf", "snapshot_id": "x"}), "snapshot_id must be an id such as snap-"},
		{set{"iam_instance_profile": "p", "temporary_iam_instance_profile_policy_document": set{"Statement": set{"Action": "s3:*", "Resource": "*"}}}, "iam_instance_profile and temporary_iam_instance_profile_policy_document exclude each other"},
		{set{"temporary_iam_instance_profile_policy_document": set{"Statement": set{"Action": "s3:*"}}}, "every Statement needs Action and Resource"},
		{set{"user_data": "#!/bin/sh", "user_data_file": small}, "user_data and user_data_file exclude each other"},
		{set{"user_data_file": filepath.Join(dir, "none")}, "user_data_file cannot be read"},
		{set{"user_data_file": big}, "EC2 takes at most 16384"},
		{set{"user_data": "{}", "machine_lifetime": "2h"}, "machine_lifetime adds to the user data"},
		{set{"user_data": "{}", "ssh_key_delivery": "user_data"}, `ssh_key_delivery = "user_data" adds to the user data`},
		{set{"user_data": "{}", "ssh_pin_host_key": true}, "ssh_pin_host_key adds to the user data"},
		{set{"machine_lifetime": "1h", "skip_machine_lifetime": true}, "machine_lifetime and skip_machine_lifetime exclude each other"},
		{set{"machine_lifetime": "1m"}, "machine_lifetime must be at least 30m0s"},
		{set{"ssh_key_delivery": "post"}, `ssh_key_delivery must be "user_data" or "key_pair"`},
		{set{"metadata_options": set{"http_tokens": "yes"}}, `metadata_options: http_tokens must be "required" or "optional"`},
		{set{"metadata_options": set{"http_put_response_hop_limit": 65}}, "http_put_response_hop_limit must be from 1 to 64"},
		{set{"metadata_options": set{"http_endpoint": "disabled", "instance_metadata_tags": "enabled"}}, "instance_metadata_tags needs http_endpoint"},
		{set{"shutdown_behavior": "halt"}, `shutdown_behavior must be "stop" or "terminate"`},
		{set{"shutdown_behavior": "terminate", "disable_stop_instance": true}, "disable_stop_instance waits for a machine that has stopped"},
		{set{"spot_price": "auto", "disable_stop_instance": true}, "disable_stop_instance waits for a machine that has stopped, and a spot machine that shuts down is terminated"},
		{set{"markets": []string{"on-demand", "spot"}, "disable_stop_instance": true}, "or ask for on-demand machines only"},
		{set{"placement": set{"tenancy": "own"}}, "placement: tenancy must be"},
		{set{"placement": set{"host_id": "h-0123456789abcdef0", "tenancy": "dedicated"}}, `placement: a host needs tenancy = "host"`},
		{set{"tenancy": "host", "placement": set{"tenancy": "dedicated"}}, "tenancy is \"host\", and that of placement is \"dedicated\""},
		{set{"capacity_reservation_preference": "any"}, "capacity_reservation_preference must be"},
		{set{"capacity_reservation_id": "cr-0123456789abcdef0", "spot_price": "auto"}, "a capacity reservation is for machines on demand"},
		{set{"ssh_interface": "public"}, "ssh_interface must be"},
		{set{"ami_block_device_mappings": set{"device_name": "/dev/sdf", "volume_size": 1, "encrypted": true, "kms_key_id": "k"}}, `ami_block_device_mappings: /dev/sdf: EC2 takes no kms_key_id for the devices of an image`},
		{set{"ssh_interface": "session_manager", "session_manager_port": 8022}, `ssh_interface = "session_manager" is not supported: run Packer where the private address can be reached and set it to "private_ip", or set ssh_bastion_host`},
		{set{"ssh_keypair_name": "k"}, "ssh_keypair_name needs its private key"},
		{set{"ssh_username": nil}, "ssh_username must be specified"},
		{set{"ssh_private_key": "secret nonsense"}, "ssh_private_key (or the environment variable AWS_SSH_PRIVATE_KEY) must be the text of a private key"},
		{set{"communicator": "winrm", "winrm_username": "x"}, "there is no Windows for Graviton machines"},
		{set{"enable_nitro_enclave": true}, "enable_nitro_enclave is not supported"},
		{set{"license_specifications": set{"license_configuration_request": set{"license_configuration_arn": "x"}}}, "license_specifications is not supported"},
		{set{"elastic_ip_allocation_id": "x"}, "elastic_ip_allocation_id is not supported"},

		// The image.
		{set{"ami_name": nil}, "ami_name or ami_name_prefix must be set"},
		{set{"ami_name_prefix": "debian"}, "ami_name and ami_name_prefix exclude each other"},
		{set{"ami_name": "a:b*"}, "{{ clean_resource_name ... }} replaces others"},
		{set{"ami_name": "ab"}, "ami_name must have 3 to 128"},
		{set{"image_method": "dd"}, `image_method must be "ami", "snapshot", "image" or "capture"`},
		{set{"ami_regions": []string{"us"}}, "ami_regions must be the name of a region"},
		{set{"ami_regions": []string{"us-east-1", "us-east-1"}}, "ami_regions: us-east-1 is there twice"},
		{set{"snapshot_copy_duration_minutes": 20}, "snapshot_copy_duration_minutes must be from 15 to 2880 in steps of 15"},
		{set{"skip_save_build_region": true}, "skip_save_build_region needs ami_regions"},
		{set{"encrypt_boot": false, "kms_key_id": "alias/a"}, "need encrypt_boot = true"},
		{set{"region_kms_key_ids": set{"us-east-1": "alias/a"}}, "region_kms_key_ids: us-east-1 is neither region nor in ami_regions"},
		{set{"encrypt_boot": true, "ami_groups": []string{"all"}}, "an encrypted image cannot be public"},
		{set{"encrypt_boot": true, "ami_users": []string{"123456789012"}}, "an image that is encrypted by the account's default key cannot be shared: name a key for eu-central-1"},
		{set{"encrypt_boot": true, "launch_block_device_mappings": set{"device_name": "/dev/sdf", "encrypted": "false"}}, "/dev/sdf: encrypted is false, and encrypt_boot is true"},
		{set{"imds_support": "v1.0"}, `imds_support must be "v2.0"`},
		{set{"ami_users": []string{"me"}}, "ami_users must be ids of accounts"},
		{set{"ami_groups": []string{"everybody"}}, `ami_groups must be "all"`},
		{set{"ami_org_arns": []string{"o-1"}}, "ami_org_arns must be ARNs of organizations"},
		{set{"ami_ou_arns": []string{"ou-1"}}, "ami_ou_arns must be ARNs of organizational units"},
		{set{"ami_product_codes": []string{"x"}}, "ami_product_codes is not supported"},
		{set{"deprecate_at": "next year"}, "deprecate_at must be a time such as 2027-01-31T00:00:00Z or a duration such as 720h"},
		{set{"deprecate_at": "2020-01-01T00:00:00Z"}, "deprecate_at must be in the future"},
		{set{"deprecate_at": "-1h"}, "deprecate_at must be in the future"},
		{set{"deprecate_at": "99999h"}, "deprecate_at must be within 10 years"},
		{set{"deprecate_at": "20000h", "ami_groups": []string{"all"}}, "deprecate_at must be within 2 years"},
		{set{"deregistration_protection": set{"with_cooldown": true}}, "deregistration_protection: with_cooldown needs enabled = true"},
		{set{"ami_description": long}, "ami_description has 300 characters"},
		{set{"ami_description": "{{ .SourceAMIColour }}"}, "ami_description: "},

		// Tags.
		{set{"tags": set{"armfree": "x"}}, `tags: the key "armfree" is what this plugin finds its own things by`},
		{set{"run_tags": set{"aws:x": "y"}}, "run_tags: keys that begin with aws: are Amazon's"},
		{set{"snapshot_tags": set{"a": long}}, "snapshot_tags: a key may have 1 to 128 characters and a value up to 256"},
		{set{"tags": set{"a": "{{ .Nothing }}"}}, "tags: "},
		{set{"run_tag": []set{{"value": "x"}}}, "run_tag: key must be set"},
		{set{"snapshot_tags": manyTags(49)}, "snapshot_tags: EC2 allows 48 tags beside the two that this plugin needs; there are 49"},

		// The rest.
		{set{"capacity_timeout": "-1s"}, "capacity_timeout must not be negative"},
		{set{"capacity_order": "cheap"}, `capacity_order must be "place" or "size"`},
		{set{"instance_tpye": "t4g.micro"}, "instance_tpye"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			_, err := new(Config).Prepare(with(t, tt.set))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v", err)
			}
			var m *packersdk.MultiError
			if errors.As(err, &m) && len(m.Errors) != 1 {
				t.Errorf("there is more than one sentence: %v", err)
			}
			if strings.Contains(err.Error(), "secret nonsense") || strings.Contains(err.Error(), "wJalrX") {
				t.Error("the message quotes a secret")
			}
		})
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	_, err := new(Config).Prepare(with(t, set{
		"region": "x", "instance_type": "x", "subnet_id": "x", "source_ami": "x", "ami_name": "x", "image_timeout": "-2m", "tags": set{"armfree": ""}, "ami": "x",
		"ssh_port": 99999, "ssh_timeout": "5",
		"instance_timeout": "soon", "root_volume_size": "big", "metadata_options": set{"http_put_response_hop_limit": "far"}, "ami_title": "x", // which cannot be decoded
	}))
	for _, want := range []string{
		"region must", "instance_type must", "subnet_id must", "source_ami must", "ami_name must", "image_timeout must", "tags: ", "did you mean source_ami",
		"ssh_port must be from 1 to 65535, it is 99999", "ssh_timeout", "instance_timeout must be a duration", "root_volume_size must be a whole number", "http_put_response_hop_limit", "ami_title",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

// Packer hands HCL over in another form.
func TestAllMistakesAtOnceInHCL(t *testing.T) {
	attrs := map[string]cty.Value{}
	for name, spec := range new(Builder).ConfigSpec() {
		attrs[name] = cty.NullVal(hcldec.ImpliedType(hcldec.ObjectSpec{name: spec}).AttributeType(name))
	}
	for k, v := range good(t) {
		attrs[k] = cty.StringVal(v.(string))
	}
	attrs["instance_timeout"], attrs["image_timeout"], attrs["subnet_id"] = cty.StringVal("soon"), cty.StringVal("later"), cty.StringVal("x")
	_, _, err := (&Builder{Mask: new(mask.Masker)}).Prepare(cty.ObjectVal(attrs))
	var all *packersdk.MultiError
	if !errors.As(err, &all) || len(all.Errors) != 3 {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"instance_timeout", "image_timeout", "subnet_id"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in: %v", want, err)
		}
	}
}

// A template of which nothing can be read is not said to lack everything.
func TestNothingDecoded(t *testing.T) {
	_, err := new(Config).Prepare(with(t, set{"ami_name": "{{ nonsense }}"}))
	var all *packersdk.MultiError
	if !errors.As(err, &all) || len(all.Errors) != 1 || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("%v", err)
	}
}
