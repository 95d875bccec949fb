// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func result(family, client string, over time.Duration) Result {
	const hour = time.Hour
	r := Result{Family: family, Client: client, Possible: true, Bound: hour, Won: true, At: hour + over, Ended: 2 * hour,
		Counts: Counts{Launches: 20, Reports: 8, Reads: 2, Throttled: 1}}
	if over == Never {
		r.Won, r.At = false, 0
	}
	return r
}

func TestSum(t *testing.T) {
	const s = time.Second
	var many []Result
	for i := range 20 {
		many = append(many, result("a", "x", time.Duration(20-i)*s))
	}
	lost := result("a", "x", Never)
	for _, c := range []struct {
		name    string
		results []Result
		want    Stats
	}{
		{"nobody", nil, Stats{Median: Never, P95: Never}},
		{"one", many[:1], Stats{Runs: 1, Won: 1, Median: 20 * s, P95: 20 * s, PerHour: 15, Throttled: 1}},
		{"twenty", many, Stats{Runs: 20, Won: 20, Median: 10 * s, P95: 19 * s, PerHour: 15, Throttled: 20}},
		{"a lost one in twenty-one is beyond the 95th", append(many[:20:20], lost),
			Stats{Runs: 21, Won: 20, Lost: 1, Median: 11 * s, P95: 20 * s, PerHour: 15, Throttled: 21}},
		{"two in twenty are not", append(many[:18:18], lost, lost),
			Stats{Runs: 20, Won: 18, Lost: 2, Median: 12 * s, P95: Never, PerHour: 15, Throttled: 20}},
		{"nothing to win", []Result{{Ended: Deadline, Counts: Counts{Launches: 600}}}, Stats{Runs: 1, Median: Never, P95: Never, PerHour: 60}},
	} {
		if got := Sum(c.results); got != c.want {
			t.Errorf("%s: %+v, not %+v", c.name, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	results := []Result{
		result("a", "x", 1500*time.Millisecond), result("a", "long name", 61*time.Second),
		result("b", "x", Never), {Family: "nothing", Client: "x", Ended: Deadline}, result("a", "x", 2500*time.Millisecond),
	}
	var got strings.Builder
	if err := Table(&got, Rows(results)); err != nil {
		t.Fatal(err)
	}
	want := `
| family  | client    | won | lost | median |  p95 | requests/h | 429s |
| ---     | ---       | --: |  --: |    --: |  --: |        --: |  --: |
| a       | x         | 2/2 |    0 |   1.5s | 2.5s |         15 |    2 |
|         | long name | 1/1 |    0 |   1m1s | 1m1s |         15 |    1 |
| b       | x         | 0/1 |    1 |   lost | lost |         15 |    1 |
| nothing | x         | 0/1 |    0 |      - |    - |          0 |    0 |
`
	if got.String() != want[1:] {
		t.Errorf("got\n%s\nnot%s", &got, want)
	}
	if err := Table(broken{}, Rows(results)); err == nil {
		t.Error("what could not be written is not told")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("full") }
