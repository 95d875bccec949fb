// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// listed is a disk with pieces of the test's choice.
type listed struct {
	testDisk
	pieces []Piece
}

func (l listed) Pieces(context.Context) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		for _, p := range l.pieces {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// The parts of an archive, put together, are a tar archive whose disk is the disk, and
// the first of them is uploaded last.
func TestArchiveInParts(t *testing.T) {
	for seed := range uint64(6) {
		d := randomDisk(rand.New(rand.NewPCG(seed, 1)))
		var m memory
		parts, err := NewParts(&m, 1<<20+int(seed)*4096, 3)
		if err != nil {
			t.Fatal(err)
		}
		a, err := NewArchive(parts, Metadata{OperatingSystem: "Debian", OperatingSystemVersion: "12", Shapes: ArmShapes()})
		if err != nil {
			t.Fatal(err)
		}
		s, err := Write(t.Context(), a, d, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if m.order[len(m.order)-1] != 1 || slices.Max(m.order) != len(m.parts) {
			t.Errorf("the order of parts was %v", m.order)
		}
		for n := 1; n < len(m.parts); n++ {
			if len(m.parts[n]) != 1<<20+int(seed)*4096 {
				t.Errorf("part %d has %d bytes", n, len(m.parts[n]))
			}
		}
		file := unpacked(t, m.object())
		if int64(len(file)) != s.Written {
			t.Errorf("%d bytes, not %d", len(file), s.Written)
		}
		src, err := Open(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		same(t, d, src)
	}
}

// unpacked reads an archive to its end and returns its disk.
func unpacked(t *testing.T, archive []byte) []byte {
	t.Helper()
	r := bytes.NewReader(archive)
	tr := tar.NewReader(r)
	h, err := tr.Next()
	if err != nil || h.Name != "image_metadata.json" {
		t.Fatalf("%+v, %v", h, err)
	}
	var meta struct {
		Version int
		Launch  struct{ Firmware, NetworkType, BootVolumeType string } `json:"externalLaunchOptions"`
		More    struct {
			Shapes []struct {
				Name string `json:"internalShapeName"`
			} `json:"shapeCompatibilities"`
		} `json:"additionalMetadata"`
	}
	if err := json.NewDecoder(tr).Decode(&meta); err != nil {
		t.Fatal(err)
	}
	if meta.Version != 2 || meta.Launch.Firmware != "UEFI_64" || meta.Launch.BootVolumeType != "PARAVIRTUALIZED" || len(meta.More.Shapes) != 2 || meta.More.Shapes[0].Name != "VM.Standard.A1.Flex" {
		t.Errorf("%+v", meta)
	}
	if h, err = tr.Next(); err != nil || h.Name != "output.QCOW2" {
		t.Fatalf("%+v, %v", h, err)
	}
	file, err := io.ReadAll(tr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Next(); !errors.Is(err, io.EOF) || r.Len() != 0 || !bytes.Equal(archive[len(archive)-1024:], make([]byte, 1024)) {
		t.Errorf("%v, with %d bytes left", err, r.Len())
	}
	return file
}

// A disk whose length needs more than the eleven digits that tar began with has a head
// of the same length.
func TestArchiveOfALargeDisk(t *testing.T) {
	a, err := NewArchive(&memory{}, Metadata{OperatingSystem: "Debian", OperatingSystemVersion: "12"})
	if err != nil {
		t.Fatal(err)
	}
	empty, err := a.head(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{1 << 20, 8<<30 - 1, 8 << 30, 400 << 30, 1 << 50} {
		head, err := a.head(size)
		if err != nil || len(head) != len(empty) {
			t.Fatalf("%d: %d bytes, %v", size, len(head), err)
		}
		tr := tar.NewReader(bytes.NewReader(head))
		for range 2 {
			h, err := tr.Next()
			if err != nil || h.Name == diskName && h.Size != size {
				t.Errorf("%d: %+v, %v", size, h, err)
			}
		}
	}
	if _, err := NewArchive(&memory{}, Metadata{}); err == nil || !strings.Contains(err.Error(), "operating system") {
		t.Error(err)
	}
}

func TestPartSize(t *testing.T) {
	for _, disk := range []int64{1, 8 << 30, 50 << 30, 95 << 30, 100 << 30, 400 << 30, 16 << 40} {
		size := PartSize(disk)
		if size < MinPart || size%(1<<20) != 0 || int64(size)*(MaxParts-1) < disk {
			t.Errorf("%d: %d", disk, size)
		}
	}
	if PartSize(50<<30) != MinPart {
		t.Error("small disks do not have the smallest parts")
	}
	if _, err := NewParts(&memory{}, 100, 1); err == nil {
		t.Error("tiny parts were taken")
	}
}
