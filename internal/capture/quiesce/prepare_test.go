// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace is set in the process that runs a test of real file systems, in a mount
// namespace of its own.
const inNamespace = "ARMFREE_TEST_NAMESPACE"

// alone runs a test again, by itself, where it may mount what it likes.
func alone(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		test(t)
		return
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root and loop devices")
	}
	for _, tool := range []string{"mke2fs", "e2fsck", "losetup"} {
		if _, err := program(tool); err != nil {
			t.Skip(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "5m")
	cmd.Env = append(os.Environ(), inNamespace+"=1", "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

func program(name string) (string, error) {
	if p, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		return p, nil
	}
	return exec.LookPath(name)
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := program(name)
	if err != nil {
		t.Fatal(err)
	}
	// Not by the test's context: at its end disks are given up.
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// fileSystem is a kind of them: how it is made, and looked at.
type fileSystem struct {
	kind        string
	size        int64 // the least that it can have, more or less
	make, check []string
}

func ext4() fileSystem {
	return fileSystem{"ext4", 32 << 20, []string{"mke2fs", "-q", "-F", "-t", "ext4"}, []string{"e2fsck", "-fn"}}
}

// loop makes a disk of a file, with a file system on it, and returns its device.
func loop(t *testing.T, file string, k fileSystem) string {
	t.Helper()
	f, err := os.Create(file)
	if err == nil {
		err = errors.Join(f.Truncate(k.size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	tool(t, k.make[0], append(slices.Clone(k.make[1:]), file)...)
	dev := strings.TrimSpace(tool(t, "losetup", "-f", "--show", file))
	t.Cleanup(func() { tool(t, "losetup", "-d", dev) })
	return dev
}

func mountAt(t *testing.T, dev, point, kind string) {
	t.Helper()
	if err := os.MkdirAll(point, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(dev, point, kind, 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// real is a machine whose root is on a disk, with a second partition mounted at data: both
// are loop devices, of which a copy of the kernel's own files says that they are those of a
// disk.
type real struct {
	Machine
	kind       fileSystem
	root, data string
	disks      []string // devices of both
	said       []string
}

func newReal(t *testing.T, k fileSystem) *real {
	t.Helper()
	dir := t.TempDir()
	r := &real{kind: k, root: filepath.Join(dir, "mnt")}
	r.data = filepath.Join(r.root, "data")
	for _, n := range []string{"root", "data"} {
		r.disks = append(r.disks, loop(t, filepath.Join(dir, n+".img"), k))
	}
	mountAt(t, r.disks[0], r.root, k.kind)
	mountAt(t, r.disks[1], r.data, k.kind)
	sys := filepath.Join(dir, "sys")
	disk := filepath.Base(r.disks[0])
	fake := filepath.Join(sys, "block", disk)
	link := func(from, to string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Symlink(from, to)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"size", "stat", "dev", "queue"} {
		link("/sys/block/"+disk+"/"+name, filepath.Join(fake, name))
	}
	devs := filepath.Join(dir, "dev")
	link(r.disks[0], filepath.Join(devs, disk))
	for i, d := range r.disks {
		link(d, filepath.Join(devs, fmt.Sprintf("%sp%d", disk, i+1)))
		part := filepath.Join(fake, fmt.Sprintf("%sp%d", disk, i+1))
		link("/sys/block/"+filepath.Base(d)+"/size", filepath.Join(part, "size"))
		link("/sys/block/"+filepath.Base(d)+"/dev", filepath.Join(part, "dev"))
		for name, text := range map[string]string{"start": fmt.Sprint(int64(i) * k.size / sector), "partition": fmt.Sprint(i + 1)} {
			if err := os.WriteFile(filepath.Join(part, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		dev, err := os.ReadFile(filepath.Join(part, "dev"))
		if err != nil {
			t.Fatal(err)
		}
		link(part, filepath.Join(sys, "dev/block", strings.TrimSpace(string(dev))))
	}
	// Other devices are as they are.
	others, _ := filepath.Glob("/sys/dev/block/*")
	for _, o := range others {
		to := filepath.Join(sys, "dev/block", filepath.Base(o))
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		at, err := filepath.EvalSymlinks(o)
		if err != nil {
			t.Fatal(err)
		}
		link(at, to)
	}
	r.Machine = Machine{at: roots{"/proc", sys, devs}, root: r.root, Say: func(f string, a ...any) { r.said = append(r.said, fmt.Sprintf(f, a...)) }}
	return r
}

// holds starts a shell script that stays, and waits until it says that it is there.
func holds(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	return started(t, script, nil)
}

func started(t *testing.T, script string, attr *syscall.SysProcAttr) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script+"\necho here; while read -r; do :; done")
	cmd.SysProcAttr = attr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill() // it may be gone
		_ = cmd.Wait()
	})
	b := make([]byte, 16)
	if n, err := out.Read(b); err != nil || string(b[:n]) != "here\n" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	return cmd
}

// clean looks at what was read of both file systems, past all caches.
func (r *real) clean(t *testing.T) {
	t.Helper()
	for _, d := range r.disks {
		copied := filepath.Join(t.TempDir(), "copy")
		tool(t, "dd", "if="+d, "of="+copied, "bs=1M", "iflag=direct", "status=none")
		tool(t, r.kind.check[0], append(slices.Clone(r.kind.check[1:]), copied)...)
	}
}

func writable(folder string) error {
	path := filepath.Join(folder, "written")
	return errors.Join(os.WriteFile(path, []byte("x"), 0o600), os.Remove(path))
}

// Whoever is in the way is ended, and nothing can be written until it is released.
func TestPrepare(t *testing.T) {
	alone(t, func(t *testing.T) {
		r := newReal(t, ext4())
		writer := holds(t, "exec 3>"+r.data+"/open; echo text >&3")
		overlay := filepath.Join(t.TempDir(), "merged")
		for _, d := range []string{overlay, r.root + "/upper", r.root + "/work", r.root + "/lower"} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		err := unix.Mount("overlay", overlay, "overlay", 0, "lowerdir="+r.root+"/lower,upperdir="+r.root+"/upper,workdir="+r.root+"/work")
		if err == nil {
			t.Cleanup(func() { _ = unix.Unmount(overlay, unix.MNT_DETACH) })
			holds(t, "exec 3>"+overlay+"/open; echo text >&3")
		} else {
			t.Logf("there are no overlays here: %v", err)
		}
		stats := "/sys/block/" + filepath.Base(r.disks[0]) + "/queue/iostats"
		if err := os.WriteFile(stats, []byte("0"), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := r.Prepare(t.Context(), true, "", "")
		if err != nil {
			t.Fatalf("%v\n%s", err, strings.Join(r.said, "\n"))
		}
		if err := writer.Wait(); err == nil {
			t.Error("who wrote to the disk goes on")
		}
		if len(r.frozen) > 0 || len(d.Parts) != 2 || d.Parts[0].Mounted != "ext4" || d.Parts[1].Mounted != "ext4" {
			t.Errorf("%+v, frozen %v\n%s", d.Parts, r.frozen, strings.Join(r.said, "\n"))
		}
		if n, err := number(stats); err != nil || n != 1 {
			t.Errorf("the kernel does not count: %d, %v", n, err)
		}
		before, _ := d.Written()
		for _, folder := range []string{r.root, r.data} {
			if err := writable(folder); !errors.Is(err, unix.EROFS) {
				t.Errorf("%s: %v", folder, err)
			}
		}
		r.clean(t)
		if after, err := d.Written(); err != nil || after != before {
			t.Errorf("%d, then %d, %v", before, after, err)
		}
		// And once more, as after an upload that failed.
		for range 2 {
			if err := r.Release(); err != nil {
				t.Fatal(err)
			}
			for _, folder := range []string{r.root, r.data} {
				if err := writable(folder); err != nil {
					t.Errorf("%s stays: %v", folder, err)
				}
			}
			if _, err := r.Prepare(t.Context(), true, "", ""); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Release(); err != nil {
			t.Error(err)
		}
	})
}

// What is read of other kinds is clean as well: their journals need not be replayed.
func TestPrepareOthers(t *testing.T) {
	alone(t, func(t *testing.T) {
		for _, k := range []fileSystem{
			{"xfs", 320 << 20, []string{"mkfs.xfs", "-q"}, []string{"xfs_repair", "-n"}},
			{"btrfs", 128 << 20, []string{"mkfs.btrfs", "-q"}, []string{"btrfs", "check", "--readonly"}},
		} {
			t.Run(k.kind, func(t *testing.T) {
				for _, name := range []string{k.make[0], k.check[0]} {
					if _, err := program(name); err != nil {
						t.Skip(err)
					}
				}
				r := newReal(t, k)
				for i := range 40 {
					if err := os.WriteFile(filepath.Join(r.data, fmt.Sprint("file", i)), []byte(strings.Repeat("x", i*10000)), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				writer := holds(t, "exec 3>"+r.data+"/open; echo text >&3")
				d, err := r.Prepare(t.Context(), true, "", "")
				if err != nil {
					t.Fatalf("%v\n%s", err, strings.Join(r.said, "\n"))
				}
				if err := writer.Wait(); err == nil {
					t.Error("who wrote to the disk goes on")
				}
				if len(r.frozen) > 0 || len(d.Parts) != 2 || d.Parts[0].Mounted != k.kind || d.Parts[1].Mounted != k.kind {
					t.Errorf("%+v, frozen %v\n%s", d.Parts, r.frozen, strings.Join(r.said, "\n"))
				}
				r.clean(t)
				if err := errors.Join(r.Release(), writable(r.data)); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// What cannot be made read-only is frozen: a file system in a file that is on the disk keeps
// that file open, and one that is mounted elsewhere only cannot be remounted from here.
func TestPrepareFreezes(t *testing.T) {
	alone(t, func(t *testing.T) {
		r := newReal(t, ext4())
		inner := loop(t, filepath.Join(r.root, "inner.img"), ext4())
		mountAt(t, inner, filepath.Join(r.root, "inner"), "ext4")
		if err := os.WriteFile(filepath.Join(r.root, "inner/file"), []byte("not yet written"), 0o600); err != nil {
			t.Fatal(err)
		}
		elsewhere := holdsElsewhere(t, "exec 3>"+r.data+"/open; echo text >&3")
		if err := unix.Unmount(r.data, 0); err != nil {
			t.Fatal(err)
		}
		defer mountAgain(t, r)
		d, err := r.Prepare(t.Context(), false, "", "")
		if err != nil {
			t.Fatalf("%v\n%s", err, strings.Join(r.said, "\n"))
		}
		var points []string
		for _, f := range r.frozen {
			points = append(points, f.String())
		}
		want := []string{r.data + fmt.Sprintf(" of the process %d", elsewhere.Process.Pid), r.root}
		if slices.Sort(points); !slices.Equal(points, sorted(want)) {
			t.Errorf("frozen: %q, want %q\n%s", points, want, strings.Join(r.said, "\n"))
		}
		if err := writable(filepath.Join(r.root, "inner")); !errors.Is(err, unix.EROFS) {
			t.Errorf("the file system within a file: %v", err)
		}
		before, _ := d.Written()
		done := make(chan error, 1)
		go func() { done <- writable(r.root) }()
		select {
		case err := <-done:
			t.Errorf("a file was written: %v", err)
		case <-time.After(300 * time.Millisecond):
		}
		r.clean(t)
		if after, err := d.Written(); err != nil || after != before {
			t.Errorf("%d, then %d, %v", before, after, err)
		}
		if err := r.Release(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A process that writes to what only its own namespace has mounted is ended; what it wrote
// to stays within reach. File systems within files within file systems do not wait for each
// other, and orphans of all of them are known.
func TestPrepareNested(t *testing.T) {
	alone(t, func(t *testing.T) {
		r := newReal(t, ext4())
		outer := loop(t, filepath.Join(r.data, "outer.img"), fileSystem{"ext4", 16 << 20, ext4().make, nil})
		mountAt(t, outer, filepath.Join(r.root, "a/b/c/outer"), "ext4")
		inner := loop(t, filepath.Join(r.root, "a/b/c/outer/inner.img"), fileSystem{"ext4", 4 << 20, ext4().make, nil})
		mountAt(t, inner, filepath.Join(r.root, "inner"), "ext4")
		if err := os.WriteFile(filepath.Join(r.root, "inner/file"), []byte("not yet written"), 0o600); err != nil {
			t.Fatal(err)
		}
		// This process stays, and uses files that are deleted.
		for _, folder := range []string{r.root, r.data} {
			f, err := os.Create(filepath.Join(folder, "orphan"))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(f.Close(), os.Chmod(f.Name(), 0o400)); err != nil {
				t.Fatal(err)
			}
			open, err := os.Open(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			defer open.Close()
			if err := os.Remove(f.Name()); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestPrepareOfChild$", "-test.v")
		cmd.Env = append(os.Environ(), "ARMFREE_TEST_ROOT="+r.root, "ARMFREE_TEST_SYS="+r.at.sys, "ARMFREE_TEST_DEV="+r.at.dev, "ARMFREE_TEST_ORPHANS=1")
		if out, err := cmd.CombinedOutput(); err != nil || strings.Count(string(out), "Orphans:true") != 2 {
			t.Errorf("%v\n%s", err, out)
		}
		if err := errors.Join(writable(r.root), writable(r.data), writable(filepath.Join(r.root, "inner"))); err != nil {
			t.Error(err)
		}
	})
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

// holdsElsewhere is a process with a copy of all mounts in a namespace of its own.
func holdsElsewhere(t *testing.T, script string) *exec.Cmd {
	t.Helper()
	return started(t, script, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS})
}

// mountAgain lets what removes mounts at the end find them.
func mountAgain(t *testing.T, r *real) {
	t.Helper()
	if err := unix.Mount(r.disks[1], r.data, r.kind.kind, 0, ""); err != nil {
		t.Error(err)
	}
}

// What is not quiet although everything was done to that end is not captured, and the
// machine goes on.
func TestPrepareFails(t *testing.T) {
	alone(t, func(t *testing.T) {
		t.Run("a mount point is covered", func(t *testing.T) {
			r := newReal(t, ext4())
			if err := unix.Mount("tmpfs", r.data, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			_, err := r.Prepare(t.Context(), false, "", "")
			if err == nil || !strings.Contains(err.Error(), "the ext4 file system "+r.data+" cannot be reached") || !strings.Contains(err.Error(), "another mount covers it") {
				t.Errorf("%v\n%s", err, strings.Join(r.said, "\n"))
			}
			for _, folder := range []string{r.root, r.data} {
				if err := writable(folder); err != nil {
					t.Errorf("%s is not released: %v", folder, err)
				}
			}
			if err := unix.Unmount(r.data, 0); err != nil {
				t.Fatal(err)
			}
		})
		t.Run("a file system is detached, and still in use", func(t *testing.T) {
			r := newReal(t, ext4())
			f, err := os.Create(filepath.Join(r.data, "kept"))
			if err != nil {
				t.Fatal(err)
			}
			defer mountAgain(t, r)
			defer f.Close()
			if err := unix.Unmount(r.data, unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
			_, err = r.Prepare(t.Context(), false, "", "")
			if err == nil || !strings.Contains(err.Error(), "partition 2 cannot be captured: it is in use, although nothing is mounted from it") {
				t.Errorf("%v\n%s", err, strings.Join(r.said, "\n"))
			}
			if err := writable(r.root); err != nil {
				t.Error(err)
			}
		})
		t.Run("a program that must stay writes", func(t *testing.T) {
			r := newReal(t, ext4())
			f, err := os.Create(filepath.Join(r.data, "kept"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestPrepareOfChild$", "-test.v")
			cmd.Env = append(os.Environ(), "ARMFREE_TEST_ROOT="+r.root, "ARMFREE_TEST_SYS="+r.at.sys, "ARMFREE_TEST_DEV="+r.at.dev)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), fmt.Sprintf("(process %d) has open for writing %s", os.Getpid(), f.Name())) {
				t.Errorf("%v\n%s", err, out)
			}
			if err := writable(r.data); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestPrepareOfChild is what TestPrepareFails and TestPrepareNested run: it says why its
// parent is in the way, or how it was quieted all the same.
func TestPrepareOfChild(t *testing.T) {
	root := os.Getenv("ARMFREE_TEST_ROOT")
	if root == "" {
		t.Skip("is a part of TestPrepareFails")
	}
	m := Machine{at: roots{"/proc", os.Getenv("ARMFREE_TEST_SYS"), os.Getenv("ARMFREE_TEST_DEV")}, root: root, Say: t.Logf}
	d, err := m.Prepare(t.Context(), false, "", "")
	t.Logf("%v, %+v", err, d.Parts)
	if os.Getenv("ARMFREE_TEST_ORPHANS") != "" {
		if err := errors.Join(err, m.Release()); err != nil {
			t.Error(err)
		}
		return
	}
	if err == nil {
		t.Error("it is quiet")
	}
}
