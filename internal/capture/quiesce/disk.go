// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// mount is a line of mountinfo.
type mount struct {
	id      string
	dev     string // "8:1"
	root    string // of the mount, in the file system
	point   string
	kind    string
	source  string
	flags   string // of this mount: "rw,nosuid,relatime"
	options string // of the file system
	ro      bool   // the file system, not only this mount
	within  string // what leads to it: empty, or the root folder of a process of another mount namespace
}

// path leads to the mount from here.
func (m mount) path() string { return filepath.Join("/", m.within, m.point) }

func (m mount) String() string {
	if m.within == "" {
		return m.point
	}
	return fmt.Sprintf("%s of the process %s", m.point, filepath.Base(filepath.Dir(m.within)))
}

// parseMounts reads mountinfo; see proc(5).
func parseMounts(r io.Reader) (list []mount, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f := strings.Split(lines.Text(), " ") // a source may be empty
		sep := slices.Index(f, "-")
		if len(f) < 6 || sep < 6 || len(f) < sep+4 {
			return nil, fmt.Errorf("a line of mountinfo is not understood: %.200q", lines.Text())
		}
		list = append(list, mount{
			id: f[0], flags: f[5], options: f[sep+3],
			dev: f[2], root: unescape(f[3]), point: unescape(f[4]), kind: f[sep+1], source: unescape(f[sep+2]),
			ro: slices.Contains(strings.Split(f[sep+3], ","), "ro"),
		})
	}
	return list, lines.Err()
}

// unescape undoes \040 and the like.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Disk is the one that the machine started from.
type Disk struct {
	Name string // "sda"
	Path string // of its device
	Size int64  // in bytes
	// Parts are its partitions as the kernel has them, in their order; the whole disk where
	// there are none. They are known once the machine is quiet.
	Parts []Part
	sys   string
}

// Part is a partition, and what the kernel does with it.
type Part struct {
	Number     int   // from 1; 0 for a whole disk
	Start, End int64 // in bytes; it ends before End
	// Mounted is the kind of file system that is mounted from exactly this partition:
	// "ext4"; "swap" if it was swapped to until now; empty otherwise.
	Mounted string
	// Holders are devices that are made of it, such as volumes of LVM.
	Holders []string
	// Orphans says that it holds deleted files which programs that must stay still use;
	// the next mount removes them.
	Orphans bool
	dev     string
}

// roots are where the kernel shows itself; tests have others.
type roots struct{ proc, sys, dev string }

// mounts are those of this process's mount namespace.
func (r roots) mounts() ([]mount, error) {
	return r.mountsOf("self")
}

