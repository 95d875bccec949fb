// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package proof

import (
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
)

func TestParseValue(t *testing.T) {
	want := goss.Proof{State: goss.ProofPassed, Tests: 42, Digest: strings.Repeat("0f", 32), Bootable: true, Finish: strings.Repeat("1e", 32)}
	if got, err := ParseValue(Value(want)); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "true", "true tests=x sha256=y", "tests=1 sha256=y"} {
		if got, err := ParseValue(bad); err == nil {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}

// What an image says of several checks is no more than all of them leave true.
func TestOfSeveral(t *testing.T) {
	type check struct {
		verdict  string
		bootable bool
		finish   string
		touched  bool // something else ran after it
	}
	passed := check{verdict: "passed"}
	for _, tt := range []struct {
		name     string
		checks   []check
		state    string
		bootable bool
		finish   string
	}{
		{"one", []check{passed}, goss.ProofPassed, false, ""},
		{"two", []check{passed, {verdict: "passed", bootable: true}}, goss.ProofPassed, true, ""},
		{"bootable at first", []check{{verdict: "passed", bootable: true}, passed}, goss.ProofPassed, true, ""},
		{"the last one finishes", []check{passed, {verdict: "passed", bootable: true, finish: "f"}}, goss.ProofPassed, true, "f"},
		{"an earlier one finishes", []check{{verdict: "passed", finish: "f"}, passed}, goss.ProofStale, false, ""},
		{"an earlier one finishes and was bootable", []check{{verdict: "passed", bootable: true, finish: "f"}, passed}, goss.ProofStale, false, ""},
		{"both finish", []check{{verdict: "passed", bootable: true, finish: "f"}, {verdict: "passed", finish: "g"}}, goss.ProofStale, false, "g"},
		{"bootable after an earlier finish", []check{{verdict: "passed", finish: "f"}, {verdict: "passed", bootable: true}}, goss.ProofStale, true, ""},
		{"bootable before another's finish", []check{{verdict: "passed", bootable: true}, {verdict: "passed", finish: "f"}, passed}, goss.ProofStale, false, ""},
		{"an earlier one was let pass", []check{{verdict: "reported", finish: "f"}, passed}, goss.ProofReported, false, ""},
		{"touched", []check{{verdict: "passed", touched: true}, passed}, goss.ProofStale, false, ""},
		{"one was let pass and something ran after another", []check{{verdict: "reported"}, {verdict: "passed", touched: true}}, goss.ProofReported, false, ""},
		{"failed", []check{passed, {verdict: "failed"}}, goss.ProofFailed, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var notes []Note
			touched := map[string]bool{}
			for i, c := range tt.checks {
				name := "base.yaml"
				if c.bootable {
					name = goss.BootableGossfile + ".yaml"
				}
				whole := goss.Counts{Tests: 7, Passed: 7}
				r := goss.Receipt{Schema: "armfree.goss.receipt/1", Verdict: c.verdict, Counts: whole, Gossfiles: []goss.ReceiptGossfile{{Name: name, Passed: true, Counts: whole}}}
				if c.finish != "" {
					r.Finish = &goss.ReceiptSource{Name: "finish.sh", SHA256: c.finish}
				}
				stored, err := r.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				mark := string(rune('a' + i))
				touched[mark] = c.touched
				notes = append(notes, Note{Mark: mark, Receipt: stored})
			}
			p, err := Of(notes, func(mark string) bool { return !touched[mark] })
			if err != nil || p.State != tt.state || p.Bootable != tt.bootable || p.Finish != tt.finish || p.Tests != 7*len(notes) {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}
