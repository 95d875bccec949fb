// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

const runs, registers, opens = "RunInstances", "RegisterImage", "AuthorizeSecurityGroupIngress"

// rows are the options that AWS is told of.
func (s *wireSet) rows(t *testing.T) []onWire {
	return slices.Concat(s.machineRows(), s.deviceRows(), s.sshRows(t), s.sourceRows(), s.networkRows(), s.searchRows(), s.imageRows(), s.tagRows(), s.accessRows())
}

func wants(path string, value any) map[string]any { return map[string]any{path: value} }

func (s *wireSet) machineRows() []onWire {
	file := filepath.Join(s.files, "user-data")
	policy := func(effect string) set {
		return set{"temporary_iam_instance_profile_policy_document": set{"Version": "2008-10-17", "Statement": []set{{"Effect": effect, "Action": []string{"s3:GetObject"}, "Resource": []string{"*"}}}}}
	}
	dedicated := "dedicated hosts and instances"
	metadata := func(name string, value any) set { return set{"metadata_options": set{name: value}} }
	return []onWire{
		{options: []string{"root_volume_size"}, set: set{"root_volume_size": 12}, op: runs, want: wants("device:/dev/xvda/Ebs.VolumeSize", "12")},
		{options: []string{"root_volume_type"}, set: set{"root_volume_type": "gp2"}, op: runs, want: wants("device:/dev/xvda/Ebs.VolumeType", "gp2")},
		{options: []string{"iam_instance_profile"}, set: set{"iam_instance_profile": "p"}, op: runs, want: wants("IamInstanceProfile.Name", "p")},
		{options: []string{"skip_profile_validation"}, with: set{"iam_instance_profile": "p"}, set: set{"skip_profile_validation": true}, op: "GetInstanceProfile", gone: true},
		{
			options: []string{
				"temporary_iam_instance_profile_policy_document", "temporary_iam_instance_profile_policy_document.Version", "temporary_iam_instance_profile_policy_document.Statement",
				"temporary_iam_instance_profile_policy_document.Statement.Effect", "temporary_iam_instance_profile_policy_document.Statement.Action", "temporary_iam_instance_profile_policy_document.Statement.Resource",
			},
			set: policy("Deny"), op: "PutRolePolicy", want: wants("PolicyDocument", `{"Version":"2008-10-17","Statement":[{"Effect":"Deny","Action":["s3:GetObject"],"Resource":["*"]}]}`),
		},
		{options: []string{"user_data"}, set: set{"user_data": "#!/bin/sh\n: mine\n"}, op: runs, want: wants("userdata", contains(": mine"))},
		{options: []string{"user_data_file"}, set: set{"user_data_file": file}, op: runs, want: wants("userdata", contains(": from a file"))},
		{options: []string{"machine_lifetime"}, set: set{"machine_lifetime": "90m"}, op: runs, want: wants("userdata", contains("--on-active=5400 "))},
		{options: []string{"skip_machine_lifetime"}, set: set{"skip_machine_lifetime": true, "user_data": "#!/bin/sh\n: mine\n"}, op: runs, want: wants("userdata", lacks("--on-active="))},
		{options: []string{"metadata_options", "metadata_options.http_tokens"}, set: metadata("http_tokens", "optional"), op: runs, want: wants("MetadataOptions.HttpTokens", "optional")},
		{options: []string{"metadata_options.http_endpoint"}, set: metadata("http_endpoint", "disabled"), op: runs, want: wants("MetadataOptions.HttpEndpoint", "disabled")},
		{options: []string{"metadata_options.http_put_response_hop_limit"}, set: metadata("http_put_response_hop_limit", "2"), op: runs, want: wants("MetadataOptions.HttpPutResponseHopLimit", "2")},
		{options: []string{"metadata_options.instance_metadata_tags"}, set: metadata("instance_metadata_tags", "enabled"), op: runs, want: wants("MetadataOptions.InstanceMetadataTags", "enabled")},
		{options: []string{"shutdown_behavior"}, set: set{"shutdown_behavior": "stop"}, op: runs, want: wants("InstanceInitiatedShutdownBehavior", "stop")},
		{
			options: []string{"disable_stop_instance"}, with: set{"skip_create_ami": false, "image_timeout": "2m"}, set: set{"disable_stop_instance": true}, op: "StopInstances", gone: true,
			fails: "timed out after 2m0s waiting for instance",
		},
		{options: []string{"enable_unlimited_credits"}, set: set{"enable_unlimited_credits": "true"}, op: runs, want: wants("CreditSpecification.CpuCredits", "unlimited")},
		// The simulator has no dedicated hosts: it refuses what it is asked for.
		{options: []string{"placement", "placement.tenancy"}, set: set{"placement": set{"tenancy": "dedicated"}}, op: runs, want: wants("Placement.Tenancy", "dedicated"), fails: dedicated},
		{options: []string{"placement.host_id"}, set: set{"placement": set{"host_id": "h-0123456789abcdef0"}}, op: runs, want: wants("Placement.HostId", "h-0123456789abcdef0"), fails: dedicated},
		{options: []string{"placement.host_resource_group_arn"}, set: set{"placement": set{"host_resource_group_arn": "arn:aws:x"}}, op: runs, want: wants("Placement.HostResourceGroupArn", "arn:aws:x"), fails: "HostResourceGroupArn"},
		{options: []string{"tenancy"}, set: set{"tenancy": "dedicated"}, op: runs, want: wants("Placement.Tenancy", "dedicated"), fails: dedicated},
		{options: []string{"capacity_reservation_preference"}, set: set{"capacity_reservation_preference": "open"}, op: runs, want: wants("CapacityReservationSpecification.CapacityReservationPreference", "open")},
		{
			options: []string{"capacity_reservation_id"}, set: set{"capacity_reservation_id": "cr-0123456789abcdef0"}, op: runs,
			want: wants("CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId", "cr-0123456789abcdef0"), fails: "CapacityReservationTarget",
		},
		{
			options: []string{"capacity_reservation_group_arn"}, set: set{"capacity_reservation_group_arn": "arn:aws:x"}, op: runs,
			want: wants("CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationResourceGroupArn", "arn:aws:x"), fails: "CapacityReservationTarget",
		},
	}
}

