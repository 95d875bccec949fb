// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ReceiptInput is what only the caller knows.
type ReceiptInput struct {
	About About
	// Sources are the gossfiles and whatever else goss read; only their
	// digests are kept.
	Sources []Source
	// Vars are the merged variables; only their names and one digest over all
	// of them are kept.
	Vars map[string]any
	// Finish is the script that ran on the machine after it had passed, or nil.
	Finish *Source
	// Keys tie the receipt to a build, for example "packer_run_uuid" and
	// "instance_id".
	Keys map[string]string
}

const receiptSchema = "armfree.goss.receipt/1"

// Receipt is the proof that a machine was checked, and with what. It holds no
// values and nothing that a test found.
type Receipt struct {
	Schema  string            `json:"schema"`
	Time    time.Time         `json:"time"`
	Keys    map[string]string `json:"keys"`
	Build   string            `json:"build,omitempty"`
	BuildID string            `json:"build_id,omitempty"`
	Machine Machine           `json:"machine"`
	Goss    GossUsed          `json:"goss"`
	// Verdict is "passed", "reported" (failed, and report_only let it pass) or
	// "failed".
	Verdict   string            `json:"verdict"`
	Problems  []string          `json:"problems"`
	Waived    []string          `json:"waived"`
	Rules     jsonRules         `json:"rules"`
	Counts    Counts            `json:"counts"`
	Gossfiles []ReceiptGossfile `json:"gossfiles"`
	Sources   []ReceiptSource   `json:"sources"`
	// VarNames are the names at the top level; VarsSHA256 is the digest of
	// VarsFile.
	VarNames   []string `json:"var_names"`
	VarsSHA256 string   `json:"vars_sha256"`
	// Finish is the script that the check itself ran last, after goss.
	Finish *ReceiptSource `json:"finish,omitempty"`
}

// ReceiptGossfile is what one gossfile came to.
type ReceiptGossfile struct {
	Name     string `json:"name"`
	Passed   bool   `json:"passed"`
	Attempts int    `json:"attempts"`
	Counts   Counts `json:"counts"`
	// Unselected is how many of its resources were left out.
	Unselected int `json:"unselected,omitempty"`
}

// ReceiptSource is one file that goss read.
type ReceiptSource struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Bytes  int    `json:"bytes"`
}

// NewReceipt makes the receipt for a result, which must be masked.
func NewReceipt(r *Result, in ReceiptInput) (*Receipt, error) {
	vars, err := VarsFile(in.Vars)
	if err != nil {
		return nil, err
	}
	out := &Receipt{
		Schema: receiptSchema, Time: in.About.Time, Keys: in.Keys, Build: in.About.Build, BuildID: in.About.BuildID,
		Machine: in.About.Machine, Goss: in.About.Goss,
		Verdict: "passed", Problems: sentences(r.Problems), Waived: sentences(r.Waived),
		Rules: r.Rules.json(), Counts: r.Counts(), Gossfiles: []ReceiptGossfile{}, Sources: []ReceiptSource{},
		VarNames: some(slices.Sorted(maps.Keys(in.Vars))), VarsSHA256: digestOf(vars),
	}
	switch {
	case r.Err() != nil:
		out.Verdict = "failed"
	case len(r.Waived) > 0:
		out.Verdict = "reported"
	}
	if out.Keys == nil {
		out.Keys = map[string]string{}
	}
	for i := range r.Suites {
		s := &r.Suites[i]
		out.Gossfiles = append(out.Gossfiles, ReceiptGossfile{s.Name, s.Err == nil && !s.Unselected, len(s.Attempts), s.counts(r.Rules), len(s.Out)})
	}
	for _, s := range in.Sources {
		out.Sources = append(out.Sources, ReceiptSource{s.Name, digestOf(s.Data), len(s.Data)})
	}
	if f := in.Finish; f != nil {
		out.Finish = &ReceiptSource{f.Name, digestOf(f.Data), len(f.Data)}
	}
	slices.SortFunc(out.Sources, func(a, b ReceiptSource) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out, nil
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Marshal returns the receipt as it is stored. The caller writes it with mode
// 0600: digests of short variables can be guessed.
func (r *Receipt) Marshal() ([]byte, error) { return marshal(r) }

// ReadReceipt reads what Marshal returned.
func ReadReceipt(data []byte) (*Receipt, error) {
	var r Receipt
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("the receipt is not whole: %w", err)
	}
	switch {
	case r.Schema != receiptSchema:
		return nil, fmt.Errorf("the receipt is of the schema %q and must be of %q", clean(r.Schema), receiptSchema)
	case !slices.Contains([]string{"passed", "reported", "failed"}, r.Verdict):
		return nil, errors.New("the receipt has no verdict")
	}
	return &r, nil
}

// The states of a Proof.
const (
	ProofPassed   = "true"     // the machine passed, and no test failed
	ProofReported = "reported" // something failed that report_only, max_failed or fail_on let pass
	ProofFailed   = "false"    // it failed, or was not checked
	ProofStale    = "stale"    // it passed, but something ran on it afterwards
)

// Proof is what an image says of its validation.
type Proof struct {
	State string
	Tests int // carried out
	// Bootable means that a gossfile named [BootableGossfile] was among what passed.
	Bootable bool
	// Digest is the SHA-256 of the receipt as it is stored.
	Digest string
	// Finish is the SHA-256 of the script that the check itself ran after goss,
	// or empty.
	Finish string
}

// ReceiptProof is the proof that a receipt gives, as it is stored. Whatever is no receipt proves
// nothing.
func ReceiptProof(stored []byte) (Proof, error) {
	r, err := ReadReceipt(stored)
	if err != nil {
		return Proof{State: ProofFailed}, err
	}
	p := Proof{State: ProofFailed, Tests: r.Counts.Done(), Digest: digestOf(stored)}
	if r.Finish != nil {
		p.Finish = r.Finish.SHA256
	}
	switch {
	case r.Verdict == "passed" && (p.Tests <= 0 || r.Counts.Failed > r.Rules.MaxFailed): // it contradicts itself
	case r.Verdict == "passed" && r.Counts.Failed+r.Counts.Warned > 0:
		p.State = ProofReported
	case r.Verdict == "passed":
		p.State = ProofPassed
		p.Bootable = slices.ContainsFunc(r.Gossfiles, ReceiptGossfile.bootable)
	case r.Verdict == "reported":
		p.State = ProofReported
	}
	return p, nil
}

// BootableGossfile is the name, up to its first dot, of a gossfile that says whether
// the image of a machine boots on OCI, wherever it was made.
const BootableGossfile = "oci-bootable"

func (g ReceiptGossfile) bootable() bool {
	name := g.Name[strings.LastIndexAny(g.Name, `/\`)+1:]
	name, _, _ = strings.Cut(name, ".")
	// All of it: what a rule lets pass, or a selection leaves out, may be what it takes.
	return name == BootableGossfile && g.Passed && g.Counts.Failed+g.Counts.Warned+g.Counts.Skipped+g.Unselected == 0 && g.Counts.Done() > 0
}

// Stale is the proof after something else ran on the machine. What never
// passed stays what it is.
func (p Proof) Stale() Proof {
	if p.State == ProofPassed {
		p.State = ProofStale
	}
	return p
}
