// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// An image that leaves OCI in the format OCI is a tar archive, plain or
// compressed with gzip, of exactly these two members.
const (
	ociMetadataName = "image_metadata.json"
	ociDiskName     = "output.QCOW2"

	ociMetadataVersion = 2
	maxMetadataBytes   = 1 << 20
)

// ImageMetadata is the first member of an .oci archive: all that an image
// takes along into another tenancy beside its bytes. Neither its name nor its
// tags are part of it.
type ImageMetadata struct {
	Version                int                    `json:"version"`
	ExternalLaunchOptions  *ExternalLaunchOptions `json:"externalLaunchOptions"`
	ImageCapabilityData    *string                `json:"imageCapabilityData"`
	ImageCapsFormatVersion *string                `json:"imageCapsFormatVersion"`
	OperatingSystem        string                 `json:"operatingSystem"`
	OperatingSystemVersion string                 `json:"operatingSystemVersion"`
	AdditionalMetadata     *AdditionalMetadata    `json:"additionalMetadata,omitempty"`
}

// ExternalLaunchOptions is how a machine must be built to boot the image.
type ExternalLaunchOptions struct {
	Firmware                     string `json:"firmware"` // BIOS or UEFI_64
	NetworkType                  string `json:"networkType"`
	BootVolumeType               string `json:"bootVolumeType"`
	RemoteDataVolumeType         string `json:"remoteDataVolumeType"`
	LocalDataVolumeType          string `json:"localDataVolumeType,omitempty"`
	LaunchOptionsSource          string `json:"launchOptionsSource,omitempty"`
	PvAttachmentVersion          int    `json:"pvAttachmentVersion,omitempty"`
	PvEncryptionInTransitEnabled bool   `json:"pvEncryptionInTransitEnabled"`
	ConsistentVolumeNamingEnable bool   `json:"consistentVolumeNamingEnabled"`
}

// AdditionalMetadata names the shapes the image was compatible with. The
// service is reported not to register them on import.
type AdditionalMetadata struct {
	SourcePublicImageID  *string              `json:"sourcePublicImageId,omitempty"`
	ShapeCompatibilities []ShapeCompatibility `json:"shapeCompatibilities"`
}

// ShapeCompatibility is one shape and the sizes of it that suit an image.
type ShapeCompatibility struct {
	InternalShapeName string             `json:"internalShapeName"`
	OcpuConstraints   *OcpuConstraints   `json:"ocpuConstraints"`
	MemoryConstraints *MemoryConstraints `json:"memoryConstraints"`
}

// OcpuConstraints bounds the OCPUs of a shape.
type OcpuConstraints struct {
	Min *int `json:"min"`
	Max *int `json:"max"`
}

// MemoryConstraints bounds the memory of a shape.
type MemoryConstraints struct {
	MinInGBs *int `json:"minInGBs"`
	MaxInGBs *int `json:"maxInGBs"`
}

// check reports what keeps the metadata from describing an image.
func (m ImageMetadata) check() error {
	if m.Version != ociMetadataVersion {
		return fmt.Errorf("%s: version is %d, not %d", ociMetadataName, m.Version, ociMetadataVersion)
	}
	o := m.ExternalLaunchOptions
	if o == nil {
		return fmt.Errorf("%s: externalLaunchOptions is missing", ociMetadataName)
	}
	for _, f := range []struct {
		name, value string
		allowed     []string
	}{
		{"firmware", o.Firmware, []string{"BIOS", "UEFI_64"}},
		{"networkType", o.NetworkType, []string{"E1000", "VFIO", "PARAVIRTUALIZED", "ACCELERATEDPV"}},
		{"bootVolumeType", o.BootVolumeType, volumeTypes()},
		{"remoteDataVolumeType", o.RemoteDataVolumeType, volumeTypes()},
		{"localDataVolumeType", o.LocalDataVolumeType, append(volumeTypes(), "")},
	} {
		if !oneOf(f.value, f.allowed) {
			return fmt.Errorf("%s: externalLaunchOptions.%s %q is not one of %q", ociMetadataName, f.name, f.value, f.allowed)
		}
	}
	if m.OperatingSystem == "" || m.OperatingSystemVersion == "" {
		return fmt.Errorf("%s: operatingSystem and operatingSystemVersion must be given", ociMetadataName)
	}
	if m.AdditionalMetadata != nil {
		for i, s := range m.AdditionalMetadata.ShapeCompatibilities {
			if s.InternalShapeName == "" {
				return fmt.Errorf("%s: shapeCompatibilities[%d] has no internalShapeName", ociMetadataName, i)
			}
		}
	}
	return nil
}

