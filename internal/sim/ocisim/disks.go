// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import "github.com/armfree/packer-plugin-armfree/internal/sim/disks"

// Disks turns images into boot volumes and back. Both are qcow2 files.
type Disks = disks.Disks

// CopyDisks copies whole files; see [disks.Copy].
type CopyDisks = disks.Copy

// OverlayDisks makes overlays; see [disks.Overlay].
type OverlayDisks = disks.Overlay

// NewOverlayDisks fails when qemu-img is not installed.
func NewOverlayDisks() (OverlayDisks, error) { return disks.NewOverlay() }
