// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capture

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/capture/blockmap"
	"github.com/armfree/packer-plugin-armfree/internal/capture/helper"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
)

// memory is an object in memory.
type memory struct {
	mu      sync.Mutex
	parts   map[int][]byte
	arrived []wire.Sent
	url     string
	fail    error
}

func (m *memory) Part(_ context.Context, number int, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if m.parts == nil {
		m.parts = map[int][]byte{}
	}
	m.parts[number] = bytes.Clone(data)
	return nil
}

func (m *memory) Arrived(number int, size int64, etag, md5 string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.arrived = append(m.arrived, wire.Sent{Number: number, Size: size, ETag: etag, MD5: md5})
}

func (m *memory) Direct() (url, ca string) { return m.url, "" }

// disk is the qcow2 file in the object.
func (m *memory) disk(t *testing.T) string {
	t.Helper()
	var all []byte
	for n := 1; n <= len(m.parts); n++ {
		all = append(all, m.parts[n]...)
	}
	archive := tar.NewReader(bytes.NewReader(all))
	for {
		h, err := archive.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != "output.QCOW2" {
			continue
		}
		path := filepath.Join(t.TempDir(), "disk.qcow2")
		b, err := io.ReadAll(archive)
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
}

// job is one for tests.
func job() wire.Job {
	return wire.Job{Metadata: diskimage.Metadata{OperatingSystem: "Debian", OperatingSystemVersion: "12"}, Compression: diskimage.Zstd}
}

// talk runs a helper for a disk and lets a session drive it.
func talk(t *testing.T, h helper.Helper, q *helper.Quiet, object Object) (r Result, said []string, err error) {
	t.Helper()
	stdin, in := io.Pipe()
	out, stdout := io.Pipe()
	h.In, h.Out = stdin, stdout
	h.Quiet = func(context.Context, wire.Job, func(string, ...any)) (*helper.Quiet, error) { return q, nil }
	done := make(chan error, 1)
	go func() {
		err := h.Run(t.Context())
		_ = stdout.Close()
		_ = stdin.Close()
		done <- err
	}()
	s, err := Attach(t.Context(), in, out)
	if err != nil {
		t.Fatal(err)
	}
	r, err = s.Run(t.Context(), job(), object, Listener{Say: func(f string, a ...any) { said = append(said, fmt.Sprintf(f, a...)) }})
	if herr := <-done; (herr == nil) != (err == nil) {
		t.Errorf("the helper says %v, the session %v", herr, err)
	}
	return r, said, err
}

// still is a disk in memory that nobody writes to.
func still(disk []byte) *helper.Quiet {
	return &helper.Quiet{
		Path: "/dev/sda", Size: int64(len(disk)), Disk: bytes.NewReader(disk),
		Written: func() (int64, error) { return 7, nil }, Close: func() error { return nil },
	}
}

// noise is a disk that does not get smaller.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // it never fails
	return b
}

func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p := filepath.Join(dir, name); func() bool { i, err := os.Stat(p); return err == nil && i.Mode()&0o111 != 0 }() {
			return p
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// A disk of several parts arrives as it is.
func TestCapture(t *testing.T) {
	disk := noise(37<<20 + 12345)
	copy(disk[5<<20:], make([]byte, 9<<20))
	object := &memory{}
	r, said, err := talk(t, helper.Helper{}, still(disk), object)
	if err != nil {
		t.Fatalf("%v\n%q", err, said)
	}
	if len(object.parts) < 3 || r.Relayed != len(object.parts) || r.Size != int64(len(disk)) || r.Device != "/dev/sda" || r.Digest == "" {
		t.Errorf("%d parts, %+v", len(object.parts), r)
	}
	raw := filepath.Join(t.TempDir(), "raw")
	if out, err := exec.CommandContext(t.Context(), tool(t, "qemu-img"), "convert", "-O", "raw", object.disk(t), raw).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := os.ReadFile(raw)
	if err != nil || !bytes.Equal(got[:len(disk)], disk) {
		t.Errorf("the disk is another one, %v", err)
	}
}

// A file system arrives clean, with what is free left out.
func TestCaptureFileSystem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fs")
	if err := os.WriteFile(path, noise(200<<20), 0o600); err != nil { // old data everywhere
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), tool(t, "mke2fs"), "-q", "-F", "-t", "ext4", "-d", ".", path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	object := &memory{}
	r, said, err := talk(t, helper.Helper{}, still(disk), object)
	if err != nil || r.Stored > 60<<20 || !strings.Contains(strings.Join(said, "\n"), "(ext4)") {
		t.Fatalf("%v, %+v\n%q", err, r, said)
	}
	raw := filepath.Join(t.TempDir(), "raw")
	if out, err := exec.CommandContext(t.Context(), tool(t, "qemu-img"), "convert", "-O", "raw", object.disk(t), raw).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), tool(t, "e2fsck"), "-fn", raw).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// With a journal to be replayed it is refused.
	disk[1024+96] |= 4
	if _, _, err := talk(t, helper.Helper{}, still(disk), &memory{}); err == nil || !strings.Contains(err.Error(), "its journal has to be replayed") {
		t.Error(err)
	}
	// With orphans of a program that nobody knows as well.
	disk[1024+96] &^= 4
	disk[1024+232] = 12
	q := still(disk)
	q.Parts = []blockmap.Part{{Span: blockmap.Span{End: int64(len(disk))}, Mounted: "ext4"}}
	if _, _, err := talk(t, helper.Helper{}, q, &memory{}); err == nil || !strings.Contains(err.Error(), "it is not known by whom") {
		t.Error(err)
	}
	q = still(disk)
	q.Parts = []blockmap.Part{{Span: blockmap.Span{End: int64(len(disk))}, Mounted: "ext4", Orphans: true}}
	if _, _, err := talk(t, helper.Helper{}, q, &memory{}); err != nil {
		t.Error(err)
	}
	// One that nobody could import is not read.
	q = still(disk)
	q.Size = 401 << 30
	if _, _, err := talk(t, helper.Helper{}, q, &memory{}); err == nil || !strings.Contains(err.Error(), "of up to 400 GB") {
		t.Error(err)
	}
}

