// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package proof

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
)

// Of puts notes about one machine together into what its image says of itself.
// fresh tells by the mark of a note whether the machine is still as it was
// then. Without a note there is no proof.
func Of(notes []Note, fresh func(mark string) bool) (goss.Proof, error) {
	var all goss.Proof
	var errs []error
	digests := sha256.New()
	for _, n := range notes {
		receipt, err := goss.ReadReceipt(n.Receipt)
		if err != nil {
			errs = append(errs, fmt.Errorf("what goss found cannot be read: %w", err))
			continue
		}
		p := receipt.Proof()
		if !fresh(n.Mark) {
			p = p.Stale()
		}
		if weight(p.State) > weight(all.State) {
			all.State = p.State
		}
		all.Tests += p.Tests
		all.Digest = p.Digest
		io.WriteString(digests, p.Digest+"\n")
	}
	if len(notes) > 1 {
		all.Digest = hex.EncodeToString(digests.Sum(nil))
	}
	return all, errors.Join(errs...)
}

// weight orders states; of several checks the weightiest one counts.
func weight(state string) int {
	switch state {
	case "":
		return 0
	case "true":
		return 1
	case "reported":
		return 2
	case "stale":
		return 3
	}
	return 4
}
