// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

// hostileText is what a machine may put wherever it can: steering a terminal,
// ending what it is in, beginning something of its own.
const hostileText = "a\x1b[2J\x9b\x00\x07\ufffe\u202e\r\n::error::x\n# SKIP\n  ...\nnot ok 1 | `x` **b** <script>&]]> @team [l](http://x) %0A%"

// hostileResult is two gossfiles with every outcome and hostile texts.
func hostileResult(t testing.TB, text string) *Result {
	t.Helper()
	mixed, err := Parse(recording(t, "mixed.json"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range mixed.Tests {
		x := &mixed.Tests[i]
		x.Title, x.ID, x.Property, x.Relation = x.Title+text, x.ID+text, x.Property+text, x.Relation+text
		x.Meta = map[string]any{"severity": "low", "note": text}
		if i%3 == 0 {
			x.Meta["severity"] = text
		}
		if i%2 == 0 {
			x.Actual = quoted(text)
		}
		if x.Err != "" {
			x.Err += text
		}
	}
	rules := Rules{FailOn: Medium, MinTests: 99, Strict: true}
	return &Result{
		Rules: rules, Named: []string{text},
		Problems: []*Error{refuse(Unreadable, "bad%s", text), refuse(Failed, "f"), refuse(TooFew, "few%s", text), refuse(Lenient, "l%s", text)},
		Waived:   []*Error{refuse(Failed, "waived%s", text)},
		Changes:  &Comparison{NewFailures: []TestKey{{text, "File", text, "exists"}}, Fixed: []TestKey{}, Vanished: []TestKey{}, Added: []TestKey{}},
		Suites: []SuiteResult{
			{
				Suite: Suite{Name: "a.yaml" + text, Path: "tests/a b.yaml", Findings: []Finding{{File: "tests/a b.yaml" + text, Line: 3, Level: LevelStrict, Rule: "empty-list", Sentence: text}},
					Places: Places{mixed.Tests[0].Type + "\x00" + mixed.Tests[0].ID: {"tests/inc.yaml", 7}}},
				Report: mixed, Err: refuse(Failed, "6 of 13%s", text), Warnings: []string{text},
				Attempts: []Attempt{{Number: 1, Failed: 6, Verdict: text}, {Number: 2}},
			},
			{Suite: Suite{Name: "b.yaml"}, Err: refuse(Unreadable, "no result%s", text)},
		},
	}
}

func about() About {
	return About{
		Time: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC), Build: "armfree-oci.debian", BuildID: "run-1",
		Machine: Machine{Arch: "aarch64", Kernel: "6.1.0", ID: "debian", OS: "Debian GNU/Linux 12 (bookworm)"},
		Goss:    GossUsed{Version: "v0.4.10", SHA256: strings.Repeat("a", 64)},
	}
}

// good is a small result that passed.
func good(t testing.TB) *Result {
	t.Helper()
	s := NewSession(Rules{}, Suite{Name: "goss.yaml", Path: "goss.yaml"})
	s.Record(0, Run{Output: recording(t, "pass.json")}, time.Time{}, time.Second)
	return s.Result()
}

// mixed is one gossfile with failures, as it would be shown.
func mixedResult(t testing.TB) *Result {
	t.Helper()
	src := recording(t, "mixed.yaml")
	linted := lintOf(map[string]string{"goss.yaml": string(src)}, "goss.yaml", nil)
	s := NewSession(Rules{}, Suite{Name: "goss.yaml", Path: "tests/goss.yaml", Findings: linted.Findings, Places: linted.Places})
	s.Record(0, Run{ExitCode: 1, Output: recording(t, "mixed.json")}, time.Time{}, time.Second)
	return s.Result()
}

// results are those that every format is tried with.
func results(t testing.TB) map[string]*Result {
	return map[string]*Result{"passed": good(t), "failed": mixedResult(t), "hostile": hostileResult(t, hostileText), "empty": NewSession(Rules{}).Result()}
}

func rendered(t testing.TB, format string, r *Result) []byte {
	t.Helper()
	b, err := Render(format, r, about())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// No format passes on what could steer a terminal that shows the file.
func TestReportsAreHarmless(t *testing.T) {
	for name, r := range results(t) {
		for _, format := range Formats() {
			for _, c := range string(rendered(t, format, r)) {
				if c != '\n' && c != '\t' && !unicode.IsPrint(c) {
					t.Errorf("%s as %s has %U", name, format, c)
					break
				}
			}
		}
		for _, line := range append(r.Summary(), r.Annotations()...) {
			if strings.ContainsFunc(line, func(c rune) bool { return !unicode.IsPrint(c) }) {
				t.Errorf("%s: the line %q", name, line)
			}
		}
	}
	if _, err := Render("html", good(t), About{}); err == nil || !strings.Contains(err.Error(), "junit") {
		t.Errorf("an unknown format gives %v", err)
	}
}

func TestSummary(t *testing.T) {
	want := `FAILED   Command echo hello: stdout: expected to have patterns ["hello","goodbye"], got other text (goss does not show it), missing ["goodbye"]
FAILED   Command printf 'one\ntwo': exit-status: expected to be numerically eq 3, got 0
FAILED   Command printf 'one\ntwo': stdout: expected to have patterns ["three"], got "one\ntwo", missing ["three"]
FAILED   Command sleep 5: exit-status: could not be read: Command execution timed out (100ms)
FAILED   must exist: File /etc/no-such-file: exists: expected to equal true, got false (severity high)
FAILED   User root: uid: expected to be numerically eq 1, got 0
type     passed  failed  warned skipped
Command       1       4       0       0
File          3       1       0       2
User          1       1       0       0
13 tests: 5 passed, 6 failed, 2 skipped in 101ms`
	got := strings.Join(mixedResult(t).Summary(), "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r := hostileResult(t, "")
	got = strings.Join(r.Summary(), "\n")
	for _, words := range []string{"a.yaml: 5 passed, 3 failed, 3 below fail_on, 2 skipped, 2 attempts", "b.yaml: goss was not run", "warning  ", "(severity low)", "not a failure under report_only: waived"} {
		if !strings.Contains(got, words) {
			t.Errorf("%q is not in\n%s", words, got)
		}
	}
}

func TestJSONReport(t *testing.T) {
	for name, r := range results(t) {
		var doc jsonReport
		dec := json.NewDecoder(bytes.NewReader(rendered(t, "json", r)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&doc); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if doc.Schema != jsonSchema || doc.Passed != (r.Err() == nil) || doc.Counts != r.Counts() || len(doc.Gossfiles) != len(r.Suites) || doc.Machine != about().Machine {
			t.Errorf("%s: %+v", name, doc)
		}
		for _, s := range doc.Gossfiles {
			for _, x := range s.Tests {
				if (x.Actual != nil) != (x.Outcome == "fail" && x.Error == "" && !strings.HasPrefix(x.ID, "echo hello")) && name == "failed" {
					t.Errorf("%s: actual of %s %s is %s", x.Outcome, x.ID, x.Property, x.Actual)
				}
			}
		}
	}
	// A text comes back as it was.
	var doc jsonReport
	r := hostileResult(t, hostileText+"\U000e0001")
	if err := json.Unmarshal(rendered(t, "json", r), &doc); err != nil {
		t.Fatal(err)
	}
	if want := strings.ToValidUTF8(r.Suites[0].Report.Tests[0].ID, "\ufffd"); doc.Gossfiles[0].Tests[0].ID != want {
		t.Errorf("got %q, want %q", doc.Gossfiles[0].Tests[0].ID, want)
	}
}

// One place for all outputs: whatever is shown was masked before.
func TestMasked(t *testing.T) {
	const secret = "hunt\"er\n2"
	r := hostileResult(t, "<"+secret+">")
	r.Suites[0].Report.Tests[1].Expected = quoted([]any{map[string]any{secret: secret}, 12345678, 1.5})
	r.Suites[0].Report.Tests[1].Missing = json.RawMessage(`not JSON ` + secret)
	before := fmt.Sprintf("%+v", r.Suites[0].Report.Tests)
	m := r.Masked(func(s string) string {
		return strings.NewReplacer(secret, "***", "12345678", "***").Replace(s)
	})
	for _, format := range Formats() {
		if format == "github" || format == "markdown" {
			continue // below, in what is readable of them
		}
		text := string(rendered(t, format, m))
		for _, trace := range []string{"hunt", "12345678"} {
			if strings.Contains(text, trace) {
				t.Errorf("%s shows %q", format, trace)
			}
		}
	}
	for _, line := range slices.Concat(m.Summary(), m.Annotations(), []string{string(rendered(t, "markdown", m)), m.Err().Error()}) {
		if strings.Contains(line, "hunt") {
			t.Errorf("%q", line)
		}
	}
	if fmt.Sprintf("%+v", r.Suites[0].Report.Tests) != before {
		t.Error("the result itself was changed")
	}
	if r.Masked(nil) != r {
		t.Error("nothing to mask with")
	}
}

// Whatever a machine says, every format stays whole.
func FuzzRender(f *testing.F) {
	f.Add(hostileText)
	f.Add("\xff\xfe\u2028")
	f.Fuzz(func(t *testing.T, text string) {
		r := hostileResult(t, text)
		if err := xml.Unmarshal(rendered(t, "junit", r), new(element)); err != nil {
			t.Fatal(err)
		}
		for _, format := range []string{"json", "sarif"} {
			if !json.Valid(rendered(t, format, r)) {
				t.Fatalf("%s is not JSON", format)
			}
		}
		plain := strings.Count(string(rendered(t, "tap14", hostileResult(t, ""))), "\n")
		if n := strings.Count(string(rendered(t, "tap14", r)), "\n"); n != plain && text != "" && noSeverity(text) {
			t.Fatalf("%d lines and not %d", n, plain)
		}
		for _, line := range slices.Concat(r.Summary(), r.Annotations()) {
			if strings.ContainsAny(line, "\n\r\x1b") {
				t.Fatalf("%q", line)
			}
		}
	})
}

// noSeverity says that a text does not change what is a warning: it is no
// severity by itself.
func noSeverity(text string) bool {
	_, err := ParseSeverity(text)
	return err != nil
}

func TestOSRelease(t *testing.T) {
	var m Machine
	m.ParseOSRelease([]byte("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\r\nVERSION\n\x1b[2J=x\n"))
	if m.OS != "Debian GNU/Linux 12 (bookworm)" || m.ID != "debian" {
		t.Errorf("%+v", m)
	}
}
