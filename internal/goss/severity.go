// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"slices"
	"strings"
)

// Severity is how much a failing test matters, from the `meta.severity` that
// the author of a gossfile gave it.
type Severity int

// The severities. Unrated stands for none, or for a word that nobody here
// knows; it counts as the highest, because a typing error must not turn a
// failure into a warning.
const (
	Info Severity = iota + 1
	Low
	Medium
	High
	Critical
	Unrated
)

// severityWords are the words for each severity; the first one is ours.
func severityWords(s Severity) []string {
	switch s {
	case Info:
		return []string{"info", "informational", "note", "none"}
	case Low:
		return []string{"low", "minor"}
	case Medium:
		return []string{"medium", "moderate", "warning"}
	case High:
		return []string{"high", "major", "error"}
	case Critical:
		return []string{"critical", "blocker"}
	}
	return []string{"unrated"}
}

// String returns our word for a severity.
func (s Severity) String() string { return severityWords(s)[0] }

// Severities lists the words that fail_on can have, the lowest first.
func Severities() []string {
	var words []string
	for s := Info; s <= Critical; s++ {
		words = append(words, s.String())
	}
	return words
}

// ParseSeverity understands fail_on and meta.severity, in any case.
func ParseSeverity(word string) (Severity, error) {
	for s := Info; s <= Critical; s++ {
		if slices.Contains(severityWords(s), strings.ToLower(strings.TrimSpace(word))) {
			return s, nil
		}
	}
	return Unrated, fmt.Errorf("%q is no severity: choose one of %s", word, strings.Join(Severities(), ", "))
}

// Severity is that of a test, by its meta.severity.
func (t *Test) Severity() Severity {
	word, ok := t.Meta["severity"].(string)
	if !ok {
		return Unrated
	}
	s, err := ParseSeverity(word)
	if err != nil {
		return Unrated
	}
	return s
}

// strange returns the meta.severity of a test if it is there and is none.
func (t *Test) strange() string {
	v, given := t.Meta["severity"]
	if !given || t.Severity() != Unrated {
		return ""
	}
	return fmt.Sprint(v)
}
