#!/bin/sh
# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0
#
# Makes a Debian 12 machine for ARM64, wherever it was built, one whose image boots on OCI's A1 shapes. Runs as root;
# running it twice changes nothing more. What it promises is checked by ../goss/oci-bootable.goss.yaml.
set -eu

say() { echo "oci-bootable: $*"; }
die() { echo "oci-bootable: error: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "run me as root"
[ "$(uname -m)" = aarch64 ] || die "this is for ARM64, not for $(uname -m)"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

# --- the disk and the network of A1, in the initramfs of every kernel --------------------------------------------------

modules=/etc/initramfs-tools/modules
for m in virtio_pci virtio_scsi virtio_blk virtio_net; do
  grep -qx "$m" $modules 2>/dev/null || echo "$m" >>$modules
done
say "making the initramfs of every kernel"
update-initramfs -u -k all

# --- file systems by what they are, not by the device that this cloud gave them ------------------------------------------

awk '/^[^#]/ && $1 ~ "^/dev/" && $1 !~ "^/dev/(mapper|disk)/" {print $1}' /etc/fstab | while read -r device; do
  id=$(blkid -s PARTUUID -o value "$device")
  [ -n "$id" ] || die "$device, which /etc/fstab names, has no PARTUUID"
  say "/etc/fstab: $device is PARTUUID=$id"
  sed -i "s|^$device\([[:space:]]\)|PARTUUID=$id\1|" /etc/fstab
done

# --- the boot loader: where UEFI looks without a boot entry, and on the console that OCI shows --------------------------

install -d -m 755 /etc/default/grub.d
# shellcheck disable=SC2016 # grub's own variable
printf '%s\n' 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX console=tty0 console=ttyAMA0,115200"' >/etc/default/grub.d/90-oci.cfg
chmod 644 /etc/default/grub.d/90-oci.cfg
if [ ! -s /boot/efi/EFI/BOOT/BOOTAA64.EFI ]; then
  say "installing the boot loader where UEFI starts it without being told"
  grub-install --target=arm64-efi --efi-directory=/boot/efi --removable --no-nvram
fi
update-grub
say "done"
