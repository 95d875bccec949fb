// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package disks_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/disks"
)

// ends is a disk with something at its beginning and in its last, half grain.
type ends struct{}

const halfGrain = 32 << 10

func (ends) Size() int64    { return 64<<20 + halfGrain }
func (ends) PieceSize() int { return 64 << 10 }

func (e ends) Pieces(context.Context) iter.Seq2[diskimage.Piece, error] {
	return func(yield func(diskimage.Piece, error) bool) {
		_ = yield(diskimage.Piece{Offset: 0, Length: 64 << 10}, nil) && yield(diskimage.Piece{Offset: 64 << 20, Length: halfGrain}, nil)
	}
}

func (ends) ReadPiece(_ context.Context, _ diskimage.Piece, buf []byte) error {
	for i := range buf {
		buf[i] = byte(i/512 + 1)
	}
	return nil
}

type inMemory struct{ bytes.Buffer }

func (m *inMemory) Write(_ context.Context, p []byte) error {
	_, err := m.Buffer.Write(p)
	return err
}

func (m *inMemory) Finish(_ context.Context, front []byte) error {
	copy(m.Bytes(), front)
	return nil
}

func stream(t *testing.T) []byte {
	t.Helper()
	var m inMemory
	if _, err := diskimage.Write(t.Context(), &m, ends{}, diskimage.Options{Format: diskimage.VMDK}); err != nil {
		t.Fatal(err)
	}
	return m.Bytes()
}

// sparse is the same disk as a monolithicSparse VMDK, which is not compressed: header,
// descriptor, directory and tables, and the grains.
func sparse(t *testing.T, cut int) []byte {
	t.Helper()
	const grains, tables = 64<<20/(64<<10) + 1, 3
	le := binary.LittleEndian
	f := make([]byte, 128*512)
	copy(f, stream(t)[:21*512])
	f = bytes.Replace(f, []byte("streamOptimized\""), []byte("monolithicSparse\"\n"), 1)[:128*512]
	le.PutUint32(f[8:], 3) // newlines, and a second directory that nobody reads
	le.PutUint64(f[56:], 24)
	le.PutUint16(f[77:], 0)
	for n := range tables {
		le.PutUint32(f[24*512+4*n:], uint32(32+4*n))
	}
	for i, at := range map[int]uint32{0: 128, grains - 1: 256} {
		le.PutUint32(f[32*512+4*i:], at)
	}
	whole, half := make([]byte, 64<<10), make([]byte, 64<<10)
	_ = ends{}.ReadPiece(t.Context(), diskimage.Piece{}, whole)
	_ = ends{}.ReadPiece(t.Context(), diskimage.Piece{}, half[:halfGrain])
	f = append(append(f, whole...), half...)
	return f[:len(f)-cut]
}

// read opens a file and reads all of it.
func read(t *testing.T, file []byte) (size int64, grains map[int64][]byte, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.vmdk")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := disks.OpenVMDK(path)
	if err != nil {
		return 0, nil, err
	}
	defer v.Close()
	grains = map[int64][]byte{}
	for g, err := range v.Grains() {
		if err != nil {
			return 0, nil, err
		}
		grains[g.Offset] = bytes.Clone(g.Data)
	}
	return v.Size(), grains, nil
}

func TestVMDK(t *testing.T) {
	for name, file := range map[string][]byte{
		"stream": stream(t), "sparse": sparse(t, 0), "sparse, whose file ends within the last grain": sparse(t, 60<<10),
	} {
		t.Run(name, func(t *testing.T) {
			size, grains, err := read(t, file)
			if err != nil || size != (ends{}).Size() || len(grains) != 2 {
				t.Fatalf("%d bytes, %d grains, %v", size, len(grains), err)
			}
			first, last := grains[0], grains[64<<20]
			want := make([]byte, 64<<10)
			_ = ends{}.ReadPiece(t.Context(), diskimage.Piece{}, want)
			if !bytes.Equal(first, want) {
				t.Error("the first grain differs")
			}
			if strings.HasSuffix(name, "within the last grain") {
				want = append(want[:4<<10], make([]byte, halfGrain-4<<10)...)
			}
			if !bytes.Equal(last, want[:halfGrain]) {
				t.Errorf("the last grain differs: %d bytes", len(last))
			}
		})
	}
}

// What a service could not import is refused.
func TestVMDKRefused(t *testing.T) {
	le := binary.LittleEndian
	good := stream(t)
	end := len(good)
	for want, change := range map[string]func(f []byte) []byte{
		"not a VMDK":            func(f []byte) []byte { f[0] = 'X'; return f },
		"the file is cut short": func(f []byte) []byte { return f[:100] },
		"version 4":             func(f []byte) []byte { le.PutUint32(f[4:], 4); return f },
		"as if it were a text":  func(f []byte) []byte { f[75] = '\n'; return f },
		"not closed properly":   func(f []byte) []byte { f[72] = 1; return f },
		"how it is compressed":  func(f []byte) []byte { le.PutUint16(f[77:], 0); return f },
		"grains of 3 sectors":   func(f []byte) []byte { le.PutUint64(f[20:], 3); return f },
		"tables of 256":         func(f []byte) []byte { le.PutUint32(f[44:], 256); return f },
		"a disk of 0 sectors":   func(f []byte) []byte { le.PutUint64(f[12:], 0); return f },
		"one of several files":  func(f []byte) []byte { le.PutUint64(f[28:], 0); return f },
		`of the type "monolithicFlat"`: func(f []byte) []byte {
			return bytes.Replace(f, []byte(`streamOptimized"`), []byte("monolithicFlat\"\n"), 1)
		},
		"based on":                     func(f []byte) []byte { return bytes.Replace(f, []byte("ffffffff"), []byte("fffffff0"), 1) },
		"consists of 0 extents":        func(f []byte) []byte { return bytes.Replace(f, []byte("SPARSE"), []byte("FLAT  "), 1) },
		"extent is \"RW 131130 SPARSE": func(f []byte) []byte { return bytes.Replace(f, []byte("RW 131136"), []byte("RW 131130"), 1) },
		"is cut short":                 func(f []byte) []byte { return f[:end-100] },
		"it has no footer":             func(f []byte) []byte { return f[:end-512] },
		"that of another file":         func(f []byte) []byte { f[end-1024+64]++; return f },
		"directory of grains":          func(f []byte) []byte { le.PutUint64(f[end-1024+56:], 1<<40); return f },
		"that it is sector 128":        func(f []byte) []byte { f[128*512] = 128; return f },
		"unpack it":                    func(f []byte) []byte { f[128*512+12+100] ^= 4; return f },
		"of 0 bytes":                   func(f []byte) []byte { le.PutUint32(f[128*512+8:], 0); return f },
		"VMDK's table 0":               func(f []byte) []byte { le.PutUint32(f[end-4*512:], 1<<30); return f },
		"behind the end of its disk":   func(f []byte) []byte { le.PutUint32(f[end-9*512+4:], 128); return f },
	} {
		if _, _, err := read(t, change(bytes.Clone(good))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
