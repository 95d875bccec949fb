// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
)

// formatted is a result in the way in which goss prints it, for templates that
// ask for one of its formats. Logs are read by people and by scripts of theirs;
// what is meant for programs is in reports.
func formatted(format, options string, r *goss.Result, raw []string) []string {
	switch format {
	case "silent":
		return nil
	case "json", "json_oneline", "junit", "tap":
		return document(format, options, r, raw)
	}
	var dots strings.Builder
	var tests, failures, skips []string
	for i := range r.Suites {
		if r.Suites[i].Report == nil {
			continue
		}
		for _, t := range r.Suites[i].Report.Tests {
			line := t.Line()
			tests = append(tests, line)
			switch t.Outcome {
			case goss.Fail:
				dots.WriteByte('F')
				failures = append(failures, line)
			case goss.Skip:
				dots.WriteByte('S')
				skips = append(skips, line)
			default:
				dots.WriteByte('.')
			}
		}
	}
	n := r.Counts()
	total := fmt.Sprintf("Count: %d, Failed: %d, Skipped: %d", n.Tests, len(failures), n.Skipped)
	if strings.HasPrefix(format, "nagios") {
		word := "OK"
		if len(failures) > 0 {
			word = "CRITICAL"
		}
		lines := []string{fmt.Sprintf("GOSS %s - %s, Duration: %.3fs", word, total, r.Duration().Seconds())}
		if format == "nagios_verbose" {
			lines = append(lines, failures...)
		}
		return lines
	}
	lines := []string{dots.String()}
	if format == "documentation" {
		lines = tests
	}
	if len(failures)+len(skips) > 0 {
		lines = append(lines, "", "Failures/Skipped:", "")
		lines = append(append(lines, failures...), skips...)
	}
	return append(lines, fmt.Sprintf("Total Duration: %.3fs", r.Duration().Seconds()), total)
}

// document is a result in a format for programs, line by line. JSON is what
// goss itself printed.
func document(format, options string, r *goss.Result, raw []string) []string {
	var lines []string
	switch format {
	case "json", "json_oneline":
		for _, doc := range raw {
			var b bytes.Buffer
			shape := json.Compact
			if format == "json" && strings.Contains(options, "pretty") {
				shape = func(dst *bytes.Buffer, src []byte) error { return json.Indent(dst, src, "", "    ") }
			}
			if shape(&b, []byte(doc)) == nil {
				lines = append(lines, strings.Split(b.String(), "\n")...)
			}
		}
		return lines
	}
	data, err := goss.Render(format, r, goss.About{})
	if err != nil {
		return []string{err.Error()}
	}
	return strings.Split(strings.TrimRight(string(data), "\n"), "\n")
}
