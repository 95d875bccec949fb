// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import "time"

// NetworkConfig says where in the network the machine is put. Without a subnet and
// a VPC of any kind it is EC2's choice: a default subnet of the default VPC.
type NetworkConfig struct {
	Subnets      []string      // ids, in the order of preference
	SubnetFilter *SubnetFilter // finds them, all that match; nil if there is none, or if Subnets are named
	VPC          string        // id
	VPCFilter    Filters       // finds the one VPC; nil if there is none, or if VPC is named
	// From is the option or variable that says so, for messages: "subnet_id",
	// "the environment variable AWS_SUBNET_ID". Empty if there is none.
	From string
	// PublicIP says whether the machine gets a public address; nil leaves it to
	// the subnet.
	PublicIP *bool

	SecurityGroups      []string // ids of groups that exist
	SecurityGroupFilter Filters  // finds them; nil if there is none, or if they are named
	// Without either, a group is made that lets SSH in, and is removed at the end.
	Temporary TemporaryGroup
}

// Filters are EC2's own, by name.
type Filters map[string][]string

// SubnetFilter finds subnets. All that match are tried.
type SubnetFilter struct {
	Filters  Filters
	MostFree bool // those with most free addresses first
	Random   bool // in an order of no meaning
}

// TemporaryGroup is a security group that is made for the build.
type TemporaryGroup struct {
	Port int // 0 lets nothing in: nobody connects
	// Sources are blocks of IPv4 and IPv6 addresses. Empty means the address from
	// which the caller's requests come, as the Internet sees it.
	Sources []string
}

// MachineConfig describes the machine, wherever it is found.
type MachineConfig struct {
	Root    RootVolume
	Volumes []BlockDevice // those of the launch; one may be the root device, and then counts before Root

	// KeyName is a key pair that exists in the region; empty if there is none.
	KeyName string
	// ImportKey is a public key, as authorized_keys has it, that is to be made a
	// key pair of the build and removed at its end; empty if the key is in
	// UserData, if KeyName is set, or if none is needed.
	ImportKey string
	// UserData is complete, as it is to be sent: with the build's key, and with
	// what ends the machine after Lifetime, where they are wanted. It is not yet
	// encoded, and has at most 16 KB. It may be a secret.
	UserData []byte
	// Lifetime is how long the machine may live: it shuts down by itself then.
	// 0 if nothing in UserData sees to that.
	Lifetime time.Duration

	Profile          string // the name or ARN of an IAM instance profile
	SkipProfileCheck bool   // do not ask IAM whether it exists
	// Policy is a policy document in JSON: a role and an instance profile with it
	// are made for the build. Empty if none is wanted; excludes Profile.
	Policy string

	Metadata MetadataOptions
	// Shutdown is "stop" or "terminate": what becomes of a machine that shuts
	// down by itself.
	Shutdown string
	// StopsItself: the machine is not to be stopped, only waited for until it has
	// stopped.
	StopsItself bool
	Unlimited   bool // CPU credits beyond those earned, which cost money; else "standard"
	Placement   Placement
	Reservation Reservation

	// Interface is how the machine is reached: "public_ip", "private_ip",
	// "public_dns", "private_dns" or "ipv6". Empty means the public address if there
	// is one, else the private one.
	Interface string
}

// RootVolume is the root device, where Volumes do not name it.
type RootVolume struct {
	// SizeGB is the least size: a source image that needs more gets more, unless
	// SizeNamed.
	SizeGB    int64
	SizeNamed bool
	Type      string // "gp3"
	// Encrypted says whether it is encrypted from the launch on, and so the image;
	// nil leaves it to the source image and the account.
	Encrypted *bool
	KMSKey    string // empty is the account's default key
}

// BlockDevice is one device of a machine or an image. What is 0, empty or nil is
// EC2's own choice, except that a volume is deleted with its machine unless
// KeepVolume.
type BlockDevice struct {
	Device      string // /dev/sdf
	SizeGB      int64
	Type        string
	IOPS        int64
	Throughput  int64 // MiB/s
	Encrypted   *bool
	KMSKey      string
	Snapshot    string
	KeepVolume  bool   // after the machine is terminated
	NoDevice    bool   // the image's mapping of the device is left out
	VirtualName string // ephemeral0
}

// MetadataOptions are those of the machine's metadata service.
type MetadataOptions struct {
	Disabled     bool // http_endpoint; nothing else is to be sent then
	TokensNeeded bool // http_tokens = required: the second version only
	HopLimit     int64
	Tags         bool // instance_metadata_tags
}

// Placement is where a machine is put beside its zone.
type Placement struct {
	Tenancy           string // "default", "dedicated", "host", or empty
	HostID            string
	HostResourceGroup string // ARN
}

// Reservation says what a machine has to do with capacity reservations. At most one
// field is set.
type Reservation struct {
	Preference string // "open", "none", or empty
	ID         string
	GroupARN   string
}
