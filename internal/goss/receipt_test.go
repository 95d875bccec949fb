// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"strings"
	"testing"
	"time"
)

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
	// So does whatever else lets a failing test pass.
	s = NewSession(Rules{MaxFailed: 6}, Suite{Name: "a"})
	s.Record(0, Run{ExitCode: 1, Output: recording(t, "mixed.json")}, time.Time{}, 0)
	if p, err := ReceiptProof(stored(s.Result())); err != nil || p.State != ProofReported || p.Stale().State != ProofReported {
		t.Errorf("max_failed gives %+v, %v", p, err)
	}
	for _, tt := range []struct {
		counts Counts
		most   int
		want   string
	}{
		{Counts{Tests: 3, Passed: 2, Failed: 1}, 1, ProofReported},
		{Counts{Tests: 3, Passed: 2, Warned: 1}, 0, ProofReported},
		{Counts{Tests: 3, Passed: 2, Skipped: 1}, 0, ProofPassed},
		{Counts{Tests: 3, Passed: 2, Failed: 1}, 0, ProofFailed},
		{Counts{Tests: 3, Skipped: 3}, 0, ProofFailed},
	} {
		r := Receipt{Schema: receiptSchema, Verdict: "passed", Counts: tt.counts}
		r.Rules.MaxFailed = tt.most
		if p, err := ReceiptProof(marshalled(t, r)); err != nil || p.State != tt.want {
			t.Errorf("%+v gives %+v, %v", tt, p, err)
		}
	}
	for _, bad := range []string{"", "{}", string(b[:100]), strings.Replace(string(b), `"verdict": "passed"`, `"verdict": "good"`, 1), string(rendered(t, "json", good(t)))} {
		if p, err := ReceiptProof([]byte(bad)); err == nil || p.State != ProofFailed {
			t.Errorf("%.60q proves %+v", bad, p)
		}
	}
}

func marshalled(t *testing.T, r Receipt) []byte {
	t.Helper()
	b, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// An image is called bootable only if all of a gossfile of that name was carried out
// and passed.
func TestProofOfBootable(t *testing.T) {
	whole := Counts{Tests: 7, Passed: 7}
	for _, tt := range []struct {
		name    string
		file    ReceiptGossfile
		verdict string
		want    bool
	}{
		{"passed", ReceiptGossfile{Name: "oci-bootable.goss.yaml", Passed: true, Counts: whole}, "passed", true},
		{"in a folder", ReceiptGossfile{Name: "goss/oci-bootable.yaml", Passed: true, Counts: whole}, "passed", true},
		{"in a folder of Windows", ReceiptGossfile{Name: `goss\oci-bootable.json`, Passed: true, Counts: whole}, "passed", true},
		{"another name", ReceiptGossfile{Name: "base.goss.yaml", Passed: true, Counts: whole}, "passed", false},
		{"a name that begins so", ReceiptGossfile{Name: "oci-bootable-not.goss.yaml", Passed: true, Counts: whole}, "passed", false},
		{"failed", ReceiptGossfile{Name: "oci-bootable.goss.yaml", Counts: whole}, "passed", false},
		{"a failure within max_failed", ReceiptGossfile{Name: "oci-bootable.goss.yaml", Passed: true, Counts: Counts{Tests: 7, Passed: 6, Failed: 1}}, "passed", false},
		{"below fail_on", ReceiptGossfile{Name: "oci-bootable.goss.yaml", Passed: true, Counts: Counts{Tests: 7, Passed: 6, Warned: 1}}, "passed", false},
		{"skipped", ReceiptGossfile{Name: "oci-bootable.goss.yaml", Passed: true, Counts: Counts{Tests: 7, Passed: 6, Skipped: 1}}, "passed", false},
		{"not all selected", ReceiptGossfile{Name: "oci-bootable.goss.yaml", Passed: true, Counts: whole, Unselected: 1}, "passed", false},
		{"nothing in it", ReceiptGossfile{Name: "oci-bootable.goss.yaml", Passed: true}, "passed", false},
		{"report_only", ReceiptGossfile{Name: "oci-bootable.goss.yaml", Passed: true, Counts: whole}, "reported", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Receipt{Schema: receiptSchema, Verdict: tt.verdict, Counts: whole, Gossfiles: []ReceiptGossfile{{Name: "first.yaml", Passed: true, Counts: whole}, tt.file}}
			r.Rules.MaxFailed = 1
			b, err := r.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if p, err := ReceiptProof(b); err != nil || p.Bootable != tt.want {
				t.Errorf("%+v, %v", p, err)
			}
		})
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
