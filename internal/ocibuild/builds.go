// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocibuild

import (
	"fmt"
	"os"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
)

// Interval is the pace of the search: OCI throttles accounts that ask every second,
// and does not throttle those that ask every ten seconds.
const Interval = 10 * time.Second

// Given is what a template says elsewhere.
type Given struct {
	Tenancy, Region string // "" where only signing in will tell
	Limits          *buildcfg.Limits
	Force           bool   // packer build -force
	Source          string // the name of the source in the template
	Block           string // is put before the names of options in messages: "oci: "
}

// Keys are what is made for a build and handed to its machine.
type Keys struct {
	Public string          // the public key that is to be let in, as authorized_keys has it; empty if there is none
	Host   *sshkey.HostKey // the machine's own, with ssh_pin_host_key
}

// Builds are the options in the adapter's terms, one for each region: that of the
// template first. bastion may be nil.
func (o *Options) Builds(g Given, keys Keys, bastion *Bastion) ([]oci.BuildConfig, error) {
	userData, err := o.complete(keys)
	if err != nil {
		return nil, fmt.Errorf("%s%w", g.Block, err)
	}
	machine := o.Machine.launch(userData)
	machine.SSHPublicKey = keys.Public
	main := oci.BuildConfig{
		Region: g.Region, Compartment: o.CompartmentOCID,
		AvailabilityDomain: o.AvailabilityDomain, FirstDomain: os.Getenv("OCI_AVAILABILITY_DOMAIN"),
		Sizes: o.sizes(), SizesNamed: len(o.ShapeConfig) > 0 || o.Shape != defaultShape, SizeFirst: g.Limits.SizeFirst(),
		Preemptible: o.Preemptible, Reservation: o.CapacityReservationOCID,
		FreeTier:      oci.FreeTier(o.FreeTier),
		Allowance:     oci.Allowance{OCPUs: o.FreeAllowance.Ocpus, MemoryGB: o.FreeAllowance.MemoryInGBs, StorageGB: o.FreeAllowance.StorageInGBs},
		MachineConfig: machine, Image: o.Image.image(g),
		InstanceTimeout: g.Limits.InstanceTimeout, ImageTimeout: g.Limits.ImageTimeout, Bastion: bastion.launch(true),
	}
	all := []oci.BuildConfig{main}
	for _, r := range o.AdditionalRegions {
		other := main
		other.Region, other.Subnet, other.BaseImage = r.Region, r.SubnetOCID, r.BaseImageOCID
		other.AvailabilityDomain, other.Bastion = r.AvailabilityDomain, bastion.launch(false)
		// What belongs to the first region's network is not there.
		other.NSGs, other.PrivateIP = r.NsgIDs, ""
		all = append(all, other)
	}
	return all, nil
}

// Places are the sites of builds, for who signed in.
func Places(who *oci.Principal, builds []oci.BuildConfig, id owner.Build, say func(string, ...any)) ([]fleet.Place, error) {
	var places []fleet.Place
	regions := map[string]bool{}
	for _, cfg := range builds {
		if regions[cfg.Region] {
			return nil, fmt.Errorf("additional_region: %s is there twice", cfg.Region)
		}
		regions[cfg.Region] = true
		client, err := who.Client(cfg.Region)
		if err != nil {
			return nil, err
		}
		places = append(places, fleet.Place{Cloud: "oci", Region: cfg.Region, Site: oci.NewBuild(client, cfg, id, say)})
	}
	return places, nil
}
