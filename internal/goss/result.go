// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"regexp"
	"slices"
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
	// Err is the verdict on this gossfile by itself; nil if it passed. Under
	// FailOn a gossfile whose failures are all warnings has passed.
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

// Interrupted is the result of a check that broke off, or that left something
// behind: whatever it had come to by then, and a failure that nothing excuses.
func (r *Result) Interrupted(err error) *Result {
	broken := *r
	broken.Problems = append([]*Error{refuse(Interrupted, "%v", err)}, r.Problems...)
	return &broken
}

// Attempts is how many times goss was run at most for one gossfile.
func (r *Result) Attempts() int {
	n := 0
	for i := range r.Suites {
		n = max(n, len(r.Suites[i].Attempts))
	}
	return n
}

// about puts the name of a gossfile before a sentence, where there are several.
func (r *Result) about(suite int, e *Error) *Error {
	if len(r.Suites) < 2 {
		return e
	}
	return refuse(e.Reason, "%s: %s", clean(r.Suites[suite].Name), e.sentence)
}

// decide makes the verdict. Whatever is not known to be good is a problem.
func decide(s *Session) *Result {
	r := &Result{Rules: s.rules}
	for i := range s.suites {
		sr := SuiteResult{Suite: s.suites[i], Report: s.judged[i].report, Err: s.judged[i].err, Attempts: s.tries[i]}
		switch {
		case sr.Unselected:
			r.leftOut(&sr)
		case s.runs[i] == nil:
			sr.Err = refuse(NotRun, "goss was not run")
		default:
			r.leftOut(&sr)
			sr.Warnings = Warnings(s.runs[i].Warnings)
		}
		if sr.Err != nil && sr.Err.Reason == Failed && s.judged[i].counted(s.rules) == 0 {
			sr.Err = nil
		}
		r.Suites = append(r.Suites, sr)
	}
	switch {
	case len(r.Suites) == 0:
		r.Problems = []*Error{refuse(NoTests, "no gossfile was run, which proves nothing about the machine")}
		return r
	case r.nothing():
		r.Problems = []*Error{refuse(NoTests, "select and deselect leave no test to run, which proves nothing about the machine")}
		return r
	}
	if s.rules.Baseline != nil {
		r.Changes = s.rules.Baseline.Compare(r)
	}
	r.broken()
	waivable := slices.Concat(r.failed(), r.few(), r.lenient(s), r.vanished())
	if s.rules.ReportOnly {
		r.Waived = waivable
	} else {
		r.Problems = append(r.Problems, waivable...)
	}
	return r
}

// nothing says that no gossfile was run.
func (r *Result) nothing() bool {
	return !slices.ContainsFunc(r.Suites, func(s SuiteResult) bool { return !s.Unselected })
}

// leftOut names that tests were not selected, since a result does not show it.
func (r *Result) leftOut(s *SuiteResult) {
	switch {
	case s.Unselected:
		r.Named = append(r.Named, fmt.Sprintf("%s was not run: select and deselect leave nothing of it", clean(s.Name)))
	case len(s.Out) > 0:
		r.Named = append(r.Named, fmt.Sprintf("%s: %s %s not selected and not checked", clean(s.Name), plural(len(s.Out), "resource"), verb(len(s.Out))))
	}
}

// broken are the problems that nothing excuses: goss did not run, did not say
// how it went, or had nothing to say.
func (r *Result) broken() {
	for i := range r.Suites {
		sr := &r.Suites[i]
		if sr.Err != nil && sr.Err.Reason != Failed {
			r.Problems = append(r.Problems, r.about(i, sr.Err))
		}
		for _, f := range sr.Findings {
			if f.Rule == ruleMisspelt {
				r.Problems = append(r.Problems, refuse(Mistaken, "%v", f))
			}
		}
	}
}

// failed says which gossfiles had failing tests, if more than are let pass.
func (r *Result) failed() []*Error {
	c := r.Counts()
	if c.Failed <= r.Rules.MaxFailed {
		return nil
	}
	var list []*Error
	for i := range r.Suites {
		sr := &r.Suites[i]
		c := sr.counts(r.Rules)
		if c.Failed == 0 || sr.Err == nil || sr.Err.Reason != Failed {
			continue
		}
		sentence := fmt.Sprintf("%d of %s failed", c.Failed, plural(c.Tests, "goss test"))
		if r.Rules.FailOn > Info {
			sentence += fmt.Sprintf(" at severity %v or above", r.Rules.FailOn)
		}
		if n := len(sr.Attempts); n > 1 {
			sentence += fmt.Sprintf(" after %d attempts", n)
		}
		if r.Rules.MaxFailed > 0 {
			sentence += fmt.Sprintf(", max_failed lets %d pass", r.Rules.MaxFailed)
		}
		list = append(list, r.about(i, refuse(Failed, "%s", sentence)))
	}
	return list
}

// few compares the tests that were carried out with min_tests. It says nothing
// where a result is missing, which is a problem of its own.
func (r *Result) few() []*Error {
	for i := range r.Suites {
		if err := r.Suites[i].Err; err != nil && err.Reason != Failed {
			return nil
		}
	}
	if n := r.Counts().Done(); n < r.Rules.MinTests {
		return []*Error{tooFew(n, r.Rules.MinTests)}
	}
	return nil
}

// replaced is the line in which goss says that it forgot a test.
var replaced = regexp.MustCompile(`(?s)Duplicate key detected: '(.*?)'\. The value from`)

// lenient names everything that goss checked less of than is written. Under
// strict that is a problem.
func (r *Result) lenient(s *Session) []*Error {
	var strict int
	for i := range r.Suites {
		sr := &r.Suites[i]
		known := map[string]bool{}
		for _, f := range sr.Findings {
			if f.Level == LevelStrict {
				strict++
				r.Named = append(r.Named, clean(f.String()))
				known[f.Key] = true
			}
		}
		if s.runs[i] != nil {
			for _, m := range replaced.FindAllSubmatch(s.runs[i].Warnings, -1) {
				if key := string(m[1]); !known[key] {
					known[key] = true
					strict++
					r.Named = append(r.Named, fmt.Sprintf("%s: %s is given twice, and goss checked only the one that it read last",
						clean(sr.Name), clean(key)))
				}
			}
		}
		r.strangers(sr)
	}
	if strict == 0 || !r.Rules.Strict {
		return nil
	}
	return []*Error{refuse(Lenient, "goss checks less than is written in %s, which strict does not allow: %s",
		plural(strict, "place"), r.Named[0])}
}

// strangers names severities that nobody knows.
func (r *Result) strangers(sr *SuiteResult) {
	if sr.Report == nil {
		return
	}
	for i := range sr.Report.Tests {
		t := &sr.Report.Tests[i]
		if word := t.strange(); word != "" {
			if line := fmt.Sprintf("%s: %s %s has the severity %q, which is none; it counts as the highest",
				clean(sr.Name), clean(t.Type), clean(t.ID), clean(word)); !slices.Contains(r.Named, line) {
				r.Named = append(r.Named, line)
			}
		}
	}
}

// vanished are the tests of the baseline that are gone.
func (r *Result) vanished() []*Error {
	if r.Changes == nil || len(r.Changes.Vanished) == 0 || !r.Rules.Vanished {
		return nil
	}
	first := r.Changes.Vanished[0]
	return []*Error{refuse(Vanished, "%s of the baseline %s not carried out, such as %s",
		plural(len(r.Changes.Vanished), "test"), verb(len(r.Changes.Vanished)), first)}
}

func verb(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}
