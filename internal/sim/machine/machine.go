// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package machine is the computer behind a simulated instance.
//
// A cloud simulator decides when an instance exists; a Driver makes it real:
// it takes the boot volume (a qcow2 file), starts something that listens for
// SSH, and on Shutdown leaves behind a disk that holds what was done to it.
// There are two drivers. QEMU boots the disk as an ARM64 machine by UEFI from
// its own bytes. Fast is an SSH server inside this process whose disk holds a
// file system as a tar archive; it serves tests that are about the cloud and
// not about the guest.
package machine

import (
	"context"
	"net/http"
)

// Cloud names the provider whose hardware a machine imitates.
type Cloud string

// The clouds that a driver can imitate.
const (
	OCI Cloud = "oci" // virtio-scsi disk, virtio-net, chassis asset tag OracleCloud.com
	EC2 Cloud = "ec2" // NVMe disk
)

// Firmware is what starts the machine, in OCI's words.
type Firmware string

// The two kinds of firmware that OCI knows. ARM64 machines have only UEFI: a
// driver refuses to start (the guest never comes up) with BIOS.
const (
	UEFI64 Firmware = "UEFI_64"
	BIOS   Firmware = "BIOS"
)

// Spec is what the cloud hands to a driver to start one machine.
type Spec struct {
	ID       string       // the instance's own id, for logs and file names
	Disk     string       // path of the boot volume, a qcow2 file that belongs to this machine alone
	Cloud    Cloud        // whose devices and metadata address
	Firmware Firmware     // what the image says it needs
	CPUs     int          // at least 1
	MemoryMB int          // what the guest may use; a driver may give less
	Metadata http.Handler // answers 169.254.169.254 inside the machine
	// SSH is the host address ("127.80.0.3:22022") at which the machine's port
	// 22 must be reachable.
	SSH string
}

// Machine is one started computer.
type Machine interface {
	// Shutdown asks the guest to power off, waits until it has, and leaves
	// Spec.Disk consistent. It returns ctx's error when that takes too long.
	Shutdown(ctx context.Context) error
	// Kill cuts the power. It may be called at any time and more than once;
	// after it returns nothing of the machine runs or listens any more.
	Kill() error
	// Done is closed when the machine is off, however that came about.
	Done() <-chan struct{}
	// Console is what the machine has printed so far.
	Console() []byte
}

// Keeper is a machine that can go back to how it was: so two things can be done to one
// machine, from the same moment on. Those of QEMU are such.
type Keeper interface {
	Save(ctx context.Context) error
	Restore(ctx context.Context) error
}

// Driver starts machines.
type Driver interface {
	// Start returns as soon as the machine has power; the guest may need a
	// while until it answers on Spec.SSH.
	Start(ctx context.Context, spec Spec) (Machine, error)
}
