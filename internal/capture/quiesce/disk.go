// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is a line of mountinfo.
type mount struct {
	dev    string // "8:1"
	root   string // of the mount, in the file system
	point  string
	kind   string
	source string
	ro     bool // the file system, not only this mount
}

// parseMounts reads mountinfo; see proc(5).
func parseMounts(r io.Reader) (list []mount, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		sep := slices.Index(f, "-")
		if len(f) < 6 || sep < 6 || len(f) < sep+4 {
			return nil, fmt.Errorf("a line of mountinfo is not understood: %.200q", lines.Text())
		}
		list = append(list, mount{
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
	devs map[string]bool
	sys  string
}

// roots are where the kernel shows itself; tests have others.
type roots struct{ proc, sys, dev string }

func (r roots) mounts() ([]mount, error) {
	f, err := os.Open(filepath.Join(r.proc, "self/mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMounts(f)
}

// whole are the disks on which a device lies: one for a partition, several for a
// volume that is spread.
func (r roots) whole(dev string) (names []string, err error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(r.sys, "dev/block", dev))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil { //nolint:gosec // the kernel's own
		return []string{filepath.Base(filepath.Dir(dir))}, nil
	}
	slaves, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(slaves) == 0 {
		return []string{filepath.Base(dir)}, nil
	}
	for _, s := range slaves {
		below, err := os.ReadFile(filepath.Join(dir, "slaves", s.Name(), "dev")) //nolint:gosec // the kernel's own
		if err != nil {
			return nil, err
		}
		more, err := r.whole(strings.TrimSpace(string(below)))
		if err != nil {
			return nil, err
		}
		for _, n := range more {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names, nil
}

// device is the number of what is mounted. Some file systems have a number of their own,
// and say in the source what they are on.
func (m mount) device() string {
	if !strings.HasPrefix(m.dev, "0:") || !strings.HasPrefix(m.source, "/dev/") {
		return m.dev
	}
	var st unix.Stat_t
	if err := unix.Stat(m.source, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return m.dev
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
}

// disk finds the disk that holds the root file system, and what else of it is mounted:
// each file system once, the root last.
func (r roots) disk() (d Disk, on []mount, err error) {
	all, err := r.mounts()
	if err != nil {
		return d, nil, err
	}
	root := slices.IndexFunc(all, func(m mount) bool { return m.point == "/" && m.kind != "rootfs" })
	if root < 0 {
		return d, nil, errors.New("nothing is mounted as the root file system")
	}
	names, err := r.whole(all[root].device())
	if err != nil {
		return d, nil, fmt.Errorf("the root file system is on %s, which is no disk that could be read: %w", all[root].source, err)
	}
	if len(names) != 1 {
		return d, nil, fmt.Errorf("the root file system is spread over the disks %s; only one that is on a single disk can be captured", strings.Join(names, " and "))
	}
	d = Disk{Name: names[0], Path: filepath.Join(r.dev, strings.ReplaceAll(names[0], "!", "/")), devs: map[string]bool{}, sys: filepath.Join(r.sys, "block", names[0])}
	sectors, err := number(filepath.Join(d.sys, "size"))
	if err != nil {
		return d, nil, err
	}
	d.Size = sectors * 512
	seen := map[string]bool{}
	for _, m := range all {
		at, err := r.whole(m.device())
		if err != nil || !slices.Contains(at, d.Name) {
			continue
		}
		if len(at) > 1 {
			return d, nil, fmt.Errorf("%s is spread over the disks %s; only what is on a single disk can be captured", m.point, strings.Join(at, " and "))
		}
		d.devs[m.dev] = true
		if !seen[m.dev] {
			seen[m.dev] = true
			on = append(on, m)
		}
	}
	slices.SortStableFunc(on, func(a, b mount) int {
		return strings.Count(strings.TrimRight(b.point, "/"), "/") - strings.Count(strings.TrimRight(a.point, "/"), "/")
	})
	return d, on, nil
}

func number(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
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
