// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package blockmap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
)

// tool finds a program of e2fsprogs and the like, which may be in sbin.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if p := filepath.Join(dir, name); isProgram(p) {
			return p
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func isProgram(p string) bool {
	i, err := os.Stat(p)
	return err == nil && i.Mode().IsRegular() && i.Mode()&0o111 != 0
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// content is a folder with files of several sizes.
func content(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for i := range 60 {
		name := filepath.Join(dir, fmt.Sprintf("dir%d", i%7), fmt.Sprintf("file%d", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, bytes.Repeat([]byte(name+"\n"), i*i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// makeExt makes a file system with content, and returns its file.
func makeExt(t testing.TB, size int64, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fs")
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	run(t, "mke2fs", append(append([]string{"-q", "-F", "-d", content(t)}, args...), path)...)
	return path
}

func open(t testing.TB, path string) (*os.File, int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	i, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return f, i.Size()
}

// superblock is where that of an ext file system lies.
const superblock = 1024

var counts = regexp.MustCompile(`(?m)^(Free blocks|Block size|Cluster size): +(\d+)$`)

// What is free is what e2fsprogs says is free, and an image without it is clean and
// has the same files.
func TestExt(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		name string
		kind string
		size int64
		args []string
		less bool // more is taken for used than is
	}{
		{"ext4", "ext4", 400 * mib, []string{"-t", "ext4"}, false},
		{"ext4 as cloud images have it", "ext4", 300 * mib, []string{"-t", "ext4", "-O", "^metadata_csum", "-E", "lazy_itable_init=1"}, false},
		{"ext4 without lazy groups", "ext4", 300 * mib, []string{"-t", "ext4", "-O", "^uninit_bg,^metadata_csum"}, false},
		{"ext4 with small blocks", "ext4", 100 * mib, []string{"-t", "ext4", "-b", "1024"}, false},
		{"ext4 without 64bit and flex_bg", "ext4", 300 * mib, []string{"-t", "ext4", "-O", "^64bit,^flex_bg,^metadata_csum_seed"}, false},
		{"ext4 with bigalloc", "ext4", 200 * mib, []string{"-t", "ext4", "-b", "4096", "-O", "bigalloc", "-C", "65536"}, true},
		{"ext4 with bigalloc and small blocks", "ext4", 100 * mib, []string{"-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "16384"}, true},
		{"ext4 with orphan_file", "ext4", 300 * mib, []string{"-t", "ext4", "-O", "orphan_file"}, false},
		{"ext4 with sparse_super2", "ext4", 300 * mib, []string{"-t", "ext4", "-O", "sparse_super2,^resize_inode"}, false},
		{"ext3", "ext3", 200 * mib, []string{"-t", "ext3"}, false},
		{"ext2", "ext2", 100 * mib, []string{"-t", "ext2"}, false},
		{"an odd size", "ext4", 301*mib + 3*1024, []string{"-t", "ext4", "-b", "1024"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := makeExt(t, tt.size, tt.args...)
			f, size := open(t, path)
			m, err := Read(f, size)
			if err != nil || len(m.Areas) != 1 {
				t.Fatalf("%+v, %v", m, err)
			}
			a := m.Areas[0]
			if a.Kind != tt.kind || a.Whole != "" || m.Unclean() != nil || a.Orphans {
				t.Errorf("%+v", a)
			}
			said := map[string]int64{}
			for _, c := range counts.FindAllStringSubmatch(run(t, "dumpe2fs", "-h", path), -1) {
				said[c[1]], _ = strconv.ParseInt(c[2], 10, 64)
			}
			want := said["Free blocks"] * said["Block size"]
			if a.Free != want && (!tt.less || a.Free > want || a.Free < want/2) || want == 0 {
				t.Errorf("%d bytes are free, e2fsprogs says %d", a.Free, want)
			}
			if got := m.Size - m.Used(); got != a.Free {
				t.Errorf("the free spans have %d bytes", got)
			}
			soil(t, f, m)
			image := filepath.Join(t.TempDir(), "image")
			writeImage(t, Source{f, m}, image)
			run(t, "e2fsck", "-fn", image)
			if before, after := listing(t, path), listing(t, image); before != after || !strings.Contains(before, "file59") {
				t.Errorf("the files differ:\n%.500s\n---\n%.500s", before, after)
			}
			found, err := exec.CommandContext(t.Context(), "grep", "-c", "deleted secret", image).Output()
			if n := strings.TrimSpace(string(found)); n != "0" {
				t.Errorf("what was deleted is in the image: %s, %v", n, err)
			}
		})
	}
}

// soil writes something into every free span.
func soil(t *testing.T, f *os.File, m *Map) {
	t.Helper()
	for _, s := range m.free {
		for at := s.Start; at < s.End; at += 1 << 20 {
			if _, err := f.WriteAt([]byte("deleted secret"), at); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// writeImage writes what the source has into a sparse file.
func writeImage(t testing.TB, s diskimage.Source, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(s.Size())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, s.PieceSize())
	for p, err := range s.Pieces(t.Context()) {
		if err == nil {
			err = s.ReadPiece(t.Context(), p, buf[:p.Length])
		}
		if err == nil {
			_, err = f.WriteAt(buf[:p.Length], p.Offset)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// listing is every file of a file system, with the digest of its content.
func listing(t *testing.T, image string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "debugfs", "-R", "rdump / "+dir, image)
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `cd "$0" && find . -type f ! -path './lost+found/*' | sort | xargs sha256sum`, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// A disk with a table of partitions, as cloud images have it.
func TestDisk(t *testing.T) {
	const mib = 1 << 20
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, _ := open(t, disk)
	if err := f.Truncate(400 * mib); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), tool(t, "sfdisk"), "-q", disk)
	cmd.Stdin = strings.NewReader("label: gpt\nstart=70MiB, size=300MiB\nstart=1MiB, size=40MiB, type=U\nstart=41MiB, size=8MiB\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, p := range []struct {
		path string
		at   int64
	}{{makeExt(t, 300*mib, "-t", "ext4"), 70 * mib}, {makeFAT(t, 40*mib), 1 * mib}} {
		b, err := os.ReadFile(p.path)
		if err == nil {
			_, err = f.WriteAt(b, p.at)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.WriteAt([]byte("between"), 60*mib); err != nil {
		t.Fatal(err)
	}
	m, err := Read(f, 400*mib)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range m.Areas {
		got = append(got, fmt.Sprintf("%s at %d", a.Name(), a.Start/mib))
	}
	if s := strings.Join(got, ", "); s != "partition 2 (vfat) at 1, partition 3 at 41, partition 1 (ext4) at 70" {
		t.Error(s)
	}
	if m.Unclean() != nil {
		t.Error(m.Unclean())
	}
	if stored := m.Stored(); stored < 100*mib || stored > 200*mib {
		t.Errorf("%d MiB are stored", stored/mib)
	}
	image := filepath.Join(t.TempDir(), "image")
	writeImage(t, Source{f, m}, image)
	back, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	orig, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range m.free {
		clear(orig[s.Start:s.End])
	}
	if !bytes.Equal(back, orig) || string(back[60*mib:60*mib+7]) != "between" {
		t.Error("the image differs from the disk in more than what is free")
	}

	// A table that is damaged is none: all of the disk is used.
	if _, err := f.WriteAt([]byte{1}, 1024+40); err != nil {
		t.Fatal(err)
	}
	if m, err := Read(f, 400*mib); err != nil || len(m.Areas) != 1 || m.Used() != m.Size {
		t.Errorf("%+v, %v", m, err)
	}
}

func makeFAT(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fat")
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.vfat", path)
	return path
}

// What speaks against a file system being consistent is said.
func TestUnclean(t *testing.T) {
	tests := []struct {
		name   string
		damage func([]byte)
		says   string
	}{
		{"a journal", func(sb []byte) { sb[96] |= incompatRecover }, "journal has to be replayed"},
		{"errors", func(sb []byte) { sb[58] |= stateErrors }, "e2fsck"},
		{"in use", func(sb []byte) { sb[58] &^= stateClean }, "not unmounted"},
	}
	path := makeExt(t, 64<<20, "-t", "ext4")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			tt.damage(b[superblock:])
			m, err := Read(bytes.NewReader(b), int64(len(b)))
			if err != nil || m.Unclean() == nil || !strings.Contains(m.Unclean().Error(), tt.says) {
				t.Errorf("%v, %v", m.Unclean(), err)
			}
		})
	}
	for _, orphan := range []func([]byte){func(sb []byte) { sb[232] = 12 }, func(sb []byte) { sb[102] |= roOrphanPresent >> 16 }} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		orphan(b[superblock:])
		if m, err := Read(bytes.NewReader(b), int64(len(b))); err != nil || !m.Areas[0].Orphans || m.Unclean() != nil {
			t.Errorf("%+v, %v", m, err)
		}
	}
	// A bitmap that disagrees with its count: it was read while it changed.
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blockSize := int64(1024) << b[superblock+24]
	desc := b[(int64(b[superblock+20])+1)*blockSize:]
	bitmap := b[int64(binary.LittleEndian.Uint32(desc))*blockSize:]
	bitmap[len(bitmap[:blockSize])/8] ^= 1
	m, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil || m.Unclean() == nil || !strings.Contains(m.Unclean().Error(), "are said to be free") || m.Used() != m.Size {
		t.Errorf("%+v, %v", m, err)
	}
	// A FAT that is mounted.
	fat, err := os.ReadFile(makeFAT(t, 40<<20))
	if err != nil {
		t.Fatal(err)
	}
	fat[37] |= 1
	if m, err = Read(bytes.NewReader(fat), int64(len(fat))); err != nil || m.Unclean() == nil {
		t.Errorf("%+v, %v", m, err)
	}
}

// Nothing that a disk may hold makes the parser panic, take what is not there, or
// leave out more than there is.
func FuzzRead(f *testing.F) {
	small := func(size int64, args ...string) []byte {
		b, err := os.ReadFile(makeExt(f, size, args...))
		if err != nil {
			f.Fatal(err)
		}
		return b[:min(len(b), 256<<10)]
	}
	f.Add(small(8<<20, "-t", "ext4", "-b", "1024", "-O", "^has_journal"), int64(8<<20))
	f.Add(small(8<<20, "-t", "ext2", "-b", "1024"), int64(8<<20))
	f.Fuzz(func(t *testing.T, head []byte, size int64) {
		if size < int64(len(head)) || size > 1<<30 {
			return
		}
		m, err := Read(&sparse{head, size}, size)
		if err != nil {
			t.Fatal(err)
		}
		end := int64(0)
		for _, s := range m.free {
			if s.Start < end || s.End <= s.Start || s.End > size {
				t.Fatalf("%+v", m.free)
			}
			end = s.End
		}
		if m.Stored() > size || m.Used() < 0 {
			t.Fatalf("%d of %d", m.Stored(), size)
		}
	})
}

// sparse is a disk of zeros behind a beginning.
type sparse struct {
	head []byte
	size int64
}

func (s *sparse) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(p)) > s.size {
		return 0, fmt.Errorf("read of %d at %d, beyond the disk's %d", len(p), at, s.size)
	}
	clear(p)
	if at < int64(len(s.head)) {
		copy(p, s.head[at:])
	}
	return len(p), nil
}
