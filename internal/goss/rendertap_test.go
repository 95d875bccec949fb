// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

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

// A summary that is too long for GitHub would be no summary.
func TestJobSummaryIsNotTooLong(t *testing.T) {
	r := mixedResult(t)
	if got := r.JobSummary(about()); string(got) != string(rendered(t, "markdown", r)) {
		t.Errorf("%s", got)
	}
	var many []outcome
	for i := range mostRows {
		many = append(many, outcome{fmt.Sprintf("/%d%s", i, strings.Repeat("*", 200)), Fail, nil})
	}
	r = once(Rules{}, made(t, many...), Linted{})
	for range 50 {
		r.Named = append(r.Named, strings.Repeat("[", 100*longest))
	}
	whole := rendered(t, "markdown", r)
	got := r.JobSummary(about())
	if len(whole) < 1<<20 || len(got) > 600<<10 || !strings.HasSuffix(string(got), "\n\nThere is more; see the reports.\n") {
		t.Errorf("%d of %d bytes, ending in %q", len(got), len(whole), got[len(got)-100:])
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
	r = mixedResult(t)
	r.Rules.MaxFailed, r.Problems = 6, nil
	if got := strings.Join(r.Annotations(), "\n"); strings.Contains(got, "::error") || !strings.Contains(got, "::warning") {
		t.Errorf("within max_failed\n%s", got)
	}
	var many []outcome
	for i := range 30 {
		many = append(many, outcome{fmt.Sprintf("/%d", i), Fail, nil})
	}
	if got := once(Rules{}, made(t, many...), Linted{}).Annotations(); len(got) != 10 || !strings.Contains(got[9], "and 21 more") {
		t.Errorf("%d annotations, the last is %q", len(got), got[len(got)-1])
	}
}
