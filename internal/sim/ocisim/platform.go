// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import "time"

// PlatformImages are images like Oracle's own, for [Config.Images]: everybody
// sees them, in every region, with an OCID of its own in each; nobody can
// change, export or delete them. Of each kind there are the three latest
// builds, as in Oracle's list. Their disks are all the file at path, which is
// only read; so what boots is not what the name says, and an image for x86
// cannot boot at all.
func PlatformImages(path string) []BaseImage {
	const ubuntu, oracle = "Canonical Ubuntu", "Oracle Linux"
	var all []BaseImage
	for _, kind := range []struct {
		name, system, version string
		shapes                []string
	}{
		{"Canonical-Ubuntu-24.04-aarch64-", ubuntu, "24.04", armShapes()},
		{"Canonical-Ubuntu-24.04-Minimal-aarch64-", ubuntu, "24.04 Minimal aarch64", armShapes()},
		{"Canonical-Ubuntu-24.04-", ubuntu, "24.04", defaultShapes()},
		{"Canonical-Ubuntu-22.04-aarch64-", ubuntu, "22.04", armShapes()},
		{"Oracle-Linux-9.7-aarch64-", oracle, "9", armShapes()},
		{"Oracle-Linux-9.7-", oracle, "9", defaultShapes()},
	} {
		for n, build := range []string{"2025.11.30-0", "2025.12.31-0", "2026.01.31-0"} {
			all = append(all, BaseImage{Name: kind.name + build, OperatingSystem: kind.system,
				OperatingSystemVersion: kind.version, Path: path, Shapes: kind.shapes,
				Age: time.Duration(100-30*n) * 24 * time.Hour})
		}
	}
	return all
}
