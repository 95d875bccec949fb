// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package flags has what the commands beside Packer's own have in common on their
// command lines.
package flags

import (
	"slices"
	"strings"
)

// List is a flag that may be given several times, or with commas; it implements
// flag.Value. What is said twice counts once.
type List []string

func (l *List) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *List) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" && !slices.Contains(*l, part) {
			*l = append(*l, part)
		}
	}
	return nil
}

// Or is the list, or one word where it is empty.
func (l List) Or(word string) []string {
	if len(l) == 0 {
		return []string{word}
	}
	return l
}
