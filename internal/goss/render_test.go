// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
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
	for _, format := range Formats() {
		if Extension(format) == "" {
			t.Errorf("%s has no extension", format)
		}
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
13 tests: 5 passed, 6 failed, 0 skipped in 101ms`
	got := strings.Join(mixedResult(t).Summary(), "\n")
	if want = strings.Replace(want, "0 skipped", "2 skipped", 1); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r := hostileResult(t, "")
	got = strings.Join(r.Summary(), "\n")
	for _, words := range []string{"a.yaml: 5 passed, 3 failed, 3 below fail_on, 2 skipped, 2 attempts", "b.yaml: no result", "warning  ", "(severity low)", "not a failure under report_only: waived"} {
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

// element is a node of an XML document.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []element  `xml:",any"`
}

// TestJUnit holds the report against the rules of the schema that Jenkins's
// xunit plugin has for JUnit (junit-10.xsd), written down here as a table.
func TestJUnit(t *testing.T) {
	type rule struct {
		required, optional []string
		children           []string
	}
	note := rule{optional: []string{"message", "type"}}
	schema := map[string]rule{
		"testsuites": {optional: []string{"name", "time", "tests", "failures", "errors"}, children: []string{"testsuite"}},
		"testsuite": {required: []string{"name", "tests", "failures", "errors"}, optional: []string{"time", "skipped", "timestamp", "hostname", "id", "package"},
			children: []string{"properties", "testcase", "system-out", "system-err"}},
		"properties": {children: []string{"property"}},
		"property":   {required: []string{"name", "value"}},
		"testcase": {required: []string{"name"}, optional: []string{"time", "classname", "group"},
			children: []string{"skipped", "error", "failure", "system-out", "system-err"}},
		"skipped": note, "error": note, "failure": note, "system-out": {}, "system-err": {},
	}
	surefireTime := regexp.MustCompile(`^(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]*)?$`)
	numbers := []string{"tests", "failures", "errors", "skipped", "id"}
	var walk func(t *testing.T, e element)
	walk = func(t *testing.T, e element) {
		r, known := schema[e.XMLName.Local]
		if !known {
			t.Fatalf("element %s", e.XMLName.Local)
		}
		var have []string
		for _, a := range e.Attrs {
			have = append(have, a.Name.Local)
			if !slices.Contains(append(r.required, r.optional...), a.Name.Local) {
				t.Errorf("%s has the attribute %s", e.XMLName.Local, a.Name.Local)
			}
			if _, err := strconv.Atoi(a.Value); slices.Contains(numbers, a.Name.Local) && err != nil {
				t.Errorf("%s=%q", a.Name.Local, a.Value)
			}
			if _, err := strconv.ParseFloat(a.Value, 64); a.Name.Local == "time" && (err != nil || !surefireTime.MatchString(a.Value)) {
				t.Errorf("%s=%q", a.Name.Local, a.Value)
			}
			if _, err := time.Parse("2006-01-02T15:04:05", a.Value); a.Name.Local == "timestamp" && err != nil {
				t.Errorf("%s=%q", a.Name.Local, a.Value)
			}
		}
		for _, a := range r.required {
			if !slices.Contains(have, a) {
				t.Errorf("%s lacks %s", e.XMLName.Local, a)
			}
		}
		last := 0
		for _, c := range e.Children {
			at := slices.Index(r.children, c.XMLName.Local)
			if at < 0 {
				t.Errorf("%s in %s", c.XMLName.Local, e.XMLName.Local)
			} else if e.XMLName.Local == "testsuite" && at < last {
				t.Errorf("%s comes too late", c.XMLName.Local)
			}
			last = max(last, at)
			walk(t, c)
		}
	}
	attr := func(e element, name string) string {
		for _, a := range e.Attrs {
			if a.Name.Local == name {
				return a.Value
			}
		}
		return ""
	}
	for name, r := range results(t) {
		t.Run(name, func(t *testing.T) {
			var root element
			if err := xml.Unmarshal(rendered(t, "junit", r), &root); err != nil {
				t.Fatal(err)
			}
			walk(t, root)
			total := 0
			for _, s := range root.Children {
				count := map[string]int{}
				for _, c := range s.Children {
					if c.XMLName.Local != "testcase" {
						continue
					}
					count["tests"]++
					total++
					for _, what := range c.Children {
						count[map[string]string{"failure": "failures", "error": "errors", "skipped": "skipped"}[what.XMLName.Local]]++
					}
				}
				for _, a := range []string{"tests", "failures", "errors", "skipped"} {
					if attr(s, a) != strconv.Itoa(count[a]) {
						t.Errorf("suite %s says %s=%s and holds %d", attr(s, "name"), a, attr(s, a), count[a])
					}
				}
			}
			if attr(root, "tests") != strconv.Itoa(total) {
				t.Errorf("tests=%s of %d", attr(root, "tests"), total)
			}
			// Whoever reads the file must see what the verdict was.
			bad := attr(root, "failures") != "0" || attr(root, "errors") != "0"
			if bad != (r.Err() != nil) {
				t.Errorf("the file says bad=%v, the verdict is %v", bad, r.Err())
			}
		})
	}
	text := string(rendered(t, "junit", mixedResult(t)))
	for _, want := range []string{
		`<testcase classname="goss.goss_yaml.File" name="must exist: File /etc/no-such-file: exists"`,
		`<failure message="must exist: File /etc/no-such-file: exists: expected to equal true, got false" type="high">expected to equal true`,
		`<property name="os" value="Debian GNU/Linux 12 (bookworm)">`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
}

// TestSARIF holds the report against what the schema of SARIF 2.1.0 demands of
// the parts that are used.
func TestSARIF(t *testing.T) {
	for name, r := range results(t) {
		t.Run(name, func(t *testing.T) {
			var log struct {
				Schema  string `json:"$schema"`
				Version string `json:"version"`
				Runs    []struct {
					Tool struct {
						Driver struct {
							Name  string `json:"name"`
							Rules []struct {
								ID string `json:"id"`
							} `json:"rules"`
						} `json:"driver"`
					} `json:"tool"`
					Invocations []map[string]any `json:"invocations"`
					Results     []struct {
						RuleID    string `json:"ruleId"`
						RuleIndex *int   `json:"ruleIndex"`
						Level     string `json:"level"`
						Message   struct {
							Text string `json:"text"`
						} `json:"message"`
						Locations []struct {
							Physical struct {
								Artifact struct {
									URI string `json:"uri"`
								} `json:"artifactLocation"`
								Region *struct {
									StartLine int `json:"startLine"`
								} `json:"region"`
							} `json:"physicalLocation"`
						} `json:"locations"`
						Fingerprints map[string]string `json:"partialFingerprints"`
					} `json:"results"`
				} `json:"runs"`
			}
			if err := json.Unmarshal(rendered(t, "sarif", r), &log); err != nil {
				t.Fatal(err)
			}
			if log.Version != "2.1.0" || len(log.Runs) != 1 || log.Runs[0].Tool.Driver.Name != "goss" || log.Runs[0].Results == nil {
				t.Fatalf("%+v", log)
			}
			run, seen := log.Runs[0], map[string]bool{}
			if _, ok := run.Invocations[0]["executionSuccessful"].(bool); !ok {
				t.Error("no executionSuccessful")
			}
			for _, rule := range run.Tool.Driver.Rules {
				if rule.ID == "" || seen[rule.ID] {
					t.Errorf("the rule %q", rule.ID)
				}
				seen[rule.ID] = true
			}
			for _, x := range run.Results {
				if x.RuleIndex == nil || run.Tool.Driver.Rules[*x.RuleIndex].ID != x.RuleID || x.Message.Text == "" ||
					!slices.Contains([]string{"error", "warning", "note", "none"}, x.Level) || len(x.Fingerprints) == 0 || len(x.Locations) != 1 {
					t.Errorf("%+v", x)
					continue
				}
				place := x.Locations[0].Physical
				if place.Artifact.URI == "" || strings.ContainsAny(place.Artifact.URI, " \\<>\"") || place.Region != nil && place.Region.StartLine < 1 {
					t.Errorf("location %+v", place)
				}
			}
		})
	}
	text := string(rendered(t, "sarif", hostileResult(t, "")))
	for _, want := range []string{`"uri": "tests/a%20b.yaml"`, `"uri": "tests/inc.yaml"`, `"startLine": 7`, `"ruleId": "File/exists"`, `"level": "note"`, `"executionSuccessful": false`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
	if got := uri("/srv/a.yaml"); got != "file:///srv/a.yaml" {
		t.Errorf("an absolute path is %s", got)
	}
}

// TestTAP reads the report as a TAP reader does.
func TestTAP(t *testing.T) {
	point := regexp.MustCompile(`^(not )?ok (\d+) - ((?:[^\\#]|\\.)*?)(?: # (SKIP|TODO).*)?$`)
	for name, r := range results(t) {
		for _, format := range []string{"tap", "tap14"} {
			t.Run(name+" "+format, func(t *testing.T) {
				lines := strings.Split(strings.TrimSuffix(string(rendered(t, format, r)), "\n"), "\n")
				version := map[string]string{"tap": "TAP version 13", "tap14": "TAP version 14"}[format]
				if lines[0] != version {
					t.Errorf("the first line is %q", lines[0])
				}
				// plan and count, by indentation
				bad := false
				plan, count := map[string]int{}, map[string]int{}
				inYAML := false
				for _, line := range lines[1:] {
					rest := strings.TrimLeft(line, " ")
					indent := line[:len(line)-len(rest)]
					if n, ok := strings.CutPrefix(rest, "1.."); ok {
						plan[indent], _ = strconv.Atoi(n)
						count[indent] = 0
						continue
					}
					switch {
					case rest == "---":
						inYAML = true
					case rest == "...":
						inYAML = false
					case inYAML:
						if !regexp.MustCompile(`^[a-z]+: ".*"$`).MatchString(rest) {
							t.Errorf("in a YAML block: %q", line)
						}
					case strings.HasPrefix(rest, "# Subtest: "):
					default:
						m := point.FindStringSubmatch(rest)
						if m == nil {
							t.Errorf("no test point: %q", line)
							continue
						}
						count[indent]++
						if m[2] != strconv.Itoa(count[indent]) {
							t.Errorf("number %s at %d", m[2], count[indent])
						}
						if indent == "    " && count[indent] > plan[indent] || m[4] == "SKIP" && m[1] != "" {
							t.Errorf("%q", line)
						}
						bad = bad || indent == "" && m[1] != "" && m[4] == ""
					}
				}
				if plan[""] != count[""] {
					t.Errorf("planned %d, found %d", plan[""], count[""])
				}
				if bad != (r.Err() != nil) {
					t.Errorf("the file says bad=%v, the verdict is %v", bad, r.Err())
				}
			})
		}
	}
	text := string(rendered(t, "tap", hostileResult(t, "")))
	for _, want := range []string{"# TODO severity low is below fail_on", "# SKIP", `message: "`, `at: "tests/inc.yaml:7"`, "not ok 14 - b.yaml: goss: no result"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
}

func TestMarkdown(t *testing.T) {
	for name, r := range results(t) {
		text := string(rendered(t, "markdown", r))
		columns := 0
		for _, line := range strings.Split(text, "\n") {
			if !strings.HasPrefix(line, "|") {
				columns = 0
				if strings.ContainsAny(line, "`@<>[]") {
					t.Errorf("%s: %q", name, line)
				}
				continue
			}
			if n := strings.Count(line, "|"); columns == 0 {
				columns = n
			} else if n != columns {
				t.Errorf("%s: %d columns and not %d: %q", name, n, columns, line)
			}
			if strings.ContainsAny(strings.NewReplacer("<code>", "", "</code>", "").Replace(line), "`@<>[]") {
				t.Errorf("%s: %q", name, line)
			}
		}
	}
	text := string(mixedResult(t).JobSummary(about()))
	for _, want := range []string{"**The machine did not pass.**", "- 6 of 13 goss tests failed\n", "| goss&#46;yaml | 5 | 6 | 0 | 2 | 1 |", "| must exist | File &#47;etc&#47;no&#45;such&#45;file | exists | high | <code>to equal true</code> | <code>false</code> |", "goss v0&#46;4&#46;10, Debian"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
}

func TestAnnotations(t *testing.T) {
	command := regexp.MustCompile(`^::(error|warning) (?:file=[^:,]*,)?(?:line=\d+,)?title=[^:,]*::.+$`)
	for name, r := range results(t) {
		for _, line := range r.Annotations() {
			if !command.MatchString(line) {
				t.Errorf("%s: %q", name, line)
			}
		}
	}
	got := mixedResult(t).Annotations()
	want := `::error file=goss.yaml,line=7,title=must exist::must exist: File /etc/no-such-file: exists: expected to equal true, got false`
	if !slices.Contains(got, want) || len(got) != 6 {
		t.Errorf("%s is not in\n%s", want, strings.Join(got, "\n"))
	}
	r := mixedResult(t)
	r.Rules.ReportOnly, r.Waived, r.Problems = true, r.Problems, nil
	if got := strings.Join(r.Annotations(), "\n"); strings.Contains(got, "::error") || !strings.Contains(got, "::warning") {
		t.Errorf("under report_only\n%s", got)
	}
	var many []outcome
	for i := range 30 {
		many = append(many, outcome{fmt.Sprintf("/%d", i), Fail, nil})
	}
	if got := once(Rules{}, made(t, many...), Linted{}).Annotations(); len(got) != 10 || !strings.Contains(got[9], "and 21 more") {
		t.Errorf("%d annotations, the last is %q", len(got), got[len(got)-1])
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

func TestReceipt(t *testing.T) {
	in := ReceiptInput{
		About:   about(),
		Sources: []Source{{Name: "b.yaml", Data: []byte("b")}, {Name: "a.yaml", Data: []byte("hunter2")}},
		Vars:    map[string]any{"password": "hunter2", "a": 1}, Keys: map[string]string{"packer_run_uuid": "u"},
	}
	stored := func(r *Result) []byte {
		t.Helper()
		receipt, err := NewReceipt(r, in)
		if err != nil {
			t.Fatal(err)
		}
		b, err := receipt.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := stored(good(t))
	if strings.Contains(string(b), "hunter2") || !strings.Contains(string(b), `"password"`) || !strings.Contains(string(b), digestOf([]byte("hunter2"))) {
		t.Errorf("%s", b)
	}
	p, err := ReceiptProof(b)
	if err != nil || p.State != ProofPassed || p.Tests != 7 || p.Digest != digestOf(b) {
		t.Errorf("%+v, %v", p, err)
	}
	tags := p.Tags()
	if tags["armfree-validated"] != "true" || tags["armfree-validated-tests"] != "7" || tags["armfree-validated-digest"] != "sha256:"+p.Digest {
		t.Errorf("%v", tags)
	}
	if p.Stale().State != ProofStale {
		t.Error("not stale")
	}
	receipt, err := ReadReceipt(b)
	if err != nil || receipt.Keys["packer_run_uuid"] != "u" || receipt.Machine.OS == "" || receipt.Sources[0].Name != "a.yaml" || receipt.Gossfiles[0].Counts.Passed != 7 {
		t.Errorf("%+v, %v", receipt, err)
	}

	if p, err := ReceiptProof(stored(mixedResult(t))); err != nil || p.State != ProofFailed || p.Stale().State != ProofFailed {
		t.Errorf("a failure gives %+v, %v", p, err)
	}
	s := NewSession(Rules{ReportOnly: true}, Suite{Name: "a"})
	s.Record(0, Run{ExitCode: 1, Output: recording(t, "mixed.json")}, time.Time{}, 0)
	if p, err := ReceiptProof(stored(s.Result())); err != nil || p.State != ProofReported {
		t.Errorf("report_only gives %+v, %v", p, err)
	}
	for _, bad := range []string{"", "{}", string(b[:100]), strings.Replace(string(b), `"verdict": "passed"`, `"verdict": "good"`, 1), string(rendered(t, "json", good(t)))} {
		if p, err := ReceiptProof([]byte(bad)); err == nil || p.State != ProofFailed || p.Tags()["armfree-validated"] != "false" {
			t.Errorf("%.60q proves %+v", bad, p)
		}
	}
}

func FuzzReadBack(f *testing.F) {
	r := good(f)
	report, err := Render("json", r, about())
	if err != nil {
		f.Fatal(err)
	}
	receipt, err := NewReceipt(r, ReceiptInput{})
	if err != nil {
		f.Fatal(err)
	}
	stored, err := receipt.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(report)
	f.Add(stored)
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, err := ReadBaseline(data); err == nil && b.Compare(good(t)) == nil {
			t.Fatal("nothing compared")
		}
		if p, err := ReceiptProof(data); p.State == ProofPassed && (err != nil || p.Tests < 1) {
			t.Fatalf("%+v, %v", p, err)
		}
	})
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
	if dir := os.Getenv("ARMFREE_REPORTS"); dir != "" { // to hold the files against schemas by hand
		for name, r := range results(t) {
			for _, format := range Formats() {
				if err := os.WriteFile(dir+"/"+name+"."+format+Extension(format), rendered(t, format, r), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
