// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import "testing"

func TestSystemOf(t *testing.T) {
	for name, want := range map[string][2]string{
		"debian-12-arm64-20260101120000": {"Debian", "12"}, "debian-12-genericcloud-arm64": {"Debian", "12"}, "Debian_13": {"Debian", "13"}, "debian12": {"Debian", "12"},
		"ubuntu-noble-24.04-arm64-server-20260101": {"Canonical Ubuntu", "24.04"}, "AlmaLinux OS 9.5 aarch64": {"AlmaLinux OS", "9.5"}, "Fedora-Cloud-Base-43-1.6.aarch64": {"Fedora", "43"},
		"debian-arm64": {"Debian", "unknown"}, "my-image-12": {"Linux", "unknown"}, "": {"Linux", "unknown"}, "notdebian-12": {"Linux", "unknown"},
	} {
		if s, v := SystemOf(name); s != want[0] || v != want[1] {
			t.Errorf("%q is %s %s, want %s", name, s, v, want)
		}
	}
}