// deviceRows are those of devices, of the machine and of the image.
func (s *wireSet) deviceRows() (list []onWire) {
	for _, d := range []struct {
		name, member, want string
		device             set
	}{
		{"device_name", "Ebs.VolumeSize", "5", set{"volume_size": 5}},
		{"volume_size", "Ebs.VolumeSize", "5", set{"volume_size": "5"}},
		{"volume_type", "Ebs.VolumeType", "gp3", set{"volume_size": 5, "volume_type": "gp3"}},
		{"iops", "Ebs.Iops", "3500", set{"volume_size": 10, "volume_type": "gp3", "iops": 3500}},
		{"throughput", "Ebs.Throughput", "200", set{"volume_size": 5, "volume_type": "gp3", "throughput": "200"}},
		{"encrypted", "Ebs.Encrypted", "true", set{"volume_size": 5, "encrypted": true}},
		{"kms_key_id", "Ebs.KmsKeyId", keyHere, set{"volume_size": 5, "encrypted": true, "kms_key_id": keyHere}},
		{"snapshot_id", "Ebs.SnapshotId", "SNAPSHOT", set{"snapshot_id": "SNAPSHOT"}},
		{"delete_on_termination", "Ebs.DeleteOnTermination", "true", set{"volume_size": 5, "delete_on_termination": true}},
		{"virtual_name", "VirtualName", "ephemeral0", set{"virtual_name": "ephemeral0"}},
		{"no_device", "NoDevice", "", set{"no_device": true}},
	} {
		device := set{"device_name": "/dev/sdf"}
		for k, v := range d.device {
			if device[k] = v; v == "SNAPSHOT" {
				device[k] = s.snapshot
			}
		}
		want := strings.ReplaceAll(d.want, "SNAPSHOT", s.snapshot)
		of := onWire{set: set{"launch_block_device_mappings": []set{device}}, op: runs, want: wants("device:/dev/sdf/"+d.member, want)}
		of.options = []string{"launch_block_device_mappings." + d.name}
		image := onWire{with: set{"skip_create_ami": false}, set: set{"ami_block_device_mappings": []set{device}}, op: registers, want: wants("device:/dev/sdf/"+d.member, want)}
		image.options = []string{"ami_block_device_mappings." + d.name}
		if d.name == "device_name" {
			of.options, image.options = append(of.options, "launch_block_device_mappings"), append(image.options, "ami_block_device_mappings")
		}
		if d.name == "virtual_name" {
			image.fails = "images with devices that are no EBS volumes" // which the simulator does not have
		}
		if d.name == "no_device" { // an image does without a disk of its machine
			image.with = set{"skip_create_ami": false, "launch_block_device_mappings": []set{{"device_name": "/dev/sdf", "volume_size": 5, "delete_on_termination": true}}}
			image.want = wants("device:/dev/sdf/Ebs.DeleteOnTermination", nil)
		}
		if d.name == "kms_key_id" { // not for images: TestMistakes
			list = append(list, of)
			continue
		}
		list = append(list, of, image)
	}
	return list
}