// A disk that changes while it is read is of no use: whether the kernel counts what is
// written, or its tables are others afterwards.
func TestCaptureOfWhatChanges(t *testing.T) {
	disk := noise(1 << 20)
	q := still(disk)
	n := int64(0)
	q.Written = func() (int64, error) { n += 8; return n, nil }
	if _, _, err := talk(t, helper.Helper{}, q, &memory{}); err == nil || !strings.Contains(err.Error(), "8 sectors were written") {
		t.Error(err)
	}
	q = still(disk)
	looks := 0
	q.Written = func() (int64, error) {
		if looks++; looks == 2 {
			disk[100]++
		}
		return 7, nil
	}
	if _, _, err := talk(t, helper.Helper{}, q, &memory{}); err == nil || !strings.Contains(err.Error(), "the disk changed while it was read") {
		t.Error(err)
	}
	broken := errors.New("the bucket is full")
	if _, _, err := talk(t, helper.Helper{}, still(noise(30<<20)), &memory{fail: broken}); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// slow is a disk of which no read comes to its end before release, and says when the first
// one has begun.
type slow struct {
	io.ReaderAt
	begun   chan struct{}
	once    sync.Once
	release chan struct{}
	from    int64 // of what is slow
}

func (s *slow) ReadAt(p []byte, at int64) (int, error) {
	if at >= s.from {
		s.once.Do(func() { close(s.begun) })
		<-s.release
	}
	return s.ReaderAt.ReadAt(p, at)
}

// A helper whose plugin has gone, or gives up, in the middle of a disk ends by itself, and
// lets the machine go on: whether its input ends or nobody takes its output any more.
func TestCaptureCutShort(t *testing.T) {
	for name, cut := range map[string]func(in io.Closer, out io.Closer, cancel func()){
		"the input ends":           func(in, _ io.Closer, _ func()) { _ = in.Close() },
		"the connection is cut":    func(in, out io.Closer, _ func()) { _, _ = in.Close(), out.Close() },
		"the capture is cancelled": func(_, _ io.Closer, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			disk := noise(30 << 20)
			q := still(disk)
			reads := &slow{ReaderAt: bytes.NewReader(disk), begun: make(chan struct{}), release: make(chan struct{}), from: 1 << 20}
			q.Disk = reads
			released := make(chan struct{})
			q.Close = func() error { close(released); return nil }
			stdin, in := io.Pipe()
			out, stdout := io.Pipe()
			h := helper.Helper{In: stdin, Out: stdout, Quiet: func(context.Context, wire.Job, func(string, ...any)) (*helper.Quiet, error) { return q, nil }}
			ended := make(chan error, 1)
			go func() { ended <- h.Run(t.Context()) }()
			s, err := Attach(t.Context(), in, out)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			run := make(chan error, 1)
			go func() {
				_, err := s.Run(ctx, job(), &memory{}, Listener{Say: func(string, ...any) {}})
				run <- err
			}()
			<-reads.begun
			cut(in, out, cancel)
			if name == "the capture is cancelled" {
				if err := <-run; !errors.Is(err, context.Canceled) {
					t.Errorf("the session says %v", err)
				}
			}
			close(reads.release)
			<-released
			if err := <-ended; err == nil {
				t.Error("the helper says that all went well")
			}
			_ = stdout.Close()
			if name != "the capture is cancelled" {
				if err := <-run; err == nil {
					t.Error("the session says that all went well")
				}
			}
		})
	}
}

// What is not the helper is not believed.
func TestAttachToSomethingElse(t *testing.T) {
	for text, says := range map[string]string{
		"":                                  "has ended",
		"sudo: a password is needed":        "not what the helper says",
		"m\x00\x00":                         "was lost",
		"e\x00\x00\x00\x00\x00\x00\x00\x00": "has ended",
		"m\x00\x00\x00\x00\x00\x00\x00\x0f{\"Say\":\"hello\"}": "is not the helper of this version",
	} {
		_, in := io.Pipe()
		if _, err := Attach(t.Context(), in, io.NopCloser(strings.NewReader(text))); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The helper that this build carries, if it carries one, is what it should be.
func TestHelper(t *testing.T) {
	b, err := Helper()
	if err != nil {
		t.Skip(err)
	}
	if len(b.SHA256) != 64 || !strings.Contains(InstallCommand("/run/x", b), b.SHA256) {
		t.Errorf("%+v", b.SHA256)
	}
}
