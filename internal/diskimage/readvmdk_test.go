// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zlib"

	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// stream writes a disk as a streamOptimized VMDK the way VMware's specification tells
// it, with the directory at the end.
func stream(t testing.TB, d testDisk) []byte {
	t.Helper()
	le := binary.LittleEndian
	sectors := uint64(d.size+sector-1) / sector
	header := func(directory uint64) []byte {
		h := make([]byte, sector)
		copy(h, "KDMV")
		le.PutUint32(h[4:], 3)
		le.PutUint32(h[8:], 1|vmdkCompressed|vmdkMarkers)
		le.PutUint64(h[12:], sectors)
		le.PutUint64(h[20:], ClusterSize/sector)
		le.PutUint64(h[28:], 1)
		le.PutUint64(h[36:], 20)
		le.PutUint32(h[44:], grainsOfTable)
		le.PutUint64(h[56:], directory)
		le.PutUint64(h[64:], 8)
		le.PutUint16(h[77:], 1)
		return h
	}
	mark := func(kind, sectors uint32) []byte {
		m := make([]byte, sector)
		le.PutUint32(m, sectors)
		le.PutUint32(m[12:], kind)
		return m
	}
	out := append(header(directoryAtEnd), "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n"...)
	pad := func(to int) { out = append(out, make([]byte, -len(out)&(to-1))...) }
	pad(8 * sector)
	tables := (len(d.clusters) + grainsOfTable - 1) / grainsOfTable
	directory := make([]byte, 4*tables)
	for n := range tables {
		table, used := make([]byte, 4*grainsOfTable), false
		for i := range grainsOfTable {
			c := n*grainsOfTable + i
			if c >= len(d.clusters) || d.clusters[c] == absent || d.clusters[c] == zeros {
				continue
			}
			used = true
			le.PutUint32(table[4*i:], uint32(len(out)/sector))
			var packed bytes.Buffer
			w := zlib.NewWriter(&packed)
			grain := make([]byte, ClusterSize)
			copy(grain, d.content(c))
			if _, err := w.Write(grain); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			out = le.AppendUint64(out, uint64(c)*ClusterSize/sector)
			out = le.AppendUint32(out, uint32(packed.Len()))
			out = append(out, packed.Bytes()...)
			pad(sector)
		}
		if used {
			out = append(out, mark(1, 4)...)
			le.PutUint32(directory[4*n:], uint32(len(out)/sector))
			out = append(out, table...)
		}
	}
	out = append(out, mark(2, 1)...)
	at := len(out) / sector
	out = append(out, directory...)
	pad(sector)
	out = append(out, mark(markFooter, 1)...)
	out = append(out, header(uint64(at))...)
	return append(out, mark(0, 0)...)
}

func TestReadVMDK(t *testing.T) {
	sample.Not(t)
	for name, d := range disks() {
		t.Run(name, func(t *testing.T) {
			file := stream(t, d)
			src, err := Open(bytes.NewReader(file), int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			same(t, d, src)
		})
	}
}

// What qemu-img makes is read as it is.
func TestReadVMDKOfQEMU(t *testing.T) {
	needQemuImg(t)
	for name, d := range disks() {
		raw := padTo512(t, d.raw(t, t.TempDir()))
		for _, kind := range []string{"streamOptimized", "monolithicSparse"} {
			t.Run(kind+" "+name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "disk.vmdk")
				args := []string{"convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=" + kind}
				qemuImg(t, append(args, raw, path)...)
				file, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				src, err := Open(bytes.NewReader(file), int64(len(file)))
				if err != nil {
					t.Fatal(err)
				}
				same(t, d, src)
			})
		}
	}
}

// And qemu-img reads what this test's own writer makes: both have the same idea of it.
func TestQEMUReadsTheVMDK(t *testing.T) {
	needQemuImg(t)
	d := newDisk(strings.Repeat("t0nb.....tt00nn.btn", 60), 1024)
	path := filepath.Join(t.TempDir(), "disk.vmdk")
	if err := os.WriteFile(path, stream(t, d), 0o600); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "compare", "-f", "raw", "-F", "vmdk", d.raw(t, t.TempDir()), path)
}

// A file that is far away is read in few requests: the grains of a piece together, and
// not much more.
func TestVMDKIsReadInLongRuns(t *testing.T) {
	d := newDisk(strings.Repeat("t", 800), 0)
	far := &counting{ReaderAt: bytes.NewReader(stream(t, d))}
	src, err := openVMDK(far, int64(far.ReaderAt.(*bytes.Reader).Len())) //nolint:forcetypeassert // just made
	if err != nil {
		t.Fatal(err)
	}
	same(t, d, src)
	if n, bytes, all := far.requests.Load(), far.bytes.Load(), int64(far.ReaderAt.(*bytes.Reader).Len()); n > 100+10 || bytes > all+all/4 { //nolint:forcetypeassert // just made
		t.Errorf("%d requests for %d bytes of %d", n, bytes, all)
	}
}

