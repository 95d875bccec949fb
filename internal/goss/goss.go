// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package goss decides what a run of goss came to.
//
// goss checks a machine from the inside and exits with 0 when it is content.
// That number alone proves little: an output format that never fails, a run
// without workers, a gossfile whose tests are all skipped, a result that was
// lost on the way, all of them look like success. So a verdict is made from
// everything there is. The JSON must be there, be whole and be one document;
// its summary must say what its results say; the exit code must agree with
// both; and enough tests must have been carried out. Whatever does not add up
// is a failure with a sentence of its own: no result is a failing result.
//
// Several gossfiles make a Session: each is run and judged by itself, those
// that failed are run again for as long as that can help, and Rules say what
// their failures come to together. The Result is rendered in several formats;
// whatever the machine put into it is made harmless on the way, and it must
// have been masked before.
//
// Lint looks at gossfiles before there is a machine. It knows what goss
// accepts without being linked with goss, which would cost megabytes, and
// executes no template, since templates depend on the machine. It also sees
// what goss passes over without a word: sections it does not know, lists that
// assert nothing, tests that another file replaces.
//
// The package also carries the goss binary itself. It is built from the goss
// module pinned in tools/goss by the command in cmd/embedgoss, and compiled
// into the plugin, so that a machine needs neither a network nor a download
// tool to be checked.
//
// Nothing here talks to a machine. Getting goss there, running it and bringing
// its result back is the provisioner's work.
package goss

// Version is the release of goss that the plugin carries. It is the one that
// tools/goss pins.
const Version = "v0.4.10"
