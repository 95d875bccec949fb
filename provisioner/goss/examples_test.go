// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func example(parts ...string) string {
	return filepath.Join(append([]string{here, "..", "..", "example", "pipeline"}, parts...)...)
}

// The gossfiles that are shipped are read without a complaint, also a strict
// one.
func TestExamplesAreGossfiles(t *testing.T) {
	for _, tt := range []struct{ file, vars string }{
		{"base.goss.yaml", ""}, {"base.goss.yaml", `{"tailscale": true}`},
		{"oci-bootable.goss.yaml", ""}, {"oci-bootable.goss.yaml", `{"root": "/mnt/x/"}`},
		{"finished.goss.yaml", `{"root": "/mnt"}`},
		{"first-boot.goss.yaml", ""}, {"first-boot.goss.yaml", `{"tailscale": true, "keys": 2}`},
	} {
		var p Provisioner
		if err := p.Prepare(map[string]any{"goss_file": example("goss", tt.file), "vars": tt.vars, "strict": true}); err != nil {
			t.Errorf("%s %s: %v", tt.file, tt.vars, err)
		}
	}
	scripts, err := filepath.Glob(example("scripts", "*.sh"))
	if err != nil || len(scripts) != 3 {
		t.Errorf("scripts %v, %v", scripts, err)
	}
	for _, s := range scripts {
		if out, err := exec.Command("sh", "-n", s).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", s, err, out)
		}
	}
}

// bootable is what a mounted image has of a machine that OCI can boot.
func bootable() map[string]string {
	return map[string]string{
		"boot/vmlinuz-6.1.0-9-arm64": "x", "boot/vmlinuz-6.1.0-8-cloud-arm64": "x",
		"boot/initrd.img-6.1.0-9-arm64":                       "kernel/virtio/virtio_pci.ko\nx/virtio_scsi.ko.xz\nx/virtio_blk.ko\nx/virtio_net.ko\n",
		"boot/initrd.img-6.1.0-8-cloud-arm64":                 "x/virtio_scsi.ko\n",
		"usr/lib/modules/6.1.0-8-cloud-arm64/modules.builtin": "k/virtio_pci.ko\nk/virtio_blk.ko\nk/virtio_net.ko\n",
		"boot/grub/grub.cfg":                                  "menuentry x {\n\tlinux\t/boot/vmlinuz-6.1.0-9-arm64 root=PARTUUID=1-2 ro console=tty0 console=ttyAMA0,115200\n}\n",
		"boot/efi/EFI/BOOT/BOOTAA64.EFI":                      "MZ",
		"etc/fstab":                                           "# /dev/sda1 was here\nPARTUUID=1-2 / ext4 rw 0 1\nPARTUUID=3-4 /boot/efi vfat defaults 0 0\n",
		"etc/machine-id":                                      "", "etc/ssh/sshd_config": "x", "root/.profile": "x", "home/debian/.profile": "x", "var/lib/cloud/seed": "",
	}
}

// The gossfiles about images, by the real goss: a good one passes, and each
// thing that is wrong is found.
func TestExamplesFindWhatIsWrong(t *testing.T) {
	bin := realGoss(t)
	tests := []struct {
		name, file string
		change     map[string]string // "-" removes
		says       string            // the failing test's title
	}{
		{name: "good", file: "oci-bootable"},
		{name: "no virtio-scsi in an initramfs", file: "oci-bootable", change: map[string]string{"boot/initrd.img-6.1.0-8-cloud-arm64": "x/nvme.ko\n"}, says: "every kernel finds its disk"},
		{name: "no initramfs", file: "oci-bootable", change: map[string]string{"boot/initrd.img-6.1.0-9-arm64": "-"}, says: "every kernel finds its disk"},
		{name: "no kernel", file: "oci-bootable", change: map[string]string{"boot/vmlinuz-6.1.0-9-arm64": "-", "boot/vmlinuz-6.1.0-8-cloud-arm64": "-"}, says: "every kernel finds its disk"},
		{name: "a device in fstab", file: "oci-bootable", change: map[string]string{"etc/fstab": "/dev/nvme0n1p1 / ext4 rw 0 1\n"}, says: "not by the device they had"},
		{name: "no root in fstab", file: "oci-bootable", change: map[string]string{"etc/fstab": "PARTUUID=3-4 /boot/efi vfat defaults 0 0\n"}, says: "the root file system has such a name"},
		{name: "a device for the kernel", file: "oci-bootable", change: map[string]string{"boot/grub/grub.cfg": "linux /boot/vmlinuz-1 root=/dev/nvme0n1p1 console=ttyAMA0\n"}, says: "the boot loader names it in the same way"},
		{name: "another console", file: "oci-bootable", change: map[string]string{"boot/grub/grub.cfg": "linux /boot/vmlinuz-1 root=PARTUUID=1 console=ttyS0\n"}, says: "each kernel writes to ttyAMA0"},
		{name: "an empty menu", file: "oci-bootable", change: map[string]string{"boot/grub/grub.cfg": "\n"}, says: "a kernel to start"},
		{name: "no fallback loader", file: "oci-bootable", change: map[string]string{"boot/efi/EFI/BOOT/BOOTAA64.EFI": "-"}, says: "the loader that UEFI starts"},
		{name: "good", file: "finished"},
		{name: "a host key", file: "finished", change: map[string]string{"etc/ssh/ssh_host_rsa_key": "x"}, says: "no host key"},
		{name: "the key of the build", file: "finished", change: map[string]string{"home/debian/.ssh/authorized_keys": "ssh-ed25519 x"}, says: "no key lets anybody in"},
		{name: "a machine id", file: "finished", change: map[string]string{"etc/machine-id": "abc\n"}, says: "the next boot makes a machine id"},
		{name: "no machine id at all", file: "finished", change: map[string]string{"etc/machine-id": "-"}, says: "machine-id"},
		{name: "cloud-init not cleaned", file: "finished", change: map[string]string{"var/lib/cloud/instances/i-1/x": "x"}, says: "the first one for cloud-init"},
		{name: "in a tailnet", file: "finished", change: map[string]string{"var/lib/tailscale/tailscaled.state": "x"}, says: "it is in no tailnet"},
		{name: "a history", file: "finished", change: map[string]string{"root/.bash_history": "x"}, says: "no history of commands"},
	}
	for _, tt := range tests {
		t.Run(tt.file+" "+tt.name, func(t *testing.T) {
			t.Parallel()
			files := bootable()
			for name, text := range tt.change {
				if files[name] = text; text == "-" {
					delete(files, name)
				}
			}
			c := &check{t: t, host: newHost(t), ui: newScreen()}
			c.options = map[string]any{
				"goss_file": example("goss", tt.file+".goss.yaml"), "use_sudo": false, "strict": true,
				"vars_inline": map[string]string{"root": tree(t, files)},
			}
			c.hasGoss(bin)
			c.host.program("lsinitramfs", `cat "$1"`)
			err := c.run(t.Context())
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(c.ui.text(), tt.says) || !strings.Contains(err.Error(), "failed")) {
				t.Errorf("got error %v, want %q\n%s", err, tt.says, c.ui.text())
			}
		})
	}
}
