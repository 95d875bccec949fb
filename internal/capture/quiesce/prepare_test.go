// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
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
		if out, err := r.ofChild(t, "ARMFREE_TEST_WORKS=1"); err != nil || strings.Count(out, "Orphans:true") != 2 {
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

// mustSeeDetached detaches the file system of the data while a file of it is open: that it is
// still in use must be noticed.
func mustSeeDetached(t *testing.T, r *real) {
	t.Helper()
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
			mustSeeDetached(t, r)
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
			for _, late := range []string{"", "1"} { // noticed at first, and when it opens the file meanwhile
				out, err := r.ofChild(t, "ARMFREE_TEST_LATE="+late)
				says := map[string]string{"": "nothing was stopped", "1": "cannot be made read-only (device or resource busy)"}[late]
				if err != nil || !strings.Contains(out, fmt.Sprintf("(process %d) has open for writing %s", os.Getpid(), f.Name())) || !strings.Contains(out, says) {
					t.Errorf("%v\n%s", err, out)
				}
				if err := writable(r.data); err != nil {
					t.Error(err)
				}
			}
		})
	})
}

// ofChild prepares the machine from a process that the test has started.
func (r *real) ofChild(t *testing.T, env ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestPrepareOfChild$", "-test.v")
	cmd.Env = append(append(os.Environ(), "ARMFREE_TEST_ROOT="+r.root, "ARMFREE_TEST_SYS="+r.at.sys, "ARMFREE_TEST_DEV="+r.at.dev), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestPrepareOfChild is what ofChild runs: it says why its parent is in the way, or how it
// was quieted all the same.
func TestPrepareOfChild(t *testing.T) {
	root := os.Getenv("ARMFREE_TEST_ROOT")
	if root == "" {
		t.Skip("is a part of TestPrepareFails")
	}
	m := Machine{at: roots{"/proc", os.Getenv("ARMFREE_TEST_SYS"), os.Getenv("ARMFREE_TEST_DEV")}, root: root, Say: t.Logf}
	if os.Getenv("ARMFREE_TEST_LATE") != "" {
		d, err := m.at.disk(m.root)
		if err != nil {
			t.Fatal(err)
		}
		on, err := m.at.on(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range on {
			h, err := m.at.hold(f)
			if err != nil {
				t.Fatal(err)
			}
			m.held = append(m.held, h)
		}
		m.stay = m.at.stay(os.Getpid())
		err = m.quiet(t.Context())
		t.Log(err)
		if rerr := m.Release(); err == nil || rerr != nil {
			t.Errorf("%v, %v", err, rerr)
		}
		return
	}
	d, err := m.Prepare(t.Context(), false, "", "")
	t.Logf("%v, %+v", err, d.Parts)
	if os.Getenv("ARMFREE_TEST_WORKS") != "" {
		if err := errors.Join(err, m.Release()); err != nil {
			t.Error(err)
		}
		return
	}
	if err == nil {
		t.Error("it is quiet")
	}
}
