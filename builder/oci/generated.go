// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"errors"
	"fmt"
	"os"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/phase"
)

// generatedNames are what provisioners and post-processors find in build.*
// beside what Packer puts there.
func generatedNames() []string {
	return []string{"BuildID", "Region", "AvailabilityDomain", "FaultDomain", "Shape", "Ocpus", "MemoryInGBs"}
}

// generated are their values, once there is a machine.
func (c *Config) generated(id owner.Build, m *phase.FindMachine) map[string]interface{} {
	o := m.Offer
	return map[string]interface{}{
		"ID": m.ID, "BuildID": id.ID, "Region": o.Region, "AvailabilityDomain": o.Zone, "FaultDomain": o.FaultDomain,
		"Shape": o.Shape, "Ocpus": fmt.Sprint(o.OCPUs), "MemoryInGBs": fmt.Sprint(o.MemoryGB),
	}
}

// writeKey leaves the temporary key in a file for as long as a build with -debug
// runs, for people to look at the machine.
func writeKey(name string, key []byte, ui packersdk.Ui) (remove func(), err error) {
	path := strings.NewReplacer("/", "_", string(os.PathSeparator), "_", ":", "_").Replace(name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("-debug writes the temporary SSH key to a file, which cannot be made: %w", err)
	}
	_, err = f.Write(key)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	ui.Sayf("The temporary SSH key is in %s until the build ends (-debug)", path)
	return func() {
		if err := os.Remove(path); err != nil {
			ui.Errorf("The temporary SSH key could not be removed, please do so: %v", err)
		}
	}, nil
}
