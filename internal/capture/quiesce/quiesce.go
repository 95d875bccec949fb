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
)

// Machine is the machine that this process runs on.
type Machine struct {
	// Say is told what is done, for people.
	Say func(format string, args ...any)

	at     roots
	root   string // where its root file system is mounted
	stay   []int  // processes that must not end
	held   []held
	made   []held   // were made read-only
	frozen []frozen // were frozen
	swaps  []swap   // were swapped to

	grace time.Duration // in place of askedGrace for those that are asked to end, if it is not 0
}

// frozen is a file system that lets no write through.
type frozen struct {
	held
	orphans bool // it holds deleted files that are still in use
}

// kernel is where the kernel shows itself on every machine.
func kernel() roots { return roots{"/proc", "/sys", "/dev"} }

// Prepare stops what writes to the disk, removes what is not the image's if clean is
// set, and the SSH key of the comment key or of that public part, and makes all file
// systems of the disk read-only. It returns the disk, nothing of which changes from then
// on: it has looked whether the kernel agrees. After an error everything may be written
// to again. If the connection over which this is asked for would not survive that, the
// error comes before anything is stopped.
func (m *Machine) Prepare(ctx context.Context, clean bool, key, public string) (d Disk, err error) {
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
	if err := m.connected(ctx, d); err != nil {
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
	// Services have a hand in what is mounted.
	on, err := m.at.on(d)
	if err != nil {
		return d, err
	}
	for _, f := range on {
		h, err := m.at.hold(f)
		if err != nil {
			return d, err
		}
		m.held = append(m.held, h)
	}
	// Whoever is asked to end may write last words, so that logs are emptied after that.
	if err := m.endHolders(ctx, m.devs()); err != nil {
		return d, err
	}
	if clean {
		ours, err := m.ours()
		if err == nil {
			err = Clean(m.root, ours)
		}
		if err != nil {
			return d, fmt.Errorf("remove what is the machine's own: %w", err)
		}
	}
	if err := ForgetKey(m.root, key, public); err != nil {
		return d, fmt.Errorf("remove the build's SSH key: %w", err)
	}
	if err := m.quiet(ctx); err != nil {
		return d, err
	}
	if err := flush(d.Path); err != nil {
		return d, err
	}
	if err := d.settle(ctx); err != nil {
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
	for _, f := range m.frozen {
		// What is frozen cannot be frozen.
		err := f.control(fiFreeze)
		if err == nil {
			err = errors.New("it could be frozen once more")
		}
		if !errors.Is(err, unix.EBUSY) {
			errs = append(errs, fmt.Errorf("the %s file system %s is not frozen although it was, so that it cannot be captured: %w", f.kind, f, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, f := range m.frozen { // which may be mounted nowhere any more
		on = append(on, f.mounted)
	}
	if d.Parts, err = m.at.parts(*d, on, swapDevs(m.swaps)); err != nil {
		return err
	}
	for i := range d.Parts {
		for _, f := range m.frozen {
			d.Parts[i].Orphans = d.Parts[i].Orphans || f.orphans && f.device() == d.Parts[i].dev
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

// quiet makes all file systems read-only, or freezes them. That comes last: whoever writes
// to what is frozen waits, and what lies in its files would wait for it.
func (m *Machine) quiet(ctx context.Context) error {
	type stuck struct {
		held
		why error
	}
	var left []stuck
	for _, h := range m.held {
		if h.ro {
			continue
		}
		err := m.readOnly(ctx, h)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			left = append(left, stuck{h, err})
		}
	}
	unix.Sync()
	for _, s := range left {
		if err := m.freeze(s.held, s.why); err != nil {
			return err
		}
	}
	return nil
}

// addDevs adds the devices by which files of it are known.
func (m mounted) addDevs(devs map[string]bool) {
	devs[m.dev] = true
	for _, o := range m.overlay {
		devs[o] = true
	}
}

func (m mounted) devs() map[string]bool {
	devs := map[string]bool{}
	m.addDevs(devs)
	return devs
}

// devs are those of all file systems that can be written to.
func (m *Machine) devs() map[string]bool {
	devs := map[string]bool{}
	for _, h := range m.held {
		if !h.ro {
			h.addDevs(devs)
		}
	}
	return devs
}

// ours says of paths whether they are on the disk that is captured: in a mount of a file
// system of it, or of an overlay that writes to one.
func (m *Machine) ours() (func(path string) bool, error) {
	all, err := m.at.mounts()
	if err != nil {
		return nil, err
	}
	devs, ids := map[string]bool{}, map[string]bool{}
	for _, h := range m.held {
		h.addDevs(devs)
	}
	for _, o := range all {
		ids[o.id] = devs[o.dev]
	}
	// Not by the numbers of devices: files of btrfs have those of subvolumes.
	return func(path string) bool {
		f, err := os.OpenFile(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
		if err != nil {
			return false
		}
		defer f.Close()
		info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd()))
		return err == nil && ids[fieldOf(info, "mnt_id")]
	}, nil
}

// readOnly makes a file system read-only, and ends whoever is in the way.
func (m *Machine) readOnly(ctx context.Context, h held) (err error) {
	for range rounds {
		if err := m.endHolders(ctx, h.devs()); err != nil {
			return err
		}
		unix.Sync()
		if err = unix.Mount("", h.path(), "", unix.MS_REMOUNT|unix.MS_RDONLY|h.kept(), ""); err == nil {
			m.made = append(m.made, h)
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	return err
}

// freeze freezes a file system that cannot be made read-only for a reason.
func (m *Machine) freeze(h held, why error) error {
	// Whoever is left must stay: this process's own connection, or the first one.
	left := m.at.holders(h.devs(), os.Getpid())
	var writers []string
	orphans := false
	for _, l := range left {
		if len(l.writes) > 0 {
			writers = append(writers, l.String())
		}
		orphans = orphans || len(l.deleted) > 0
	}
	who := "nobody who could be named has a file open there"
	if len(left) > 0 {
		var names []string
		for _, l := range left {
			names = append(names, l.String())
		}
		who = strings.Join(names, "; ")
	}
	if len(writers) > 0 {
		return fmt.Errorf("%s cannot be made read-only (%w), so that it cannot be captured: %s", h, why, who)
	}
	if err := h.control(fiFreeze); err != nil {
		return fmt.Errorf("%s can neither be made read-only (%w) nor frozen (%w), so that it cannot be captured: %s", h, why, err, who)
	}
	m.frozen = append(m.frozen, frozen{h, orphans})
	m.Say("%s is frozen, since it cannot be made read-only: %s", h, who)
	return nil
}

// The requests of linux/fs.h. Freezing writes what is pending and lets nothing through
// from then on.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// Release lets programs write again to what Prepare has frozen or made read-only, and the
// kernel swap again: another Prepare has to know what was swapped to. Services stay
// stopped.
func (m *Machine) Release() error {
	var errs []error
	for _, f := range slices.Backward(m.frozen) {
		if err := f.control(fiThaw); err != nil {
			errs = append(errs, fmt.Errorf("%s stays frozen: %w", f, err))
		}
	}
	for _, f := range slices.Backward(m.made) {
		if err := f.writable(); err != nil {
			errs = append(errs, fmt.Errorf("%s stays read-only: %w", f, err))
		}
	}
	for _, s := range m.swaps {
		if err := s.on(); err != nil {
			errs = append(errs, fmt.Errorf("swapping to %s stays ended: %w", s.path, err))
		}
	}
	for _, h := range m.held {
		errs = append(errs, h.file.Close())
	}
	m.frozen, m.made, m.held, m.swaps = nil, nil, nil, nil
	return errors.Join(errs...)
}
