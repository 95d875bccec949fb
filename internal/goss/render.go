// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// About is what reports say about the run beside its tests. All of it is
// optional, and all of it comes from the caller.
type About struct {
	Time    time.Time
	Build   string // Packer's build name
	BuildID string // Packer's run UUID, or what else names the build
	Machine Machine
	Goss    GossUsed
}

// Machine is what the machine said of itself.
type Machine struct {
	Arch   string `json:"arch,omitempty"`   // uname -m
	Kernel string `json:"kernel,omitempty"` // uname -r
	ID     string `json:"id,omitempty"`     // ID of /etc/os-release, for example "debian"
	OS     string `json:"os,omitempty"`     // PRETTY_NAME of /etc/os-release
}

// GossUsed is the goss that ran.
type GossUsed struct { //nolint:revive // goss is the program here, not the package
	Version string `json:"version,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	Origin  string `json:"origin,omitempty"`
}

// ParseOSRelease takes from the text of /etc/os-release what Machine has room
// for. Everything else is passed over.
func (m *Machine) ParseOSRelease(text []byte) {
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		// Values are quoted as in a shell; those that matter have no escapes.
		value = clean(strings.Trim(value, `"'`))
		switch key {
		case "ID":
			m.ID = value
		case "PRETTY_NAME":
			m.OS = value
		}
	}
}

// Formats lists the formats that Render knows.
func Formats() []string {
	return []string{"github", "json", "junit", "markdown", "sarif", "tap", "tap14"}
}

// Render writes a result in one of the Formats. Secrets must have been masked
// before (Result.Masked); whatever the machine put into the result is made
// harmless for the format.
func Render(format string, r *Result, about About) ([]byte, error) {
	switch format {
	case "github":
		return []byte(strings.Join(append(r.Annotations(), ""), "\n")), nil
	case "json":
		return r.json(about)
	case "junit":
		return r.junit(about)
	case "markdown":
		return r.markdown(about), nil
	case "sarif":
		return r.sarif(about)
	case "tap":
		return r.tap13(), nil
	case "tap14":
		return r.tap14(), nil
	}
	return nil, fmt.Errorf("%q is no report format: choose one of %s", format, strings.Join(Formats(), ", "))
}

// state is what a test came to for a report.
type state string

const (
	passed  state = "pass"
	failed  state = "fail"
	warned  state = "warn" // failed, but below fail_on
	skipped state = "skip"
)

func (r *Result) state(t *Test) state {
	switch {
	case t.Outcome == Pass:
		return passed
	case t.Outcome == Skip:
		return skipped
	case t.Severity() < r.Rules.FailOn:
		return warned
	}
	return failed
}

// name is a test in words, without its outcome.
func (t *Test) name() string {
	name := fmt.Sprintf("%s %s: %s", clean(t.Type), clean(t.ID), clean(t.Property))
	if t.Title != "" {
		return clean(t.Title) + ": " + name
	}
	return name
}

// details says in several lines what was expected and what was found.
func (t *Test) details() string {
	if t.Err != "" {
		return "could not be read: " + tame(t.Err)
	}
	lines := []string{"expected " + t.relation() + " " + long(string(t.Expected)), "found " + t.found()}
	if t.Missing != nil {
		lines = append(lines, "missing "+long(string(t.Missing)))
	}
	return strings.Join(lines, "\n")
}

func (t *Test) relation() string {
	if t.Relation == "" {
		return "to be"
	}
	return clean(t.Relation)
}

// found is the actual value; text is shown as text, on lines of its own.
func (t *Test) found() string {
	if hidden(t.Actual) {
		return actual(t.Actual)
	}
	var s string
	if unquote(t.Actual, &s) && strings.Contains(s, "\n") {
		return "\n" + long(s)
	}
	return long(string(t.Actual))
}

// ruleProblems are those that no gossfile has by itself.
func (r *Result) ruleProblems() []*Error {
	var list []*Error
	for _, p := range r.Problems {
		if p.Reason >= Interrupted && p.Reason != Failed || r.nothing() {
			list = append(list, p)
		}
	}
	return list
}

// place is where a test is written: a line of a gossfile where lint found it,
// else the gossfile.
func (s *SuiteResult) place(t *Test) Place {
	if p, ok := s.Places[t.Type+"\x00"+t.ID]; ok {
		return p
	}
	if s.Path != "" {
		return Place{File: s.Path}
	}
	return Place{File: s.Name}
}

