// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The recordings in testdata were printed by goss v0.4.10 for the gossfiles
// beside them.
func recording(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestJudge(t *testing.T) {
	pass, mixed := string(recording(t, "pass.json")), string(recording(t, "mixed.json"))
	skipped := string(recording(t, "skipped.json"))
	// A result is falsified by changing one thing in a true one.
	change := func(doc, old, new string) string {
		t.Helper()
		if !strings.Contains(doc, old) {
			t.Fatalf("the recording does not contain %s", old)
		}
		return strings.Replace(doc, old, new, 1)
	}

	tests := []struct {
		name   string
		exit   int
		output string
		warns  string
		rules  Rules
		want   Reason // 0: the machine passed
		says   string
	}{
		{name: "passed", output: pass},
		{name: "passed with just enough tests", output: pass, rules: Rules{MinTests: 7}},
		{name: "failed", exit: 1, output: mixed, want: Failed, says: "6 of 13 goss tests failed"},
		{name: "failed and too few", exit: 1, output: mixed, rules: Rules{MinTests: 50}, want: Failed, says: "6 of 13"},

		{name: "too few", output: pass, rules: Rules{MinTests: 8}, want: TooFew, says: "goss carried out 7 tests but min_tests demands 8"},
		{name: "all skipped", output: skipped, want: AllSkipped, says: "every goss test was skipped (2 of 2)"},
		{name: "no workers", output: string(recording(t, "no-workers.json")), want: NoTests, says: "no test at all"},
		{name: "nothing printed", output: "", want: Empty, says: "printed no result"},
		{name: "only blanks printed", output: " \n", want: Empty, says: "printed no result"},

		{name: "not JSON", output: "Total Duration: 0.001s\nCount: 7, Failed: 0, Skipped: 0\n", want: Unreadable, says: "Total Duration"},
		{name: "cut off", output: pass[:len(pass)/2], want: Unreadable, says: "cut off"},
		{name: "an array", output: "[]", want: Unreadable},
		{name: "an empty object", output: "{}", want: Unreadable, says: "no complete summary"},
		{name: "null", output: "null", want: Unreadable},
		{name: "two documents", output: pass + pass, want: Unreadable, says: "followed by something else"},
		{name: "text after it", output: pass + "Attempt #2:\n", want: Unreadable, says: "Attempt #2:"},
		{name: "goss's own retries", exit: 1, output: string(recording(t, "retried.txt")), want: Unreadable},
		{name: "the format that never fails", output: string(recording(t, "structured.txt")), want: Unreadable},
		{name: "no verdict in a result", output: change(pass, `"result":0,`, ``), want: Unreadable, says: "how the test ended"},
		{name: "an unknown verdict", output: change(pass, `"result":0,`, `"result":3,`), want: Unreadable, says: "no outcome 3"},
		{name: "a result without a name", output: change(pass, `"resource-id":"echo hello",`, ``), want: Unreadable, says: "test 1 of 7"},
		{name: "a result that contradicts itself", output: change(pass, `"successful":true`, `"successful":false`), want: Unreadable, says: "contradicts itself"},
		{name: "a skip that claims to have run", output: change(skipped, `"skipped":true`, `"skipped":false`), want: Unreadable, says: "contradicts itself"},

		{name: "a test missing in the summary", output: change(pass, `"test-count":7`, `"test-count":6`), want: Disagree, says: "counts 6 tests but its results hold 7"},
		{name: "a failure missing in the summary", exit: 1, output: change(mixed, `"failed-count":6`, `"failed-count":5`), want: Disagree, says: "counts 5 failed tests"},
		{name: "a skip missing in the summary", output: change(skipped, `"skipped-count":2`, `"skipped-count":0`), want: Disagree, says: "counts 0 skipped tests"},
		{name: "failures but exit code 0", exit: 0, output: mixed, want: Disagree, says: "exit code 0 but its result holds 6 failed tests"},
		{name: "no failure but exit code 1", exit: 1, output: pass, want: Disagree, says: "exit code 1 but its result holds 0 failed tests"},

		{name: "a flag misused", exit: 1, output: "NAME:\n   goss", warns: "Incorrect Usage: flag provided but not defined: -x", want: Unreadable, says: "Incorrect Usage"},
		{name: "bad gossfile", exit: 78, output: "Error: found 0 tests, source: a.yaml\n", want: NotRun, says: "(exit code 78): Error: found 0 tests"},
		{name: "a passing result beside a bad exit code", exit: 78, output: pass, want: NotRun, says: "exit code 78"},
		{name: "goss's own timeout", exit: 3, output: "Error: timeout of 1s", want: NotRun, says: "retry timeout"},
		{name: "noexec", exit: 126, warns: "sh: ./goss: Permission denied", want: NotRun, says: "noexec (exit code 126): sh: ./goss: Permission denied"},
		{name: "not found", exit: 127, want: NotRun, says: "not found"},
		{name: "killed", exit: 137, output: pass[:100], want: NotRun, says: "memory"},
		{name: "ended by SIGTERM", exit: 143, want: NotRun, says: "signal 15"},
		{name: "the exit code of nagios", exit: 2, output: mixed, want: NotRun, says: "exit code 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Judge(Run{ExitCode: tt.exit, Output: []byte(tt.output), Warnings: []byte(tt.warns)}, tt.rules)
			check(t, err, tt.want, tt.says)
		})
	}

	t.Run("missing", func(t *testing.T) {
		_, err := Judge(Run{ExitCode: 0}, Rules{})
		check(t, err, Missing, "its result is missing")
	})
}