func (s *wireSet) sshRows(t *testing.T) []onWire {
	private, key := s.file(t, "key.pem"), strings.Fields(s.file(t, "key.pub"))[1]
	file := filepath.Join(s.files, "key.pem")
	ssh := set{"communicator": "ssh"}
	own := func(v any) bool { text, _ := v.(string); return !strings.Contains(text, "ssh_authorized_keys") }
	return []onWire{
		{options: []string{"communicator"}, set: ssh, op: runs, want: wants("userdata", contains("ssh_authorized_keys")), until: runs},
		{options: []string{"ssh_key_delivery"}, with: ssh, set: set{"ssh_key_delivery": "key_pair"}, op: runs, want: wants("KeyName", contains("armfree-")), until: runs},
		{options: []string{"ssh_keypair_name"}, with: set{"communicator": "ssh", "ssh_private_key": private}, set: set{"ssh_keypair_name": "k"}, op: runs, want: wants("KeyName", "k"), until: runs},
		{options: []string{"ssh_private_key"}, with: ssh, set: set{"ssh_private_key": private}, op: runs, want: wants("userdata", contains(key)), until: runs},
		{options: []string{"ssh_private_key_file"}, with: ssh, set: set{"ssh_private_key_file": file}, op: runs, want: wants("userdata", contains(key)), until: runs},
		{options: []string{"ssh_password"}, with: ssh, set: set{"ssh_password": "open sesame"}, op: runs, want: wants("userdata", own), until: runs},
		{options: []string{"ssh_agent_auth"}, with: set{"communicator": "ssh", "ssh_password": ""}, set: set{"ssh_agent_auth": true}, op: runs, want: wants("userdata", own), until: runs},
		{options: []string{"ssh_pin_host_key"}, with: ssh, set: set{"ssh_pin_host_key": true}, op: runs, want: wants("userdata", contains("ed25519_private")), until: runs},
		{options: []string{"temporary_key_pair_type"}, with: ssh, set: set{"temporary_key_pair_type": "rsa"}, op: runs, want: wants("userdata", contains("ssh-rsa ")), until: runs},
		{options: []string{"temporary_key_pair_bits"}, with: set{"communicator": "ssh", "temporary_key_pair_type": "ecdsa"}, set: set{"temporary_key_pair_bits": 256}, op: runs, want: wants("userdata", contains("nistp256")), until: runs},
		{options: []string{"ssh_port"}, with: ssh, set: set{"ssh_port": 2222}, op: opens, want: wants("IpPermissions.1.FromPort", "2222"), until: opens},
		{options: []string{"ssh_interface"}, with: ssh, set: set{"ssh_interface": "private_ip"}, op: opens, want: wants("IpPermissions.1.IpRanges.1.CidrIp", "10.0.0.0/8"), until: opens},
		{options: []string{"ssh_bastion_host"}, with: ssh, set: set{"ssh_bastion_host": "b", "ssh_bastion_agent_auth": true}, op: opens, want: wants("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"), until: opens},
		{options: []string{"ssh_proxy_host"}, with: ssh, set: set{"ssh_proxy_host": "b"}, op: opens, want: wants("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"), until: opens},
		{options: []string{"temporary_security_group_source_cidrs"}, with: ssh, set: set{"temporary_security_group_source_cidrs": "192.0.2.0/24"}, op: opens, want: wants("IpPermissions.1.IpRanges.1.CidrIp", "192.0.2.0/24"), until: opens},
		{options: []string{"temporary_security_group_source_public_ip"}, with: ssh, set: set{"temporary_security_group_source_public_ip": false}, op: opens, want: wants("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"), until: opens},
	}
}

