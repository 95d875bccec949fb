// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"time"
)

// The JUnit report keeps to what the schemas of Jenkins and Ant have in
// common, so that no reader stumbles: attributes that only some of them know,
// such as file and line, are left out.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		ID         int             `xml:"id,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr,omitempty"`
		Hostname   string          `xml:"hostname,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property,omitempty"`
		Cases      []junitCase     `xml:"testcase"`
		Err        string          `xml:"system-err,omitempty"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string     `xml:"classname,attr"`
		Name    string     `xml:"name,attr"`
		Time    string     `xml:"time,attr"`
		Skipped *junitNote `xml:"skipped"`
		Error   *junitNote `xml:"error"`
		Failure *junitNote `xml:"failure"`
	}
	junitNote struct {
		Message string `xml:"message,attr,omitempty"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// junit has a suite for each gossfile, and one more for what is wrong with all
// of them together. Failures below fail_on are skipped tests with a message.
func (r *Result) junit(about About) ([]byte, error) {
	doc := junitSuites{Name: "goss", Time: seconds(r.Duration())}
	if about.Build != "" {
		doc.Name = "goss " + clean(about.Build)
	}
	for i := range r.Suites {
		doc.add(r.junitSuite(&r.Suites[i], about))
	}
	all := junitSuite{Name: "verdict", Time: seconds(0), Timestamp: stamp(about.Time)}
	for _, p := range r.ruleProblems() {
		all.Cases = append(all.Cases, junitCase{Class: "goss.verdict", Name: fmt.Sprintf("rule %d", len(all.Cases)+1), Time: seconds(0),
			Error: &junitNote{Message: cleanAll(p.Error()), Type: "rule", Text: tame(p.Error())}})
		all.Errors++
		all.Tests++
	}
	if all.Tests > 0 {
		doc.add(all)
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	enc := xml.NewEncoder(&b)
	enc.Indent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func (d *junitSuites) add(s junitSuite) {
	s.ID = len(d.Suites)
	d.Tests += s.Tests
	d.Failures += s.Failures
	d.Errors += s.Errors
	d.Suites = append(d.Suites, s)
}

func (r *Result) junitSuite(s *SuiteResult, about About) junitSuite {
	out := junitSuite{Name: clean(s.Name), Time: seconds(0), Timestamp: stamp(about.Time), Err: tame(strings.Join(s.Warnings, "\n"))}
	for _, p := range []junitProperty{
		{"build", about.Build}, {"goss", about.Goss.Version}, {"os", about.Machine.OS}, {"kernel", about.Machine.Kernel},
		{"arch", about.Machine.Arch}, {"attempts", fmt.Sprint(len(s.Attempts))},
	} {
		if p.Value = clean(p.Value); p.Value != "" {
			out.Properties = append(out.Properties, p)
		}
	}
	// Readers take what is before the last dot for a package.
	class := "goss." + strings.NewReplacer(".", "_", "/", ".", " ", "_").Replace(clean(s.Name))
	if s.Err != nil && s.Err.Reason != Failed {
		out.Cases = append(out.Cases, junitCase{Class: class, Name: "goss", Time: seconds(0),
			Error: &junitNote{Message: cleanAll(s.Err.Error()), Type: "goss", Text: tame(s.Err.Error())}})
		out.Tests, out.Errors = 1, 1
	}
	if s.Report == nil {
		return out
	}
	out.Time = seconds(s.Report.Duration)
	for i := range s.Report.Tests {
		t := &s.Report.Tests[i]
		c := junitCase{Class: class + "." + clean(t.Type), Name: t.name(), Time: seconds(t.Duration)}
		switch r.state(t) {
		case failed:
			c.Failure = &junitNote{Message: t.Line(), Type: t.Severity().String(), Text: t.details()}
			out.Failures++
		case warned:
			c.Skipped = &junitNote{Message: fmt.Sprintf("failed at severity %v, below fail_on: %s", t.Severity(), t.Line())}
			out.Skipped++
		case skipped:
			c.Skipped = &junitNote{}
			out.Skipped++
		}
		out.Cases = append(out.Cases, c)
		out.Tests++
	}
	return out
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", max(d, 0).Seconds()) }

// stamp is a time as JUnit has it, without a zone: it is UTC.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05")
}
