// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package disks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Header is the part of a qcow2 header that both versions share, in the
// byte order of the file (big endian).
type Header struct {
	Magic                 [4]byte
	Version               uint32
	BackingFileOffset     uint64
	BackingFileSize       uint32
	ClusterBits           uint32
	Size                  uint64 // virtual size in bytes
	CryptMethod           uint32
	L1Size                uint32 // entries
	L1TableOffset         uint64
	RefcountTableOffset   uint64
	RefcountTableClusters uint32
	SnapshotCount         uint32
	SnapshotsOffset       uint64
	IncompatibleFeatures  uint64 // version 3 only
}

// Bits of IncompatibleFeatures with which the service could not read an image.
const (
	Dirty        = 1 << 0
	Corrupt      = 1 << 1
	ExternalData = 1 << 2
)

// CheckQCOW2 tells whether the file is a disk image that stands on its own and
// is all there as far as its header says, and returns its virtual size in
// bytes.
func CheckQCOW2(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("open the disk: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("look at the disk: %w", err)
	}
	var h Header
	// A version 2 header is shorter than the struct but never ends the file.
	if err := binary.Read(io.LimitReader(f, info.Size()), binary.BigEndian, &h); err != nil {
		return 0, fmt.Errorf("the disk is not a qcow2 image: %w", noEOF(err))
	}
	if h.Version < 3 {
		h.IncompatibleFeatures = 0
	}
	const entry, maxTable = 8, 32 << 20 // bytes; QEMU's own bound
	switch table := uint64(h.L1Size) * entry; {
	case !bytes.Equal(h.Magic[:], []byte("QFI\xfb")):
		return 0, fmt.Errorf("the disk is not a qcow2 image: it begins with %q", h.Magic)
	case h.Version != 2 && h.Version != 3:
		return 0, fmt.Errorf("qcow2 version %d is not supported", h.Version)
	case h.BackingFileOffset != 0:
		return 0, errors.New("the qcow2 image needs a backing file")
	case h.IncompatibleFeatures&ExternalData != 0:
		return 0, errors.New("the qcow2 image keeps its data in another file")
	case h.IncompatibleFeatures&(Dirty|Corrupt) != 0:
		return 0, errors.New("the qcow2 image was not closed properly")
	case h.CryptMethod != 0:
		return 0, errors.New("the qcow2 image is encrypted")
	case h.Size == 0 || h.Size > 1<<50:
		return 0, fmt.Errorf("the qcow2 image has a virtual size of %d bytes", h.Size)
	case h.ClusterBits < 9 || h.ClusterBits > 21:
		return 0, fmt.Errorf("the qcow2 image has clusters of 2^%d bytes", h.ClusterBits)
	case table > maxTable || h.L1TableOffset > uint64(info.Size()) || h.L1TableOffset+table > uint64(info.Size()):
		return 0, errors.New("the qcow2 image is cut short: its cluster table lies behind its end")
	}
	return int64(h.Size), nil
}

// noEOF turns the end of input at a place where more had to come into an
// error that says so.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
