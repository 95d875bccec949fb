// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package version is the version of this plugin. Packer compares it with what a
// template requires and with the name of the plugin's file; the release tooling
// writes it.
package version

import "github.com/hashicorp/packer-plugin-sdk/version"

// Version and VersionPrerelease are set by the release tooling; an empty
// VersionPrerelease means a release.
var (
	Version           = "0.1.0"
	VersionPrerelease = "dev"
)

// Plugin is the version as Packer asks for it.
func Plugin() *version.PluginVersion {
	return version.NewPluginVersion(Version, VersionPrerelease, "")
}

// UserAgent is how this plugin names itself to clouds.
func UserAgent() string { return "packer-plugin-armfree/" + Version }
