// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import "github.com/armfree/packer-plugin-armfree/internal/sim/disks"

// qcow2Header is the part of a qcow2 header that both versions share.
type qcow2Header = disks.Header

// Bits of IncompatibleFeatures with which the service could not read an image.
const (
	qcow2Dirty        = disks.Dirty
	qcow2ExternalData = disks.ExternalData
)

// checkQCOW2 tells whether the file is a disk image that stands on its own and
// is all there as far as its header says, and returns its virtual size in
// bytes.
func checkQCOW2(path string) (int64, error) { return disks.CheckQCOW2(path) }
