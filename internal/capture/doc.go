// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package capture makes the object of an image out of the disk of a machine that runs:
// for tenancies in which no image can be made, and for clouds that have no images.
//
// A small program of ours does that on the machine (internal/capture/helper); the plugin
// carries it, brings it into a folder in memory, and talks to it over one command's input
// and output (internal/capture/wire). The parts of the object go from the machine
// straight to Object Storage, or through this computer.
package capture
