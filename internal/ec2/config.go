// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package ec2 is the adapter for EC2: it finds Graviton machines, makes images of
// them, and keeps everything else about AWS to itself.
//
// This file and its neighbours config_*.go are what a builder tells it, in plain
// Go and in EC2's own terms. Everything in them has been checked as far as that
// needs no request, and defaults that need no request are filled in: what is empty
// is meant to be empty.
package ec2

import "time"

// BuildConfig is what a build in one region needs to know. A build that may take
// place in several regions has one for each.
type BuildConfig struct {
	Region string // that of the client
	// SkipRegionCheck: do not ask EC2 which regions there are (DescribeRegions).
	SkipRegionCheck bool

	Types      []string // instance types in the order of preference, each once; at least one
	TypesNamed bool     // the user named them; else they are our choice
	SizeFirst  bool     // list the first type everywhere before the second
	Markets    []Market // in the order of preference, each once; at least one
	Spot       SpotConfig
	Zones      []string // pins the search to these availability zones; empty means all
	FreeTier   FreeTier
	Allowance  Allowance

	Source  SourceConfig
	Network NetworkConfig
	MachineConfig
	Image ImageConfig

	// Render gives the texts that may speak of the source image. Plan calls it as
	// soon as that is known; an error is a problem of the template, in its words.
	Render func(SourceImage) (Words, error)

	InstanceTimeout time.Duration // accepted to running
	ImageTimeout    time.Duration // requested to available, in every region
}

// Market is how a machine is paid for. The Market of an offer is "spot", and empty
// for machines on demand.
type Market string

// The markets.
const (
	OnDemand Market = "on-demand"
	Spot     Market = "spot"
)

// SpotConfig is for spot machines.
type SpotConfig struct {
	// MaxPrice is in US dollars an hour; empty asks for no limit of its own, which
	// is the price on demand.
	MaxPrice string
	// Strategy is amazon-ebs's: "lowest-price", "capacity-optimized",
	// "capacity-optimized-prioritized", "price-capacity-optimized", "diversified",
	// or empty. Machines are asked for one by one, so it is a hint for the order
	// of the offers at most.
	Strategy string
}

// FreeTier is how much a build cares about what is free.
type FreeTier string

// What a build does where something is not free.
const (
	FreePrefer  FreeTier = "prefer"  // no choice of ours costs money; the user's may, with a note
	FreeRequire FreeTier = "require" // nothing that costs money
	FreeIgnore  FreeTier = "ignore"  // no checks
)

// Allowance is what counts as free.
type Allowance struct {
	// Types are the instance types; empty means those that EC2 flags as
	// free-tier-eligible in the region.
	Types []string
	// StorageGB is for all volumes of the account together, gp2 and gp3.
	StorageGB int64
}

// SourceConfig says which image a machine starts from. Parameter stands alone; ID
// and Filter may both be set, and the image is then the one that meets both. Its
// architecture must be one that the instance types have.
type SourceConfig struct {
	ID        string       // ami-...
	Filter    *ImageFilter // nil if there is none
	Parameter string       // the name of a parameter of SSM that holds the id
	// From is the option or variable that says so, for messages:
	// "source_ami", "the environment variable AWS_SOURCE_AMI".
	From string
}

// ImageFilter finds an image.
type ImageFilter struct {
	Filters           map[string][]string // EC2's own filters
	Owners            []string            // account ids, "self", "amazon", "aws-marketplace"
	MostRecent        bool                // the newest of several; else several are a mistake
	IncludeDeprecated bool
}

// SourceImage is the image that a machine starts from, as templates may speak of
// it.
type SourceImage struct {
	ID           string
	Name         string
	CreationDate string // as EC2 writes it
	Owner        string // account id
	OwnerName    string // EC2's alias of the owner, such as "amazon"
	Tags         map[string]string
}

// Words are what may speak of the source image. They are the user's, without our
// own tag, which goes beside them and replaces none of them.
type Words struct {
	Description string
	// RunTags go on everything that the build makes until there is an image:
	// machine, network interface, security group, key pair, profile and role.
	RunTags map[string]string
	// VolumeTags go on the volumes of the machine, in place of RunTags.
	VolumeTags map[string]string
	// SpotTags go on the spot request, in place of RunTags.
	SpotTags map[string]string
	// ImageTags and SnapshotTags are complete: they have the run tags, if the
	// image is to have them, and the snapshots have the tags of the image.
	ImageTags    map[string]string
	SnapshotTags map[string]string
}
