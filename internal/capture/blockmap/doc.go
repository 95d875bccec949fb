// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package blockmap says which bytes of a disk mean something.
//
// It reads the partition table and, of each partition that is ext2, ext3 or ext4, the
// bitmaps of blocks: what is free there need not be copied, and is not, so that
// neither room nor what was deleted travels with an image. Everything else is taken
// for used: other file systems, what lies between partitions, whatever is not
// understood.
//
// It also says what speaks against a file system being consistent: a journal that has
// to be replayed, files that are deleted and still open, counts that disagree with the
// bitmaps. A disk that is read while it changes shows in just these.
//
// What is read here was written by others, and may be damaged.
package blockmap
