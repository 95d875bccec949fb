// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awsbuild

// Misnomers are options that people write: names that other tools have for the same
// thing, and that amazon-ebs had once. Packer would only say that it does not know
// them.
type Misnomers struct {
	AMI                string            `mapstructure:"ami" undocumented:"true"`
	AMIID              string            `mapstructure:"ami_id" undocumented:"true"`
	SourceAMIID        string            `mapstructure:"source_ami_id" undocumented:"true"`
	BaseAMI            string            `mapstructure:"base_ami" undocumented:"true"`
	SourceImage        string            `mapstructure:"source_image" undocumented:"true"`
	ImageID            string            `mapstructure:"image_id" undocumented:"true"`
	ImageName          string            `mapstructure:"image_name" undocumented:"true"`
	ImageNamePrefix    string            `mapstructure:"image_name_prefix" undocumented:"true"`
	ImageDescription   string            `mapstructure:"image_description" undocumented:"true"`
	Description        string            `mapstructure:"description" undocumented:"true"`
	SkipCreateImage    string            `mapstructure:"skip_create_image" undocumented:"true"`
	AWSRegion          string            `mapstructure:"aws_region" undocumented:"true"`
	AWSProfile         string            `mapstructure:"aws_profile" undocumented:"true"`
	AWSAccessKey       string            `mapstructure:"aws_access_key" undocumented:"true"`
	AWSSecretKey       string            `mapstructure:"aws_secret_key" undocumented:"true"`
	AWSAccessKeyID     string            `mapstructure:"aws_access_key_id" undocumented:"true"`
	AWSSecretAccessKey string            `mapstructure:"aws_secret_access_key" undocumented:"true"`
	AccessKeyID        string            `mapstructure:"access_key_id" undocumented:"true"`
	SecretAccessKey    string            `mapstructure:"secret_access_key" undocumented:"true"`
	SessionToken       string            `mapstructure:"session_token" undocumented:"true"`
	RoleARN            string            `mapstructure:"role_arn" undocumented:"true"`
	Regions            []string          `mapstructure:"regions" undocumented:"true"`
	InstanceSize       string            `mapstructure:"instance_size" undocumented:"true"`
	MachineType        string            `mapstructure:"machine_type" undocumented:"true"`
	Shape              string            `mapstructure:"shape" undocumented:"true"`
	KeyName            string            `mapstructure:"key_name" undocumented:"true"`
	KeyPairName        string            `mapstructure:"key_pair_name" undocumented:"true"`
	SSHKeyName         string            `mapstructure:"ssh_key_name" undocumented:"true"`
	SSHKeyPair         string            `mapstructure:"ssh_keypair" undocumented:"true"`
	SSHPrivateIP       string            `mapstructure:"ssh_private_ip" undocumented:"true"`
	SecurityGroups     []string          `mapstructure:"security_groups" undocumented:"true"`
	VPCSecurityGroups  []string          `mapstructure:"vpc_security_group_ids" undocumented:"true"`
	AssociatePublicIP  string            `mapstructure:"associate_public_ip" undocumented:"true"`
	AssignPublicIP     string            `mapstructure:"assign_public_ip" undocumented:"true"`
	Subnet             string            `mapstructure:"subnet" undocumented:"true"`
	SubnetOCID         string            `mapstructure:"subnet_ocid" undocumented:"true"`
	InstanceProfile    string            `mapstructure:"instance_profile" undocumented:"true"`
	IAMProfile         string            `mapstructure:"iam_profile" undocumented:"true"`
	AMITags            map[string]string `mapstructure:"ami_tags" undocumented:"true"`
	InstanceTags       map[string]string `mapstructure:"instance_tags" undocumented:"true"`
	VolumeTags         map[string]string `mapstructure:"volume_tags" undocumented:"true"`
	VolumeSize         string            `mapstructure:"volume_size" undocumented:"true"`
	DiskSize           string            `mapstructure:"disk_size" undocumented:"true"`
	VolumeType         string            `mapstructure:"volume_type" undocumented:"true"`
	Encrypted          string            `mapstructure:"encrypted" undocumented:"true"`
	BlockDevices       []BlockDevice     `mapstructure:"block_device_mappings" undocumented:"true"`
	HTTPTokens         string            `mapstructure:"http_tokens" undocumented:"true"`
	SpotMaxPrice       string            `mapstructure:"spot_max_price" undocumented:"true"`
}

