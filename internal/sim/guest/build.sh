#!/bin/bash
# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0
#
# Builds the guest that the simulated clouds offer as their Debian 12 base image:
#
#   build.sh OUTDIR
#
# leaves in OUTDIR
#
#   debian-12-arm64.qcow2   a UEFI disk: systemd, OpenSSH, cloud-init, an initrd with all virtio and NVMe drivers
#   packages.txt            what is installed in it, with versions
#   pool/                   a flat apt repository with the packages (and their dependencies) that the hardening
#                           script of example/pipeline adds, for guests that cannot reach the internet
#   stamp                   the hash of this script; when it matches, there is nothing to do
#
# The image is a full mmdebstrap: each maintainer script runs, natively on an ARM64 host and through qemu-user and
# binfmt_misc on any other. Neither loop devices nor kernel support for vfat are needed: the file systems are filled
# by mkfs and mtools. The script needs root, for chroot and for files owned by others.
#
# GUEST_APT_SOURCES names the apt sources file to take the packages from (default: this machine's own). The image
# itself always says deb.debian.org.
set -euo pipefail

readonly SUITE=bookworm
readonly IMAGE=debian-12-arm64.qcow2
# With a megabyte before and behind them 2 GiB in all; cloud-init grows the root file system on larger disks.
readonly ESP_MB=63 ROOT_MB=1983

# What is in the image, beside the minimal base: what Debian's own genericcloud image has, without the editors.
readonly PACKAGES=(
  systemd-sysv systemd-resolved systemd-timesyncd libpam-systemd libnss-myhostname dbus udev
  linux-image-cloud-arm64 initramfs-tools zstd grub-efi-arm64 grub-efi-arm64-signed
  cloud-init cloud-guest-utils e2fsprogs dosfstools fdisk
  openssh-server sudo python3 ca-certificates curl iproute2 iputils-ping netbase tzdata less
)
# What the hardening script installs into it.
readonly POOL=(qemu-guest-agent fail2ban python3-systemd iptables iptables-persistent netfilter-persistent)

say() { printf 'guest: %s\n' "$*"; }
die() { printf 'guest: error: %s\n' "$*" >&2; exit 1; }

