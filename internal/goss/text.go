// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// longest is how much of one value a line shows. Files and command output can
// be as long as they like; the beginning tells what was compared.
const longest = 160

// Line describes one test: what was tested, what was expected and what was
// found. The title comes first where the author gave one.
func (t *Test) Line() string {
	var b strings.Builder
	if t.Title != "" {
		b.WriteString(clean(t.Title) + ": ")
	}
	fmt.Fprintf(&b, "%s %s: %s: ", clean(t.Type), clean(t.ID), clean(t.Property))
	switch {
	case t.Err != "":
		b.WriteString("could not be read: " + clean(t.Err))
	case t.Outcome != Fail:
		b.WriteString(t.Outcome.String())
	default:
		relation := clean(t.Relation)
		if relation == "" {
			relation = "to be"
		}
		fmt.Fprintf(&b, "expected %s %s, got %s", relation, value(t.Expected), actual(t.Actual))
		if t.Missing != nil {
			b.WriteString(", missing " + value(t.Missing))
		}
	}
	return b.String()
}

// value shows a JSON value on one line.
func value(v json.RawMessage) string {
	if v == nil {
		return "nothing"
	}
	return clean(string(v))
}

// actual is value, except where goss 0.4 shows its own insides instead of what
// it read: lists of patterns are matched against a stream.
func actual(v json.RawMessage) string {
	if hidden(v) {
		return "other text (goss does not show it)"
	}
	return value(v)
}

// span rounds a duration to what people want to read.
func span(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// mostWarnings is how many warnings are shown; more of them say nothing new.
const mostWarnings = 20

// Warnings returns what goss printed on standard error as lines for people.
func Warnings(printed []byte) []string {
	var lines []string
	for line := range strings.Lines(string(printed)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if len(lines) == mostWarnings {
			return append(lines, "... and more")
		}
		lines = append(lines, clean(line))
	}
	return lines
}

// Lines returns what a program printed on the machine as lines for people.
func Lines(printed []byte) []string {
	var lines []string
	for line := range strings.Lines(string(printed)) {
		lines = append(lines, clean(strings.TrimRight(line, "\r\n")))
	}
	return lines
}

// firstLine returns the first line that says something, fit to be printed.
func firstLine(b []byte) string {
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			return clean(line)
		}
	}
	return ""
}

// clean makes text from the machine fit for one line of a terminal. The
// machine chooses these bytes: they must neither steer the terminal nor start
// a line of their own, which some CI systems would obey.
func clean(s string) string { return cleanTo(s, longest) }

// cleanAll is clean without a limit that matters, for texts that were put
// together from clean ones.
func cleanAll(s string) string { return cleanTo(s, 100*longest) }

func cleanTo(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			b.WriteString("...")
			break
		}
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteByte(' ')
		case r == utf8.RuneError || !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
