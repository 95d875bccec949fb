// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mounted is a file system of the disk, wherever it is mounted.
type mounted struct {
	mount            // the first of them
	all     []mount  // from all of which it can be reached, if nothing covers them
	depth   int      // how many devices lie below it
	overlay []string // devices of the overlays that write to it
}

// on lists what is mounted of the disk, in any mount namespace: each file system once,
// what lies in another one's files before that one.
func (r roots) on(d Disk) (list []mounted, err error) {
	all, err := r.everywhere()
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		at, depth, err := r.wholeBelow(m.device(), all, 0)
		if err != nil || !slices.Contains(at, d.Name) {
			continue
		}
		if len(at) > 1 {
			return nil, fmt.Errorf("%s is spread over the disks %s; only what is on a single disk can be captured", m, strings.Join(at, " and "))
		}
		i := slices.IndexFunc(list, func(o mounted) bool { return o.dev == m.dev })
		if i < 0 {
			i = len(list)
			list = append(list, mounted{mount: m, depth: depth})
		}
		list[i].all = append(list[i].all, m)
	}
	for i := range list {
		list[i].overlay = overlays(all, list[i].mount)
	}
	slashes := func(m mounted) int { return strings.Count(strings.TrimRight(m.point, "/"), "/") }
	slices.SortStableFunc(list, func(a, b mounted) int {
		return cmp.Or(b.depth-a.depth, slashes(b)-slashes(a))
	})
	return list, nil
}

// held is a file system that is held open, so that it stays the same whatever is mounted,
// unmounted or ended meanwhile.
type held struct {
	mounted
	file *os.File
}

// path leads to what is held.
func (h held) path() string { return fmt.Sprintf("/proc/self/fd/%d", h.file.Fd()) }

// control sends a request of linux/fs.h.
func (h held) control(request uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, h.file.Fd(), request, 0); errno != 0 {
		return errno
	}
	return nil
}

// hold opens a file system by one of its mounts. Another mount may cover a path: what was
// opened is asked which one it is of.
func (r roots) hold(on mounted) (held, error) {
	var errs []error
	for _, m := range on.all {
		f, err := os.OpenFile(m.path(), unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd()))
		if err == nil && fieldOf(info, "mnt_id") == m.id {
			on.mount = m
			return held{on, f}, nil
		}
		_ = f.Close() // only read from
		if err == nil {
			err = errors.New("another mount covers it")
		}
		errs = append(errs, fmt.Errorf("%s: %w", m, err))
	}
	return held{}, fmt.Errorf("the %s file system %s cannot be reached, and may be written to: %w", on.kind, on, errors.Join(errs...))
}

