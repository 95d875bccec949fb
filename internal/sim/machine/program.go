// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"compress/gzip"
)

// Program is a file that counts as an executable for linux/arm64, and that a machine
// hands to its driver's ELF.
func Program() []byte {
	elf := make([]byte, 64)
	copy(elf, "\x7fELF\x02\x01\x01")
	elf[16], elf[18], elf[20] = 2, 183, 1 // executable, AArch64, version
	return elf
}

// PackedProgram is Program as a plugin carries one: compressed by gzip.
func PackedProgram() ([]byte, error) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(Program()); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}
