// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The gossfile for a machine that has booted from a finished image, by the real
// goss, as far as the machine's disk shows it: a new machine passes, and what is left
// of the one that the image was made of is found.
func TestFirstBootFindsWhatIsOld(t *testing.T) {
	bin := realGoss(t)
	for _, tt := range []struct {
		name   string
		change map[string]string // "-" removes
		old    string            // a file that was in the image
		says   string            // the failing test's title
	}{
		{name: "a new machine"},
		{name: "another file that was in the image", old: "etc/ssh/sshd_config"},
		{name: "cloud-init was not cleaned", change: map[string]string{"var/lib/cloud/instances/ocid1.instance.build/x": "x"}, says: "which is this one"},
		{name: "no host key", change: map[string]string{"etc/ssh/ssh_host_ed25519_key": "-", "etc/ssh/ssh_host_rsa_key": "-"}, says: "there are host keys"},
		{name: "a host key of the image", old: "etc/ssh/ssh_host_rsa_key", says: "none of them was in the image"},
		{name: "a second key", change: map[string]string{"home/admin/.ssh/authorized_keys": "ssh-rsa BBBB= packer_1\n"}, says: "no other key lets anybody in"},
		{name: "the same key twice", change: map[string]string{"home/admin/.ssh/authorized_keys": "command=\"x\" ssh-ed25519 AAAA+/= else\n"}},
		{name: "no machine id", change: map[string]string{"etc/machine-id": ""}, says: "there is a machine id"},
		{name: "a history", change: map[string]string{"root/.bash_history": "x"}, says: "no history of commands"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{
				"var/lib/cloud/instances/ocid1.instance.copy/x": "x", "var/lib/cloud/data/instance-id": "ocid1.instance.copy\n",
				"etc/ssh/ssh_host_ed25519_key": "x", "etc/ssh/ssh_host_rsa_key": "x", "etc/ssh/sshd_config": "x",
				"root/.ssh/authorized_keys":        "no-pty ssh-ed25519 AAAA+/= packer-plugin-armfree\n",
				"home/debian/.ssh/authorized_keys": "ssh-ed25519 AAAA+/= packer-plugin-armfree\n",
				"etc/machine-id":                   strings.Repeat("0a", 16) + "\n",
			}
			for name, text := range tt.change {
				if files[name] = text; text == "-" {
					delete(files, name)
				}
			}
			root := tree(t, files)
			for name, age := range map[string]time.Duration{"var/lib/cloud/data/instance-id": time.Hour, tt.old: 2 * time.Hour} {
				if name == "" {
					continue
				}
				at := time.Now().Add(-age)
				if err := os.Chtimes(filepath.Join(root, name), at, at); err != nil {
					t.Fatal(err)
				}
			}
			c := &check{t: t, host: newHost(t), ui: newScreen()}
			c.options = map[string]any{
				"goss_file": example("goss", "first-boot.goss.yaml"), "goss_binary": bin, "use_sudo": false, "strict": true,
				"vars_inline": map[string]string{"root": root},
			}
			err := c.run(t.Context())
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(c.ui.text(), tt.says) || !strings.Contains(err.Error(), "failed")) {
				t.Errorf("got error %v, want %q\n%s", err, tt.says, c.ui.text())
			}
		})
	}
}