func volumeTypes() []string {
	return []string{"ISCSI", "SCSI", "IDE", "VFIO", "PARAVIRTUALIZED"}
}

func oneOf(s string, allowed []string) bool {
	for _, a := range allowed {
		if s == a {
			return true
		}
	}
	return false
}

// writeOCIArchive writes the image at qcow2Path as a plain .oci archive.
func writeOCIArchive(w io.Writer, m ImageMetadata, qcow2Path string) error {
	if err := m.check(); err != nil {
		return err
	}
	if _, err := checkQCOW2(qcow2Path); err != nil {
		return err
	}
	meta, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", ociMetadataName, err)
	}
	disk, err := os.Open(qcow2Path)
	if err != nil {
		return fmt.Errorf("open the disk: %w", err)
	}
	defer disk.Close()
	info, err := disk.Stat()
	if err != nil {
		return fmt.Errorf("look at the disk: %w", err)
	}
	archive := tar.NewWriter(w)
	for _, member := range []struct {
		name string
		size int64
		from io.Reader
	}{
		{ociMetadataName, int64(len(meta)), bytes.NewReader(meta)},
		{ociDiskName, info.Size(), disk},
	} {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: member.name, Size: member.size, Mode: 0o644}
		if err := archive.WriteHeader(h); err != nil {
			return fmt.Errorf("write the header of %s: %w", member.name, err)
		}
		if _, err := io.Copy(archive, member.from); err != nil {
			return fmt.Errorf("write %s: %w", member.name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return fmt.Errorf("end the archive: %w", err)
	}
	return nil
}

// readOCIArchive reads an .oci archive to its end and leaves its disk at
// qcow2Path. It refuses an archive that is cut short, lacks a member or has
// another one, and metadata or a disk that no machine could boot from; then
// nothing is left at qcow2Path.
func readOCIArchive(r io.Reader, qcow2Path string) (_ ImageMetadata, err error) {
	defer func() {
		if err != nil {
			_ = os.Remove(qcow2Path)
		}
	}()
	plain, err := uncompressed(r)
	if err != nil {
		return ImageMetadata{}, err
	}
	count := &countingReader{r: plain}
	archive := tar.NewReader(count)
	var meta *ImageMetadata
	var disk bool
	for {
		before := count.n
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			// The reader is content when the bytes end between two members. A
			// whole archive goes on with two blocks of zeros.
			if count.n-before < 1024 {
				return ImageMetadata{}, errors.New("the archive is cut short: it has no end marker")
			}
			break
		}
		if err != nil {
			return ImageMetadata{}, fmt.Errorf("read the archive: %w", err)
		}
		switch {
		case h.Typeflag != tar.TypeReg:
			return ImageMetadata{}, fmt.Errorf("archive member %q is not a plain file", h.Name)
		case h.Name == ociMetadataName && meta == nil:
			if meta, err = readMetadata(archive); err != nil {
				return ImageMetadata{}, err
			}
		case h.Name == ociDiskName && !disk:
			disk = true
			if err := readDisk(archive, qcow2Path); err != nil {
				return ImageMetadata{}, err
			}
		default:
			return ImageMetadata{}, fmt.Errorf("unexpected archive member %q", h.Name)
		}
	}
	if meta == nil || !disk {
		return ImageMetadata{}, fmt.Errorf("the archive must hold %s and %s", ociMetadataName, ociDiskName)
	}
	// What follows the archive is padding, but a gzip stream is only known to
	// be whole once its checksum has been read.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return ImageMetadata{}, fmt.Errorf("read the archive: %w", err)
	}
	return *meta, nil
}

// uncompressed looks at the first bytes to tell gzip from a plain archive.
func uncompressed(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	magic, err := b.Peek(2)
	if err != nil {
		return nil, fmt.Errorf("read the archive: %w", noEOF(err))
	}
	if !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return b, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("read the archive: %w", noEOF(err))
	}
	return z, nil
}

func readMetadata(r io.Reader) (*ImageMetadata, error) {
	d := json.NewDecoder(io.LimitReader(r, maxMetadataBytes))
	d.DisallowUnknownFields()
	var m ImageMetadata
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("decode %s: %w", ociMetadataName, noEOF(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("decode %s: something follows the object", ociMetadataName)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return &m, nil
}

func readDisk(r io.Reader, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("make the disk: %w", err)
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s: %w", ociDiskName, err)
	}
	_, err = checkQCOW2(path)
	return err
}

// noEOF turns the end of input at a place where more had to come into an
// error that says so.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
