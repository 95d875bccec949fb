// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"fmt"
	"strings"
)

// mostAnnotations is how many of a kind GitHub shows for one step.
const mostAnnotations = 10

// Annotations returns workflow commands for GitHub Actions, one a line, to be
// printed at the beginning of lines.
func (r *Result) Annotations() []string {
	var errors, warnings []string
	for _, p := range r.Problems {
		if p.Reason != Failed {
			errors = append(errors, command("error", Place{}, "goss", p.Error()))
		}
	}
	for _, p := range r.Waived {
		warnings = append(warnings, command("warning", Place{}, "goss, report_only", p.Error()))
	}
	for i := range r.Suites {
		s := &r.Suites[i]
		for _, f := range s.Findings {
			if f.Level != LevelNote && f.Rule != ruleMisspelt { // that is a problem already
				warnings = append(warnings, command("warning", Place{f.File, f.Line}, "goss: "+f.Rule, f.Sentence))
			}
		}
		if s.Report == nil {
			continue
		}
		for j := range s.Report.Tests {
			t := &s.Report.Tests[j]
			switch state := r.state(t); {
			case state == failed && len(r.Problems) > 0 && !r.Rules.ReportOnly:
				errors = append(errors, command("error", s.place(t), t.title(), t.Line()))
			case state == failed || state == warned:
				warnings = append(warnings, command("warning", s.place(t), t.title(), t.Line()))
			}
		}
	}
	return append(fewer("error", errors), fewer("warning", warnings)...)
}

func (t *Test) title() string {
	if t.Title != "" {
		return t.Title
	}
	return t.Type + " " + t.ID
}

// fewer keeps what GitHub shows; the last one says how many there are.
func fewer(kind string, list []string) []string {
	if len(list) <= mostAnnotations {
		return list
	}
	return append(list[:mostAnnotations-1:mostAnnotations-1],
		command(kind, Place{}, "goss", fmt.Sprintf("and %d more, see the report", len(list)-mostAnnotations+1)))
}

// command is one workflow command. Text that came from the machine cannot
// begin another one: it has no line breaks, and signs that mean something are
// escaped.
func command(kind string, place Place, title, message string) string {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	var where string
	if place.File != "" {
		where = "file=" + property.Replace(clean(place.File)) + ","
		if place.Line > 0 {
			where += fmt.Sprintf("line=%d,", place.Line)
		}
	}
	return fmt.Sprintf("::%s %stitle=%s::%s", kind, where, property.Replace(clean(title)), data.Replace(cleanAll(message)))
}

// JobSummary returns what is to be appended to the file GITHUB_STEP_SUMMARY.
// GitHub takes up to 1 MiB for a step and nothing of what is longer, so that a
// long one is cut at the end of a line.
func (r *Result) JobSummary(about About) []byte {
	text := r.markdown(about)
	if len(text) <= mostSummary {
		return text
	}
	text = text[:bytes.LastIndexByte(text[:mostSummary], '\n')+1]
	return append(text, "\nThere is more; see the reports.\n"...)
}

// mostSummary leaves room for what other steps of a plugin say.
const mostSummary = 512 << 10

// mostRows bounds a table of failures.
const mostRows = 500

// markdown is the report for people who read it in a browser.
func (r *Result) markdown(about About) []byte {
	var b strings.Builder
	title := "goss"
	if about.Build != "" {
		title += ": " + about.Build
	}
	fmt.Fprintf(&b, "## %s\n\n", md(title))
	switch err := r.Err(); {
	case err != nil:
		b.WriteString("**The machine did not pass.**\n\n")
	case len(r.Waived) > 0:
		b.WriteString("**The machine did not pass, and was let through by report\\_only.**\n\n")
	default:
		b.WriteString("**The machine passed.**\n\n")
	}
	for _, p := range append(sentences(r.Problems), sentences(r.Waived)...) {
		b.WriteString("- " + md(p) + "\n")
	}
	b.WriteString("\n| gossfile | passed | failed | below fail\\_on | skipped | attempts |\n| --- | ---: | ---: | ---: | ---: | ---: |\n")
	for i := range r.Suites {
		s := &r.Suites[i]
		if s.Report == nil {
			what := "no result"
			if s.Unselected {
				what = "not run"
			}
			fmt.Fprintf(&b, "| %s | %s | | | | %d |\n", md(s.Name), what, len(s.Attempts))
			continue
		}
		c := s.counts(r.Rules)
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d |\n", md(s.Name), c.Passed, c.Failed, c.Warned, c.Skipped, len(s.Attempts))
	}
	r.failures(&b)
	section := func(title string, lines []string) {
		if len(lines) > 0 {
			fmt.Fprintf(&b, "\n### %s\n\n", title)
			for _, line := range lines {
				b.WriteString("- " + md(line) + "\n")
			}
		}
	}
	section("Notes", firstOf(r.Named, ""))
	if c := r.Changes; c != nil {
		section("New failures since the baseline", names(c.NewFailures))
		section("Fixed since the baseline", names(c.Fixed))
		section("Vanished since the baseline", names(c.Vanished))
	}
	b.WriteString("\n" + md(strings.Join(about.words(), ", ")) + "\n")
	return []byte(b.String())
}

func (r *Result) failures(b *strings.Builder) {
	rows := 0
	for i := range r.Suites {
		s := &r.Suites[i]
		if s.Report == nil {
			continue
		}
		for j := range s.Report.Tests {
			t := &s.Report.Tests[j]
			if t.Outcome != Fail {
				continue
			}
			if rows++; rows > mostRows {
				b.WriteString("\nThere are more; see the other reports.\n")
				return
			}
			if rows == 1 {
				b.WriteString("\n### Failures\n\n| test | resource | property | severity | expected | found |\n| --- | --- | --- | --- | --- | --- |\n")
			}
			want, got := t.relation()+" "+value(t.Expected), actual(t.Actual)
			if t.Err != "" {
				want, got = "", "could not be read: "+clean(t.Err)
			}
			severity := t.Severity().String()
			if r.state(t) == warned {
				severity += ", warning"
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", md(t.Title), md(t.Type+" "+t.ID), md(t.Property), severity, code(want), code(got))
		}
	}
}

func names(keys []TestKey) []string {
	var list []string
	for _, k := range keys {
		list = append(list, k.String())
	}
	return firstOf(list, "")
}

// words say what was run, and where.
func (a About) words() []string {
	var list []string
	for _, w := range []string{a.Goss.Version, a.Machine.OS, a.Machine.Kernel, a.Machine.Arch} {
		if w != "" {
			list = append(list, w)
		}
	}
	if len(list) > 0 && a.Goss.Version != "" {
		list[0] = "goss " + list[0]
	}
	if !a.Time.IsZero() {
		list = append(list, a.Time.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	return list
}

// md makes text mean nothing in Markdown: every sign that could begin a table
// cell, a link, a mention, a tag or emphasis becomes an entity, which Markdown
// shows and does not read.
func md(s string) string {
	var b strings.Builder
	for _, c := range cleanAll(s) {
		switch {
		case c > 127, c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune(" ,;()'%=+", c):
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, "&#%d;", c)
		}
	}
	return b.String()
}

// code shows text as code. Backticks would do so too, if text had none.
func code(s string) string {
	if s == "" {
		return ""
	}
	return "<code>" + md(s) + "</code>"
}
