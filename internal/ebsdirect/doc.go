// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package ebsdirect reads the blocks of an EBS snapshot by the EBS direct APIs, as a
// disk that can be turned into an image file.
//
// # The limits it lives with
//
// A snapshot gives 1000 blocks of 512 KiB a second, whoever asks and from wherever, and
// that limit cannot be raised. A request more costs a round trip and an error, so the
// reader paces itself below it, and slows down when it is told to: by other readers of
// the account, for instance.
//
// Blocks are read by tokens, which come with the list of blocks. A new list makes the
// tokens of an older one invalid, and a page of the list may be asked for within an
// hour only. So the list is read page by page as blocks are needed, and anew from where
// it is needed when its tokens are not good any more.
//
// # What is verified
//
// The service sends a SHA-256 of each block. A block is asked for again if the bytes do
// not have it, if they end early, or if the connection does: the SDK's own retries end
// when the header of a reply is there. The one checksum that is known beforehand, of a
// block of zeros, saves looking at the bytes.
package ebsdirect
