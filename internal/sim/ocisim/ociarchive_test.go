// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// smallQCOW2 makes a whole, empty qcow2 image of one cluster table, followed
// by payload. Each edit changes the header before it is written.
func smallQCOW2(t *testing.T, payload []byte, edits ...func(*qcow2Header)) []byte {
	t.Helper()
	const cluster = 1 << 16
	h := qcow2Header{
		Magic: [4]byte{'Q', 'F', 'I', 0xfb}, Version: 3, ClusterBits: 16, Size: 1 << 30,
		L1Size: 2, L1TableOffset: 3 * cluster, RefcountTableOffset: cluster, RefcountTableClusters: 1,
	}
	for _, edit := range edits {
		edit(&h)
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.BigEndian, h); err != nil {
		t.Fatal(err)
	}
	b.Write(make([]byte, 4*cluster-b.Len()))
	b.Write(payload)
	return b.Bytes()
}

func writeTemp(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sampleMetadata() ImageMetadata {
	return ImageMetadata{
		Version: 2,
		ExternalLaunchOptions: &ExternalLaunchOptions{
			Firmware: "UEFI_64", NetworkType: "PARAVIRTUALIZED", BootVolumeType: "PARAVIRTUALIZED",
			RemoteDataVolumeType: "PARAVIRTUALIZED", LocalDataVolumeType: "PARAVIRTUALIZED",
			LaunchOptionsSource: "PARAVIRTUALIZED", PvAttachmentVersion: 2,
			PvEncryptionInTransitEnabled: true, ConsistentVolumeNamingEnable: true,
		},
		OperatingSystem: "Debian", OperatingSystemVersion: "12",
		AdditionalMetadata: &AdditionalMetadata{ShapeCompatibilities: []ShapeCompatibility{{
			InternalShapeName: "VM.Standard.A1.Flex", OcpuConstraints: &OcpuConstraints{Min: new(1), Max: new(80)},
		}}},
	}
}

func TestOCIArchiveRoundTrip(t *testing.T) {
	image := smallQCOW2(t, []byte("what the guest wrote"))
	var plain bytes.Buffer
	if err := writeOCIArchive(&plain, sampleMetadata(), writeTemp(t, image)); err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(plain.Bytes())
	_ = z.Close()
	for name, archive := range map[string][]byte{"plain": plain.Bytes(), "gzip": zipped.Bytes()} {
		out := filepath.Join(t.TempDir(), "out.qcow2")
		got, err := readOCIArchive(bytes.NewReader(archive), out)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, sampleMetadata()) {
			t.Errorf("%s: got %+v", name, got)
		}
		if b, _ := os.ReadFile(out); !bytes.Equal(b, image) {
			t.Errorf("%s: the disk changed on the way", name)
		}
	}
	// Cut anywhere, it is refused and leaves nothing.
	for name, archive := range map[string][]byte{"plain": plain.Bytes(), "gzip": zipped.Bytes()} {
		for _, keep := range []int{0, 1, 100, 512, 1000, 1024, len(archive) / 2, len(archive) - 1500, len(archive) - 1024, len(archive) - 512, len(archive) - 1} {
			if keep < 0 {
				continue
			}
			out := filepath.Join(t.TempDir(), "out.qcow2")
			if _, err := readOCIArchive(bytes.NewReader(archive[:keep]), out); err == nil {
				t.Errorf("%s: accepted %d of %d bytes", name, keep, len(archive))
			}
			if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %d of %d bytes left a disk behind", name, keep, len(archive))
			}
		}
	}
	// A gzip stream whose checksum is wrong.
	broken := bytes.Clone(zipped.Bytes())
	broken[len(broken)-5] ^= 1
	if _, err := readOCIArchive(bytes.NewReader(broken), filepath.Join(t.TempDir(), "o")); !errors.Is(err, gzip.ErrChecksum) {
		t.Errorf("wrong checksum: %v", err)
	}
}

