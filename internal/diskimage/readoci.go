// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxMembers is how many members of an archive are looked at: OCI's have two.
const maxMembers = 64

// openOCI reads the disk in an .oci archive, which is what OCI exports. Its metadata is
// not looked at.
func openOCI(file io.ReaderAt, length int64) (Source, error) {
	whole := io.NewSectionReader(file, 0, length)
	list := tar.NewReader(whole)
	for range maxMembers {
		h, err := list.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("the .oci archive is damaged: %w", err)
		}
		if !strings.EqualFold(path.Ext(h.Name), ".qcow2") {
			continue
		}
		if sparse(h) {
			return nil, fmt.Errorf("%s in the .oci archive is stored as a sparse file, without its holes, as \"tar --sparse\" does it; unpack the archive, and name the image that is in it", h.Name)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		at, err := whole.Seek(0, io.SeekCurrent)
		if err != nil || h.Size > length-at {
			return nil, fmt.Errorf("the .oci archive is cut short: its disk should have %d bytes", h.Size)
		}
		src, err := openQCOW2(io.NewSectionReader(file, at, h.Size), h.Size)
		if err != nil {
			return nil, fmt.Errorf("%s in the .oci archive: %w", h.Name, err)
		}
		return src, nil
	}
	return nil, errors.New("the image is a tar archive without a qcow2 file, as an .oci archive would have it; unpack it, and name the image that is in it")
}

// sparse says that a member is not in the archive as it is: its holes are left out. For it
// archive/tar has the length of the whole.
func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}
