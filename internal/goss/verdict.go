// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"errors"
	"fmt"
)

// Reason is why a run of goss does not count as a success.
type Reason int

// The reasons, from "goss never ran" to "goss found something".
const (
	NotRun      Reason = iota + 1 // goss did not get as far as testing
	Missing                       // the result did not come back
	Empty                         // the result has nothing in it
	Unreadable                    // the result is not what goss prints
	Disagree                      // results, summary and exit code contradict one another
	NoTests                       // there was nothing to test
	AllSkipped                    // there was, and all of it was skipped
	Interrupted                   // the check broke off
	TooFew                        // fewer tests than demanded were carried out
	Failed                        // at least one test failed
	Lenient                       // goss checked less than is written, under strict
	Mistaken                      // a gossfile has an error that goss passes over
	Vanished                      // tests of the baseline were not carried out
)

// Error is a verdict other than success.
type Error struct {
	Reason   Reason
	sentence string
}

func (e *Error) Error() string { return e.sentence }

// Again reports whether the same run could turn out better a little later. A
// service may still be starting; a gossfile that cannot be read will not heal.
func (e *Error) Again() bool { return e.Reason == Failed }

func refuse(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, sentence: fmt.Sprintf(format, args...)}
}

// Run is what is known of one run of goss after it ended.
type Run struct {
	// ExitCode is that of goss, or of the shell where goss could not start.
	ExitCode int
	// Output is the standard output of goss; nil if it could not be had.
	Output []byte
	// Warnings is the standard error of goss. It explains, and decides only
	// under Strict, which must have all of it, at goss's level WARN or below.
	Warnings []byte
}

// Rules are the demands on a run beyond "nothing failed".
type Rules struct {
	// MinTests is how many tests must have been carried out over all
	// gossfiles, skipped ones not counted. Less than 1 counts as 1.
	MinTests int
	// FailOn is the lowest severity whose failures count; those below are
	// warnings. Tests without a severity always count. Zero: all count.
	FailOn Severity
	// MaxFailed is how many counting failures are let pass.
	MaxFailed int
	// ReportOnly lets failing tests pass, and only them: where goss could not
	// run, or ran nothing, it is a failure all the same.
	ReportOnly bool
	// Strict makes failures of findings of LevelStrict and of keys that one
	// gossfile takes from another.
	Strict bool
	// Baseline is an earlier result to compare with, or nil.
	Baseline *Baseline
	// Vanished makes a failure of tests that the baseline has and this run did
	// not carry out.
	Vanished bool
	// Selection is what the gossfiles were reduced to before they were run.
	Selection Selection
	// Mask takes secrets out of what goss printed, before a sentence quotes a
	// part of it. What tests found is masked later, by Result.Masked. Nil: there
	// are no secrets.
	Mask func(string) string
}

// Judge says what one run came to. A nil error means that the machine passed.
// The error is of type *Error otherwise. The report is given whenever it could
// be read, also beside an error.
func Judge(run Run, rules Rules) (*Report, error) {
	j := judge(run, rules.Mask)
	if j.err != nil {
		return j.report, j.err
	}
	if n := j.report.Done(); n < rules.MinTests {
		return j.report, tooFew(n, rules.MinTests)
	}
	return j.report, nil
}

// judgement is what one run of one gossfile came to by itself.
type judgement struct {
	report *Report // nil if there is none that can be read
	err    *Error  // nil if it passed
}

// counted is the number of failures that count.
func (j judgement) counted(rules Rules) int {
	if j.report == nil {
		return 0
	}
	n := 0
	for i := range j.report.Tests {
		if t := &j.report.Tests[i]; t.Outcome == Fail && t.Severity() >= rules.FailOn {
			n++
		}
	}
	return n
}

func judge(run Run, mask func(string) string) judgement {
	words := run // what sentences may quote
	if mask != nil {
		words.Output, words.Warnings = []byte(mask(string(run.Output))), []byte(mask(string(run.Warnings)))
	}
	if run.ExitCode != 0 && run.ExitCode != 1 {
		return judgement{nil, refuse(NotRun, "%s", explain(words))}
	}
	if run.Output == nil {
		return judgement{nil, refuse(Missing, "goss ended with exit code %d but its result is missing", run.ExitCode)}
	}
	report, err := Parse(run.Output)
	if err != nil {
		return judgement{report, unread(run.ExitCode, report, err, words)}
	}
	failed := report.Count(Fail)
	switch {
	case (run.ExitCode == 0) != (failed == 0):
		return judgement{report, refuse(Disagree, "goss ended with exit code %d but its result holds %s",
			run.ExitCode, plural(failed, "failed test"))}
	case failed > 0:
		return judgement{report, refuse(Failed, "%d of %s failed", failed, plural(len(report.Tests), "goss test"))}
	case len(report.Tests) == 0:
		return judgement{report, refuse(NoTests, "goss ran no test at all, which proves nothing about the machine")}
	case report.Done() == 0:
		return judgement{report, refuse(AllSkipped, "every goss test was skipped (%d of %[1]d), which proves nothing about the machine",
			len(report.Tests))}
	}
	return judgement{report, nil}
}

// unread is the refusal of a result that cannot be read.
func unread(exit int, report *Report, err error, words Run) *Error {
	refusal := refuse(Unreadable, "the result of goss cannot be read")
	errors.As(err, &refusal)
	if report != nil {
		return refusal // it quotes nothing
	}
	// Read once more without secrets, it is refused in words without secrets.
	sentence := "the result of goss cannot be read"
	if _, err := Parse(words.Output); err != nil {
		sentence = err.Error()
	}
	if exit == 1 {
		// Misuse of a flag ends with 1 as well, and says so in words.
		sentence += said(words.Warnings)
	}
	return refuse(refusal.Reason, "%s", sentence)
}

func tooFew(done, want int) *Error {
	return refuse(TooFew, "goss carried out %s but min_tests demands %d", plural(done, "test"), want)
}

// explain puts an exit code that stands for no result at all into words.
func explain(run Run) string {
	// goss prints its own errors on standard output, a shell on standard error.
	words := said(run.Output)
	if words == "" {
		words = said(run.Warnings)
	}
	switch code := run.ExitCode; {
	case code == 3:
		return "goss gave up after its own retry timeout (exit code 3)" + words
	case code == 78:
		return "goss could not load the gossfile or its variables (exit code 78)" + words
	case code == 126:
		return "the goss binary could not be executed: it is for another architecture, or its folder is mounted noexec (exit code 126)" + words
	case code == 127:
		return "the goss binary or the shell that starts it was not found (exit code 127)" + words
	case code == 137:
		return "goss was killed (exit code 137), most likely because the machine ran out of memory" + words
	case code > 128 && code < 160:
		return fmt.Sprintf("goss was ended by signal %d (exit code %d)%s", code-128, code, words)
	default:
		return fmt.Sprintf("goss ended with exit code %d, which it does not use for results%s", code, words)
	}
}

// said quotes the first line of something that was printed, as the end of a
// sentence.
func said(printed []byte) string {
	if line := firstLine(printed); line != "" {
		return ": " + line
	}
	return ""
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
