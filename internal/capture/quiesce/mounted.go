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
	mount            // where it can be reached best
	looped  bool     // it is in a file that is on the disk
	overlay []string // devices of the overlays that write to it
}

// on lists what is mounted of the disk, in any mount namespace: each file system once,
// in the order in which they can be made read-only. Nothing of what it found before has to
// be there still.
func (r roots) on(d Disk) (list []mounted, err error) {
	all, err := r.everywhere()
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		at, err := r.whole(m.device(), all)
		if err != nil || !slices.Contains(at, d.Name) {
			continue
		}
		if len(at) > 1 {
			return nil, fmt.Errorf("%s is spread over the disks %s; only what is on a single disk can be captured", m, strings.Join(at, " and "))
		}
		i := slices.IndexFunc(list, func(o mounted) bool { return o.dev == m.dev })
		switch {
		case i < 0:
			list = append(list, mounted{mount: m, looped: strings.HasPrefix(m.device(), loopMajor)})
		case !list[i].reached() && m.reached():
			list[i].mount = m
		}
	}
	for i := range list {
		list[i].overlay = overlays(all, list[i].mount)
	}
	depth := func(m mounted) int { return strings.Count(strings.TrimRight(m.point, "/"), "/") }
	slices.SortStableFunc(list, func(a, b mounted) int {
		switch {
		case a.looped && !b.looped: // before what its file is on
			return -1
		case b.looped && !a.looped:
			return 1
		}
		return depth(b) - depth(a)
	})
	return list, nil
}

// loopMajor begins the numbers of loop devices.
const loopMajor = "7:"

// reached says whether the path of the mount leads to it: another one may cover it.
func (m mount) reached() bool {
	var st unix.Stat_t
	return unix.Stat(m.path(), &st) == nil && numbered(st.Dev) == m.dev
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
		p.dev = strings.TrimSpace(string(dev))
		for _, m := range on {
			if m.device() == p.dev {
				p.Mounted = m.kind
			}
		}
		if slices.Contains(swaps, p.dev) {
			p.Mounted = "swap"
		}
		holders, err := os.ReadDir(filepath.Join(dir, "holders"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, h := range holders {
			p.Holders = append(p.Holders, h.Name())
		}
	}
	return list, nil
}