# tools lists "command:package" for what is not installed; nothing when all is there.
missing_tools() {
  local want=(mmdebstrap:mmdebstrap qemu-img:qemu-utils mkfs.ext4:e2fsprogs mkfs.vfat:dosfstools mcopy:mtools
    sfdisk:fdisk apt-ftparchive:apt-utils unshare:util-linux flock:util-linux sha256sum:coreutils)
  [ "$(uname -m)" = aarch64 ] || want+=(qemu-aarch64-static:qemu-user-static arch-test:arch-test)
  local t
  for t in "${want[@]}"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${t%%:*}" >/dev/null || printf '%s\n' "${t##*:}"
  done | sort -u | tr '\n' ' '
}

apt_sources() {
  local f
  for f in ${GUEST_APT_SOURCES:+"$GUEST_APT_SOURCES"} /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
    if [ -s "$f" ]; then printf '%s' "$f"; return; fi
    [ -z "${GUEST_APT_SOURCES:-}" ] || die "GUEST_APT_SOURCES is $f, which is missing or empty"
  done
  die "no apt sources found; name a file with sources for Debian $SUITE in GUEST_APT_SOURCES"
}

# --- the outer half: decides, locks, and puts back what it changed --------------------------------------------------

readonly BINFMT=/proc/sys/fs/binfmt_misc

# register_binfmt makes ARM64 programs runnable. Debian's entry has the F flag: the kernel opens the interpreter now,
# so it need not exist in the chroot.
register_binfmt() {
  [ -r /usr/lib/binfmt.d/qemu-aarch64.conf ] || die "qemu-user-static has left no /usr/lib/binfmt.d/qemu-aarch64.conf"
  cat /usr/lib/binfmt.d/qemu-aarch64.conf >$BINFMT/register
}

outer() {
  [ $# -eq 1 ] || die "usage: build.sh OUTDIR"
  local out=$1 self hash lacking
  self=$(readlink -f "$0")
  hash=$(sha256sum <"$self" | cut -d' ' -f1)
  mkdir -p "$out"
  out=$(readlink -f "$out")
  if [ -s "$out/$IMAGE" ] && [ -d "$out/pool" ] && [ "$(cat "$out/stamp" 2>/dev/null)" = "$hash" ]; then
    say "up to date: $out/$IMAGE"
    return
  fi
  [ "$(id -u)" = 0 ] || die "run me as root: building a file system for others needs chroot and chown"
  lacking=$(missing_tools)
  [ -z "$lacking" ] || die "missing on this machine; install with: apt-get install --no-install-recommends $lacking"
  local sources
  sources=$(apt_sources)

  # One build at a time on this machine: they share the binfmt registration.
  exec 9>/run/lock/armfree-guest.lock
  flock -n 9 || { say "another build is running; waiting for it"; flock 9; }
  if [ "$(cat "$out/stamp" 2>/dev/null)" = "$hash" ]; then say "built meanwhile"; return; fi

  work=$(mktemp -d "$out/.build.XXXXXX")
  inner_pid='' registered=''
  trap cleanup EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM

  # Where this machine has binfmt_misc mounted, its entries are shared and ours has to go again. Where it has not,
  # the inner half mounts it for itself, and the kernel forgets both when the namespace ends.
  if [ "$(uname -m)" != aarch64 ] && [ -e $BINFMT/register ] && [ ! -e $BINFMT/qemu-aarch64 ]; then
    registered=yes
    register_binfmt
  fi

  say "building Debian $SUITE for ARM64 (minutes; packages from $sources)"
  local began=$SECONDS
  # A pid and mount namespace of its own: whatever ends this script ends all of the build, mounts included.
  unshare --mount --pid --fork --kill-child=KILL --mount-proc --propagation private \
    bash "$self" --inner "$work" "$sources" 9>&- &
  inner_pid=$!
  wait "$inner_pid" || die "the build failed; its last lines are above"
  inner_pid=''

  rm -rf "$out/stamp" "$out/pool"
  mv "$work/$IMAGE" "$work/packages.txt" "$out/"
  mv "$work/pool" "$out/pool"
  printf '%s\n' "$hash" >"$work/stamp"
  mv "$work/stamp" "$out/stamp"
  say "done in $((SECONDS - began)) s: $out/$IMAGE, $(du -m "$out/$IMAGE" | cut -f1) MB, $(find "$out/pool" -name '*.deb' | wc -l) packages in the pool"
}

cleanup() {
  trap '' INT TERM HUP
  if [ -n "$inner_pid" ]; then
    kill -KILL "$inner_pid" 2>/dev/null || true
    wait "$inner_pid" 2>/dev/null || true
  fi
  if [ -n "$registered" ]; then
    echo -1 >$BINFMT/qemu-aarch64 || true
  fi
  rm -rf --one-file-system "$work"
}

# --- the inner half: makes the image --------------------------------------------------------------------------------

inner() {
  work=$1
  local sources=$2
  if [ "$(uname -m)" != aarch64 ] && [ ! -e $BINFMT/register ]; then
    mount -t binfmt_misc binfmt_misc $BINFMT
    register_binfmt
  fi
  PATH=$PATH:/usr/sbin:/sbin
  local root=$work/root
  install_system "$root" "$sources"
  say "packages installed after $SECONDS s"
  configure "$root"
  index_pool
  make_disk "$root"
}

install_system() {
  local root=$1 sources=$2 include
  include=$(IFS=,; printf '%s' "${PACKAGES[*]}")
  mkdir -p "$work/pool/partial"
  # The pool is chosen by apt with the state of the finished system, so it is the exact difference.
  cat >"$work/pool-hook" <<EOF_HOOK
#!/bin/sh
set -eu
export APT_CONFIG="\$MMDEBSTRAP_APT_CONFIG"
apt-get -qq -y --no-install-recommends --download-only -o Dir::Cache::Archives="$work/pool" -o APT::Sandbox::User=root install ${POOL[*]}
EOF_HOOK
  chmod 755 "$work/pool-hook"
  # Before the kernel is installed: /vmlinuz and /initrd.img are to follow it, and nothing hibernates.
  cat >"$work/setup-hook" <<'EOF_HOOK'
#!/bin/sh
set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d"
echo 'do_symlinks = yes' >"$1/etc/kernel-img.conf"
echo 'RESUME=none' >"$1/etc/initramfs-tools/conf.d/resume"
EOF_HOOK
  chmod 755 "$work/setup-hook"
  mmdebstrap --quiet --mode=root --architectures=arm64 --variant=minbase --components=main \
    --include="$include" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --setup-hook="$work/setup-hook \"\$1\"" \
    --customize-hook="$work/pool-hook" \
    "$SUITE" "$root" "$sources"
  # shellcheck disable=SC2016
  chroot "$root" dpkg-query -W -f '${Package} ${Version}\n' >"$work/packages.txt"
}

# configure writes what makes the tree a cloud image: boot loader, network, cloud-init, and no identity of its own.
configure() {
  local root=$1
  root_uuid=$(cat /proc/sys/kernel/random/uuid)

  # The local mirror and mmdebstrap's settings stay out of the image.
  rm -f "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/etc/apt/apt.conf.d/99mmdebstrap
  rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb
  rm -rf "$root"/var/log/apt/* "$root"/var/log/dpkg.log "$root"/var/log/alternatives.log "$root"/var/log/bootstrap.log
  sed -i '/force-unsafe-io/d' "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap
  mv "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/etc/dpkg/dpkg.cfg.d/90-no-docs
  cat >"$root/etc/apt/sources.list.d/debian.sources" <<E
Types: deb
URIs: http://deb.debian.org/debian
Suites: $SUITE $SUITE-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: $SUITE-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
E

  # Boot loader. The signed GRUB looks for /EFI/debian/grub.cfg on its own partition; that one only finds the root
  # file system. /boot/grub/grub.cfg is what update-grub will write again as soon as a kernel is installed.
  mkdir -p "$root/boot/efi" "$root/boot/grub" "$root/etc/default/grub.d"
  cat >"$root/etc/default/grub.d/50-cloud.cfg" <<'E'
GRUB_TIMEOUT=0
GRUB_DISABLE_OS_PROBER=true
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX="console=tty0 console=ttyAMA0,115200"
E
  cat >"$root/boot/grub/grub.cfg" <<E
set timeout=0
set default=0
menuentry "Debian GNU/Linux" {
  search --no-floppy --fs-uuid --set=root $root_uuid
  linux /vmlinuz root=UUID=$root_uuid ro console=tty0 console=ttyAMA0,115200 quiet
  initrd /initrd.img
}
E
  echo 'grub-efi-arm64 grub2/force_efi_extra_removable boolean true' | chroot "$root" debconf-set-selections
  cat >"$root/etc/fstab" <<E
UUID=$root_uuid / ext4 rw,discard,errors=remount-ro 0 1
LABEL=ESP /boot/efi vfat umask=0077,nofail,x-systemd.automount 0 2
E

  # Network: DHCP on every wired card, by systemd-networkd; cloud-init leaves it alone.
  cat >"$root/etc/systemd/network/80-dhcp.network" <<'E'
[Match]
Type=ether

[Network]
DHCP=yes

[DHCPv4]
UseHostname=no
E
  chroot "$root" systemctl -q enable systemd-networkd.service systemd-resolved.service systemd-timesyncd.service
  ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
  echo localhost >"$root/etc/hostname"
  printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
  echo 'LANG=C.UTF-8' >"$root/etc/default/locale"

  # cloud-init: which clouds it looks for, and no work that a fixed image does not need.
  cat >"$root/etc/cloud/cloud.cfg.d/90_datasource.cfg" <<'E'
datasource_list: [Oracle, Ec2, None]
E
  cat >"$root/etc/cloud/cloud.cfg.d/91_image.cfg" <<'E'
network: {config: disabled}
apt: {preserve_sources_list: true}
locale: C.UTF-8
ssh_genkeytypes: [ed25519, ecdsa]
grub_dpkg: {enabled: false}
E

  # Nothing here is on LVM, and no foreign program formats are run.
  chroot "$root" systemctl -q disable e2scrub_reap.service e2scrub_all.timer
  chroot "$root" systemctl -q mask systemd-binfmt.service proc-sys-fs-binfmt_misc.automount

  # No identity: cloud-init makes the host keys, systemd the machine id.
  rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
  : >"$root/etc/machine-id"
  rm -rf "$root"/tmp/* "$root"/var/tmp/* "$root/root/.bash_history"
}

index_pool() {
  (
    cd "$work/pool"
    rm -rf partial lock
    ls ./*.deb >/dev/null
    apt-ftparchive packages . >Packages
    gzip -9nk Packages
    apt-ftparchive -o APT::FTPArchive::Release::Suite="$SUITE" -o APT::FTPArchive::Release::Label=guest-pool release . >"$work/Release"
    mv "$work/Release" Release
    chmod 644 ./*
  )
}

# make_disk writes GPT, ESP and root file system into one sparse file and compresses it.
make_disk() {
  local root=$1 disk=$work/disk.raw grub esp_at root_at
  grub=$root/usr/lib/grub/arm64-efi-signed/grubaa64.efi.signed
  esp_at=1 root_at=$((1 + ESP_MB))
  truncate -s "$((root_at + ROOT_MB + 1))M" "$disk" # the last megabyte holds the second GPT
  sfdisk -q "$disk" <<E
label: gpt
start=$((esp_at * 2048)), size=$((ESP_MB * 2048)), type=U, name=ESP
start=$((root_at * 2048)), size=$((ROOT_MB * 2048)), type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE, name=root
E
  # GRUB's own words, not this script's.
  # shellcheck disable=SC2016
  printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' "$root_uuid" >"$work/esp.cfg"
  truncate -s "${ESP_MB}M" "$work/esp"
  mkfs.vfat -F 16 -s 2 -n ESP "$work/esp" >/dev/null
  mmd -i "$work/esp" ::/EFI ::/EFI/BOOT ::/EFI/debian
  mcopy -i "$work/esp" "$grub" ::/EFI/BOOT/BOOTAA64.EFI
  mcopy -i "$work/esp" "$work/esp.cfg" ::/EFI/debian/grub.cfg
  dd if="$work/esp" of="$disk" bs=1M seek=$esp_at conv=notrunc,sparse status=none
  # Features that GRUB 2.06 cannot read are left out; nothing is left for the guest's kernel to initialise later.
  mkfs.ext4 -q -F -L root -U "$root_uuid" -O ^metadata_csum_seed,^orphan_file \
    -E "offset=$((root_at * 1048576)),lazy_itable_init=0,lazy_journal_init=0" -d "$root" "$disk" "${ROOT_MB}M"
  say "disk filled after $SECONDS s; compressing"
  # zlib, not zstd: every qcow2 reader knows it, also those of clouds.
  qemu-img convert -c -W -m 4 -O qcow2 "$disk" "$work/$IMAGE"
}

if [ "${1:-}" = --inner ]; then
  shift
  inner "$@"
else
  outer "$@"
fi
