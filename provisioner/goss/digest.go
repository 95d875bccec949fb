// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"slices"
	"strings"
)

// InputsDigest is the SHA-256, in hex, of everything that Provision would bring to the
// machine beside goss itself: the files by the names that they arrive under, which of
// them are run, and the files of variables in their order. Where the files are on this
// host does not matter. It comes after Prepare. A file that cannot be read is an error.
func (p *Provisioner) InputsDigest() (string, error) {
	in, err := p.config.inputs()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	files := slices.Clone(in.files)
	slices.SortFunc(files, func(a, b inputFile) int { return strings.Compare(a.remote, b.remote) })
	var errs []error
	for _, f := range files {
		errs = append(errs, addFile(h, fmt.Sprintf("file %q %t", f.remote, f.executable), f.local))
	}
	for _, local := range in.varsFiles {
		errs = append(errs, addFile(h, "vars", local))
	}
	fmt.Fprintf(h, "run %q wait %q\n", in.gossfiles, in.wait)
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func addFile(h hash.Hash, head, local string) error {
	text, err := os.ReadFile(local)
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%s %d\n", head, len(text))
	h.Write(text)
	return nil
}
