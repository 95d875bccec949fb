// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package quiesce brings a running Linux machine to the point where nothing on its disk
// changes any more, while the connection over which that was asked for stays up.
//
// Services are stopped, the journal moves to memory, swapping ends, whoever still has a
// file open for writing is ended, and every file system of the disk is made read-only.
// One that cannot be, because a program that must stay has a file open, is frozen
// instead: that, too, writes everything that is pending and lets nothing through. If
// neither is possible the error says who is in the way.
//
// What the machine has of its own, and an image must not have, is removed before: its
// id, its host keys, its logs.
package quiesce
