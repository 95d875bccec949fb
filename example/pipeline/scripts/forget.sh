#!/bin/sh
# Copyright (c) The packer-plugin-armfree Authors
# SPDX-License-Identifier: MPL-2.0
#
# The last step before an image is made: forgets what belongs to this one machine. What boots from the image is a new
# machine, with its own keys, id and logs. Runs as root, by the option finish of the check. Nobody can log in by key afterwards; the session that runs this
# goes on.
set -eu

[ "$(id -u)" = 0 ] || { echo "forget: error: run me as root" >&2; exit 1; }
echo "forget: removing keys, ids and logs"

# cloud-init takes the next boot for the first; the keys it wrote here are not the next machine's.
cloud-init clean --logs --seed
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
for home in /root /home/*; do
  rm -f "$home/.ssh/authorized_keys" "$home/.ssh/authorized_keys2" "$home/.bash_history" "$home/.lesshst" "$home/.wget-hsts"
done
# cloud-init's own grant; it writes it again for the user it makes.
rm -f /etc/sudoers.d/90-cloud-init-users

# Empty, not absent: systemd makes a new id in place and does not take the boot for an installation.
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -f /var/lib/dhcp/*.leases
# The key by which tailscale knows this machine: its service wrote it when it started, and writes another one.
if systemctl -q is-active tailscaled.service; then systemctl stop tailscaled.service; fi
rm -rf /var/lib/tailscale

rm -rf /tmp/* /var/tmp/* /var/lib/fail2ban/fail2ban.sqlite3
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb
journalctl -q --rotate --vacuum-time=1s || true
rm -rf /var/log/journal/*
find /var/log -type f -exec truncate -s 0 {} +
# Freed blocks need not travel with the image.
fstrim / 2>/dev/null || true
sync
echo "forget: done"
