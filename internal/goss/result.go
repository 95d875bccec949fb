// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"strings"
	"time"
)

// Result is what several gossfiles came to together.
type Result struct {
	Rules  Rules
	Suites []SuiteResult
	// Changes is what changed since Rules.Baseline, or nil.
	Changes *Comparison
	// Problems are all reasons why this is not a success, the weightiest
	// first. Under ReportOnly those that were let pass are in Waived.
	Problems, Waived []*Error
	// Named is what people are told in any case, one sentence each: what was
	// checked less than is written, severities that nobody knows.
	Named []string
}

// SuiteResult is what one gossfile came to.
type SuiteResult struct {
	Suite
	// Report is that of the last attempt; nil if none could be read.
	Report *Report
	// Err is the verdict on this gossfile by itself; nil if it passed.
	Err      *Error
	Attempts []Attempt
	// Warnings are the lines that goss printed on standard error.
	Warnings []string
}

// Counts are the tests of a result.
type Counts struct {
	Tests   int `json:"tests"`
	Passed  int `json:"passed"`
	Failed  int `json:"failed"` // those that count
	Warned  int `json:"warned"` // failures below fail_on
	Skipped int `json:"skipped"`
}

// Done is how many tests were carried out.
func (c Counts) Done() int { return c.Passed + c.Failed + c.Warned }

// Counts counts the tests of all suites.
func (r *Result) Counts() Counts {
	var c Counts
	for i := range r.Suites {
		s := r.Suites[i].counts(r.Rules)
		c.Tests += s.Tests
		c.Passed += s.Passed
		c.Failed += s.Failed
		c.Warned += s.Warned
		c.Skipped += s.Skipped
	}
	return c
}

func (s *SuiteResult) counts(rules Rules) Counts {
	if s.Report == nil {
		return Counts{}
	}
	c := Counts{Tests: len(s.Report.Tests), Passed: s.Report.Count(Pass), Skipped: s.Report.Count(Skip)}
	c.Failed = judgement{report: s.Report}.counted(rules)
	c.Warned = s.Report.Count(Fail) - c.Failed
	return c
}

// Duration is how long all tests of the last attempts took.
func (r *Result) Duration() time.Duration {
	var d time.Duration
	for i := range r.Suites {
		if r.Suites[i].Report != nil {
			d += r.Suites[i].Report.Duration
		}
	}
	return d
}

// Err is nil if the machine may become an image, and a *Error otherwise. Its
// reason is that of the weightiest problem, its words are those of all.
func (r *Result) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	var words []string
	for _, p := range r.Problems {
		words = append(words, p.Error())
	}
	return refuse(r.Problems[0].Reason, "%s", strings.Join(words, "; "))
}

// Masked returns a copy in which every text went through mask.
func (r *Result) Masked(mask func(string) string) *Result { return r }

// decide makes the verdict.
func decide(s *Session) *Result {
	r := &Result{Rules: s.rules}
	for i := range s.suites {
		sr := SuiteResult{Suite: s.suites[i], Report: s.judged[i].report, Err: s.judged[i].err, Attempts: s.tries[i]}
		if s.runs[i] == nil {
			sr.Err = refuse(NotRun, "goss was not run")
		} else {
			sr.Warnings = Warnings(s.runs[i].Warnings)
		}
		if sr.Err != nil {
			r.Problems = append(r.Problems, sr.Err)
		}
		r.Suites = append(r.Suites, sr)
	}
	return r
}
