// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package proof

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
)

// Tag is the key of the tag that says how the machine of an image was checked.
// All of it is in one tag, because OCI allows ten on a resource.
const Tag = "armfree-validated"

// Of puts notes about one machine together into what its image says of itself.
// fresh tells by the mark of a note whether the machine is still as it was
// then.
func Of(notes []Note, fresh func(mark string) bool) (goss.Proof, error) {
	// Of several checks the weightiest counts. A stale one had passed.
	weight := []string{"", goss.ProofPassed, goss.ProofStale, goss.ProofReported, goss.ProofFailed}
	var all goss.Proof
	var errs []error
	digests := sha256.New()
	for i, n := range notes {
		p, err := goss.ReceiptProof(n.Receipt)
		errs = append(errs, err)
		// A script of its own that a check ended with ran after that one and all
		// before it. What ran after the last one's goss is named.
		switch overtaken := i < len(notes)-1 && p.Finish != ""; {
		case overtaken:
			p, all = p.Stale(), all.Stale()
			p.Bootable, all.Bootable = false, false
		case !fresh(n.Mark):
			p = p.Stale()
		}
		if slices.Index(weight, p.State) > slices.Index(weight, all.State) {
			all.State = p.State
		}
		all.Tests += p.Tests
		all.Bootable = all.Bootable || p.Bootable
		all.Digest = p.Digest
		all.Finish = p.Finish
		fmt.Fprintln(digests, p.Digest) // never fails
	}
	if len(notes) > 1 {
		all.Digest = hex.EncodeToString(digests.Sum(nil))
	}
	return all, errors.Join(errs...)
}

// ParseValue undoes Value.
func ParseValue(value string) (goss.Proof, error) {
	p, whole := parse(value)
	if !whole {
		return goss.Proof{}, fmt.Errorf("%q does not say what goss found", value)
	}
	return p, nil
}

// parse reads what is known of a value, and says whether it is all that Value writes.
// Words that it does not know are for a later version.
func parse(value string) (p goss.Proof, whole bool) {
	counted := false
	for i, word := range strings.Fields(value) {
		key, of, _ := strings.Cut(word, "=")
		switch {
		case i == 0:
			p.State = word
		case word == bootable:
			p.Bootable = true
		case key == "tests":
			var err error
			p.Tests, err = strconv.Atoi(of)
			counted = err == nil
		case key == "sha256":
			p.Digest = of
		case key == "finish":
			p.Finish = of
		}
	}
	return p, counted && p.Digest != ""
}

// bootable is the word of the tag that says that the image boots on OCI.
const bootable = "oci-bootable=true"

// Value is what the tag says: "true tests=42 sha256=... oci-bootable=true finish=...". The
// first digest is that of the receipt, or, of several, that of their digests, one a line.
// oci-bootable is there only if such a gossfile was among them and passed. Where the last
// check ended with a script of its own, finish is the digest of that.
func Value(p goss.Proof) string {
	s := fmt.Sprintf("%s tests=%d sha256=%s", p.State, p.Tests, p.Digest)
	if p.Bootable {
		s += " " + bootable
	}
	if p.Finish != "" {
		s += " finish=" + p.Finish
	}
	return s
}

// Claim is what an image says by its tag.
type Claim struct {
	// Passed means that its machine passed, and Stale that something ran on it
	// afterwards.
	Passed, Stale bool
	Bootable      bool // on OCI
}

// Read is what a value claims, also where something of it is lacking.
func Read(value string) Claim {
	p, _ := parse(value)
	stale := p.State == goss.ProofStale
	return Claim{Passed: stale || p.State == goss.ProofPassed, Stale: stale, Bootable: p.Bootable}
}
