// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package proof

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
)

// Tag is the key of the tag that says how the machine of an image was checked.
// All of it is in one tag, because OCI allows ten on a resource.
const Tag = "armfree-validated"

// Of puts notes about one machine together into what its image says of itself.
// fresh tells by the mark of a note whether the machine is still as it was
// then.
func Of(notes []Note, fresh func(mark string) bool) (goss.Proof, error) {
	// Of several checks the weightiest counts.
	weight := []string{"", goss.ProofPassed, goss.ProofReported, goss.ProofStale, goss.ProofFailed}
	var all goss.Proof
	var errs []error
	digests := sha256.New()
	for _, n := range notes {
		p, err := goss.ReceiptProof(n.Receipt)
		errs = append(errs, err)
		if !fresh(n.Mark) {
			p = p.Stale()
		}
		if slices.Index(weight, p.State) > slices.Index(weight, all.State) {
			all.State = p.State
		}
		all.Tests += p.Tests
		all.Digest = p.Digest
		all.Finish = p.Finish           // what an earlier check ran was there for the later one
		fmt.Fprintln(digests, p.Digest) // never fails
	}
	if len(notes) > 1 {
		all.Digest = hex.EncodeToString(digests.Sum(nil))
	}
	return all, errors.Join(errs...)
}

// Value is what the tag says: "true tests=42 sha256=...". The digest is that of
// the receipt, or, of several, that of their digests, one a line. Where the last
// check ended with a script of its own, " finish=..." is the digest of that.
func Value(p goss.Proof) string {
	value := fmt.Sprintf("%s tests=%d sha256=%s", p.State, p.Tests, p.Digest)
	if p.Finish != "" {
		value += " finish=" + p.Finish
	}
	return value
}