// problems says what was meant.
func (m Misnomers) problems(n *notes) {
	for _, o := range []struct {
		is        bool
		name, was string
	}{
		{m.AMI != "", "ami", "source_ami"},
		{m.AMIID != "", "ami_id", "source_ami"},
		{m.SourceAMIID != "", "source_ami_id", "source_ami"},
		{m.BaseAMI != "", "base_ami", "source_ami"},
		{m.SourceImage != "", "source_image", "source_ami"},
		{m.ImageID != "", "image_id", "source_ami"},
		{m.ImageName != "", "image_name", "ami_name"},
		{m.ImageNamePrefix != "", "image_name_prefix", "ami_name_prefix"},
		{m.ImageDescription != "", "image_description", "ami_description"},
		{m.Description != "", "description", "ami_description"},
		{m.SkipCreateImage != "", "skip_create_image", "skip_create_ami"},
		{m.AWSRegion != "", "aws_region", "region"},
		{m.AWSProfile != "", "aws_profile", "profile"},
		{m.AWSAccessKey != "", "aws_access_key", "access_key"},
		{m.AWSSecretKey != "", "aws_secret_key", "secret_key"},
		{m.AWSAccessKeyID != "", "aws_access_key_id", "access_key"},
		{m.AWSSecretAccessKey != "", "aws_secret_access_key", "secret_key"},
		{m.AccessKeyID != "", "access_key_id", "access_key"},
		{m.SecretAccessKey != "", "secret_access_key", "secret_key"},
		{m.SessionToken != "", "session_token", "token"},
		{m.RoleARN != "", "role_arn", "assume_role { role_arn = ... }"},
		{len(m.Regions) > 0, "regions", "ami_regions (copies) or additional_region (where a machine is looked for)"},
		{m.InstanceSize != "", "instance_size", "instance_type"},
		{m.MachineType != "", "machine_type", "instance_type"},
		{m.Shape != "", "shape", "instance_type"},
		{m.KeyName != "", "key_name", "ssh_keypair_name"},
		{m.KeyPairName != "", "key_pair_name", "ssh_keypair_name"},
		{m.SSHKeyName != "", "ssh_key_name", "ssh_keypair_name"},
		{m.SSHKeyPair != "", "ssh_keypair", "ssh_keypair_name"},
		{m.SSHPrivateIP != "", "ssh_private_ip", "ssh_interface = \"private_ip\""},
		{len(m.SecurityGroups) > 0, "security_groups", "security_group_ids"},
		{len(m.VPCSecurityGroups) > 0, "vpc_security_group_ids", "security_group_ids"},
		{m.AssociatePublicIP != "", "associate_public_ip", "associate_public_ip_address"},
		{m.AssignPublicIP != "", "assign_public_ip", "associate_public_ip_address"},
		{m.Subnet != "", "subnet", "subnet_id"},
		{m.SubnetOCID != "", "subnet_ocid", "subnet_id"},
		{m.InstanceProfile != "", "instance_profile", "iam_instance_profile"},
		{m.IAMProfile != "", "iam_profile", "iam_instance_profile"},
		{len(m.AMITags) > 0, "ami_tags", "tags"},
		{len(m.InstanceTags) > 0, "instance_tags", "run_tags"},
		{len(m.VolumeTags) > 0, "volume_tags", "run_volume_tags"},
		{m.VolumeSize != "", "volume_size", "root_volume_size, or launch_block_device_mappings { volume_size = ... }"},
		{m.DiskSize != "", "disk_size", "root_volume_size"},
		{m.VolumeType != "", "volume_type", "root_volume_type, or launch_block_device_mappings { volume_type = ... }"},
		{m.Encrypted != "", "encrypted", "encrypt_boot"},
		{len(m.BlockDevices) > 0, "block_device_mappings", "launch_block_device_mappings or ami_block_device_mappings"},
		{m.HTTPTokens != "", "http_tokens", "metadata_options { http_tokens = ... }"},
		{m.SpotMaxPrice != "", "spot_max_price", "spot_price"},
	} {
		if o.is {
			n.bad("there is no option %s; did you mean %s?", o.name, o.was)
		}
	}
}
