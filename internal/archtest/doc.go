// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package archtest holds the rules of this repository, as tests.
//
// What a rule forbids is found by a test, not by a reader: which package may
// import which (arrows_test.go), where the product may wait or give up on a
// context, that every package says what it is for, that every file names its
// licence, that nothing of a developer's machine was committed.
//
// A rule is a function from a tree of files to what is wrong with it. It comes
// with examples that break it, so that each is known to be able to fail, and
// with its exceptions, each with a reason. An exception that nothing needs any
// more is itself a finding: the lists can only shrink, or grow on purpose.
//
// The package has no code of its own beside the tests.
package archtest