func check(t *testing.T, err error, want Reason, says string) {
	t.Helper()
	if want == 0 {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	var refusal *Error
	if !errors.As(err, &refusal) {
		t.Fatalf("got error %v, want a refusal", err)
	}
	if refusal.Reason != want || !strings.Contains(refusal.Error(), says) {
		t.Fatalf("refused for reason %d: %v\nwant reason %d and the words %q", refusal.Reason, refusal, want, says)
	}
	if refusal.Again() != (want == Failed) {
		t.Fatalf("Again() = %v for reason %d", refusal.Again(), want)
	}
}

// Each reason must be told apart by its words alone, since words are all that
// a user sees.
func TestReasonsHaveTheirOwnSentence(t *testing.T) {
	runs := []Run{
		{ExitCode: 78},
		{ExitCode: 0},
		{Output: []byte{}},
		{Output: []byte("x")},
		{ExitCode: 1, Output: recording(t, "pass.json")},
		{Output: recording(t, "no-workers.json")},
		{Output: recording(t, "skipped.json")},
		{ExitCode: 1, Output: recording(t, "mixed.json")},
	}
	seen := map[string]bool{}
	for _, run := range runs {
		_, err := Judge(run, Rules{})
		if err == nil {
			t.Fatalf("%+v was accepted", run)
		}
		if seen[err.Error()] {
			t.Errorf("two reasons say %q", err)
		}
		seen[err.Error()] = true
	}
}

func FuzzJudge(f *testing.F) {
	for _, name := range []string{"pass.json", "mixed.json", "skipped.json", "no-workers.json", "structured.txt", "retried.txt"} {
		f.Add(0, recording(f, name))
		f.Add(1, recording(f, name))
	}
	f.Add(0, []byte(`{"results":[{}],"summary":{"test-count":1,"failed-count":0,"skipped-count":0}}`))
	f.Fuzz(func(t *testing.T, exit int, output []byte) {
		report, err := Judge(Run{ExitCode: exit, Output: output}, Rules{})
		if report != nil {
			for i := range report.Tests {
				line := report.Tests[i].Line()
				if strings.ContainsAny(line, "\n\r\x1b") {
					t.Fatalf("a line of the report can steer the terminal: %q", line)
				}
			}
		}
		if err != nil {
			return
		}
		if exit != 0 || report == nil || report.Count(Fail) != 0 || report.Count(Pass) == 0 {
			t.Fatalf("accepted with exit code %d: %s", exit, output)
		}
	})
}
