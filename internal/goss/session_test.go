// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// outcome is a test for a made-up result.
type outcome struct {
	id       string
	result   Outcome
	severity any
}

// made is a run of goss with these outcomes.
func made(t testing.TB, outcomes ...outcome) Run {
	t.Helper()
	var results []map[string]any
	count := map[Outcome]int{}
	for _, o := range outcomes {
		r := map[string]any{
			"title": "", "resource-type": "File", "resource-id": o.id, "property": "exists", "result": int(o.result),
			"successful": o.result != Fail, "skipped": o.result == Skip, "duration": 1000,
			"matcher-result": map[string]any{"expected": true, "actual": false, "message": "to equal"},
		}
		if o.severity != nil {
			r["meta"] = map[string]any{"severity": o.severity}
		}
		results = append(results, r)
		count[o.result]++
	}
	doc, err := json.Marshal(map[string]any{"results": results, "summary": map[string]any{
		"test-count": len(outcomes), "failed-count": count[Fail], "skipped-count": count[Skip], "total-duration": 5000,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return Run{ExitCode: min(count[Fail], 1), Output: doc}
}

func TestSeverities(t *testing.T) {
	for word, want := range map[string]Severity{"info": Info, " LOW": Low, "moderate": Medium, "High": High, "blocker": Critical} {
		if got, err := ParseSeverity(word); err != nil || got != want {
			t.Errorf("%q is %v, %v", word, got, err)
		}
	}
	if _, err := ParseSeverity("hihg"); err == nil || !strings.Contains(err.Error(), "info, low, medium, high, critical") {
		t.Errorf("got %v", err)
	}
}

func TestRules(t *testing.T) {
	a := []outcome{{"/a", Pass, nil}, {"/b", Fail, "low"}, {"/c", Fail, "high"}}
	low := []outcome{{"/a", Pass, nil}, {"/b", Fail, "low"}}
	tests := []struct {
		name  string
		runs  []Run
		rules Rules
		want  Reason
		says  string
		count Counts
	}{
		{name: "all failures count", runs: []Run{made(t, a...)}, want: Failed, says: "2 of 3 goss tests failed", count: Counts{3, 1, 2, 0, 0}},
		{name: "only those that matter", runs: []Run{made(t, a...)}, rules: Rules{FailOn: High}, want: Failed, says: "1 of 3 goss tests failed at severity high or above", count: Counts{3, 1, 1, 1, 0}},
		{name: "none that matters", runs: []Run{made(t, low...)}, rules: Rules{FailOn: Medium}, count: Counts{2, 1, 0, 1, 0}},
		{name: "a test without a severity matters", runs: []Run{made(t, outcome{"/a", Fail, nil})}, rules: Rules{FailOn: Critical}, want: Failed},
		{name: "so does one with a typing error", runs: []Run{made(t, outcome{"/a", Fail, "lwo"})}, rules: Rules{FailOn: Critical}, want: Failed},
		{name: "and one with a number", runs: []Run{made(t, outcome{"/a", Fail, 3})}, rules: Rules{FailOn: Critical}, want: Failed},
		{name: "as many as are let pass", runs: []Run{made(t, a...)}, rules: Rules{MaxFailed: 2}, count: Counts{3, 1, 2, 0, 0}},
		{name: "one more", runs: []Run{made(t, a...)}, rules: Rules{MaxFailed: 1}, want: Failed, says: "max_failed lets 1 pass"},
		{name: "over several files", runs: []Run{made(t, low...), made(t, low...)}, rules: Rules{MaxFailed: 1}, want: Failed, says: "0.yaml: 1 of 2 goss tests failed, max_failed lets 1 pass; 1.yaml: 1 of 2"},
		{name: "report_only", runs: []Run{made(t, a...)}, rules: Rules{ReportOnly: true, MinTests: 9}, count: Counts{3, 1, 2, 0, 0}},
		{name: "report_only, and goss did not run", runs: []Run{{ExitCode: 127}}, rules: Rules{ReportOnly: true}, want: NotRun},
		{name: "report_only, and the result is cut off", runs: []Run{{Output: made(t, a...).Output[:99]}}, rules: Rules{ReportOnly: true}, want: Unreadable},
		{name: "report_only, and nothing was tested", runs: []Run{made(t)}, rules: Rules{ReportOnly: true}, want: NoTests},
		{name: "report_only, and all was skipped", runs: []Run{made(t, outcome{"/a", Skip, nil})}, rules: Rules{ReportOnly: true}, want: AllSkipped},
		{name: "max_failed does not excuse a missing result", runs: []Run{{}}, rules: Rules{MaxFailed: 99}, want: Missing},
		{name: "one file passes and one has nothing to say", runs: []Run{made(t, outcome{"/a", Pass, nil}), made(t, outcome{"/a", Skip, nil})}, want: AllSkipped, says: "1.yaml: every"},
		{name: "min_tests counts over all files", runs: []Run{made(t, outcome{"/a", Pass, nil}), made(t, outcome{"/a", Pass, nil})}, rules: Rules{MinTests: 2}, count: Counts{2, 2, 0, 0, 0}},
		{name: "too few over all files", runs: []Run{made(t, outcome{"/a", Pass, nil}), made(t, outcome{"/a", Pass, nil}, outcome{"/b", Skip, nil})}, rules: Rules{MinTests: 3}, want: TooFew, says: "carried out 2 tests but min_tests demands 3"},
		{name: "warnings are carried out", runs: []Run{made(t, low...)}, rules: Rules{FailOn: High, MinTests: 2}, count: Counts{2, 1, 0, 1, 0}},
		{name: "failed and too few: both are said", runs: []Run{made(t, a...)}, rules: Rules{MinTests: 9}, want: Failed, says: "2 of 3 goss tests failed; goss carried out 3 tests but min_tests demands 9"},
		{name: "no files", want: NoTests, says: "no gossfile was run"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var suites []Suite
			for i := range tt.runs {
				suites = append(suites, Suite{Name: fmt.Sprintf("%d.yaml", i)})
			}
			s := NewSession(tt.rules, suites...)
			for i, run := range tt.runs {
				s.Record(i, run, time.Time{}, 0)
			}
			r := s.Result()
			check(t, r.Err(), tt.want, tt.says)
			if tt.want == 0 && r.Counts() != tt.count {
				t.Errorf("counts %+v", r.Counts())
			}
			if tt.rules.ReportOnly && tt.want == 0 && len(r.Waived) != 2 {
				t.Errorf("waived %v", r.Waived)
			}
		})
	}
}

func TestUnrun(t *testing.T) {
	s := NewSession(Rules{}, Suite{Name: "a"}, Suite{Name: "b"})
	s.Record(0, made(t, outcome{"/a", Pass, nil}), time.Time{}, 0)
	check(t, s.Result().Err(), NotRun, "b: goss was not run")
}

func TestStrangeSeveritiesAreNamed(t *testing.T) {
	s := NewSession(Rules{}, Suite{Name: "a"})
	s.Record(0, made(t, outcome{"/a", Pass, "hihg"}, outcome{"/b", Pass, "low"}), time.Time{}, 0)
	if named := s.Result().Named; len(named) != 1 || !strings.Contains(named[0], `"hihg"`) {
		t.Errorf("named %q", named)
	}
}

// Only what failed is run again, and only as long as it can help.
func TestRetries(t *testing.T) {
	ok, bad, low := made(t, outcome{"/a", Pass, nil}), made(t, outcome{"/a", Fail, "high"}), made(t, outcome{"/a", Fail, "low"})
	type step struct {
		suite int
		run   Run
	}
	tests := []struct {
		name  string
		rules Rules
		steps []step
		want  []int
	}{
		{name: "at first all", want: []int{0, 1, 2}},
		{name: "what was not run yet", steps: []step{{0, bad}, {1, ok}}, want: []int{2}},
		{name: "all passed", steps: []step{{0, ok}, {1, ok}, {2, ok}}},
		{name: "those that failed", steps: []step{{0, bad}, {1, ok}, {2, bad}}, want: []int{0, 2}},
		{name: "one of them passed", steps: []step{{0, bad}, {1, ok}, {2, bad}, {0, ok}}, want: []int{2}},
		{name: "one that cannot heal", steps: []step{{0, bad}, {1, Run{ExitCode: 78}}, {2, bad}}},
		{name: "one that cannot heal, before the rest is run", steps: []step{{0, Run{ExitCode: 78}}}},
		{name: "nothing that matters failed", rules: Rules{FailOn: High}, steps: []step{{0, low}, {1, ok}, {2, low}}},
		{name: "fewer than max_failed", rules: Rules{MaxFailed: 1}, steps: []step{{0, bad}, {1, ok}, {2, ok}}},
		{name: "more than max_failed", rules: Rules{MaxFailed: 1}, steps: []step{{0, bad}, {1, ok}, {2, bad}}, want: []int{0, 2}},
		{name: "report_only waits for services as well", rules: Rules{ReportOnly: true}, steps: []step{{0, bad}, {1, ok}, {2, ok}}, want: []int{0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewSession(tt.rules, Suite{Name: "a"}, Suite{Name: "b"}, Suite{Name: "c"})
			for _, step := range tt.steps {
				s.Record(step.suite, step.run, time.Time{}, 0)
			}
			if got := s.Pending(); !slices.Equal(got, tt.want) {
				t.Errorf("pending %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAttemptsAreRecorded(t *testing.T) {
	s := NewSession(Rules{}, Suite{Name: "a"})
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	bad := made(t, outcome{"/a", Fail, nil}, outcome{"/b", Pass, nil})
	if err := s.Record(0, bad, start, time.Second); err == nil {
		t.Error("the first attempt passed")
	}
	s.Record(0, bad, start.Add(time.Minute), time.Second)
	check(t, s.Result().Err(), Failed, "1 of 2 goss tests failed after 2 attempts")
	s.Record(0, made(t, outcome{"/a", Pass, nil}), start, time.Second)
	r := s.Result()
	check(t, r.Err(), 0, "")
	if got := r.Suites[0].Attempts; len(got) != 3 || got[0].Failed != 1 || got[1].Number != 2 || got[2].Verdict != "" || got[0].Verdict == "" || r.Attempts() != 3 {
		t.Errorf("attempts %+v", got)
	}
}

func TestBaseline(t *testing.T) {
	session := func(rules Rules, outcomes ...outcome) *Result {
		s := NewSession(rules, Suite{Name: "goss.yaml"})
		s.Record(0, made(t, outcomes...), time.Time{}, 0)
		return s.Result()
	}
	report, err := Render("json", session(Rules{}, outcome{"/stays", Pass, nil}, outcome{"/breaks", Pass, nil}, outcome{"/heals", Fail, nil},
		outcome{"/goes", Pass, nil}, outcome{"/is skipped now", Fail, nil}, outcome{"/was skipped", Skip, nil}, outcome{"/still fails", Fail, nil}), About{})
	if err != nil {
		t.Fatal(err)
	}
	old, err := ReadBaseline(report)
	if err != nil {
		t.Fatal(err)
	}
	now := []outcome{{"/stays", Pass, nil}, {"/breaks", Fail, nil}, {"/heals", Pass, nil}, {"/is skipped now", Skip, nil},
		{"/was skipped", Pass, nil}, {"/still fails", Fail, nil}, {"/new and bad", Fail, nil}}
	r := session(Rules{Baseline: old, MaxFailed: 9}, now...)
	ids := func(keys []TestKey) string {
		var list []string
		for _, k := range keys {
			list = append(list, k.ID)
		}
		return strings.Join(list, " ")
	}
	for _, c := range []struct {
		what      string
		got, want string
	}{
		{"new failures", ids(r.Changes.NewFailures), "/breaks /new and bad"},
		{"fixed", ids(r.Changes.Fixed), "/heals"},
		{"vanished", ids(r.Changes.Vanished), "/goes /is skipped now"},
		{"added", ids(r.Changes.Added), "/new and bad /was skipped"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
	check(t, r.Err(), 0, "")
	check(t, session(Rules{Baseline: old, MaxFailed: 9, Vanished: true}, now...).Err(), Vanished, "2 tests of the baseline were not carried out, such as goss.yaml: File /goes: exists")
	if summary := strings.Join(r.Summary(), "\n"); !strings.Contains(summary, "since the baseline: 2 new failures, 1 fixed, 2 vanished, 2 added") || !strings.Contains(summary, "vanished goss.yaml: File /goes") {
		t.Errorf("the summary says\n%s", summary)
	}

	for _, bad := range []string{"", "{}", `{"schema":"armfree.goss.report/9"}`, `{"schema":"armfree.goss.report/1","gossfiles":[]}`,
		strings.Replace(string(report), `"outcome": "pass"`, `"outcome": "good"`, 1), string(report[:200]), string(recording(t, "pass.json"))} {
		if _, err := ReadBaseline([]byte(bad)); err == nil {
			t.Errorf("taken as a baseline: %.80s", bad)
		}
	}
}

func TestBaselineWithoutResult(t *testing.T) {
	s := NewSession(Rules{}, Suite{Name: "a"})
	s.Record(0, made(t, outcome{"/a", Pass, nil}), time.Time{}, 0)
	report, err := Render("json", s.Result(), About{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := ReadBaseline(report)
	if err != nil {
		t.Fatal(err)
	}
	s = NewSession(Rules{Baseline: b, Vanished: true}, Suite{Name: "a"})
	s.Record(0, Run{ExitCode: 127}, time.Time{}, 0)
	if r := s.Result(); len(r.Problems) != 1 || len(r.Changes.Vanished) != 0 {
		t.Errorf("%v, %+v", r.Err(), r.Changes)
	}
}

// A gossfile with nothing but warnings has passed by itself.
func TestWarningsOnly(t *testing.T) {
	s := NewSession(Rules{FailOn: High}, Suite{Name: "a"})
	if err := s.Record(0, made(t, outcome{"/a", Fail, "low"}), time.Time{}, 0); err != nil {
		t.Error(err)
	}
	if r := s.Result(); r.Suites[0].Err != nil || r.Suites[0].Attempts[0].Verdict != "" || r.Suites[0].Attempts[0].Failed != 1 {
		t.Errorf("%+v", r.Suites[0])
	}
}

// What goss prints is masked before a sentence quotes the beginning of it.
func TestSentencesAreMasked(t *testing.T) {
	secret := strings.Repeat("s3cret", 40) + "\nsecond line"
	mask := func(s string) string { return strings.ReplaceAll(s, secret, "***") }
	for _, run := range []Run{
		{ExitCode: 78, Output: []byte("Error: bad " + secret)},
		{ExitCode: 1, Output: []byte("NAME"), Warnings: []byte("Usage " + secret)},
		{ExitCode: 0, Output: []byte("x " + secret), Warnings: []byte(secret)},
		{ExitCode: 0, Output: append(made(t, outcome{"/a", Pass, nil}).Output, "\n"+secret...)},
		{ExitCode: 126, Warnings: []byte("sh: " + secret)},
	} {
		s := NewSession(Rules{Mask: mask}, Suite{Name: "a"})
		s.Record(0, run, time.Time{}, 0)
		r := s.Result()
		if text := r.Err().Error() + strings.Join(r.Summary(), "\n"); strings.Contains(text, "s3cret") || !strings.Contains(text, "***") {
			t.Errorf("%d: %s", run.ExitCode, text)
		}
	}
}

// A report has masked names; a secret in a name does not make a test vanish.
func TestBaselineWithSecrets(t *testing.T) {
	mask := func(s string) string { return strings.ReplaceAll(s, "hunter2", "***") }
	run := made(t, outcome{"/etc/hunter2", Pass, nil})
	s := NewSession(Rules{}, Suite{Name: "a"})
	s.Record(0, run, time.Time{}, 0)
	report, err := Render("json", s.Result().Masked(mask), About{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := ReadBaseline(report)
	if err != nil {
		t.Fatal(err)
	}
	s = NewSession(Rules{Baseline: b.Masking(mask), Vanished: true}, Suite{Name: "a"})
	s.Record(0, run, time.Time{}, 0)
	check(t, s.Result().Err(), 0, "")
}
