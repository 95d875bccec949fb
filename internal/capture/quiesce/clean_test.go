// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"strings"
	"testing"
)

// Host keys go only if something is going to make new ones: what is installed and does not
// run makes none, and nobody could sign in to the image's machines.
func TestHostKeysThatComeBack(t *testing.T) {
	const (
		cloudInit = "usr/bin/cloud-init"
		unit      = "usr/lib/systemd/system/cloud-init.service"
		wanted    = "etc/systemd/system/cloud-init.target.wants/cloud-init.service -> /usr/lib/systemd/system/cloud-init.service"
		keygen    = "usr/lib/systemd/system/sshd-keygen@.service"
		masks     = "etc/systemd/system/"
		off       = "etc/cloud/cloud-init.disabled"
	)
	for _, tt := range []struct {
		name  string
		files []string
		goes  bool
	}{
		{"nothing makes keys", nil, false},
		{"cloud-init", []string{cloudInit, unit, wanted}, true},
		{"cloud-init of 24.3", []string{
			cloudInit, "usr/lib/systemd/system/cloud-init-network.service",
			"etc/systemd/system/cloud-init.target.wants/cloud-init-network.service -> /usr/lib/systemd/system/cloud-init-network.service",
		}, true},
		{"cloud-init, started some other way", []string{cloudInit}, true},
		{"cloud-init is disabled by a file", []string{cloudInit, unit, wanted, off}, false},
		{"cloud-init is disabled on the kernel's command line", []string{cloudInit, unit, wanted, "proc/cmdline=root=/dev/sda1 cloud-init=disabled quiet\n"}, false},
		{"another word of the command line", []string{cloudInit, unit, wanted, "proc/cmdline=not-cloud-init=disabled\n"}, true},
		{"cloud-init is masked", []string{cloudInit, unit, wanted, masks + "cloud-init.service -> /dev/null"}, false},
		{"cloud-init is masked by an empty file", []string{cloudInit, unit, wanted, masks + "cloud-init.service"}, false},
		{"the target is masked", []string{cloudInit, unit, wanted, masks + "cloud-init.target -> /dev/null"}, false},
		{"cloud-init is not started at boot", []string{cloudInit, unit}, false},
		{"a unit of one's own in place of it", []string{cloudInit, unit, wanted, masks + "cloud-init.service=[Unit]\n"}, true},
		{"a unit of the distribution", []string{keygen}, true},
		{"that of Debian and Ubuntu", []string{"usr/lib/systemd/system/ssh-keygen.service"}, true},
		{"that is masked", []string{keygen, masks + "sshd-keygen@.service -> /dev/null"}, false},
		{"that does what cloud-init does not", []string{cloudInit, unit, wanted, off, keygen}, true},
		// The unit of Oracle Linux leaves the keys to a cloud-init that is not disabled.
		{"that leaves it to a cloud-init that is masked", []string{cloudInit, unit, wanted, masks + "cloud-init.service -> /dev/null", keygen}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"etc/ssh/ssh_host_rsa_key": "x", "var/log/x": ""}
			for _, f := range tt.files {
				name, text, _ := strings.Cut(f, "=")
				files[name] = text
			}
			root := tree(t, files)
			if err := Clean(root, everything); err != nil {
				t.Fatal(err)
			}
			if _, kept := content(t, root)["etc/ssh/ssh_host_rsa_key"]; kept == tt.goes {
				t.Errorf("kept: %t", kept)
			}
		})
	}
}