func (s *wireSet) sourceRows() []onWire {
	const parameter = "/aws/service/debian/release/13/latest/arm64"
	filter := func(more set) set {
		f := set{"filters": map[string]string{"name": "debian-12-arm64-*"}, "owners": []string{ec2sim.DebianAccount}}
		for k, v := range more {
			f[k] = v
		}
		return set{"source_ami": nil, "source_ami_filter": f}
	}
	one := func(more set) set { f := filter(more); f["source_ami_filter"].(set)["most_recent"] = true; return f }
	return []onWire{
		{options: []string{"source_ami"}, set: set{"source_ami": s.ImageID(near, newer)}, op: runs, want: wants("ImageId", s.ImageID(near, newer))},
		{options: []string{"source_ami_ssm_parameter"}, set: set{"source_ami": nil, "source_ami_ssm_parameter": parameter}, op: "GetParameter", want: wants("Name", parameter)},
		{options: []string{"source_ami_filter", "source_ami_filter.filters"}, set: one(nil), op: "DescribeImages", want: wants("filter:name", "debian-12-arm64-*")},
		{options: []string{"source_ami_filter.owners"}, set: one(nil), op: "DescribeImages", want: wants("Owner", ec2sim.DebianAccount)},
		{
			options: []string{"source_ami_filter.filter", "source_ami_filter.filter.name", "source_ami_filter.filter.value"}, set: one(set{"filter": []set{{"name": "state", "value": "available,pending"}}}),
			op: "DescribeImages", want: wants("filter:state", "available,pending"),
		},
		{options: []string{"source_ami_filter.most_recent"}, with: filter(nil), set: one(nil), op: runs, want: wants("ImageId", s.ImageID(near, "debian-12-arm64-20261112-2658")), alone: true},
		{options: []string{"source_ami_filter.include_deprecated"}, with: one(nil), set: one(set{"include_deprecated": true}), op: "DescribeImages", want: wants("IncludeDeprecated", "true")},
	}
}

func (s *wireSet) networkRows() []onWire {
	const describes = "DescribeSubnets"
	byName := []set{{"name": "vpc-id", "value": s.vpc}}
	return []onWire{
		{options: []string{"subnet_id"}, set: set{"subnet_id": s.subnet}, op: runs, want: wants("SubnetId", s.subnet)},
		{options: []string{"subnet_ids"}, set: set{"subnet_ids": s.subnet + "," + s.small}, op: runs, want: wants("SubnetId", s.subnet)},
		{options: []string{"subnet_filter", "subnet_filter.filters"}, set: set{"subnet_filter": set{"filters": map[string]string{"vpc-id": s.vpc}}}, op: describes, want: wants("filter:vpc-id", s.vpc)},
		{options: []string{"subnet_filter.filter", "subnet_filter.filter.name", "subnet_filter.filter.value"}, set: set{"subnet_filter": set{"filter": byName}}, op: describes, want: wants("filter:vpc-id", s.vpc)},
		{
			options: []string{"subnet_filter.most_free"}, with: set{"subnet_filter": set{"filter": byName}}, set: set{"subnet_filter": set{"filter": byName, "most_free": true}},
			op: runs, want: wants("SubnetId", s.subnet),
		},
		{options: []string{"vpc_id"}, set: set{"vpc_id": s.vpc}, op: describes, want: wants("filter:vpc-id", s.vpc)},
		{options: []string{"vpc_filter", "vpc_filter.filters"}, set: set{"vpc_filter": set{"filters": map[string]string{"vpc-id": s.vpc}}}, op: "DescribeVpcs", want: wants("filter:vpc-id", s.vpc)},
		{options: []string{"vpc_filter.filter", "vpc_filter.filter.name", "vpc_filter.filter.value"}, set: set{"vpc_filter": set{"filter": byName}}, op: "DescribeVpcs", want: wants("filter:vpc-id", s.vpc)},
		{options: []string{"associate_public_ip_address"}, set: set{"associate_public_ip_address": "false"}, op: runs, want: wants("NetworkInterface.1.AssociatePublicIpAddress", "false")},
		{options: []string{"security_group_id"}, set: set{"security_group_id": s.group}, op: runs, want: wants("SecurityGroupId", s.group)},
		{options: []string{"security_group_ids"}, set: set{"security_group_ids": []string{s.group}}, op: runs, want: wants("SecurityGroupId", s.group)},
		{options: []string{"security_group_filter", "security_group_filter.filters"}, set: set{"security_group_filter": set{"filters": map[string]string{"group-name": "mine"}}}, op: runs, want: wants("SecurityGroupId", s.group)},
		{
			options: []string{"security_group_filter.filter", "security_group_filter.filter.name", "security_group_filter.filter.value"},
			set:     set{"security_group_filter": set{"filter": []set{{"name": "group-name", "value": "mine"}}}}, op: "DescribeSecurityGroups", want: wants("filter:group-name", "mine"),
		},
	}
}

