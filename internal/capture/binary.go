// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capture

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

//go:embed all:bin
var embedded embed.FS

// BinaryName is the file in bin that has the helper, compressed.
const BinaryName = "armfree-capture-linux-arm64.gz"

// maxBinary bounds what is unpacked; the helper has 7 MB.
const maxBinary = 64 << 20

// Binary is the helper that the plugin carries.
type Binary struct {
	Gzip   []byte
	SHA256 string // of the program itself, in hexadecimal
}

// Helper returns the helper for linux/arm64. It fails with a sentence where the plugin
// was built without one.
func Helper() (*Binary, error) { return carried(embedded) }

func carried(files fs.FS) (*Binary, error) {
	packed, err := fs.ReadFile(files, "bin/"+BinaryName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("this build of the plugin carries no helper for the capture of disks: build it after \"make helper\", which adds it, or take a released one")
	}
	if err != nil {
		return nil, fmt.Errorf("read the helper of the plugin: %w", err)
	}
	return Pack(packed)
}

// Pack is a helper that is compressed already.
func Pack(packed []byte) (*Binary, error) {
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack the helper of the plugin: %w", err)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(zr, maxBinary))
	if err == nil && n == maxBinary {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, fmt.Errorf("unpack the helper of the plugin: %w", err)
	}
	return &Binary{Gzip: packed, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}
