// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
)

// The members of an .oci archive.
const (
	metadataName = "image_metadata.json"
	diskName     = "output.QCOW2"
)

// Archive is an [Output] that makes an .oci archive around a qcow2 file: the format in
// which OCI exports images, and the only one by which an imported image gets to be
// booted by UEFI without requests that Oracle does not document. It is a tar archive
// of the metadata and the disk, in this order.
//
// The disk's length stands in front of the disk. So it is left open until Finish, as
// the beginning of the qcow2 file is.
type Archive struct {
	out  Output
	meta []byte
	size int64 // of the disk so far
}

// Metadata is what an image takes along beside its bytes.
type Metadata struct {
	OperatingSystem        string // "Debian"
	OperatingSystemVersion string // "12"
	// Shapes that the image can run on; the service is reported not to register
	// them on import.
	Shapes []Shape
}

// Shape is a shape, and the sizes of it that suit an image.
type Shape struct {
	Name                     string
	MinOCPUs, MaxOCPUs       int
	MinMemoryGB, MaxMemoryGB int
}

// ArmShapes are the shapes of Ampere processors.
func ArmShapes() []Shape {
	return []Shape{
		{"VM.Standard.A1.Flex", 1, 80, 1, 512},
		{"VM.Standard.A2.Flex", 1, 78, 1, 946},
	}
}

// encode makes the metadata of an image that boots by UEFI, from paravirtualized
// devices: the only ones that ARM shapes have.
func (m Metadata) encode() ([]byte, error) {
	type bounds struct {
		Min int `json:"min"`
		Max int `json:"max"`
	}
	type memory struct {
		Min int `json:"minInGBs"`
		Max int `json:"maxInGBs"`
	}
	type shape struct {
		Name   string `json:"internalShapeName"`
		OCPUs  bounds `json:"ocpuConstraints"`
		Memory memory `json:"memoryConstraints"`
	}
	type launch struct {
		Firmware         string `json:"firmware"`
		NetworkType      string `json:"networkType"`
		BootVolumeType   string `json:"bootVolumeType"`
		RemoteVolumeType string `json:"remoteDataVolumeType"`
		LocalVolumeType  string `json:"localDataVolumeType"`
		Source           string `json:"launchOptionsSource"`
		PVVersion        int    `json:"pvAttachmentVersion"`
		PVEncryption     bool   `json:"pvEncryptionInTransitEnabled"`
		ConsistentNaming bool   `json:"consistentVolumeNamingEnabled"`
	}
	const pv = "PARAVIRTUALIZED"
	var doc struct {
		Version      int     `json:"version"`
		Launch       launch  `json:"externalLaunchOptions"`
		Capabilities *string `json:"imageCapabilityData"`
		CapsVersion  *string `json:"imageCapsFormatVersion"`
		OS           string  `json:"operatingSystem"`
		OSVersion    string  `json:"operatingSystemVersion"`
		More         struct {
			Shapes []shape `json:"shapeCompatibilities"`
		} `json:"additionalMetadata"`
	}
	if m.OperatingSystem == "" || m.OperatingSystemVersion == "" {
		return nil, fmt.Errorf("an .oci archive must name an operating system and its version")
	}
	doc.Version, doc.OS, doc.OSVersion = 2, m.OperatingSystem, m.OperatingSystemVersion
	doc.Launch = launch{"UEFI_64", pv, pv, pv, pv, pv, 2, true, true}
	doc.More.Shapes = []shape{}
	for _, s := range m.Shapes {
		doc.More.Shapes = append(doc.More.Shapes, shape{s.Name, bounds{s.MinOCPUs, s.MaxOCPUs}, memory{s.MinMemoryGB, s.MaxMemoryGB}})
	}
	return json.Marshal(doc)
}

// NewArchive makes an archive in out. The disk that is written into it must be a
// qcow2 file.
func NewArchive(out Output, m Metadata) (*Archive, error) {
	meta, err := m.encode()
	if err != nil {
		return nil, err
	}
	return &Archive{out: out, meta: meta}, nil
}

// head is all that comes before a disk of so many bytes. It is of the same length
// for all disks, because GNU's form of tar has room for every number.
func (a *Archive) head(disk int64) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	header := func(name string, size int64) error {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, Format: tar.FormatGNU})
	}
	if err := header(metadataName, int64(len(a.meta))); err != nil {
		return nil, fmt.Errorf("begin the archive: %w", err)
	}
	if _, err := w.Write(a.meta); err != nil {
		return nil, fmt.Errorf("begin the archive: %w", err)
	}
	if err := header(diskName, disk); err != nil {
		return nil, fmt.Errorf("begin the archive: %w", err)
	}
	return b.Bytes(), nil // not closed: the disk follows
}

// Write implements [Output].
func (a *Archive) Write(ctx context.Context, p []byte) error {
	if a.size == 0 && len(p) > 0 {
		head, err := a.head(0)
		if err != nil {
			return err
		}
		if err := a.out.Write(ctx, head); err != nil {
			return err
		}
	}
	a.size += int64(len(p))
	return a.out.Write(ctx, p)
}

// Finish implements [Output].
func (a *Archive) Finish(ctx context.Context, front []byte) error {
	// A member fills whole blocks, and two empty ones end the archive.
	const block = 512
	if err := a.out.Write(ctx, make([]byte, -a.size&(block-1)+2*block)); err != nil {
		return err
	}
	head, err := a.head(a.size)
	if err != nil {
		return err
	}
	return a.out.Finish(ctx, append(head, front...))
}