func (r roots) mountsOf(process string) ([]mount, error) {
	f, err := os.Open(filepath.Join(r.proc, process, "mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMounts(f)
}

// everywhere are the mounts of all mount namespaces, this process's first.
func (r roots) everywhere() ([]mount, error) {
	all, err := r.mounts()
	if err != nil {
		return nil, err
	}
	own, _ := os.Readlink(filepath.Join(r.proc, "self/ns/mnt"))
	seen := map[string]bool{own: true}
	dirs, _ := filepath.Glob(filepath.Join(r.proc, "[0-9]*"))
	for _, dir := range dirs {
		ns, err := os.Readlink(filepath.Join(dir, "ns/mnt"))
		if err == nil && seen[ns] {
			continue
		}
		var more []mount
		if err == nil {
			more, err = r.mountsOf(filepath.Base(dir))
		}
		// It has gone, or is about to; or root may not look at it, within a container: what it
		// has mounted of a partition is then found to be in use.
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("what process %s has mounted cannot be looked at: %w", filepath.Base(dir), err)
		}
		seen[ns] = true
		for _, m := range more {
			m.within = filepath.Join(dir, "root")
			all = append(all, m)
		}
	}
	return all, nil
}

// whole are the disks on which a device lies: one for a partition, several for a
// volume that is spread. A loop device lies where its file does, among the mounts of all.
func (r roots) whole(dev string, all []mount) (names []string, err error) {
	names, _, err = r.wholeBelow(dev, all, 0)
	return names, err
}

// maxDepth ends what a kernel in disorder would make endless.
const maxDepth = 16

// wholeBelow says besides through how many devices that leads.
func (r roots) wholeBelow(dev string, all []mount, depth int) (names []string, deepest int, err error) {
	if depth > maxDepth {
		return nil, 0, fmt.Errorf("the device %s is made of itself", dev)
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(r.sys, "dev/block", dev))
	if err != nil {
		return nil, 0, err
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil { //nolint:gosec // the kernel's own
		dir = filepath.Dir(dir)
	}
	below, err := r.below(dir, all)
	if err != nil {
		return nil, 0, err
	}
	if len(below) == 0 {
		return []string{filepath.Base(dir)}, depth, nil
	}
	for _, dev := range below {
		more, deep, err := r.wholeBelow(dev, all, depth+1)
		if err != nil {
			return nil, 0, err
		}
		deepest = max(deepest, deep)
		for _, n := range more {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names, deepest, nil
}

// below are the devices of which another one is made, whose folder is dir.
func (r roots) below(dir string, all []mount) (devs []string, err error) {
	if file, err := os.ReadFile(filepath.Join(dir, "loop/backing_file")); err == nil { //nolint:gosec // the kernel's own
		name := strings.TrimSuffix(strings.TrimSpace(string(file)), deletedMark)
		if dev := deviceAt(name); dev != "" {
			return []string{dev}, nil
		}
		var at mount
		for _, m := range all {
			if m.within == "" && within(name, m.point) && len(m.point) >= len(at.point) {
				at = m
			}
		}
		return []string{at.device()}, nil
	}
	slaves, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, s := range slaves {
		dev, err := os.ReadFile(filepath.Join(dir, "slaves", s.Name(), "dev")) //nolint:gosec // the kernel's own
		if err != nil {
			return nil, err
		}
		devs = append(devs, strings.TrimSpace(string(dev)))
	}
	return devs, nil
}

// within says whether a path lies below a folder, or is it.
func within(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, strings.TrimRight(folder, "/")+"/")
}

// device is the number of what is mounted. Some file systems have a number of their own,
// and say in the source what they are on.
func (m mount) device() string {
	if !strings.HasPrefix(m.dev, "0:") || !strings.HasPrefix(m.source, "/dev/") {
		return m.dev
	}
	return cmp.Or(deviceAt(m.source), m.dev)
}

// deviceAt is the number of the device at a path; empty if there is none.
func deviceAt(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return ""
	}
	return numbered(st.Rdev)
}

// disk finds the disk that holds the file system which is mounted as the root.
func (r roots) disk(root string) (d Disk, err error) {
	all, err := r.mounts()
	if err != nil {
		return d, err
	}
	at := slices.IndexFunc(all, func(m mount) bool { return m.point == root && m.kind != "rootfs" })
	if at < 0 {
		return d, errors.New("nothing is mounted as the root file system")
	}
	names, err := r.whole(all[at].device(), all)
	if err != nil {
		return d, fmt.Errorf("the root file system is on %s, which is no disk that could be read: %w", all[at].source, err)
	}
	if len(names) != 1 {
		return d, fmt.Errorf("the root file system is spread over the disks %s; only one that is on a single disk can be captured", strings.Join(names, " and "))
	}
	d = Disk{Name: names[0], Path: filepath.Join(r.dev, strings.ReplaceAll(names[0], "!", "/")), sys: filepath.Join(r.sys, "block", names[0])}
	sectors, err := number(filepath.Join(d.sys, "size"))
	if err != nil {
		return d, err
	}
	d.Size = sectors * sector
	return d, nil
}

// sector is the unit of what the kernel says of disks, whatever theirs is.
const sector = 512

func number(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// count has the kernel count what is written to the disk: it may have been told not to.
func (d Disk) count() error {
	path := filepath.Join(d.sys, "queue/iostats")
	on, err := number(path)
	if err == nil && on != 1 {
		if err = os.WriteFile(path, []byte("1"), 0o600); err == nil {
			on, err = number(path)
		}
	}
	if err == nil && on != 1 {
		err = errors.New("it does not")
	}
	if err != nil {
		return fmt.Errorf("the kernel must count what is written to %s, and does not do it (%s): %w", d.Name, path, err)
	}
	return nil
}

// Written is how much the kernel has written to the disk, or given up of it, since the
// machine started, in sectors. Equal numbers mean that nothing has changed in between.
func (d Disk) Written() (int64, error) {
	b, err := os.ReadFile(filepath.Join(d.sys, "stat"))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b))
	var total int64
	for _, i := range []int{6, 13} { // sectors written, sectors discarded; see the kernel's documentation of block/stat
		if i >= len(f) {
			break // older kernels do not count discards
		}
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", filepath.Join(d.sys, "stat"), err)
		}
		total += n
	}
	if len(f) < 7 {
		return 0, fmt.Errorf("%s is not understood: %.200q", filepath.Join(d.sys, "stat"), b)
	}
	return total, nil
}

// pending is how many writes the kernel has given to the disk that it has not done yet.
func (d Disk) pending() (int64, error) {
	path := filepath.Join(d.sys, "inflight")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // an older kernel
	}
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b)) // reads, writes
	if len(f) != 2 {
		return 0, fmt.Errorf("%s is not understood: %.200q", path, b)
	}
	return strconv.ParseInt(f[1], 10, 64)
}

// How long nothing must have happened to a disk that is taken to be quiet, and how long
// that may take.
const (
	calm      = time.Second
	calmLimit = time.Minute
)

// settle waits until the kernel has done what it still had to do. ext4 may give up blocks
// some time after the change that freed them, from a queue of its own, and being read-only
// does not wait for that.
func (d Disk) settle(ctx context.Context) error {
	err := settle(ctx, func() (written, pending int64, err error) {
		written, err = d.Written()
		pending, perr := d.pending()
		return written, pending, errors.Join(err, perr)
	})
	if err != nil {
		return fmt.Errorf("%s does not come to rest, although no file system lets anything through: %w", d.Name, err)
	}
	return nil
}

// settle counts from the first look that found nothing to do, however far apart looks are:
// before that one nobody knows.
func settle(ctx context.Context, look func() (written, pending int64, err error)) error {
	last := int64(-1)
	var since time.Time
	every := wait.Pace{First: 100 * time.Millisecond, Max: 100 * time.Millisecond, Factor: 1}
	return wait.Loop{What: "the end of what is written to the disk", Timeout: calmLimit, Pace: every}.Until(ctx, func(context.Context) (bool, error) {
		begun := time.Now()
		written, pending, err := look()
		switch {
		case err != nil:
			return false, err
		case pending > 0:
			last, since = written, time.Time{}
		case written != last || since.IsZero():
			last, since = written, time.Now()
		default:
			return begun.Sub(since) >= calm, nil
		}
		return false, nil
	})
}
