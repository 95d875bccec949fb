// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package lifeline ties what this process does to those it does it for: the people
// at the keyboard, and Packer.
//
// Packer hands the first Ctrl-C on and ignores all others, and so does its SDK. Who
// presses it again wants to have done with it, so the second is counted here: what
// is under way ends within seconds, and the one command is printed that removes the
// rest. SIGHUP, at which Packer dies, is a cancel like any other.
//
// A Packer that is killed tells nobody. Its plugins would go on, launch machines
// that nobody uses, and die at the next word that they log. So the parent is looked
// at, four times a second; when it is gone, everything that is under way is
// cancelled and cleaned up, and only then this process ends.
package lifeline
