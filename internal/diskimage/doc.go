// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package diskimage turns a disk into an image file while the disk is still being
// read and the file is already being uploaded: nothing is kept on a local disk, and
// memory is bounded whatever the size of the disk.
//
// # How a file can be written forward
//
// A qcow2 file says in its first cluster where its tables are, and a tar archive says
// how long a member is before the member. Neither is known before the end. But what
// has to be known lies in the first few kilobytes of the file, and the parts of a
// multipart upload are numbered and may arrive in any order. So everything is written
// forward, tables after the data that they are about; the first part stays in memory,
// and is completed and uploaded last. That is the whole contract of an [Output]: it
// takes bytes in order, and at the end what the first of them really are.
//
// Outputs can be stacked: the writer of a qcow2 file writes into an [Archive], which
// writes into [Parts], which hands numbered parts to a [Sink].
//
// # What is made
//
// qcow2 version 3 with clusters of 64 KiB, plain, deflated or compressed by zstd;
// clusters of zeros are left out, and clusters that do not get smaller stay as they
// are. Deflate uses a window of 4 KiB, which is what the format allows.
//
// Or a streamOptimized VMDK with grains of 64 KiB, each a stream of zlib. It is made to
// be written forward: where its tables are says a footer, so that nothing at its
// beginning is left open. It says nothing of how a machine starts, and no archive goes
// around it: whoever imports it must say so.
//
// Both are made by one pipeline, and differ in how clusters are compressed and in how
// they lie in the file. A file is a pure function of the disk and the options: a second
// run makes the same bytes, so that parts that have been uploaded need not be uploaded
// again.
//
// Images are also read here, raw, qcow2, VMDK and .oci, for those who bring a file of
// their own, and because EC2 exports VMDK.
package diskimage
