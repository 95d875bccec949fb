// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"fmt"
	"strings"
)

// tap13 is one flat list of test points. Failures below fail_on are TODO,
// TAP's word for a failure that does not count.
func (r *Result) tap13() []byte {
	var points []string
	for i := range r.Suites {
		s := &r.Suites[i]
		name := ""
		if len(r.Suites) > 1 {
			name = s.Name + ": "
		}
		for _, p := range r.points(s) {
			p.text = name + p.text
			points = append(points, p.lines(len(points)+1))
		}
	}
	for _, p := range r.rulePoints() {
		points = append(points, p.lines(len(points)+1))
	}
	return fmt.Appendf(nil, "TAP version 13\n1..%d\n%s", len(points), strings.Join(points, ""))
}

// tap14 has a subtest for each gossfile.
func (r *Result) tap14() []byte {
	var b bytes.Buffer
	rules := r.rulePoints()
	fmt.Fprintf(&b, "TAP version 14\n1..%d\n", len(r.Suites)+len(rules))
	for i := range r.Suites {
		s := &r.Suites[i]
		points := r.points(s)
		fmt.Fprintf(&b, "# Subtest: %s\n    1..%d\n", tapEscape(s.Name), len(points))
		for n, p := range points {
			for line := range strings.Lines(p.lines(n + 1)) {
				b.WriteString("    " + line)
			}
		}
		whole := point{text: s.Name, ok: true}
		for _, p := range points {
			whole.ok = whole.ok && (p.ok || p.directive != "")
		}
		b.WriteString(whole.lines(i + 1))
	}
	for n, p := range rules {
		b.WriteString(p.lines(len(r.Suites) + n + 1))
	}
	return b.Bytes()
}

// point is one test point.
type point struct {
	ok        bool
	text      string
	directive string      // "SKIP" or "TODO ...", or empty
	notes     [][2]string // for the YAML block
}

func (r *Result) points(s *SuiteResult) []point {
	var list []point
	if s.Err != nil && s.Err.Reason != Failed {
		list = append(list, point{text: "goss: " + s.Err.Error()})
	}
	if s.Report == nil {
		return list
	}
	for i := range s.Report.Tests {
		t := &s.Report.Tests[i]
		p := point{ok: t.Outcome != Fail, text: t.name()}
		switch r.state(t) {
		case skipped:
			p.directive = "SKIP"
		case warned:
			p.directive = fmt.Sprintf("TODO severity %v is below fail_on", t.Severity())
		}
		if t.Outcome == Fail {
			place := s.place(t)
			p.notes = [][2]string{
				{"message", t.Line()}, {"severity", t.Severity().String()},
				{"at", strings.TrimSuffix(fmt.Sprintf("%s:%d", place.File, place.Line), ":0")},
			}
		}
		list = append(list, p)
	}
	return list
}

// rulePoints are for what is wrong with all gossfiles together.
func (r *Result) rulePoints() []point {
	var list []point
	for _, p := range r.ruleProblems() {
		list = append(list, point{text: "verdict: " + p.Error()})
	}
	return list
}

// lines is the point as TAP has it. A text is one line without a hash sign of
// its own, which would begin a directive.
func (p point) lines(n int) string {
	var b strings.Builder
	if !p.ok {
		b.WriteString("not ")
	}
	fmt.Fprintf(&b, "ok %d - %s", n, tapEscape(p.text))
	if p.directive != "" {
		b.WriteString(" # " + p.directive)
	}
	b.WriteByte('\n')
	if len(p.notes) > 0 {
		b.WriteString("  ---\n")
		for _, note := range p.notes {
			// A JSON string is a YAML one.
			fmt.Fprintf(&b, "  %s: %s\n", note[0], quoted(cleanAll(note[1])))
		}
		b.WriteString("  ...\n")
	}
	return b.String()
}

// tapEscape keeps a text from beginning a directive. TAP 13 does not say how;
// its readers do as TAP 14 says.
func tapEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "#", `\#`).Replace(cleanAll(s))
}
