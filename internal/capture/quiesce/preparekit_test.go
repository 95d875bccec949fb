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

	"golang.org/x/sys/unix"
)

// inNamespace is set in the process that runs a test of real file systems, in a mount
// namespace of its own.
const inNamespace = "ARMFREE_TEST_NAMESPACE"

// required, if it is set, makes it a failure that something is not here which these tests
// need: a test that is skipped looks like one that passed.
const required = "REQUIRE_FILE_SYSTEMS"

// alone runs a test again, by itself, where it may mount what it likes.
func alone(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		if os.Getenv(required) != "" {
			needOverlays(t)
		}
		test(t)
		return
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil || os.Getuid() != 0 {
		lacks(t, errors.New("root and loop devices are needed"))
	}
	for _, tool := range []string{"mke2fs", "e2fsck", "losetup"} {
		if _, err := program(tool); err != nil {
			lacks(t, err)
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
	if os.Getenv(required) != "" && strings.Contains(string(out), "--- SKIP") {
		t.Fatalf("a part of it was skipped; %s says that nothing may be missing", required)
	}
}

// lacks ends a test for which something is not here.
func lacks(t *testing.T, what error) {
	t.Helper()
	if os.Getenv(required) != "" {
		t.Fatalf("%v; %s says that nothing may be missing", what, required)
	}
	t.Skipf("%v; %s=1 makes that a failure", what, required)
}

// What is not here is a failure where it is required, and only there.
func TestRequired(t *testing.T) {
	const child = "ARMFREE_TEST_LACKS"
	if os.Getenv(child) != "" {
		lacks(t, errors.New("nothing is here"))
	}
	for value, want := range map[string]string{"": "--- SKIP: TestRequired", "1": "--- FAIL: TestRequired"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestRequired$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1", required+"="+value)
		out, err := cmd.CombinedOutput()
		if (err != nil) != (value != "") || !strings.Contains(string(out), want) {
			t.Errorf("%s=%s: %v\n%s", required, value, err, out)
		}
	}
}

// needOverlays fails where there are none: a test that would use one goes on without.
func needOverlays(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at := filepath.Join(dir, "merged")
	if err := unix.Mount("overlay", at, "overlay", 0, "lowerdir="+dir+"/lower,upperdir="+dir+"/upper,workdir="+dir+"/work"); err != nil {
		lacks(t, fmt.Errorf("there are no overlays here: %w", err))
	}
	if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
		t.Error(err)
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
	for _, name := range []string{"size", "stat", "dev", "queue", "inflight"} {
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
