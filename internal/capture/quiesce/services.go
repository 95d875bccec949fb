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
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kept are units that go on: those that the network needs, and the system's own, which
// write to memory only. Beside them go on those of the connection, whatever they are.
func kept() []string {
	return []string{
		"ssh*", "dbus*", "polkit*", "systemd-*", "user@*", "session-*", "NetworkManager*", "networking.service", "ifup@*", "dhcpcd*", "dhclient*",
		"wpa_supplicant*", "iscsi*", "multipath*", "wg-quick@*", "getty@*", "serial-getty@*",
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
	ours := m.at.units(m.stay)
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

// swap is something that was swapped to.
type swap struct {
	path     string
	dev      string // "8:3"; empty if it is a file
	priority string
}

// swapDevs are the devices among them.
func swapDevs(swaps []swap) (devs []string) {
	for _, s := range swaps {
		if s.dev != "" {
			devs = append(devs, s.dev)
		}
	}
	return devs
}

// swapPrefer has a priority in its lower bits; see linux/swap.h. Without it the kernel
// gives one below 0.
const swapPrefer = 0x8000

// on has the kernel swap to it again.
func (s swap) on() error {
	name, err := unix.BytePtrFromString(s.path)
	if err != nil {
		return err
	}
	flags := uintptr(0)
	if n, err := strconv.ParseUint(s.priority, 10, 15); err == nil {
		flags = swapPrefer | uintptr(n)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(name)), flags, 0); errno != 0 {
		return errno
	}
	return nil
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
		s := swap{path: unescape(f[0]), priority: f[len(f)-1]}
		name, err := unix.BytePtrFromString(s.path)
		if err != nil {
			return err
		}
		if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(name)), 0, 0); errno != 0 {
			return fmt.Errorf("swapping to %s cannot be ended, and it would write to the disk while that is read: %w", f[0], errno)
		}
		s.dev = deviceAt(s.path)
		m.swaps = append(m.swaps, s)
	}
	return nil
}
