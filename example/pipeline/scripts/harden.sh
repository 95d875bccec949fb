#!/bin/sh
# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0
#
# Hardens a Debian 12 machine: SSH by key only, a firewall that lets in nothing but SSH, fail2ban, the QEMU guest agent,
# and tailscale when asked for. Runs as root; running it twice changes nothing more. What it promises is checked by
# ../goss/base.goss.yaml.
#
#   APT_SOURCE         a one-line apt source used instead of the machine's own, for this run only
#   INSTALL_TAILSCALE  "true" installs and enables tailscale; it joins no network: that takes a key, which has no place
#                      in an image
#   TAILSCALE_SOURCE   a one-line apt source that has the package tailscale; by default tailscale's own repository
set -eu

say() { echo "harden: $*"; }
die() { echo "harden: error: $*" >&2; exit 1; }

# enable_unit makes a service start at boot. Most are already; to say so again takes systemd seconds.
enable_unit() { systemctl -q is-enabled "$1" || systemctl -q enable "$1"; }

# start makes a service run with its present configuration, now and after each boot.
start() {
  enable_unit "$1"
  systemctl restart "$1"
}

[ "$(id -u)" = 0 ] || die "run me as root"
# shellcheck source=/dev/null
. /etc/os-release
[ "$ID-$VERSION_ID" = debian-12 ] || die "this is written for Debian 12, not for $PRETTY_NAME"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
# apt reads lists as its own user.
chmod 755 "$scratch"

# A machine that is still booting may hold apt's lock, or write the files that follow.
say "waiting until the machine has booted"
timeout 600 systemctl is-system-running --wait >/dev/null || true

# --- packages -------------------------------------------------------------------------------------------------------

# with_source runs apt-get with one source in place of the machine's own; nothing of it stays.
with_source() {
  source=$1
  shift
  mkdir -p "$scratch/lists/partial"
  printf '%s\n' "$source" >"$scratch/one.list"
  apt-get -o Dir::Etc::SourceList="$scratch/one.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$scratch/lists" -o APT::Sandbox::User=root "$@"
}

# Services are not started, nor systemd reloaded, package by package: that comes once, when all is configured.
install_packages() {
  export SYSTEMD_OFFLINE=1
  install_from "$@"
  unset SYSTEMD_OFFLINE
}

install_from() {
  source=$1
  shift
  if [ -n "$source" ]; then
    with_source "$source" -q update
    with_source "$source" -q -y --no-install-recommends install "$@"
  else
    apt-get -q update
    apt-get -q -y --no-install-recommends install "$@"
  fi
}

# Debian 12 has no /var/log/auth.log: fail2ban has to read the journal.
install -d -m 755 /etc/fail2ban/jail.d
cat >/etc/fail2ban/jail.d/sshd.local <<'E'
[DEFAULT]
backend = systemd
banaction = iptables-multiport
bantime = 1h
findtime = 10m
maxretry = 5

[sshd]
enabled = true
E
chmod 644 /etc/fail2ban/jail.d/sshd.local

# What is loaded when iptables-persistent is installed is not what shall be kept.
debconf-set-selections <<'E'
iptables-persistent iptables-persistent/autosave_v4 boolean false
iptables-persistent iptables-persistent/autosave_v6 boolean false
E

say "installing packages"
install_packages "${APT_SOURCE:-}" \
  qemu-guest-agent fail2ban python3-systemd iptables iptables-persistent netfilter-persistent

# --- firewall -------------------------------------------------------------------------------------------------------

# The cloud is at 169.254.0.0/16: metadata, names, time, and on OCI the disk itself where it is attached by iSCSI.
say "writing the firewall's rules"
install -d -m 755 /etc/iptables
cat >/etc/iptables/rules.v4 <<'E'
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -p icmp -j ACCEPT
-A INPUT -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -j ACCEPT
-A OUTPUT -d 169.254.0.0/16 -j ACCEPT
COMMIT
E
cat >/etc/iptables/rules.v6 <<'E'
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
-A INPUT -p ipv6-icmp -j ACCEPT
-A INPUT -p udp -m udp --sport 547 --dport 546 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -j ACCEPT
COMMIT
E
chmod 640 /etc/iptables/rules.v4 /etc/iptables/rules.v6
# Established connections, this session's among them, stay.
iptables-restore --test /etc/iptables/rules.v4
ip6tables-restore --test /etc/iptables/rules.v6
systemctl daemon-reload
start netfilter-persistent.service

# --- fail2ban, after the firewall: loading rules would take its chains away --------------------------------------------

start fail2ban.service

# --- SSH --------------------------------------------------------------------------------------------------------------

say "hardening SSH"
install -d -m 755 /etc/ssh/sshd_config.d /run/sshd
cat >/etc/ssh/sshd_config.d/10-hardening.conf <<'E'
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitEmptyPasswords no
HostbasedAuthentication no
X11Forwarding no
MaxAuthTries 4
ClientAliveInterval 300
ClientAliveCountMax 2
E
chmod 644 /etc/ssh/sshd_config.d/10-hardening.conf
# A configuration that sshd refuses must never be loaded: nobody could come in again.
sshd -t || die "sshd refuses its configuration"
enable_unit ssh.service
systemctl reload ssh.service

passwd -q -l root

# --- QEMU guest agent: udev starts it where the cloud gives the machine its channel -------------------------------------

if [ -e /dev/virtio-ports/org.qemu.guest_agent.0 ]; then
  systemctl start qemu-guest-agent.service
fi

# --- tailscale ---------------------------------------------------------------------------------------------------------

if [ "${INSTALL_TAILSCALE:-false}" = true ]; then
  say "installing tailscale"
  if [ -z "${TAILSCALE_SOURCE:-}" ]; then
    key=/usr/share/keyrings/tailscale-archive-keyring.gpg
    curl -fsS --retry 3 -o "$scratch/key" https://pkgs.tailscale.com/stable/debian/bookworm.noarmor.gpg
    install -m 644 "$scratch/key" $key
    TAILSCALE_SOURCE="deb [signed-by=$key] https://pkgs.tailscale.com/stable/debian bookworm main"
    # Kept, so that the machine can update it.
    printf '%s\n' "$TAILSCALE_SOURCE" >/etc/apt/sources.list.d/tailscale.list
  fi
  install_packages "$TAILSCALE_SOURCE" tailscale
  systemctl daemon-reload
  start tailscaled.service
fi

# --- leave no cache ----------------------------------------------------------------------------------------------------

apt-get clean
rm -rf /var/lib/apt/lists/*
say "done"
