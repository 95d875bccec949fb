// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Outcome is what one test came to. The numbers are goss's own.
type Outcome int

// The outcomes that goss knows.
const (
	Pass Outcome = 0
	Fail Outcome = 1
	Skip Outcome = 2
)

// String returns the outcome as goss calls it.
func (o Outcome) String() string {
	switch o {
	case Pass:
		return "pass"
	case Fail:
		return "fail"
	case Skip:
		return "skip"
	}
	return fmt.Sprintf("outcome %d", int(o))
}

// Test is one property of one resource, as goss found it.
type Test struct {
	Title    string         // what the author of the gossfile calls the resource; often empty
	Type     string         // File, Command, Service, ...
	ID       string         // which one: a path, a command line, a unit
	Property string         // exists, exit-status, running, ...
	Meta     map[string]any // free notes of the author; nil if there are none
	Outcome  Outcome
	// Err is why the property could not be read at all, or empty.
	Err string
	// Relation is how goss compared, for example "to equal".
	Relation string
	// Expected, Actual and Missing are JSON values, nil where goss gives none.
	// Missing lists the expected elements that were not found.
	Expected, Actual, Missing json.RawMessage
	Duration                  time.Duration
}

// Report is the result of one run of goss.
type Report struct {
	Tests    []Test
	Duration time.Duration // from the start of the first test to the end of the last
}

// Count returns how many tests had the outcome o.
func (r *Report) Count(o Outcome) int {
	n := 0
	for i := range r.Tests {
		if r.Tests[i].Outcome == o {
			n++
		}
	}
	return n
}

// Done returns how many tests were carried out.
func (r *Report) Done() int { return r.Count(Pass) + r.Count(Fail) }

// The wire form. Pointers tell a missing member from a zero one: a result
// without a verdict must not read as 0, which means "pass".
type (
	wireReport struct {
		Results []wireTest   `json:"results"`
		Summary *wireSummary `json:"summary"`
	}
	wireTest struct {
		Title      string         `json:"title"`
		Type       *string        `json:"resource-type"`
		ID         *string        `json:"resource-id"`
		Property   *string        `json:"property"`
		Meta       map[string]any `json:"meta"`
		Result     *int           `json:"result"`
		Successful *bool          `json:"successful"`
		Skipped    *bool          `json:"skipped"`
		Err        *string        `json:"err"`
		Duration   float64        `json:"duration"` // nanoseconds
		Matcher    wireMatcher    `json:"matcher-result"`
	}
	wireMatcher struct {
		Message  string          `json:"message"`
		Expected json.RawMessage `json:"expected"`
		Actual   json.RawMessage `json:"actual"`
		Missing  json.RawMessage `json:"missing-elements"`
	}
	wireSummary struct {
		Tests    *int    `json:"test-count"`
		Failed   *int    `json:"failed-count"`
		Skipped  *int    `json:"skipped-count"`
		Duration float64 `json:"total-duration"` // nanoseconds
	}
)

// Parse reads what `goss validate --format json` printed. It accepts one whole
// document and nothing after it, demands the members that carry the verdict,
// and compares the summary with the results. Members that it does not know are
// passed over, so that a newer goss can be used. Errors are of type *Error.
func Parse(output []byte) (*Report, error) {
	if len(bytes.TrimSpace(output)) == 0 {
		return nil, refuse(Empty, "goss printed no result")
	}
	var wire wireReport
	dec := json.NewDecoder(bytes.NewReader(output))
	if err := dec.Decode(&wire); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, refuse(Unreadable, "the result of goss is cut off after %d bytes", len(output))
		}
		return nil, refuse(Unreadable, "the result of goss is not the JSON that goss prints (%v): %s",
			err, firstLine(output))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, refuse(Unreadable, "the result of goss is followed by something else: %s",
			firstLine(output[dec.InputOffset():]))
	}
	if wire.Summary == nil || wire.Summary.Tests == nil || wire.Summary.Failed == nil || wire.Summary.Skipped == nil {
		return nil, refuse(Unreadable, "the result of goss has no complete summary")
	}
	report := &Report{Duration: time.Duration(wire.Summary.Duration)}
	for i := range wire.Results {
		test, err := wire.Results[i].test()
		if err != nil {
			return nil, refuse(Unreadable, "the result of test %d of %d cannot be understood: %v",
				i+1, len(wire.Results), err)
		}
		report.Tests = append(report.Tests, test)
	}
	return report, report.agrees(wire.Summary)
}

// test turns the wire form into a Test. goss says the outcome three times over
// (result, successful, skipped); a test whose three words differ proves
// nothing.
func (w *wireTest) test() (Test, error) {
	switch {
	case w.Type == nil || w.ID == nil || w.Property == nil:
		return Test{}, errors.New("it does not name what was tested")
	case w.Result == nil || w.Successful == nil || w.Skipped == nil:
		return Test{}, errors.New("it does not say how the test ended")
	}
	outcome := Outcome(*w.Result)
	switch outcome {
	case Pass, Fail, Skip:
	default:
		return Test{}, fmt.Errorf("goss knows no outcome %d", *w.Result)
	}
	if *w.Successful != (outcome != Fail) || *w.Skipped != (outcome == Skip) {
		return Test{}, fmt.Errorf("it contradicts itself: result %d (%v), successful %v, skipped %v",
			*w.Result, outcome, *w.Successful, *w.Skipped)
	}
	test := Test{
		Title: w.Title, Type: *w.Type, ID: *w.ID, Property: *w.Property,
		Meta: w.Meta, Outcome: outcome, Relation: w.Matcher.Message,
		Expected: present(w.Matcher.Expected), Actual: present(w.Matcher.Actual), Missing: present(w.Matcher.Missing),
		Duration: time.Duration(w.Duration),
	}
	if w.Err != nil {
		test.Err = *w.Err
	}
	return test, nil
}

// present returns v, or nil for JSON's null.
func present(v json.RawMessage) json.RawMessage {
	if string(v) == "null" {
		return nil
	}
	return v
}

// agrees compares the results with the summary that goss printed beside them.
func (r *Report) agrees(s *wireSummary) error {
	for _, c := range []struct {
		what          string
		said, counted int
	}{
		{"test", *s.Tests, len(r.Tests)},
		{"failed test", *s.Failed, r.Count(Fail)},
		{"skipped test", *s.Skipped, r.Count(Skip)},
	} {
		if c.said != c.counted {
			return refuse(Disagree, "the summary of goss counts %s but its results hold %d",
				plural(c.said, c.what), c.counted)
		}
	}
	return nil
}