func (s *wireSet) searchRows() []onWire {
	there := func(more set) set {
		r := set{"region": far, "source_ami": s.ImageID(far, newer)}
		for k, v := range more {
			r[k] = v
		}
		return set{"additional_region": []set{r}}
	}
	// Another region is looked at when there is no room in the first.
	other := func(name string, more set, path string, want any) onWire {
		return onWire{
			options: []string{"additional_region." + name}, faults: []ec2sim.Fault{{Kind: ec2sim.FaultCapacity, Region: near}}, with: set{"additional_region": []set{{"region": far, "source_ami": s.ImageID(far, "debian-12-arm64-20261112-2658")}}},
			set: there(more), op: runs, host: far, want: wants(path, want),
		}
	}
	full := []ec2sim.Fault{{Kind: ec2sim.FaultCapacity, Region: near}}
	return []onWire{
		{options: []string{"instance_type"}, set: set{"instance_type": "c7g.medium"}, op: runs, want: wants("InstanceType", "c7g.medium")},
		{options: []string{"instance_types"}, set: set{"instance_types": []string{"m7g.medium", "t4g.small"}}, op: runs, want: wants("InstanceType", "m7g.medium")},
		{options: []string{"spot_instance_types"}, with: set{"spot_price": "auto"}, set: set{"spot_instance_types": "t4g.nano"}, op: runs, want: wants("InstanceType", "t4g.nano")},
		{options: []string{"markets"}, set: set{"markets": []string{"spot"}}, op: runs, want: wants("InstanceMarketOptions.MarketType", "spot")},
		{options: []string{"spot_price"}, set: set{"spot_price": "0.05"}, op: runs, want: wants("InstanceMarketOptions.SpotOptions.MaxPrice", "0.05")},
		{options: []string{"availability_zone"}, set: set{"availability_zone": near + "b"}, op: runs, want: wants("SubnetId", s.DefaultSubnet(s.account, near, near+"b"))},
		{options: []string{"availability_zones"}, set: set{"availability_zones": []string{near + "c", near + "a"}}, op: runs, want: wants("SubnetId", s.DefaultSubnet(s.account, near, near+"c"))},
		{options: []string{"skip_region_validation"}, set: set{"skip_region_validation": "true"}, op: "DescribeRegions", gone: true},
		{options: []string{"free_tier"}, set: set{"free_tier": "ignore"}, op: "DescribeVolumes", gone: true},
		{options: []string{"free_allowance", "free_allowance.instance_types"}, set: set{"free_allowance": set{"instance_types": []string{"t4g.small"}}}, op: runs, want: wants("InstanceType", "t4g.small")},
		{options: []string{"free_allowance.storage_in_gbs"}, set: set{"free_allowance": set{"storage_in_gbs": 5}}, op: runs, says: "5 GB of volumes are free (free_allowance)"},
		{options: []string{"additional_region", "additional_region.region"}, set: there(nil), faults: full, op: runs, host: far, want: wants("ImageId", s.ImageID(far, newer)), alone: true, with: set{"capacity_timeout": "1m"}},
		other("source_ami", nil, "ImageId", s.ImageID(far, newer)),
		other("availability_zone", set{"availability_zone": far + "b"}, "SubnetId", s.DefaultSubnet(s.account, far, far+"b")),
		other("availability_zones", set{"availability_zones": []string{far + "c", far + "b"}}, "SubnetId", s.DefaultSubnet(s.account, far, far+"c")),
		other("subnet_id", set{"subnet_id": s.subnetThere}, "SubnetId", s.subnetThere),
		other("subnet_ids", set{"subnet_ids": []string{s.subnetThere}}, "SubnetId", s.subnetThere),
		other("vpc_id", set{"vpc_id": s.vpcThere}, "SubnetId", s.lonely),
		other("security_group_id", set{"security_group_id": s.groupThere}, "SecurityGroupId", s.groupThere),
		other("security_group_ids", set{"security_group_ids": []string{s.groupThere}}, "SecurityGroupId", s.groupThere),
		other("kms_key_id", set{"kms_key_id": keyThere}, "device:/dev/xvda/Ebs.KmsKeyId", keyThere),
	}
}
