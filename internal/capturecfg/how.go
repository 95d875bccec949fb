// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type To

// Package capturecfg is the part of a template that says how the disk of a machine is
// captured; and, for machines that do not run on OCI, into which bucket there.
package capturecfg

import (
	"cmp"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
)

// How says how a disk is captured, on whatever cloud its machine runs.
type How struct {
	// How the captured disk gets into the bucket. With `auto` (the default) the machine
	// uploads it by itself, by a pre-authenticated request, and what does not get there goes
	// through this computer; with `relay` all of it goes through this computer.
	CaptureRoute string `mapstructure:"capture_route" required:"false"`
	// How a captured disk is compressed: `zstd`, `deflate`, which is what older readers of
	// qcow2 know, or `none`. Defaults to `zstd`, which is the fastest.
	CaptureCompression string `mapstructure:"capture_compression" required:"false"`
	// Remove from a disk, before it is captured, what is the machine's own and not the
	// image's: the machine's id, its host keys where something makes new ones, what
	// cloud-init and DHCP remember of it, logs, histories of shells. Defaults to `true`.
	CaptureClean config.Trilean `mapstructure:"capture_clean" required:"false"`
}

// MaxDisk is the largest disk that OCI imports, in GB.
const MaxDisk = int64(diskimage.MaxImage) >> 30

// The routes of a captured disk.
const (
	routeAuto  = "auto"
	routeRelay = "relay"
)

// Prepare fills in what is left out and lists what is wrong.
func (h *How) Prepare() (list []error) {
	bad := func(format string, a ...any) { list = append(list, fmt.Errorf(format, a...)) }
	h.CaptureRoute = cmp.Or(h.CaptureRoute, routeAuto)
	h.CaptureCompression = cmp.Or(h.CaptureCompression, string(diskimage.Zstd))
	if h.CaptureRoute != routeAuto && h.CaptureRoute != routeRelay {
		bad("capture_route must be \"auto\" or \"relay\", it is %q", h.CaptureRoute)
	}
	switch diskimage.Compression(h.CaptureCompression) {
	case diskimage.Zstd, diskimage.Deflate, diskimage.None:
	default:
		bad("capture_compression must be zstd, deflate or none, it is %q", h.CaptureCompression)
	}
	return list
}

// given are the options that a template has, before Prepare.
func (h *How) given() (names []string) {
	if h.CaptureRoute != "" {
		names = append(names, "capture_route")
	}
	if h.CaptureCompression != "" {
		names = append(names, "capture_compression")
	}
	if h.CaptureClean != config.TriUnset {
		names = append(names, "capture_clean")
	}
	return names
}

// Connection says why a disk cannot be captured over a connection. method is
// image_method.
func Connection(method string, comm *communicator.Config) error {
	switch {
	case comm.Type != "ssh" && comm.Type != "":
		return fmt.Errorf("image_method = %q needs SSH, and communicator is %q", method, comm.Type)
	case comm.SSHPty:
		return fmt.Errorf("image_method = %q needs a connection without a terminal, and ssh_pty is set", method)
	}
	return nil
}

// Direct says whether the machine may upload by itself.
func (h *How) Direct() bool { return h.CaptureRoute == routeAuto }

// Job is what the helper on a machine is told, whose image is of some operating system.
func (h *How) Job(name, version string) wire.Job {
	return wire.Job{
		Metadata:    diskimage.Metadata{OperatingSystem: cmp.Or(name, "Linux"), OperatingSystemVersion: cmp.Or(version, "1"), Shapes: diskimage.ArmShapes()},
		Compression: diskimage.Compression(h.CaptureCompression), Clean: !h.CaptureClean.False(),
	}
}
