// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"slices"
	"time"
)

// Suite is one gossfile that is to be run.
type Suite struct {
	// Name is what reports call it; it must be unique among the suites.
	Name string
	// Path is where it lies on this host, with slashes, relative to the
	// repository where possible; SARIF and annotations point at it. Empty if
	// that is unknown.
	Path string
	// Findings is what Lint said about it and what it includes.
	Findings []Finding
	// Places is where Lint found its resources.
	Places Places
	// Out are its resources that Rules.Selection leaves out. If Unselected is
	// set these are all of them, and the gossfile is not run.
	Out        []Resource
	Unselected bool
}

// Session leads several gossfiles through attempts to a verdict. It keeps no
// time and runs nothing: the caller runs what is pending, records what came of
// it, waits, and asks again. The zero value is of no use; call NewSession.
//
//	s := goss.NewSession(rules, suites...)
//	for {
//		for _, i := range s.Pending() {
//			s.Record(i, run(suites[i]), start, took)
//		}
//		if len(s.Pending()) == 0 || outOfTime { break }
//		// wait for `sleep`
//	}
//	result := s.Result()
type Session struct {
	rules  Rules
	suites []Suite
	runs   []*Run      // the last one of each suite
	judged []judgement // of that run
	tries  [][]Attempt
}

// Attempt is what one run of one gossfile came to.
type Attempt struct {
	Number  int // counted from 1
	Start   time.Time
	Took    time.Duration
	Failed  int    // failing tests, warnings included
	Verdict string // a sentence, or empty if it passed
}

// NewSession begins with nothing run.
func NewSession(rules Rules, suites ...Suite) *Session {
	n := len(suites)
	return &Session{rules: rules, suites: slices.Clone(suites), runs: make([]*Run, n), judged: make([]judgement, n), tries: make([][]Attempt, n)}
}

// Pending returns the suites, by their index, that are to be run now: at first
// all of them, later those whose tests failed. It is empty once another run
// cannot change the verdict: everything passed as far as the rules demand, or a
// gossfile failed in a way that time does not heal.
func (s *Session) Pending() []int {
	var fresh, again []int
	for i := range s.suites {
		switch {
		case s.suites[i].Unselected:
		case s.runs[i] == nil:
			fresh = append(fresh, i)
		case s.judged[i].err != nil && !s.judged[i].err.Again():
			return nil // a gossfile that cannot be read will not heal
		case s.judged[i].counted(s.rules) > 0:
			again = append(again, i)
		}
	}
	if len(fresh) > 0 {
		return fresh
	}
	if s.total() <= s.rules.MaxFailed {
		return nil
	}
	return again
}

// total counts the failures that matter, over all suites.
func (s *Session) total() int {
	n := 0
	for i := range s.judged {
		n += s.judged[i].counted(s.rules)
	}
	return n
}

// Record tells what a run of a suite came to, and returns the verdict on this
// attempt: nil if the gossfile passed by itself. A later run of the same suite
// replaces the earlier one.
func (s *Session) Record(suite int, run Run, start time.Time, took time.Duration) error {
	j := judge(run, s.rules.Mask)
	if s.rules.Mask != nil {
		run.Warnings = []byte(s.rules.Mask(string(run.Warnings)))
	}
	run.Output = nil // it is read, and may be large
	s.runs[suite], s.judged[suite] = &run, j
	try := Attempt{Number: len(s.tries[suite]) + 1, Start: start, Took: took}
	if j.report != nil {
		try.Failed = j.report.Count(Fail)
	}
	var err error
	if j.err != nil && (!j.err.Again() || j.counted(s.rules) > 0) {
		err, try.Verdict = j.err, j.err.Error()
	}
	s.tries[suite] = append(s.tries[suite], try)
	return err
}

// Result is the verdict on everything that was recorded. A suite that was
// never run is a failure.
func (s *Session) Result() *Result { return decide(s) }
