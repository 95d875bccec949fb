// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What is made of a partition is asked as well whether somebody uses it.
func TestPrepareHolders(t *testing.T) {
	alone(t, func(t *testing.T) {
		r := newReal(t, ext4())
		volume := loop(t, filepath.Join(t.TempDir(), "volume.img"), ext4())
		name := filepath.Base(volume)
		part := filepath.Join(r.at.sys, "block", filepath.Base(r.disks[0]), filepath.Base(r.disks[0])+"p2")
		for from, to := range map[string]string{"/sys/block/" + name: filepath.Join(part, "holders", name), volume: filepath.Join(r.at.dev, name)} {
			if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Symlink(from, to)); err != nil {
				t.Fatal(err)
			}
		}
		if err := unix.Unmount(r.data, 0); err != nil {
			t.Fatal(err)
		}
		defer mountAgain(t, r)
		d := r.mustPrepare(t, false)
		if len(d.Parts) != 2 || !slices.Equal(d.Parts[1].Holders, []string{name}) {
			t.Errorf("%+v", d.Parts)
		}
		if err := r.Release(); err != nil {
			t.Fatal(err)
		}
		point := filepath.Join(t.TempDir(), "volume")
		if err := errors.Join(os.Mkdir(point, 0o755), unix.Mount(volume, point, "ext4", 0, "")); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(point, "kept"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		for _, leftOver := range []bool{false, true} {
			if leftOver {
				_, detach := r.loopOf(t, volume, "-r")
				defer detach()
			}
			_, err = r.Prepare(t.Context(), false, "", "")
			if err == nil || !strings.Contains(err.Error(), "partition 2 cannot be captured: of "+name+", which is made of it: it is in use") {
				t.Errorf("with a loop device of it, %t: %v\n%s", leftOver, err, strings.Join(r.said, "\n"))
			}
		}
	})
}

// loopOf makes a loop device of another device.
func (r *real) loopOf(t *testing.T, of string, options ...string) (dev string, detach func()) {
	t.Helper()
	dev = strings.TrimSpace(tool(t, "losetup", append(options, "-f", "--show", of)...))
	name := filepath.Base(dev)
	number := strings.TrimSpace(read(t, "/sys/block/"+name+"/dev"))
	for from, to := range map[string]string{"/sys/block/" + name: filepath.Join(r.at.sys, "dev/block", number), dev: filepath.Join(r.at.dev, name)} {
		_ = os.Remove(to) // there may be such a device already
		if err := os.Symlink(from, to); err != nil {
			t.Fatal(err)
		}
	}
	return dev, func() { tool(t, "losetup", "-d", dev) }
}

// A loop device that somebody has left over a partition claims nothing of it: what is
// mounted from the partition is what it was, and what was detached from it is noticed.
func TestPrepareLoopLeftOver(t *testing.T) {
	alone(t, func(t *testing.T) {
		r := newReal(t, ext4())
		_, detach := r.loopOf(t, r.disks[1], "-r")
		defer detach()
		d := r.mustPrepare(t, false)
		if len(d.Parts) != 2 || d.Parts[1].Mounted != "ext4" || len(d.Parts[1].Holders) > 0 {
			t.Errorf("%+v", d.Parts)
		}
		if err := r.Release(); err != nil {
			t.Fatal(err)
		}
		mustSeeDetached(t, r)
	})
}

// A loop device may have a partition in place of a file.
func TestPrepareLoopOfPartition(t *testing.T) {
	alone(t, func(t *testing.T) {
		r := newReal(t, ext4())
		if err := unix.Unmount(r.data, 0); err != nil {
			t.Fatal(err)
		}
		defer mountAgain(t, r)
		dev, detach := r.loopOf(t, r.disks[1])
		defer detach()
		name := filepath.Base(dev)
		if err := unix.Mount(dev, r.data, "ext4", 0, ""); err != nil {
			t.Fatal(err)
		}
		d := r.mustPrepare(t, false)
		if err := writable(r.data); !errors.Is(err, unix.EROFS) {
			t.Errorf("it is written to: %v", err)
		}
		if len(d.Parts) != 2 || !slices.Equal(d.Parts[1].Holders, []string{name}) {
			t.Errorf("%+v", d.Parts)
		}
		if err := r.Release(); err != nil {
			t.Error(err)
		}
		f, err := os.Create(filepath.Join(r.data, "kept"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.Unmount(r.data, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		_, err = r.Prepare(t.Context(), false, "", "")
		if err == nil || !strings.Contains(err.Error(), "of "+name+", which is made of it: it is in use") {
			t.Errorf("%v\n%s", err, strings.Join(r.said, "\n"))
		}
	})
}

// What is spread over several disks is refused after services were stopped, which may take
// it away.
func TestPrepareSpread(t *testing.T) {
	alone(t, func(t *testing.T) {
		r := newReal(t, ext4())
		dir := t.TempDir()
		volume := loop(t, filepath.Join(dir, "volume.img"), ext4())
		number := func(dev string) string { return strings.TrimSpace(read(t, "/sys/block/"+filepath.Base(dev)+"/dev")) }
		const other = "259:1234" // is nowhere but here
		write(t, filepath.Join(dir, "volume/slaves/ours/dev"), number(r.disks[0]))
		write(t, filepath.Join(dir, "volume/slaves/other/dev"), other)
		write(t, filepath.Join(dir, "other/dev"), other)
		for number, name := range map[string]string{number(volume): "volume", other: "other"} {
			link := filepath.Join(r.at.sys, "dev/block", number)
			_ = os.Remove(link) // there may be such a device already
			if err := os.Symlink(filepath.Join(dir, name), link); err != nil {
				t.Fatal(err)
			}
		}
		mountAt(t, volume, filepath.Join(r.root, "volume"), "ext4")
		d, err := r.at.disk(r.root)
		if err == nil {
			err = r.connected(t.Context(), d)
		}
		if err != nil {
			t.Errorf("before services are stopped: %v", err)
		}
		if _, err := r.Prepare(t.Context(), false, "", ""); err == nil || !strings.Contains(err.Error(), "is spread over the disks") {
			t.Errorf("%v\n%s", err, strings.Join(r.said, "\n"))
		}
	})
}
