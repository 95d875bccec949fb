// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package version is the version of this plugin.
package version

import "github.com/hashicorp/packer-plugin-sdk/version"

// Version and Prerelease are set by the release tooling; an empty Prerelease
// means a release.
var (
	Version           = "0.1.0"
	VersionPrerelease = "dev"
)

// Plugin is the version as Packer asks for it.
func Plugin() *version.PluginVersion {
	return version.NewPluginVersion(Version, VersionPrerelease, "")
}
