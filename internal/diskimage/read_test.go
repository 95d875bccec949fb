// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// What qemu-img makes, in every form that is supported, is read as it is.
func TestReadWhatQEMUWrites(t *testing.T) {
	sample.Not(t)
	needQemuImg(t)
	d := newDisk(strings.Repeat("tn0b..ttn", 20), 700)
	dir := t.TempDir()
	raw := padTo512(t, d.raw(t, dir))
	for name, args := range map[string][]string{
		"plain":              {"-O", "qcow2"},
		"zlib":               {"-O", "qcow2", "-c"},
		"zstd":               {"-O", "qcow2", "-c", "-o", "compression_type=zstd"},
		"version 2":          {"-O", "qcow2", "-o", "compat=0.10"},
		"version 2, zlib":    {"-O", "qcow2", "-c", "-o", "compat=0.10"},
		"clusters of 512":    {"-O", "qcow2", "-o", "cluster_size=512"},
		"of 512, zlib":       {"-O", "qcow2", "-c", "-o", "cluster_size=512"},
		"of 4 KiB, zstd":     {"-O", "qcow2", "-c", "-o", "cluster_size=4k,compression_type=zstd"},
		"of 2 MiB":           {"-O", "qcow2", "-o", "cluster_size=2M"},
		"of 2 MiB, zstd":     {"-O", "qcow2", "-c", "-o", "cluster_size=2M,compression_type=zstd"},
		"of 2 MiB, zlib":     {"-O", "qcow2", "-c", "-o", "cluster_size=2M"},
		"lazy refcounts":     {"-O", "qcow2", "-o", "lazy_refcounts=on"},
		"preallocated":       {"-O", "qcow2", "-o", "preallocation=metadata"},
		"zeros are explicit": {"-O", "qcow2", "-S", "0"},
		"raw":                {"-O", "raw"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			qemuImg(t, append(append([]string{"convert", "-f", "raw"}, args...), raw, path)...)
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if name == "raw" {
				copy(file[510:], "\x55\xaa") // a disk that a machine boots from
				src, err := Open(bytes.NewReader(file), int64(len(file)))
				if err != nil {
					t.Fatal(err)
				}
				copied, _ := written(t, src, Options{})
				other := filepath.Join(t.TempDir(), "raw")
				if err := os.WriteFile(other, file, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, copied, 0o600); err != nil {
					t.Fatal(err)
				}
				qemuImg(t, "compare", "-f", "raw", "-F", "qcow2", other, path)
				return
			}
			src, err := Open(bytes.NewReader(file), int64(len(file)))
			if err != nil {
				t.Fatal(err)
			}
			same(t, d, src)
			// And written anew.
			copied, _ := written(t, src, Options{})
			held(t, d, Options{}, copied)
		})
	}
}

// What cannot be read is refused, with what to do about it.
func TestRefusedImages(t *testing.T) {
	good, _ := written(t, newDisk("tn0b", 0), Options{})
	changed := func(change func(h []byte)) []byte {
		file := bytes.Clone(good)
		change(file)
		return file
	}
	be := binary.BigEndian
	boot := make([]byte, 1024)
	copy(boot[510:], "\x55\xaa")
	for want, file := range map[string][]byte{
		"backing file":             changed(func(h []byte) { be.PutUint64(h[8:], 4096) }),
		"encrypted":                changed(func(h []byte) { be.PutUint32(h[32:], 1) }),
		"marked as corrupt":        changed(func(h []byte) { be.PutUint64(h[72:], 2|incompatibleZstd) }),
		"in another file":          changed(func(h []byte) { be.PutUint64(h[72:], 4|incompatibleZstd) }),
		"not supported (0x10)":     changed(func(h []byte) { be.PutUint64(h[72:], 0x10) }),
		"method that is not":       changed(func(h []byte) { h[104] = 7 }),
		"version 4":                changed(func(h []byte) { be.PutUint32(h[4:], 4) }),
		"clusters of 2^30":         changed(func(h []byte) { be.PutUint32(h[20:], 30) }),
		"a disk of 0 bytes":        changed(func(h []byte) { be.PutUint64(h[24:], 0) }),
		"a disk of 92233720368547": changed(func(h []byte) { be.PutUint64(h[24:], 1<<63-1) }),
		"L1 table does not fit":    changed(func(h []byte) { be.PutUint64(h[40:], 1<<60) }),
		"cut short":                good[:80],
		"version 0 of VMDK":        []byte("KDMV" + strings.Repeat("\x00", 600)),
		"data is in other files":   []byte("# Disk DescriptorFile\nversion=1\n" + strings.Repeat("\x00", 600)),
		"by gzip":                  []byte("\x1f\x8b\x08" + strings.Repeat("\x00", 600)),
		"by xz":                    []byte("\xfd7zXZ\x00" + strings.Repeat("\x00", 600)),
		"neither qcow2":            []byte("<html>The image has moved." + strings.Repeat(" ", 600)),
		"nor the raw bytes":        nil,
	} {
		if _, err := Open(bytes.NewReader(file), int64(len(file))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := Open(bytes.NewReader(boot), int64(len(boot))); err != nil {
		t.Error(err)
	}
}

// everything reads all that an image has, and gives up after a while.
func everything(t testing.TB, file []byte) {
	src, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	buf := make([]byte, src.PieceSize())
	n, last := 0, int64(-1)
	for p, err := range src.Pieces(ctx) {
		if err != nil {
			return
		}
		if p.Offset <= last || p.Length <= 0 || p.Length > len(buf) || p.Offset+int64(p.Length) > src.Size() {
			t.Fatalf("%+v of a disk of %d bytes", p, src.Size())
		}
		last = p.Offset
		if src.ReadPiece(ctx, p, buf[:p.Length]) != nil {
			return
		}
		if n++; n > 2000 {
			return
		}
	}
}

// Bytes that are wrong are an error, or other bytes; never a panic, and never a loop.
func TestDamagedImages(t *testing.T) {
	sample.Not(t)
	r := rand.New(rand.NewPCG(9, 9))
	for _, o := range variants() {
		good, _ := written(t, newDisk("tn0b..ttn", 0), o)
		for range 300 {
			file := bytes.Clone(good)
			for range 1 + r.IntN(4) {
				at := r.IntN(len(file))
				if r.IntN(2) == 0 {
					at = r.IntN(112)
				}
				file[at] ^= byte(1 << r.IntN(8))
			}
			if r.IntN(4) == 0 {
				file = file[:r.IntN(len(file))]
			}
			everything(t, file)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, o := range variants() {
		var m memory
		d := newDisk("tb", 0)
		if _, err := Write(f.Context(), &m, d, o); err != nil {
			f.Fatal(err)
		}
		f.Add(m.Bytes())
	}
	f.Add([]byte("QFI\xfb"))
	f.Fuzz(func(t *testing.T, file []byte) { everything(t, file) })
}
