// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"cmp"
	"regexp"
	"strings"
)

// distribution finds what names of images say: "debian-12-arm64-...",
// "ubuntu-noble-24.04-arm64-...", "AlmaLinux OS 9.5".
var distribution = regexp.MustCompile(`(?i)\b(debian|ubuntu|fedora|almalinux|rocky|centos|opensuse|alpine|freebsd)(?:(?:|\D*?[-_ v])(\d+(?:\.\d+)?))?`)

// SystemOf guesses the operating system and its version, as OCI calls them, from the name
// of an image: where an image comes from elsewhere, nothing else says it. What it cannot guess is
// "Linux", and the version "unknown".
func SystemOf(name string) (system, version string) {
	known := map[string]string{
		"debian": "Debian", "ubuntu": "Canonical Ubuntu", "fedora": "Fedora", "almalinux": "AlmaLinux OS", "rocky": "Rocky Linux", "centos": "CentOS",
		"opensuse": "openSUSE", "alpine": "Alpine Linux", "freebsd": "FreeBSD",
	}
	system, version = "Linux", "unknown"
	if m := distribution.FindStringSubmatch(name); m != nil {
		system, version = known[strings.ToLower(m[1])], cmp.Or(m[2], version)
	}
	return system, version
}
