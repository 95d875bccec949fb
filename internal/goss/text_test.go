// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLine(t *testing.T) {
	report, err := Parse(recording(t, "mixed.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`Command echo hello: stdout: expected to have patterns ["hello","goodbye"], got other text (goss does not show it), missing ["goodbye"]`,
		`Command printf 'one\ntwo': exit-status: expected to be numerically eq 3, got 0`,
		`Command printf 'one\ntwo': stdout: expected to have patterns ["three"], got "one\ntwo", missing ["three"]`,
		`Command sleep 5: exit-status: could not be read: Command execution timed out (100ms)`,
		`must exist: File /etc/no-such-file: exists: expected to equal true, got false`,
		`User root: uid: expected to be numerically eq 1, got 0`,
	}
	var got []string
	for i := range report.Tests {
		if report.Tests[i].Outcome == Fail {
			got = append(got, report.Tests[i].Line())
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestParseKeepsWhatLaterReportsNeed(t *testing.T) {
	report, err := Parse(recording(t, "mixed.json"))
	if err != nil {
		t.Fatal(err)
	}
	if report.Duration != 100809469*time.Nanosecond {
		t.Errorf("duration %v", report.Duration)
	}
	i := slices.IndexFunc(report.Tests, func(x Test) bool { return x.ID == "/etc/no-such-file" && x.Property == "exists" })
	if i < 0 {
		t.Fatal("the test is not in the report")
	}
	got := report.Tests[i]
	if got.Title != "must exist" || got.Meta["severity"] != "high" || got.Outcome != Fail || got.Duration <= 0 ||
		string(got.Actual) != "false" || string(got.Expected) != "true" || got.Missing != nil {
		t.Errorf("got %+v", got)
	}
}

// What the machine sends must stay on its line and leave the terminal alone.
func TestLineIsOneHarmlessLine(t *testing.T) {
	hostile := "a\x1b[2J\nb\r::error::\u202e" + strings.Repeat("x", 10_000)
	test := Test{
		Title: hostile, Type: hostile, ID: hostile, Property: hostile, Outcome: Fail, Relation: hostile,
		Expected: json.RawMessage(`"` + strings.Repeat("é", 10_000) + `"`), Actual: json.RawMessage(hostile),
	}
	line := test.Line()
	if strings.ContainsAny(line, "\n\r\x1b\u202e") || len(line) > 4000 {
		t.Errorf("%d bytes: %q", len(line), line)
	}
	test.Err = hostile
	if line := test.Line(); strings.ContainsAny(line, "\n\r\x1b\u202e") || !strings.Contains(line, "could not be read") {
		t.Errorf("%q", line)
	}
}
