// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocibuild

import "fmt"

// Misnomers are options that people write, in templates that are public, and
// that never existed. Packer would only say that it does not know them.
type Misnomers struct {
	ConfigFile        string            `mapstructure:"config_file" undocumented:"true"`
	ConfigFileProfile string            `mapstructure:"config_file_profile" undocumented:"true"`
	PrivateKeyFile    string            `mapstructure:"private_key_file" undocumented:"true"`
	PrivateKeyPath    string            `mapstructure:"private_key_path" undocumented:"true"`
	ImageOCID         string            `mapstructure:"image_ocid" undocumented:"true"`
	ImageID           string            `mapstructure:"image_id" undocumented:"true"`
	BaseImage         string            `mapstructure:"base_image" undocumented:"true"`
	CompartmentID     string            `mapstructure:"compartment_id" undocumented:"true"`
	TenancyID         string            `mapstructure:"tenancy_id" undocumented:"true"`
	UserID            string            `mapstructure:"user_id" undocumented:"true"`
	SubnetID          string            `mapstructure:"subnet_id" undocumented:"true"`
	FreeformTags      map[string]string `mapstructure:"freeform_tags" undocumented:"true"`
	Ocpus             string            `mapstructure:"ocpus" undocumented:"true"`
	MemoryInGBs       string            `mapstructure:"memory_in_gbs" undocumented:"true"`
	BootVolumeSize    string            `mapstructure:"boot_volume_size_in_gbs" undocumented:"true"`
}

// problems says what was meant.
func (m Misnomers) problems() (list []error) {
	for _, o := range []struct {
		is        bool
		name, was string
	}{
		{m.ConfigFile != "", "config_file", "access_cfg_file"},
		{m.ConfigFileProfile != "", "config_file_profile", "access_cfg_file_account"},
		{m.PrivateKeyFile != "", "private_key_file", "key_file"},
		{m.PrivateKeyPath != "", "private_key_path", "key_file"},
		{m.ImageOCID != "", "image_ocid", "base_image_ocid"},
		{m.ImageID != "", "image_id", "base_image_ocid"},
		{m.BaseImage != "", "base_image", "base_image_ocid"},
		{m.CompartmentID != "", "compartment_id", "compartment_ocid"},
		{m.TenancyID != "", "tenancy_id", "tenancy_ocid"},
		{m.UserID != "", "user_id", "user_ocid"},
		{m.SubnetID != "", "subnet_id", "subnet_ocid"},
		{len(m.FreeformTags) > 0, "freeform_tags", "tags (of the image) or instance_tags"},
		{m.Ocpus != "", "ocpus", "shape_config { ocpus = ... }"},
		{m.MemoryInGBs != "", "memory_in_gbs", "shape_config { memory_in_gbs = ... }"},
		{m.BootVolumeSize != "", "boot_volume_size_in_gbs", "disk_size"},
	} {
		if o.is {
			list = append(list, fmt.Errorf("there is no option %s; did you mean %s?", o.name, o.was))
		}
	}
	return list
}
