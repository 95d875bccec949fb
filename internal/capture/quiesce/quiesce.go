// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Machine is the machine that this process runs on.
type Machine struct {
	// Say is told what is done, for people.
	Say func(format string, args ...any)

	at     roots
	root   string   // where its root file system is mounted
	made   []mount  // were made read-only
	frozen []frozen // were frozen
	swaps  []string // devices that were swapped to
}

// frozen is a file system that lets no write through.
type frozen struct {
	mount
	orphans bool // it holds deleted files that are still in use
}

// kernel is where the kernel shows itself on every machine.
func kernel() roots { return roots{"/proc", "/sys", "/dev"} }

// Prepare stops what writes to the disk, removes what is not the image's if clean is
// set, and the SSH key of the comment key, and makes all file systems of the disk
// read-only. It returns the disk, nothing of which changes from then on: it has looked
// whether the kernel agrees. After an error everything may be written to again.
func (m *Machine) Prepare(ctx context.Context, clean bool, key string) (d Disk, err error) {
	if m.at == (roots{}) {
		m.at, m.root = kernel(), "/"
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Release())
		}
	}()
	if d, err = m.at.disk(m.root); err != nil {
		return d, err
	}
	if err := d.count(); err != nil {
		return d, err
	}
	before, err := d.Written()
	if err != nil {
		return d, err
	}
	if err := m.stopServices(ctx); err != nil {
		return d, err
	}
	if err := m.endSwapping(); err != nil {
		return d, err
	}
	if clean {
		if err := Clean(m.root); err != nil {
			return d, fmt.Errorf("remove what is the machine's own: %w", err)
		}
	}
	if err := ForgetKey(m.root, key); err != nil {
		return d, fmt.Errorf("remove the build's SSH key: %w", err)
	}
	// Services have a hand in what is mounted.
	on, err := m.at.on(d)
	if err != nil {
		return d, err
	}
	unix.Sync() // which would wait for what is frozen, later
	for _, f := range on {
		if err := m.readOnly(ctx, f); err != nil {
			return d, err
		}
	}
	if err := flush(d.Path); err != nil {
		return d, err
	}
	if err := m.verify(&d); err != nil {
		return d, err
	}
	// Each of these has been written to by that alone.
	if after, err := d.Written(); err != nil {
		return d, err
	} else if len(m.made)+len(m.frozen) > 0 && after == before {
		return d, fmt.Errorf("the kernel does not count what is written to %s, so that a change would not be noticed", d.Name)
	}
	return d, nil
}

// verify asks the kernel whether the disk is quiet, whatever was done to that end, and
// notes what its partitions are.
func (m *Machine) verify(d *Disk) error {
	on, err := m.at.on(*d)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range on {
		if !f.ro && !m.isFrozen(f.dev) {
			errs = append(errs, fmt.Errorf("the %s file system %s is still written to, so that it cannot be captured", f.kind, f))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if d.Parts, err = m.at.parts(*d, on, m.swaps); err != nil {
		return err
	}
	for i, p := range d.Parts {
		for _, f := range m.frozen {
			d.Parts[i].Orphans = p.Orphans || f.orphans && f.device() == p.dev
		}
	}
	return nil
}

func (m *Machine) isFrozen(dev string) bool {
	return slices.ContainsFunc(m.frozen, func(f frozen) bool { return f.dev == dev })
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

// How long those that are in the way have to go when they are asked, and when they are
// not.
const (
	askedGrace  = 3 * time.Second
	killedGrace = 2 * time.Second
	rounds      = 3
)

// readOnly makes a file system read-only, or freezes it.
func (m *Machine) readOnly(ctx context.Context, on mounted) error {
	if on.ro {
		return nil
	}
	devs := map[string]bool{on.dev: true}
	for _, o := range on.overlay {
		devs[o] = true
	}
	var rerr error
	for range rounds {
		if err := m.endHolders(ctx, devs); err != nil {
			return err
		}
		if len(m.frozen) == 0 {
			unix.Sync()
		}
		if rerr = unix.Mount("", on.path(), "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); rerr == nil {
			m.made = append(m.made, on.mount)
			return nil
		}
		if !errors.Is(rerr, unix.EBUSY) {
			break
		}
	}
	// Whoever is left must stay: this process's own connection, or the first one.
	left := m.at.holders(devs, os.Getpid())
	var writers []string
	orphans := false
	for _, h := range left {
		if len(h.writes) > 0 {
			writers = append(writers, h.String())
		}
		orphans = orphans || len(h.deleted) > 0
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
		return fmt.Errorf("%s cannot be made read-only (%w), so that it cannot be captured: %s", on, rerr, who)
	}
	if ferr := control(on.path(), fiFreeze); ferr != nil {
		return fmt.Errorf("%s can neither be made read-only (%w) nor frozen (%w), so that it cannot be captured: %s", on, rerr, ferr, who)
	}
	m.frozen = append(m.frozen, frozen{on.mount, orphans})
	m.Say("%s is frozen, since it cannot be made read-only: %s", on, who)
	return nil
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

// The requests of linux/fs.h. Freezing writes what is pending and lets nothing through
// from then on.
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

// Release lets programs write again to what Prepare has frozen or made read-only.
// Services stay stopped.
func (m *Machine) Release() error {
	var errs []error
	for _, f := range slices.Backward(m.frozen) {
		if err := control(f.path(), fiThaw); err != nil {
			errs = append(errs, fmt.Errorf("%s stays frozen: %w", f, err))
		}
	}
	for _, f := range slices.Backward(m.made) {
		if err := unix.Mount("", f.path(), "", unix.MS_REMOUNT, ""); err != nil {
			errs = append(errs, fmt.Errorf("%s stays read-only: %w", f, err))
		}
	}
	m.frozen, m.made = nil, nil
	return errors.Join(errs...)
}
