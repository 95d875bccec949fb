// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package awsbuild

import (
	"regexp"
	"slices"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// BlockDevice is one device of a machine or an image.
type BlockDevice struct {
	// The name of the device, such as `/dev/xvda`, which is the root device of
	// Debian's images, or `/dev/sdf`.
	DeviceName string `mapstructure:"device_name" required:"true"`
	// The size of the volume in GiB. Needed unless there is a snapshot; the root
	// device has one.
	VolumeSize int64 `mapstructure:"volume_size" required:"false"`
	// The type of the volume: `gp3`, `gp2`, `io2`, `io1`, `st1`, `sc1` or
	// `standard`. Defaults to EC2's own choice.
	VolumeType string `mapstructure:"volume_type" required:"false"`
	// I/O operations a second, for `io1`, `io2` and `gp3`.
	IOPS int64 `mapstructure:"iops" required:"false"`
	// MiB a second, for `gp3`, from 125 to 2000.
	Throughput int64 `mapstructure:"throughput" required:"false"`
	// Whether the volume is encrypted. Defaults to what the snapshot and the
	// account say.
	Encrypted config.Trilean `mapstructure:"encrypted" required:"false"`
	// The KMS key that encrypts it. Needs `encrypted = true`, and is for the
	// devices of the machine: EC2 takes no key for those of an image.
	KMSKeyID string `mapstructure:"kms_key_id" required:"false"`
	// The snapshot that the volume is made of.
	SnapshotID string `mapstructure:"snapshot_id" required:"false"`
	// Whether the volume goes with its machine. Defaults to `true`; amazon-ebs has
	// `false`, which leaves volumes behind.
	DeleteOnTermination config.Trilean `mapstructure:"delete_on_termination" required:"false"`
	// Leave out a device that the source image has. Defaults to `false`.
	NoDevice bool `mapstructure:"no_device" required:"false"`
	// The name of an instance store, such as `ephemeral0`.
	VirtualName string `mapstructure:"virtual_name" required:"false"`
}

func volumeTypes() []string {
	return []string{"gp3", "gp2", "io2", "io1", "st1", "sc1", "standard"}
}

// ephemeral is what instance stores are called.
var ephemeral = regexp.MustCompile(`^ephemeral([0-9]|1[0-9]|2[0-3])$`)

// ofImage is the option for the devices of the image.
const ofImage = "ami_block_device_mappings"

// devices checks a list of devices.
func (n *notes) devices(option string, list []BlockDevice) []BlockDevice {
	var names []string
	for i := range list {
		d := &list[i]
		at := option + ": "
		if d.DeviceName == "" {
			n.bad(at + "device_name must be set")
		} else {
			at = option + ": " + d.DeviceName + ": "
		}
		names = append(names, d.DeviceName)
		n.oneOf(at+"volume_type", d.VolumeType, volumeTypes()...)
		n.id(at+"snapshot_id", "snap", d.SnapshotID)
		switch {
		case d.NoDevice && (d.VolumeSize != 0 || d.SnapshotID != "" || d.VirtualName != ""):
			n.bad(at + "no_device excludes the options of a volume")
		case d.VirtualName != "" && (d.VolumeSize != 0 || d.SnapshotID != ""):
			n.bad(at + "virtual_name excludes the options of a volume")
		case d.VirtualName != "" && !ephemeral.MatchString(d.VirtualName) && !tmpl.Unknown(d.VirtualName):
			n.bad(at+"virtual_name must be from ephemeral0 to ephemeral23, it is %q", d.VirtualName)
		case d.VolumeSize < 0 || d.VolumeSize > 65536:
			n.bad(at+"volume_size must be from 1 to 65536 GiB, it is %d", d.VolumeSize)
		case d.IOPS != 0 && d.VolumeType != "" && !slices.Contains([]string{"io1", "io2", "gp3"}, d.VolumeType):
			n.bad(at+"iops is for io1, io2 and gp3, and volume_type is %q", d.VolumeType)
		case d.IOPS == 0 && (d.VolumeType == "io1" || d.VolumeType == "io2"):
			n.bad(at+"iops must be set for %s", d.VolumeType)
		case d.IOPS < 0:
			n.bad(at + "iops must not be negative")
		case d.Throughput != 0 && d.VolumeType != "gp3":
			n.bad(at+"throughput is for gp3, and volume_type is %q", d.VolumeType)
		case d.Throughput != 0 && (d.Throughput < 125 || d.Throughput > 2000):
			n.bad(at+"throughput must be from 125 to 2000 MiB/s, it is %d", d.Throughput)
		}
		if d.KMSKeyID != "" && !d.Encrypted.True() {
			n.bad(at + "kms_key_id needs encrypted = true")
		}
		if d.KMSKeyID != "" && option == ofImage {
			n.bad(at + "EC2 takes no kms_key_id for the devices of an image: set it in launch_block_device_mappings, or kms_key_id of the template")
		}
	}
	n.twice(option+": device_name", set(names))
	return list
}

// device is a device in the adapter's terms.
func (d BlockDevice) device() ec2.BlockDevice {
	return ec2.BlockDevice{
		Device: d.DeviceName, SizeGB: d.VolumeSize, Type: d.VolumeType, IOPS: d.IOPS, Throughput: d.Throughput,
		Encrypted: d.Encrypted.ToBoolPointer(), KMSKey: d.KMSKeyID, Snapshot: d.SnapshotID,
		KeepVolume: d.DeleteOnTermination.False(), NoDevice: d.NoDevice, VirtualName: d.VirtualName,
	}
}

func toDevices(list []BlockDevice) (out []ec2.BlockDevice) {
	for _, d := range list {
		out = append(out, d.device())
	}
	return out
}

// defaultRootGB is the size of the root volume.
const defaultRootGB = 10

func (m *Machine) prepareRoot(n *notes) {
	if m.RootVolumeSize < 0 || m.RootVolumeSize > 65536 {
		n.bad("root_volume_size must be from 1 to 65536 GiB, it is %d", m.RootVolumeSize)
	}
	n.oneOf("root_volume_type", m.RootVolumeType, "gp3", "gp2", "standard")
}

// root is the root volume in the adapter's terms.
func (m *Machine) root(i *Image, key string) ec2.RootVolume {
	r := ec2.RootVolume{SizeGB: m.RootVolumeSize, SizeNamed: m.RootVolumeSize != 0, Type: m.RootVolumeType}
	if r.SizeGB == 0 {
		r.SizeGB = defaultRootGB
	}
	if r.Type == "" {
		r.Type = "gp3"
	}
	if i.EncryptBoot.True() {
		r.Encrypted, r.KMSKey = i.EncryptBoot.ToBoolPointer(), key
	}
	return r
}
