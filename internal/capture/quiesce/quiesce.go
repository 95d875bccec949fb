// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Machine is the machine that this process runs on.
type Machine struct {
	// Say is told what is done, for people.
	Say func(format string, args ...any)

	at     roots
	frozen []string
}

// kernel is where the kernel shows itself on every machine.
func kernel() roots { return roots{"/proc", "/sys", "/dev"} }

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

// Prepare stops what writes to the disk, removes what is not the image's if clean is
// set, and the SSH key of the comment key, and makes all file systems of the disk
// read-only. It returns the disk, nothing
// of which changes from then on. allowed says that there are deleted files that
// programs still use which must stay; the next mount removes them.
func (m *Machine) Prepare(ctx context.Context, clean bool, key string) (d Disk, allowed bool, err error) {
	if m.at == (roots{}) {
		m.at = kernel()
	}
	d, mounts, err := m.at.disk()
	if err != nil {
		return d, false, err
	}
	if err := m.stopServices(ctx); err != nil {
		return d, false, err
	}
	if err := m.endSwapping(); err != nil {
		return d, false, err
	}
	if clean {
		if err := Clean("/"); err != nil {
			return d, false, fmt.Errorf("remove what is the machine's own: %w", err)
		}
	}
	if err := ForgetKey("/", key); err != nil {
		return d, false, fmt.Errorf("remove the build's SSH key: %w", err)
	}
	for _, on := range mounts {
		left, err := m.readOnly(ctx, on)
		if err != nil {
			return d, false, errors.Join(err, m.Thaw())
		}
		allowed = allowed || left
	}
	unix.Sync()
	return d, allowed, flush(d.Path)
}

// flush gives up what is cached of the device itself, after it was written.
func flush(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKFLSBUF, 0); errno != 0 {
		return fmt.Errorf("flush %s: %w", device, errno)
	}
	return nil
}

// run runs a program of the machine.
func run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0")
	cmd.WaitDelay = time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}

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
	}
	return nil
}

// How long those that are in the way have to go when they are asked, and when they are
// not.
const (
	askedGrace  = 3 * time.Second
	killedGrace = 2 * time.Second
	rounds      = 3
)

// readOnly makes a file system read-only, or freezes it. deleted says that it holds
// deleted files that are still in use.
func (m *Machine) readOnly(ctx context.Context, on mount) (deleted bool, err error) {
	if on.ro {
		return false, nil
	}
	devs := map[string]bool{on.dev: true}
	var rerr error
	for range rounds {
		if err := m.endHolders(ctx, devs); err != nil {
			return false, err
		}
		unix.Sync()
		if rerr = unix.Mount("", on.point, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); rerr == nil {
			return false, nil
		}
		if !errors.Is(rerr, unix.EBUSY) {
			break
		}
	}
	// Whoever is left must stay: this process's own connection, or the first one.
	left := m.at.holders(devs, os.Getpid())
	var writers []string
	for _, h := range left {
		if len(h.writes) > 0 {
			writers = append(writers, h.String())
		}
		deleted = deleted || len(h.deleted) > 0
	}
	who := "nobody who could be named has a file open there"
	if len(left) > 0 {
		var names []string
		for _, h := range left {
			names = append(names, h.String())
		}
		who = strings.Join(names, "; ")
	}
	if len(writers) > 0 {
		return false, fmt.Errorf("%s cannot be made read-only (%w), so that it cannot be captured: %s", on.point, rerr, who)
	}
	if ferr := freeze(on.point); ferr != nil {
		return false, fmt.Errorf("%s can neither be made read-only (%w) nor frozen (%w), so that it cannot be captured: %s", on.point, rerr, ferr, who)
	}
	m.frozen = append(m.frozen, on.point)
	m.Say("%s is frozen, since it cannot be made read-only: %s", on.point, who)
	return deleted, nil
}

// ungentle are programs that take the network down when they are asked to end, and leave
// it as it is when they are not asked. The kernel cuts names at 15 characters.
func ungentle() []string { return []string{"systemd-network", "dhcpcd"} }

// endHolders ends whoever keeps file systems from being made read-only, but for those
// over whose connection this was asked for.
func (m *Machine) endHolders(ctx context.Context, devs map[string]bool) error {
	stay := append(m.at.ancestors(os.Getpid()), 1)
	inTheWay := func() (list []holder) {
		for _, h := range m.at.holders(devs, os.Getpid()) {
			if !slices.Contains(stay, h.pid) {
				list = append(list, h)
			}
		}
		return list
	}
	if slices.ContainsFunc(m.at.holders(devs, os.Getpid()), func(h holder) bool { return h.pid == 1 && len(h.deleted) > 0 }) {
		// It was upgraded, and starts itself anew.
		if _, err := run(ctx, "systemctl", "daemon-reexec"); err != nil {
			m.Say("Files that an upgrade replaced are still in use by systemd: %v", err)
		}
	}
	for _, way := range []struct {
		signal unix.Signal
		grace  time.Duration
	}{{unix.SIGTERM, askedGrace}, {unix.SIGKILL, killedGrace}} {
		list := inTheWay()
		if len(list) == 0 {
			return nil
		}
		for _, h := range list {
			m.Say("Ending %s", h)
			signal := way.signal
			if slices.Contains(ungentle(), h.name) {
				signal = unix.SIGKILL
			}
			_ = unix.Kill(h.pid, signal) // it may be gone
		}
		for end := time.Now().Add(way.grace); time.Now().Before(end) && len(inTheWay()) > 0; {
			if err := wait.Sleep(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// freeze writes what is pending and lets nothing through from then on.
func freeze(point string) error { return control(point, fiFreeze) }

// The requests of linux/fs.h.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

func control(point string, request uintptr) error {
	f, err := os.Open(point)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, 0); errno != 0 {
		return errno
	}
	return nil
}

// Thaw lets programs write again to what Prepare has frozen. What it made read-only
// stays so.
func (m *Machine) Thaw() error {
	var errs []error
	for _, point := range slices.Backward(m.frozen) {
		errs = append(errs, control(point, fiThaw))
	}
	m.frozen = nil
	return errors.Join(errs...)
}
