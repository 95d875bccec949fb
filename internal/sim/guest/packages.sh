#!/bin/bash
# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0
#
# Installs what this host lacks to build ARM64 guests (build.sh) and to run them, by apt as root. Installs nothing when
# all is there. Where it cannot install, it says what is missing. The AWS CLI, which the acceptance tests ask whether it
# takes the simulator for Amazon, is installed where apt has it; without it those tests are skipped.
set -euo pipefail

# command:package
want=(qemu-system-aarch64:qemu-system-arm qemu-img:qemu-utils mmdebstrap:mmdebstrap mkfs.ext4:e2fsprogs
  mkfs.vfat:dosfstools mcopy:mtools sfdisk:fdisk apt-ftparchive:apt-utils socat:socat curl:curl)
[ "$(uname -m)" = aarch64 ] || want+=(qemu-aarch64-static:qemu-user-static arch-test:arch-test)

PATH=$PATH:/usr/sbin:/sbin
missing=()
for w in "${want[@]}"; do
  command -v "${w%%:*}" >/dev/null || missing+=("${w##*:}")
done
[ -e /usr/share/qemu-efi-aarch64/QEMU_EFI.fd ] || missing+=(qemu-efi-aarch64)
if [ ! -x /usr/bin/aws ] && apt-cache policy awscli 2>/dev/null | grep -q 'Candidate: 2'; then missing+=(awscli); fi
[ ${#missing[@]} -gt 0 ] || exit 0

echo "guest: this host lacks: ${missing[*]}"
cannot() {
  echo "guest: error: $1; install by hand: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
}
command -v apt-get >/dev/null || cannot "this host has no apt"
[ "$(id -u)" = 0 ] || cannot "only root can install packages"
export DEBIAN_FRONTEND=noninteractive
if ! apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
  # The package lists may be missing or old.
  apt-get -q update >/dev/null || cannot "apt-get update failed"
  apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null || cannot "apt-get install failed"
fi
echo "guest: installed: ${missing[*]}"
