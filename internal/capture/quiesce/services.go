// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kept are units that go on: those that the network and the connection need, and the
// system's own, which write to memory only.
func kept() []string {
	return []string{
		"ssh*", "dbus*", "polkit*", "systemd-*", "user@*", "session-*", "NetworkManager*", "networking.service", "ifup@*", "dhcpcd*", "dhclient*",
		"wpa_supplicant*", "iscsi*", "multipath*", "tailscaled*", "wg-quick@*", "getty@*", "serial-getty@*",
	}
}

// ended are units that would be kept by their name.
func ended() []string {
	return []string{"systemd-timesyncd.service", "systemd-tmpfiles-clean.timer", "systemd-coredump.socket", "systemd-pstore.service"}
}

// stopLimit is how long services may take to stop, together.
const stopLimit = 2 * time.Minute

// stopServices stops what systemd runs, but for what is kept, and everything that would
// start it again. What does not stop is ended later if it is in the way.
func (m *Machine) stopServices(ctx context.Context) error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil // another init: what writes is ended all the same
	}
	listed, err := run(ctx, "systemctl", "list-units", "--no-legend", "--plain", "--full", "--type=service,socket,timer,path", "--state=running,listening,waiting,start,auto-restart")
	if err != nil {
		return err
	}
	ours := m.at.units(m.at.ancestors(os.Getpid()))
	stop := toStop(listed, ours)
	if len(stop) > 0 {
		m.Say("Stopping %d services, timers and sockets", len(stop))
		limited, cancel := context.WithTimeout(ctx, stopLimit)
		defer cancel()
		if _, err := run(limited, "systemctl", append([]string{"stop", "--"}, stop...)...); err != nil && ctx.Err() == nil {
			m.Say("Not everything could be stopped: %v", err)
		}
	}
	if _, err := run(ctx, "journalctl", "--relinquish-var"); err != nil {
		// systemd before 243 cannot do that.
		_, err = run(ctx, "systemctl", "stop", "--", "systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald-audit.socket", "systemd-journald.service")
		if err != nil && ctx.Err() == nil {
			m.Say("The journal goes on: %v", err)
		}
	}
	return ctx.Err()
}

// toStop are the units of a list that are to be stopped.
func toStop(listed string, ours []string) (stop []string) {
	for line := range strings.Lines(listed) {
		f := strings.Fields(line)
		if len(f) == 0 || slices.Contains(ours, f[0]) {
			continue
		}
		keep := slices.ContainsFunc(kept(), func(p string) bool { ok, _ := path.Match(p, f[0]); return ok })
		if !keep || slices.Contains(ended(), f[0]) {
			stop = append(stop, f[0])
		}
	}
	return stop
}

// endSwapping ends it: a swap file is on the disk, too.
func (m *Machine) endSwapping() error {
	b, err := os.ReadFile(filepath.Join(m.at.proc, "swaps"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without
	}
	if err != nil {
		return err
	}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.Fields(line)
		if i == 0 || len(f) == 0 || strings.HasPrefix(filepath.Base(f[0]), "zram") {
			continue
		}
		name, err := unix.BytePtrFromString(unescape(f[0]))
		if err != nil {
			return err
		}
		if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(name)), 0, 0); errno != 0 {
			return fmt.Errorf("swapping to %s cannot be ended, and it would write to the disk while that is read: %w", f[0], errno)
		}
		var st unix.Stat_t
		if unix.Stat(unescape(f[0]), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
			m.swaps = append(m.swaps, numbered(st.Rdev))
		}
	}
	return nil
}
