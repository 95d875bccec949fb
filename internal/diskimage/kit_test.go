// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// pattern is what a cluster of a test's disk holds.
type pattern byte

const (
	absent pattern = iota // no piece may cover it
	zeros
	text   // shrinks
	noise  // does not
	border // one byte at its end
)

// testDisk is a disk in memory, made of a map and a seed.
type testDisk struct {
	clusters []pattern
	size     int64
	seed     uint64
	piece    int
	fail     func(Piece) error
}

func (d testDisk) Size() int64 { return d.size }

func (d testDisk) PieceSize() int {
	if d.piece > 0 {
		return d.piece
	}
	return pieceSize
}

func (d testDisk) content(c int) []byte {
	p := make([]byte, ClusterSize)
	// Made by few calls on long slices: the race detector looks at each access of a test.
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], d.seed)
	binary.LittleEndian.PutUint64(seed[8:], uint64(c))
	r := rand.NewChaCha8(seed)
	switch d.clusters[c] {
	case text:
		for page := 0; page < len(p); page += 4096 {
			line := fmt.Appendf(nil, "%d some words of cluster %d\n", r.Uint64(), c)
			copy(p[page:page+4096], bytes.Repeat(line, 1+4096/len(line)))
		}
	case noise:
		_, _ = r.Read(p) // it never fails
	case border:
		p[min(ClusterSize, d.size-int64(c)*ClusterSize)-1] = 1
	}
	return p[:min(ClusterSize, d.size-int64(c)*ClusterSize)]
}

func (d testDisk) Pieces(context.Context) iter.Seq2[Piece, error] {
	per := d.PieceSize() / ClusterSize
	return func(yield func(Piece, error) bool) {
		for c := 0; c < len(d.clusters); c += per {
			if !slices.ContainsFunc(d.clusters[c:min(c+per, len(d.clusters))], func(p pattern) bool { return p != absent }) {
				continue
			}
			at := int64(c) * ClusterSize
			if !yield(Piece{at, int(min(int64(d.PieceSize()), d.size-at))}, nil) {
				return
			}
		}
	}
}

func (d testDisk) ReadPiece(_ context.Context, p Piece, buf []byte) error {
	if d.fail != nil {
		if err := d.fail(p); err != nil {
			return err
		}
	}
	clear(buf)
	for done := 0; done < len(buf); done += ClusterSize {
		copy(buf[done:], d.content(int(p.Offset+int64(done))/ClusterSize))
	}
	return nil
}

// raw writes the bytes of the disk to a file.
func (d testDisk) raw(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for c, p := range d.clusters {
		if p != absent && p != zeros {
			if _, err := f.WriteAt(d.content(c), int64(c)*ClusterSize); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.Truncate(d.size); err != nil {
		t.Fatal(err)
	}
	return path
}

// newDisk is a disk whose clusters come from a map: one letter each.
func newDisk(letters string, cut int64) testDisk {
	d := testDisk{size: int64(len(letters))*ClusterSize - cut, seed: 1}
	for _, l := range letters {
		d.clusters = append(d.clusters, map[rune]pattern{'.': absent, '0': zeros, 't': text, 'n': noise, 'b': border}[l])
	}
	return d
}

// memory is an Output, and a Sink, that keeps the file.
type memory struct {
	bytes.Buffer
	finished bool

	mu    sync.Mutex
	parts map[int][]byte
	order []int
	fail  func(number int) error
}

func (m *memory) Write(_ context.Context, p []byte) error {
	_, err := m.Buffer.Write(p)
	return err
}

func (m *memory) Finish(_ context.Context, front []byte) error {
	m.finished = true
	copy(m.Bytes(), front)
	return nil
}

func (m *memory) Part(ctx context.Context, number int, data []byte) error {
	if m.fail != nil {
		if err := m.fail(number); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.parts == nil {
		m.parts = map[int][]byte{}
	}
	m.parts[number] = bytes.Clone(data)
	m.order = append(m.order, number)
	return ctx.Err()
}

// object is all parts in order.
func (m *memory) object() []byte {
	var out []byte
	for n := range len(m.parts) {
		out = append(out, m.parts[n+1]...)
	}
	return out
}

// qemuImg runs qemu-img and fails the test if it does.
func qemuImg(t testing.TB, args ...string) []byte {
	t.Helper()
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
	}
	return out
}

func needQemuImg(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		if os.Getenv("REQUIRE_QEMU_IMG") != "" {
			t.Fatal("qemu-img is not installed, and REQUIRE_QEMU_IMG says that it must be")
		}
		t.Skip("qemu-img is not installed: files are not held against QEMU's idea of them; REQUIRE_QEMU_IMG=1 makes that a failure")
	}
}

// variants are all that can be written.
func variants() []Options {
	return []Options{{Compression: Zstd}, {Compression: Deflate}, {Compression: None}, {Format: VMDK}}
}

func (o Options) name() string {
	o = o.withDefaults()
	return string(o.Format) + " " + string(o.Compression)
}

// written writes a disk into memory.
func written(t testing.TB, d Source, o Options) ([]byte, Stats) {
	t.Helper()
	var m memory
	s, err := Write(t.Context(), &m, d, o)
	if err != nil || !m.finished || s.Written != int64(m.Len()) {
		t.Fatalf("wrote %d bytes (%+v): %v", m.Len(), s, err)
	}
	return m.Bytes(), s
}

// held checks a file against the disk, by qemu-img.
func held(t testing.TB, d testDisk, o Options, file []byte) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "image")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	format := string(o.withDefaults().Format)
	qemuImg(t, "check", "-f", format, path)
	info := struct {
		Size int64 `json:"virtual-size"`
	}{}
	if err := json.Unmarshal(qemuImg(t, "info", "--output", "json", "-f", format, path), &info); err != nil || info.Size != (d.size+511)&^511 {
		t.Fatalf("the disk has %d bytes, not %d: %v", info.Size, d.size, err)
	}
	qemuImg(t, "compare", "-f", "raw", "-F", format, padTo512(t, d.raw(t, dir)), path)
}

// padTo512 makes a file as long as QEMU sees it.
func padTo512(t testing.TB, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, (info.Size()+511)&^511)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// same reads a whole disk and compares.
func same(t testing.TB, want testDisk, got Source) {
	t.Helper()
	if got.Size() != (want.size+511)&^511 {
		t.Fatalf("the disk has %d bytes, not %d", got.Size(), want.size)
	}
	seen := map[int]bool{}
	buf := make([]byte, got.PieceSize())
	for p, err := range got.Pieces(t.Context()) {
		if err == nil {
			err = got.ReadPiece(t.Context(), p, buf[:p.Length])
		}
		if err != nil {
			t.Fatal(err)
		}
		for done := 0; done < p.Length; done += ClusterSize {
			c := int(p.Offset+int64(done)) / ClusterSize
			seen[c] = true
			wanted := want.content(c)
			if !bytes.Equal(buf[done:done+len(wanted)], wanted) {
				t.Fatalf("cluster %d differs", c)
			}
		}
	}
	for c, p := range want.clusters {
		if !seen[c] && p != absent && p != zeros {
			t.Fatalf("cluster %d is missing", c)
		}
	}
}
