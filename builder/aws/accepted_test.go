// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"maps"
	"strings"
	"testing"
)

// ignored are options that have no effect, and why.
func ignored() map[string]struct {
	value interface{}
	why   string
} {
	type o = struct {
		value interface{}
		why   string
	}
	const graviton, windows, gone, fleet, sessions = "every Graviton machine is like that", "there is no Windows for Graviton", "AWS does not have it any more", "without a fleet", "it is for Session Manager"
	return map[string]o{
		"ena_support": {true, graviton}, "sriov_support": {true, graviton}, "ebs_optimized": {"true", graviton}, "ami_virtualization_type": {"hvm", graviton},
		"enable_t2_unlimited": {true, "it is for T2 machines"}, "no_ephemeral": {true, windows}, "windows_password_timeout": {"10m", windows},
		"fast_launch":            {set{"enable_fast_launch": true, "region_launch_templates": set{"region": "eu-central-1"}}, windows},
		"block_duration_minutes": {60, gone}, "spot_price_auto_product": {"Linux/UNIX (Amazon VPC)", gone},
		"fleet_tags": {set{"a": "{{ .SourceAMI }}"}, fleet}, "fleet_tag": {set{"key": "a", "value": "b"}, fleet},
		"session_manager_port": {8022, sessions}, "pause_before_ssm": {"3s", sessions},
		"aws_polling": {set{"delay_seconds": 30, "max_attempts": "50"}, "this builder waits by itself"},
	}
}

// refused are options of amazon-ebs that a build must not go on without; the
// sentences are among the mistakes.
func refused() []string {
	return []string{"ami_product_codes", "license_specifications", "enable_nitro_enclave", "elastic_ip_allocation_id", "mfa_code", "vault_aws_engine", "boot_mode", "ami_architecture", "architecture"}
}

// misnomers are options that never were, and what was meant.
func misnomers() map[string]string {
	return map[string]string{
		"ami": "source_ami", "ami_id": "source_ami", "source_ami_id": "source_ami", "base_ami": "source_ami", "source_image": "source_ami", "image_id": "source_ami",
		"image_name": "ami_name", "image_name_prefix": "ami_name_prefix", "image_description": "ami_description", "description": "ami_description", "skip_create_image": "skip_create_ami",
		"aws_region": "region", "aws_profile": "profile", "aws_access_key": "access_key", "aws_secret_key": "secret_key", "aws_access_key_id": "access_key",
		"aws_secret_access_key": "secret_key", "access_key_id": "access_key", "secret_access_key": "secret_key", "session_token": "token", "role_arn": "assume_role {",
		"regions": "ami_regions", "instance_size": "instance_type", "machine_type": "instance_type", "shape": "instance_type", "key_name": "ssh_keypair_name",
		"key_pair_name": "ssh_keypair_name", "ssh_key_name": "ssh_keypair_name", "ssh_keypair": "ssh_keypair_name", "ssh_private_ip": `ssh_interface = "private_ip"`,
		"security_groups": "security_group_ids", "vpc_security_group_ids": "security_group_ids", "associate_public_ip": "associate_public_ip_address",
		"assign_public_ip": "associate_public_ip_address", "subnet": "subnet_id", "subnet_ocid": "subnet_id", "instance_profile": "iam_instance_profile", "iam_profile": "iam_instance_profile",
		"ami_tags": "tags", "instance_tags": "run_tags", "volume_tags": "run_volume_tags", "volume_size": "root_volume_size", "disk_size": "root_volume_size",
		"volume_type": "root_volume_type", "encrypted": "encrypt_boot", "block_device_mappings": "launch_block_device_mappings", "http_tokens": "metadata_options {", "spot_max_price": "spot_price",
	}
}

func TestIgnoredOptions(t *testing.T) {
	for name, o := range ignored() {
		warnings, err := new(Config).Prepare(with(t, set{name: o.value}))
		if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0], name+" has no effect: ") || !strings.Contains(warnings[0], o.why) {
			t.Errorf("%s: %q, %v", name, warnings, err)
		}
	}
	// What means the same is said in one line, and what is off is not said.
	warnings, err := new(Config).Prepare(with(t, set{
		"ena_support": true, "sriov_support": "true", "ebs_optimized": true, "no_ephemeral": false, "block_duration_minutes": "0", "windows_password_timeout": "",
	}))
	if err != nil || len(warnings) != 1 || warnings[0] != "ena_support, sriov_support, ebs_optimized have no effect: every Graviton machine is like that" {
		t.Errorf("%q, %v", warnings, err)
	}
}

func TestMisnomers(t *testing.T) {
	for name, want := range misnomers() {
		v := interface{}("x")
		switch name {
		case "ami_tags", "instance_tags", "volume_tags":
			v = set{"a": "b"}
		case "block_device_mappings":
			v = set{"device_name": "/dev/sda1"}
		}
		_, err := new(Config).Prepare(with(t, set{name: v}))
		if err == nil || !strings.Contains(err.Error(), "there is no option "+name+"; did you mean "+want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is fine for Graviton machines is not refused, and what templates set to
// nothing is not there.
func TestAcceptedValues(t *testing.T) {
	change := set{"boot_mode": "uefi", "ami_architecture": "arm64", "enable_nitro_enclave": false}
	for _, name := range []string{"mfa_code", "elastic_ip_allocation_id", "ami_product_codes"} {
		change[name] = ""
	}
	maps.Copy(change, set{"vault_aws_engine": nil})
	if warnings, err := new(Config).Prepare(with(t, change)); err != nil || len(warnings) > 0 {
		t.Errorf("%q, %v", warnings, err)
	}
	for name, v := range (set{"boot_mode": "legacy-bios", "architecture": "x86_64", "ami_architecture": "x86_64"}) {
		if _, err := new(Config).Prepare(with(t, set{name: v})); err == nil || !strings.HasPrefix(err.Error(), "1 error") || !strings.Contains(err.Error(), name+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Where the group that is made lets SSH in depends on how the machine is reached.
func TestSources(t *testing.T) {
	const private = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10"
	for _, tt := range []struct {
		set  set
		want string
		port int
	}{
		{set{}, "", 22},
		{set{"ssh_port": 2222}, "", 2222},
		{set{"communicator": "none"}, "", 0},
		{set{"ssh_interface": "private_ip"}, private, 22},
		{set{"associate_public_ip_address": false}, private, 22},
		{set{"associate_public_ip_address": "false", "ssh_interface": "public_dns"}, "", 22},
		{set{"ssh_interface": "ipv6"}, "::/0", 22},
		{set{"ssh_bastion_host": "b", "ssh_bastion_agent_auth": true}, "0.0.0.0/0", 22},
		{set{"temporary_security_group_source_public_ip": "false"}, "0.0.0.0/0", 22},
		{set{"temporary_security_group_source_public_ip": true, "ssh_interface": "private_ip"}, "", 22},
		{set{"ssh_interface": "private_ip", "temporary_security_group_source_cidrs": []string{"10.1.0.0/16"}}, "10.1.0.0/16", 22},
	} {
		_, all := prepared(t, with(t, tt.set))
		if g := all[0].Network.Temporary; strings.Join(g.Sources, ",") != tt.want || g.Port != tt.port {
			t.Errorf("%v: port %d from %q", tt.set, g.Port, g.Sources)
		}
	}
}