// Summary returns the result as lines for the UI: one per failing test, one
// for everything that is named in any case, a table of counts by type, and the
// counts of all.
func (r *Result) Summary() []string {
	var lines []string
	for i := range r.Suites {
		s := &r.Suites[i]
		if len(r.Suites) > 1 {
			lines = append(lines, r.headline(s))
		}
		for _, w := range s.Warnings {
			lines = append(lines, "goss warns: "+cleanAll(w))
		}
		if s.Report == nil {
			continue
		}
		for j := range s.Report.Tests {
			t := &s.Report.Tests[j]
			switch r.state(t) {
			case failed:
				lines = append(lines, "FAILED   "+t.Line()+rated(t))
			case warned:
				lines = append(lines, "warning  "+t.Line()+rated(t))
			}
		}
	}
	lines = append(lines, firstOf(r.Named, "note     ")...)
	if c := r.Changes; c != nil {
		lines = append(lines, fmt.Sprintf("since the baseline: %s, %d fixed, %d vanished, %d added",
			plural(len(c.NewFailures), "new failure"), len(c.Fixed), len(c.Vanished), len(c.Added)))
		for _, group := range []struct {
			word string
			keys []TestKey
		}{{"new      ", c.NewFailures}, {"fixed    ", c.Fixed}, {"vanished ", c.Vanished}} {
			var names []string
			for _, k := range group.keys {
				names = append(names, k.String())
			}
			lines = append(lines, firstOf(names, group.word)...)
		}
	}
	lines = append(lines, r.byType()...)
	for _, w := range r.Waived {
		lines = append(lines, "not a failure under report_only: "+cleanAll(w.Error()))
	}
	for _, p := range r.Problems {
		if p.Reason == Interrupted {
			lines = append(lines, "the check broke off: "+cleanAll(p.Error()))
		}
	}
	return append(lines, r.total())
}

// headline is one gossfile in a line.
func (r *Result) headline(s *SuiteResult) string {
	line := clean(s.Name) + ": "
	switch {
	case s.Unselected:
		return line + "not run"
	case len(s.Attempts) == 0:
		return line + "goss was not run"
	case s.Report == nil:
		return line + "no result"
	}
	c := s.counts(r.Rules)
	line += counted(c)
	if n := len(s.Attempts); n > 1 {
		line += fmt.Sprintf(", %d attempts", n)
	}
	return line
}

func (r *Result) total() string {
	c := r.Counts()
	return fmt.Sprintf("%s: %s in %s", plural(c.Tests, "test"), counted(c), span(r.Duration()))
}

func counted(c Counts) string {
	words := fmt.Sprintf("%d passed, %d failed", c.Passed, c.Failed)
	if c.Warned > 0 {
		words += fmt.Sprintf(", %d below fail_on", c.Warned)
	}
	return fmt.Sprintf("%s, %d skipped", words, c.Skipped)
}

func rated(t *Test) string {
	if s := t.Severity(); s != Unrated {
		return fmt.Sprintf(" (severity %v)", s)
	}
	return ""
}

// firstOf shows so many lines that they can still be read.
func firstOf(list []string, before string) []string {
	var lines []string
	for i, s := range list {
		if i == mostWarnings {
			return append(lines, fmt.Sprintf("%s... and %d more", before, len(list)-i))
		}
		lines = append(lines, before+cleanAll(s))
	}
	return lines
}

// byType is a table of counts by type of resource.
func (r *Result) byType() []string {
	counts := map[string]map[state]int{}
	var types []string
	width := len("type")
	for i := range r.Suites {
		if r.Suites[i].Report == nil {
			continue
		}
		for j := range r.Suites[i].Report.Tests {
			t := &r.Suites[i].Report.Tests[j]
			if counts[t.Type] == nil {
				counts[t.Type] = map[state]int{}
				types = append(types, t.Type)
				width = max(width, len(clean(t.Type)))
			}
			counts[t.Type][r.state(t)]++
		}
	}
	if len(types) == 0 {
		return nil
	}
	slices.Sort(types)
	lines := []string{fmt.Sprintf("%-*s %7s %7s %7s %7s", width, "type", "passed", "failed", "warned", "skipped")}
	for _, typ := range types {
		n := counts[typ]
		lines = append(lines, fmt.Sprintf("%-*s %7d %7d %7d %7d", width, clean(typ), n[passed], n[failed], n[warned], n[skipped]))
	}
	return lines
}
