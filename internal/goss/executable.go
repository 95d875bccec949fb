// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

//go:embed all:bin
var embedded embed.FS

// maxBinary bounds what is read as a goss binary; the real one has 15 MB.
const maxBinary = 256 << 20

// Executable is a goss binary, ready to be sent to a machine.
type Executable struct {
	// Origin says where it comes from, for people.
	Origin string
	// Arch is the architecture it runs on, in Go's words: arm64 or amd64.
	Arch string
	// SHA256 is the digest of the binary itself, in lower-case hex.
	SHA256 string
	// Size is that of the binary itself, in bytes.
	Size int64
	// Gzip holds the binary, compressed.
	Gzip []byte
}

// Binary returns the goss that the plugin carries for an architecture (in Go's
// words), after checking it against the digest that was taken when it was
// built. It fails with a sentence where the plugin carries none.
func Binary(arch string) (*Executable, error) {
	return binary(embedded, arch)
}

func binary(files fs.FS, arch string) (*Executable, error) {
	name := "bin/goss-linux-" + arch
	packed, err := fs.ReadFile(files, name+".gz")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this build of the plugin carries no goss for linux/%s: %s", arch, remedy(arch))
	}
	if err != nil {
		return nil, fmt.Errorf("read the goss binary of the plugin: %w", err)
	}
	sum, err := fs.ReadFile(files, name+".sha256")
	if err != nil {
		return nil, fmt.Errorf("read the digest of the plugin's goss binary: %w", err)
	}
	want, _, _ := strings.Cut(strings.TrimSpace(string(sum)), " ")
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack the goss binary of the plugin: %w", err)
	}
	raw, err := readAll(zr)
	if err != nil {
		return nil, fmt.Errorf("unpack the goss binary of the plugin: %w", err)
	}
	exe, err := describe(raw, "goss "+Version)
	if err != nil {
		return nil, fmt.Errorf("the goss binary of the plugin: %w", err)
	}
	if exe.SHA256 != want {
		return nil, fmt.Errorf("the goss binary of the plugin is damaged: its SHA-256 is %s and should be %s", exe.SHA256, want)
	}
	if exe.Arch != arch {
		return nil, fmt.Errorf("the goss binary of the plugin is for %s and should be for %s", exe.Arch, arch)
	}
	exe.Gzip = packed
	return exe, nil
}

// remedy says where to get a goss that the plugin does not carry.
func remedy(arch string) string {
	words := fmt.Sprintf("set version = %q and goss_sha256 to the digest that goss publishes with that release, or goss_binary to a file",
		strings.TrimPrefix(Version, "v"))
	if arch == "arm64" {
		words += ", or build the plugin after \"make goss\", which adds it"
	}
	return words
}

// BinaryFromFile reads a goss binary that somebody else built: an ELF
// executable, or an archive with one in it as goss publishes them. If want is
// not empty it is the SHA-256 that the file must have, in hex.
func BinaryFromFile(path, want string) (*Executable, error) {
	f, err := os.Open(path) // #nosec G304 -- the user names the file
	if err != nil {
		return nil, err // names the path by itself
	}
	defer f.Close()
	data, err := readAll(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return fromBytes(data, path, want)
}

// fromBytes makes an executable of a file that somebody published. Nothing of
// it is looked at before its digest is the wanted one.
func fromBytes(data []byte, origin, want string) (*Executable, error) {
	if sum := digestOf(data); want != "" && !strings.EqualFold(want, sum) {
		return nil, fmt.Errorf("%s has the SHA-256 %s, but %s is demanded", origin, sum, strings.ToLower(want))
	}
	raw, packed, err := unpack(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", origin, err)
	}
	exe, err := describe(raw, origin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", origin, err)
	}
	if exe.Gzip = packed; packed != nil {
		return exe, nil
	}
	if exe.Gzip, err = compress(raw); err != nil {
		return nil, fmt.Errorf("compress %s: %w", origin, err)
	}
	return exe, nil
}

// compress packs a binary for its way to the machine. The best compression
// costs a second more than it saves on most links.
func compress(raw []byte) ([]byte, error) {
	var packed bytes.Buffer
	zw, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := zw.Write(raw); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// describe reads from the binary itself what it is.
func describe(raw []byte, origin string) (*Executable, error) {
	file, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("not an ELF executable: %w", err)
	}
	defer file.Close()
	if file.Type != elf.ET_EXEC && file.Type != elf.ET_DYN {
		return nil, fmt.Errorf("not an executable but %v", file.Type)
	}
	var arch string
	switch file.Machine {
	case elf.EM_AARCH64:
		arch = "arm64"
	case elf.EM_X86_64:
		arch = "amd64"
	default:
		return nil, fmt.Errorf("built for %v; only arm64 and amd64 are supported", file.Machine)
	}
	return &Executable{Origin: origin, Arch: arch, SHA256: digestOf(raw), Size: int64(len(raw))}, nil
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxBinary+1))
	if err == nil && len(b) > maxBinary {
		return nil, fmt.Errorf("larger than %d MB", maxBinary>>20)
	}
	return b, err
}