type counting struct {
	io.ReaderAt
	requests, bytes atomic.Int64
}

func (c *counting) ReadAt(p []byte, at int64) (int, error) {
	c.requests.Add(1)
	c.bytes.Add(int64(len(p)))
	return c.ReaderAt.ReadAt(p, at)
}

// What is damaged, or only a part of a disk, is refused in words.
func TestRefusedVMDK(t *testing.T) {
	d := newDisk("tn0b", 0)
	good := stream(t, d)
	le := binary.LittleEndian
	for want, change := range map[string]func(f []byte) []byte{
		"grains of 3 sectors":  func(f []byte) []byte { le.PutUint64(f[20:], 3); return f },
		"grains of 0 sectors":  func(f []byte) []byte { le.PutUint64(f[20:], 0); return f },
		"tables of 7 grains":   func(f []byte) []byte { le.PutUint32(f[44:], 7); return f },
		"a disk of 0 sectors":  func(f []byte) []byte { le.PutUint64(f[12:], 0); return f },
		"a disk of 1844674":    func(f []byte) []byte { le.PutUint64(f[12:], 1<<64-1); return f },
		"method that is not":   func(f []byte) []byte { le.PutUint16(f[77:], 2); return f },
		"cut short":            func(f []byte) []byte { return f[:len(f)-sector] },
		"one of several files": func(f []byte) []byte { le.PutUint64(f[28:], 0); return f },
		"based on": func(f []byte) []byte {
			return bytes.Replace(f, []byte("parentCID=ffffffff"), []byte("parentCID=12345678"), 1)
		},
		`type "vmfsSparseXXXXX"`: func(f []byte) []byte {
			return bytes.Replace(f, []byte("streamOptimized"), []byte("vmfsSparseXXXXX"), 1)
		},
		"directory of grains lies": func(f []byte) []byte {
			le.PutUint64(f[len(f)-2*sector+56:], 1<<50)
			return f
		},
	} {
		file := change(bytes.Clone(good))
		if _, err := Open(bytes.NewReader(file), int64(len(file))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	// A byte of a grain that is not what it was is found out by its checksum.
	file := bytes.Clone(good)
	file[8*sector+grainHead+20] ^= 1
	src, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if err := src.ReadPiece(t.Context(), Piece{0, 4 * ClusterSize}, make([]byte, 4*ClusterSize)); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
}

// However a file is damaged, reading it ends with an error, or other bytes.
func FuzzReadVMDK(f *testing.F) {
	good := stream(f, newDisk("t0.b", 700))
	f.Add(good, uint32(20), byte(3))
	f.Add(good, uint32(56), byte(0))
	f.Add(good, uint32(8*sector+8), byte(255))
	f.Fuzz(func(t *testing.T, file []byte, at uint32, value byte) {
		if len(file) > 1<<20 {
			return
		}
		file = bytes.Clone(file)
		if int(at) < len(file) {
			file[at] = value
		}
		everything(t, file)
	})
}

func TestDamagedVMDK(t *testing.T) {
	sample.Not(t)
	good := stream(t, newDisk("tn0b"+strings.Repeat(".", 600)+"tt", 0))
	r := rand.New(rand.NewPCG(3, 0))
	for range 2000 {
		file := bytes.Clone(good)
		for range 1 + r.IntN(4) {
			at := r.IntN(len(file))
			if r.IntN(2) == 0 {
				at = r.IntN(sector)
			}
			file[at] = byte(r.Uint32())
		}
		everything(t, file[:len(file)-r.IntN(2)*r.IntN(len(file))])
	}
}

// The disk of an .oci archive is read, ours and those that others have made.
func TestReadOCI(t *testing.T) {
	d := newDisk(strings.Repeat("t0nb", 30), 512)
	var m memory
	a, err := NewArchive(&m, Metadata{OperatingSystem: "Debian", OperatingSystemVersion: "12"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), a, d, Options{}); err != nil {
		t.Fatal(err)
	}
	src, err := Open(bytes.NewReader(m.Bytes()), int64(m.Len()))
	if err != nil {
		t.Fatal(err)
	}
	same(t, d, src)
	if _, err := Open(bytes.NewReader(m.Bytes()[:m.Len()/2]), int64(m.Len()/2)); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Error(err)
	}
	var other bytes.Buffer
	w := tar.NewWriter(&other)
	if err := w.WriteHeader(&tar.Header{Name: "disk.raw", Size: 512, Mode: 0o600, Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(bytes.NewReader(other.Bytes()), int64(other.Len())); err == nil || !strings.Contains(err.Error(), "without a qcow2 file") {
		t.Error(err)
	}
}