func TestOCIArchiveRefused(t *testing.T) {
	const meta = `{"version":2,"externalLaunchOptions":{"firmware":"UEFI_64","networkType":"PARAVIRTUALIZED","bootVolumeType":"PARAVIRTUALIZED","remoteDataVolumeType":"PARAVIRTUALIZED"},"imageCapabilityData":null,"imageCapsFormatVersion":null,"operatingSystem":"Debian","operatingSystemVersion":"12"}`
	disk := string(smallQCOW2(t, nil))
	type member struct{ name, body string }
	good := []member{{ociMetadataName, meta}, {ociDiskName, disk}}
	edit := func(old, new string) []member {
		if !strings.Contains(meta, old) {
			t.Fatalf("the metadata has no %q", old)
		}
		return []member{{ociMetadataName, strings.Replace(meta, old, new, 1)}, good[1]}
	}
	withDisk := func(edits ...func(*qcow2Header)) []member {
		return []member{good[0], {ociDiskName, string(smallQCOW2(t, nil, edits...))}}
	}
	for _, test := range []struct {
		name    string
		members []member
		want    string // "" if it must be accepted
	}{
		{"good", good, ""},
		{"disk first", []member{good[1], good[0]}, ""},
		{"qcow2 version 2", withDisk(func(h *qcow2Header) { h.Version, h.IncompatibleFeatures = 2, 0xff }), ""},
		{"empty", nil, "must hold"},
		{"no metadata", good[1:], "must hold"},
		{"no disk", good[:1], "must hold"},
		{"two disks", append(good[:2:2], good[1]), "unexpected archive member"},
		{"another member", append(good[:2:2], member{"README", "x"}), "unexpected archive member"},
		{"wrong case", []member{good[0], {"output.qcow2", disk}}, "unexpected archive member"},
		{"not JSON", []member{{ociMetadataName, "{"}, good[1]}, "decode"},
		{"two objects", edit(`"12"}`, `"12"}{}`), "something follows"},
		{"unknown field", edit(`"version":2`, `"version":2,"secureBoot":true`), "unknown field"},
		{"other version", edit(`"version":2`, `"version":3`), "version is 3"},
		{"no version", edit(`"version":2,`, ``), "version is 0"},
		{"no launch options", edit(`"externalLaunchOptions":{"firmware":"UEFI_64","networkType":"PARAVIRTUALIZED","bootVolumeType":"PARAVIRTUALIZED","remoteDataVolumeType":"PARAVIRTUALIZED"},`, ``), "externalLaunchOptions is missing"},
		{"no firmware", edit(`"firmware":"UEFI_64",`, ``), "firmware"},
		{"wrong firmware", edit(`UEFI_64`, `UEFI`), "firmware"},
		{"no operating system", edit(`"operatingSystem":"Debian",`, ``), "operatingSystem"},
		{"empty disk", []member{good[0], {ociDiskName, ""}}, "not a qcow2"},
		{"raw disk", []member{good[0], {ociDiskName, strings.Repeat("\x00", 4096)}}, "not a qcow2"},
		{"disk cut short", []member{good[0], {ociDiskName, disk[:3<<16]}}, "cut short"},
		{"virtual size 0", withDisk(func(h *qcow2Header) { h.Size = 0 }), "virtual size"},
		{"backing file", withDisk(func(h *qcow2Header) { h.BackingFileOffset = 512 }), "backing file"},
		{"external data", withDisk(func(h *qcow2Header) { h.IncompatibleFeatures = qcow2ExternalData }), "another file"},
		{"dirty", withDisk(func(h *qcow2Header) { h.IncompatibleFeatures = qcow2Dirty }), "not closed"},
		{"encrypted", withDisk(func(h *qcow2Header) { h.CryptMethod = 1 }), "encrypted"},
		{"qcow2 version 4", withDisk(func(h *qcow2Header) { h.Version = 4 }), "version 4"},
		{"cluster size", withDisk(func(h *qcow2Header) { h.ClusterBits = 30 }), "clusters"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, m := range test.members {
				_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m.name, Size: int64(len(m.body))})
				_, _ = io.WriteString(w, m.body)
			}
			_ = w.Close()
			_, err := readOCIArchive(&b, filepath.Join(t.TempDir(), "out"))
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
	t.Run("symlink", func(t *testing.T) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: ociDiskName, Linkname: "elsewhere"})
		_ = w.Close()
		if _, err := readOCIArchive(&b, filepath.Join(t.TempDir(), "out")); err == nil {
			t.Error("accepted")
		}
	})
}

func TestWriteOCIArchiveRefuses(t *testing.T) {
	bad := sampleMetadata()
	bad.ExternalLaunchOptions = nil
	if err := writeOCIArchive(io.Discard, bad, writeTemp(t, smallQCOW2(t, nil))); err == nil {
		t.Error("wrote an archive without launch options")
	}
	if err := writeOCIArchive(io.Discard, sampleMetadata(), writeTemp(t, []byte("raw"))); err == nil {
		t.Error("wrote an archive around something that is no disk image")
	}
}