// kept are the flags of mount(2) that a remount must repeat, since it drops them. What is
// said of access times it keeps.
func (m mount) kept() (flags uintptr) {
	of := func(options string, names map[string]uintptr) {
		for _, o := range strings.Split(options, ",") {
			flags |= names[o]
		}
	}
	of(m.flags, map[string]uintptr{"nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC, "nosymfollow": unix.MS_NOSYMFOLLOW})
	of(m.options, map[string]uintptr{"sync": unix.MS_SYNCHRONOUS, "mand": unix.MS_MANDLOCK, "lazytime": unix.MS_LAZYTIME})
	return flags
}

// writable undoes that a file system was made read-only. The mount by which it is held may
// have been read-only by itself.
func (h held) writable() error {
	err := unix.Mount("", h.path(), "", unix.MS_REMOUNT|h.kept(), "")
	if err == nil && slices.Contains(strings.Split(h.flags, ","), "ro") {
		err = unix.Mount("", h.path(), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|h.kept(), "")
	}
	return err
}

// numbered is a device as the kernel writes it.
func numbered(dev uint64) string { return fmt.Sprintf("%d:%d", unix.Major(dev), unix.Minor(dev)) }

// overlays are the devices of overlay file systems whose writes go to a file system.
func overlays(all []mount, m mount) (devs []string) {
	for _, o := range all {
		if o.kind != "overlay" || slices.Contains(devs, o.dev) {
			continue
		}
		for _, opt := range strings.Split(o.options, ",") {
			upper, is := strings.CutPrefix(opt, "upperdir=")
			if !is {
				continue
			}
			var st unix.Stat_t
			// What cannot be found may be there.
			if err := unix.Stat(filepath.Join("/", o.within, unescape(upper)), &st); err != nil || numbered(st.Dev) == m.dev {
				devs = append(devs, o.dev)
			}
		}
	}
	return devs
}

// unused sees whether nobody uses a device that nothing is known to be mounted from: a
// file system may have been detached from all folders and still be there, or a program
// may have it open by itself.
func (r roots) unused(name string) error {
	f, err := os.OpenFile(filepath.Join(r.dev, strings.ReplaceAll(name, "!", "/")), unix.O_RDONLY|unix.O_EXCL|unix.O_NONBLOCK, 0)
	if err == nil {
		return f.Close()
	}
	if errors.Is(err, unix.EBUSY) {
		err = errors.New("it is in use, although nothing is mounted from it that could be seen")
	}
	return err
}

// above are the devices that are made of one, by their folders in sysfs: those that have
// claimed it, and loop devices that have it in place of a file, which claim nothing.
func (r roots) above(dir, dev string) (claimed, loops []string, err error) {
	holders, err := os.ReadDir(filepath.Join(dir, "holders"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, h := range holders {
		at, err := filepath.EvalSymlinks(filepath.Join(dir, "holders", h.Name()))
		if err != nil {
			return nil, nil, err
		}
		claimed = append(claimed, at)
	}
	files, _ := filepath.Glob(filepath.Join(r.sys, "dev/block/*/loop/backing_file"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || dev == "" || deviceAt(strings.TrimSpace(string(b))) != dev {
			continue
		}
		at, err := filepath.EvalSymlinks(filepath.Dir(filepath.Dir(f)))
		if err != nil {
			return nil, nil, err
		}
		loops = append(loops, at)
	}
	return claimed, loops, nil
}

// leaves sees whether nobody uses what is made of a device in the end and is not known to
// be mounted.
func (r roots) leaves(dir string, on []mounted, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s is made of itself", filepath.Base(dir))
	}
	b, err := os.ReadFile(filepath.Join(dir, "dev"))
	if err != nil {
		return err
	}
	dev := strings.TrimSpace(string(b))
	claimed, loops, err := r.above(dir, dev)
	if err != nil {
		return err
	}
	// Partitions of it are devices by themselves, and whoever has one keeps others from
	// the whole.
	parts, _ := filepath.Glob(filepath.Join(dir, "*/partition"))
	for _, p := range parts {
		claimed = append(claimed, filepath.Dir(p))
	}
	for _, m := range slices.Concat(claimed, loops) {
		if err := r.leaves(m, on, depth+1); err != nil {
			return err
		}
	}
	if len(claimed) > 0 || slices.ContainsFunc(on, func(m mounted) bool { return m.device() == dev }) {
		return nil
	}
	if err := r.unused(filepath.Base(dir)); err != nil {
		return fmt.Errorf("of %s, which is made of it: %w", filepath.Base(dir), err)
	}
	return nil
}

// parts lists the partitions of the disk, with what is mounted from them.
func (r roots) parts(d Disk, on []mounted, swaps []string) (list []Part, err error) {
	dirs, err := os.ReadDir(d.sys)
	if err != nil {
		return nil, err
	}
	for _, e := range dirs {
		dir := filepath.Join(d.sys, e.Name())
		n, err := number(filepath.Join(dir, "partition"))
		if err != nil {
			continue
		}
		start, err := number(filepath.Join(dir, "start"))
		size, serr := number(filepath.Join(dir, "size"))
		if err = errors.Join(err, serr); err != nil {
			return nil, err
		}
		list = append(list, Part{Number: int(n), Start: start * sector, End: (start + size) * sector, dev: e.Name()})
	}
	if len(list) == 0 {
		list = []Part{{End: d.Size}}
	}
	slices.SortFunc(list, func(a, b Part) int { return cmp.Compare(a.Start, b.Start) })
	for i := range list {
		p := &list[i]
		dir := filepath.Join(d.sys, p.dev)
		dev, err := os.ReadFile(filepath.Join(dir, "dev"))
		if err != nil {
			return nil, err
		}
		name := p.dev
		p.dev = strings.TrimSpace(string(dev))
		for _, m := range on {
			if m.device() == p.dev {
				p.Mounted = m.kind
			}
		}
		if slices.Contains(swaps, p.dev) {
			p.Mounted = "swap"
		}
		claimed, loops, err := r.above(dir, p.dev)
		if err != nil {
			return nil, err
		}
		for _, h := range slices.Concat(claimed, loops) {
			if err := r.leaves(h, on, 0); err != nil {
				return nil, fmt.Errorf("partition %d cannot be captured: %w", p.Number, err)
			}
		}
		owners := claimed
		if p.Mounted == "" {
			owners = slices.Concat(claimed, loops)
		}
		for _, h := range owners {
			p.Holders = append(p.Holders, filepath.Base(h))
		}
		if name != "" && len(claimed) == 0 && (p.Mounted == "" || p.Mounted == "swap") {
			if err := r.unused(name); err != nil {
				return nil, fmt.Errorf("partition %d cannot be captured: %w", p.Number, err)
			}
		}
	}
	return list, nil
}
