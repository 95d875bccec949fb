// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// holder is a process because of which a file system cannot be made read-only.
type holder struct {
	pid     int
	name    string
	writes  []string // files that it may write to
	deleted []string // files that are deleted and that it still uses
}

func (h holder) String() string {
	files, what := h.writes, "has open for writing"
	if len(files) == 0 {
		files, what = h.deleted, "still uses, though deleted,"
	}
	more := ""
	if n := len(files); n > 3 {
		files, more = files[:3], fmt.Sprintf(" and %d more", n-3)
	}
	return fmt.Sprintf("%s (process %d) %s %s%s", h.name, h.pid, what, strings.Join(files, ", "), more)
}

// holders lists who uses file systems of the devices in such a way, but for one process.
func (r roots) holders(devs map[string]bool, but int) []holder {
	dirs, _ := filepath.Glob(filepath.Join(r.proc, "[0-9]*"))
	var list []holder
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == but {
			continue
		}
		if _, err := os.Readlink(filepath.Join(dir, "exe")); err != nil && os.Getuid() == 0 {
			continue // the kernel's own, or gone
		}
		h := holder{pid: pid, name: r.name(pid)}
		mounts, _ := r.mountsOf(filepath.Base(dir))
		h.files(dir, devs, mounts)
		h.maps(dir, devs)
		h.places(dir, devs, mounts)
		if len(h.writes)+len(h.deleted) > 0 {
			list = append(list, h)
		}
	}
	return list
}

func (r roots) name(pid int) string {
	b, err := os.ReadFile(filepath.Join(r.proc, strconv.Itoa(pid), "comm"))
	if err != nil {
		return "a process"
	}
	return strings.TrimSpace(string(b))
}

const deletedMark = " (deleted)"

// files looks at open files.
func (h *holder) files(dir string, devs map[string]bool, mounts []mount) {
	fds, _ := os.ReadDir(filepath.Join(dir, "fd"))
	for _, fd := range fds {
		path := filepath.Join(dir, "fd", fd.Name())
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		info, err := os.ReadFile(filepath.Join(dir, "fdinfo", fd.Name()))
		if err != nil {
			continue
		}
		// Files of btrfs have the number of their subvolume, which no mount has.
		id := fieldOf(info, "mnt_id")
		if !devs[numbered(st.Dev)] && !slices.ContainsFunc(mounts, func(m mount) bool { return m.id == id && devs[m.dev] }) {
			continue
		}
		name, _ := os.Readlink(path)
		if st.Nlink == 0 {
			h.deleted = append(h.deleted, strings.TrimSuffix(name, deletedMark))
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG && mayWrite(info) {
			h.writes = append(h.writes, name)
		}
	}
}

// mayWrite reads the flags of an open file.
func mayWrite(fdinfo []byte) bool {
	flags, err := strconv.ParseInt(fieldOf(fdinfo, "flags"), 8, 64)
	return err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY && flags&unix.O_PATH == 0
}

// fieldOf is what is said of an open file.
func fieldOf(fdinfo []byte, name string) string {
	for line := range bytes.Lines(fdinfo) {
		if text, ok := strings.CutPrefix(string(line), name+":"); ok {
			return strings.TrimSpace(text)
		}
	}
	return ""
}

// maps looks at files in memory: programs, libraries.
func (h *holder) maps(dir string, devs map[string]bool) {
	f, err := os.Open(filepath.Join(dir, "maps"))
	if err != nil {
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		p := strings.SplitN(lines.Text(), " ", 6)
		if len(p) < 6 || !devs[decimal(p[3])] {
			continue
		}
		name := strings.TrimSpace(p[5])
		if bare, gone := strings.CutSuffix(name, deletedMark); gone && !slices.Contains(h.deleted, bare) {
			h.deleted = append(h.deleted, bare)
		}
		if len(p[1]) == 4 && p[1][1] == 'w' && p[1][3] == 's' && !slices.Contains(h.writes, name) {
			h.writes = append(h.writes, name)
		}
	}
}

// places looks at folders: where the process is, and what is mounted where it is. A
// service may have a folder for temporary files of its own, which somebody has removed.
func (h *holder) places(dir string, devs map[string]bool, mounts []mount) {
	for _, link := range []string{"cwd", "root"} {
		var st unix.Stat_t
		path := filepath.Join(dir, link)
		if unix.Stat(path, &st) == nil && st.Nlink == 0 && devs[numbered(st.Dev)] {
			name, _ := os.Readlink(path)
			h.deleted = append(h.deleted, strings.TrimSuffix(name, deletedMark))
		}
	}
	for _, m := range mounts {
		if root, gone := strings.CutSuffix(m.root, "//deleted"); gone && devs[m.dev] && !slices.Contains(h.deleted, root) {
			h.deleted = append(h.deleted, root)
		}
	}
}

// decimal turns the device of a line of maps, "08:01", into "8:1".
func decimal(dev string) string {
	major, minor, ok := strings.Cut(dev, ":")
	a, err := strconv.ParseUint(major, 16, 32)
	b, berr := strconv.ParseUint(minor, 16, 32)
	if !ok || err != nil || berr != nil {
		return ""
	}
	return fmt.Sprintf("%d:%d", a, b)
}

// ancestors are a process and those that started it, up to the first one of all, which
// is not among them.
func (r roots) ancestors(pid int) (list []int) {
	for pid > 1 && !slices.Contains(list, pid) {
		list = append(list, pid)
		b, err := os.ReadFile(filepath.Join(r.proc, strconv.Itoa(pid), "stat"))
		if err != nil {
			break
		}
		// The name, in parentheses, may hold anything.
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) < 2 {
			break
		}
		pid, _ = strconv.Atoi(f[1])
	}
	return list
}

// units are the units of the service manager to which processes belong.
func (r roots) units(pids []int) (names []string) {
	for _, pid := range pids {
		b, err := os.ReadFile(filepath.Join(r.proc, strconv.Itoa(pid), "cgroup"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			for _, part := range strings.Split(strings.TrimSpace(line), "/") {
				if i := strings.LastIndexByte(part, '.'); i > 0 && !slices.Contains(names, part) {
					names = append(names, part)
				}
			}
		}
	}
	return names
}

// ungentle are programs that take the network down when they are asked to end, and leave
// it as it is when they are not asked. The kernel cuts names at 15 characters.
func ungentle() []string { return []string{"systemd-network", "dhcpcd"} }

// endHolders ends whoever keeps file systems from being made read-only, but for those
// over whose connection this was asked for.
func (m *Machine) endHolders(ctx context.Context, devs map[string]bool) error {
	stay := append([]int{1}, m.stay...)
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
	}{{unix.SIGTERM, cmp.Or(m.grace, askedGrace)}, {unix.SIGKILL, killedGrace}} {
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
