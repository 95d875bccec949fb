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

// jsonSchema names the format below. Members may be added to it; another
// meaning gets another number. docs: the comments of the types.
const jsonSchema = "armfree.goss.report/1"

type (
	jsonReport struct {
		Schema  string    `json:"schema"`
		Time    time.Time `json:"time"`
		Build   string    `json:"build,omitempty"`
		BuildID string    `json:"build_id,omitempty"`
		Machine Machine   `json:"machine"`
		Goss    GossUsed  `json:"goss"`
		// Passed says whether the machine may become an image.
		Passed bool `json:"passed"`
		// Problems are the sentences why not; Waived those that report_only
		// let pass; Notes what was named in any case.
		Problems  []string    `json:"problems"`
		Waived    []string    `json:"waived"`
		Notes     []string    `json:"notes"`
		Rules     jsonRules   `json:"rules"`
		Counts    Counts      `json:"counts"`
		Seconds   float64     `json:"seconds"`
		Changes   *Comparison `json:"changes,omitempty"`
		Gossfiles []jsonSuite `json:"gossfiles"`
	}
	jsonRules struct {
		MinTests   int    `json:"min_tests"`
		MaxFailed  int    `json:"max_failed"`
		FailOn     string `json:"fail_on,omitempty"`
		ReportOnly bool   `json:"report_only"`
		Strict     bool   `json:"strict"`
		Selection
	}
	jsonSuite struct {
		Name    string `json:"name"`
		Path    string `json:"path,omitempty"`
		Verdict string `json:"verdict,omitempty"` // empty if it passed by itself
		Counts  Counts `json:"counts"`
		// Unselected is how many resources were left out.
		Unselected int           `json:"unselected,omitempty"`
		Seconds    float64       `json:"seconds"`
		Attempts   []jsonAttempt `json:"attempts"`
		Warnings   []string      `json:"warnings"` // what goss printed on standard error
		Findings   []Finding     `json:"findings"` // what lint said
		Tests      []jsonTest    `json:"tests"`
	}
	jsonAttempt struct {
		Number  int       `json:"number"`
		Start   time.Time `json:"start"`
		Seconds float64   `json:"seconds"`
		Failed  int       `json:"failed"`
		Verdict string    `json:"verdict,omitempty"`
	}
	jsonTest struct {
		Title    string          `json:"title,omitempty"`
		Type     string          `json:"type"`
		ID       string          `json:"id"`
		Property string          `json:"property"`
		Outcome  string          `json:"outcome"` // pass, fail, skip
		Severity string          `json:"severity"`
		Warning  bool            `json:"warning,omitempty"` // failed below fail_on
		Meta     map[string]any  `json:"meta,omitempty"`
		Error    string          `json:"error,omitempty"`
		Relation string          `json:"relation,omitempty"`
		Expected json.RawMessage `json:"expected,omitempty"`
		// Actual is left out of tests that passed: it may be a whole file.
		Actual  json.RawMessage `json:"actual,omitempty"`
		Missing json.RawMessage `json:"missing,omitempty"`
		Seconds float64         `json:"seconds"`
		File    string          `json:"file,omitempty"`
		Line    int             `json:"line,omitempty"`
	}
)

// json is the report for programs.
func (r *Result) json(about About) ([]byte, error) {
	doc := jsonReport{
		Schema: jsonSchema, Time: about.Time, Build: about.Build, BuildID: about.BuildID, Machine: about.Machine, Goss: about.Goss,
		Passed: r.Err() == nil, Problems: sentences(r.Problems), Waived: sentences(r.Waived), Notes: some(r.Named),
		Rules:  r.Rules.json(),
		Counts: r.Counts(), Seconds: r.Duration().Seconds(), Changes: r.Changes, Gossfiles: []jsonSuite{},
	}
	for i := range r.Suites {
		s := &r.Suites[i]
		suite := jsonSuite{
			Name: s.Name, Path: s.Path, Counts: s.counts(r.Rules), Unselected: len(s.Out), Attempts: []jsonAttempt{},
			Warnings: some(s.Warnings), Findings: some(s.Findings), Tests: []jsonTest{},
		}
		if s.Err != nil {
			suite.Verdict = s.Err.Error()
		}
		for _, a := range s.Attempts {
			suite.Attempts = append(suite.Attempts, jsonAttempt{a.Number, a.Start, a.Took.Seconds(), a.Failed, a.Verdict})
		}
		if s.Report != nil {
			suite.Seconds = s.Report.Duration.Seconds()
			for j := range s.Report.Tests {
				suite.Tests = append(suite.Tests, r.jsonTest(s, &s.Report.Tests[j]))
			}
		}
		doc.Gossfiles = append(doc.Gossfiles, suite)
	}
	return marshal(doc)
}

func (r *Result) jsonTest(s *SuiteResult, t *Test) jsonTest {
	place := s.place(t)
	out := jsonTest{
		Title: t.Title, Type: t.Type, ID: t.ID, Property: t.Property, Outcome: t.Outcome.String(), Severity: t.Severity().String(),
		Warning: r.state(t) == warned, Meta: t.Meta, Error: t.Err, Relation: t.Relation,
		Expected: bounded(t.Expected), Missing: bounded(t.Missing), Seconds: t.Duration.Seconds(), File: place.File, Line: place.Line,
	}
	if t.Outcome == Fail && !hidden(t.Actual) {
		out.Actual = bounded(t.Actual)
	}
	return out
}

func (rules Rules) json() jsonRules {
	out := jsonRules{MinTests: max(rules.MinTests, 1), MaxFailed: rules.MaxFailed, ReportOnly: rules.ReportOnly, Strict: rules.Strict, Selection: rules.Selection}
	if rules.FailOn > 0 {
		out.FailOn = rules.FailOn.String()
	}
	return out
}

func sentences(list []*Error) []string {
	out := []string{}
	for _, e := range list {
		out = append(out, e.Error())
	}
	return out
}

// some is a list that JSON does not write as null.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// longestValue bounds one value in reports that are files.
const longestValue = 64 << 10

// bounded is a JSON value, or its beginning as a string if it is very long.
func bounded(v json.RawMessage) json.RawMessage {
	if v == nil || len(v) <= longestValue && json.Valid(v) {
		return v
	}
	return quoted(long(string(v)))
}

// hidden says whether goss showed its own insides instead of what it read.
func hidden(v json.RawMessage) bool { return string(v) == `"object: *bytes.Reader"` }

func unquote(v json.RawMessage, s *string) bool { return json.Unmarshal(v, s) == nil && v != nil }

// marshal writes JSON in which nothing can steer a terminal that shows it.
func marshal(doc any) ([]byte, error) {
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	for _, c := range string(b) {
		switch {
		case c == '\n' || unicode.IsPrint(c) && c != utf8.RuneError:
			out.WriteRune(c)
		case c > 0xffff:
			c -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default: // only strings can hold it
			fmt.Fprintf(&out, `\u%04x`, c)
		}
	}
	out.WriteByte('\n')
	return []byte(out.String()), nil
}

// long is text of several lines for a file, its beginning if it is very long.
func long(s string) string {
	if len(s) > longestValue {
		s = strings.ToValidUTF8(s[:longestValue], "") + fmt.Sprintf("... (%d bytes)", len(s))
	}
	return tame(s)
}

// tame leaves text its lines, and takes from it whatever a terminal or an XML
// parser would not take for text.
func tame(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '\n' || c == '\t':
			b.WriteRune(c)
		case c == '\r': // of a line's end, most likely
		case c == utf8.RuneError || !unicode.IsPrint(c):
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}
