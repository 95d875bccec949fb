// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// elfHeader is the smallest file that is an ELF executable for a machine
// (e_machine: 183 is AArch64, 62 x86-64, 8 MIPS).
func elfHeader(kind, machine byte) []byte {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16], b[18], b[20] = kind, machine, 1
	b[52], b[54], b[58] = 64, 56, 64 // sizes of the headers
	return b
}

func packed(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	if _, err := zw.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func digest(t *testing.T, raw []byte) string {
	t.Helper()
	exe, err := describe(raw, "x")
	if err != nil {
		t.Fatal(err)
	}
	return exe.SHA256
}

func TestBinary(t *testing.T) {
	arm, amd := elfHeader(2, 183), elfHeader(2, 62)
	tests := []struct {
		name string
		gz   []byte
		sum  string
		says string // empty: accepted
	}{
		{name: "whole", gz: packed(t, arm), sum: digest(t, arm) + "  goss-linux-arm64\n"},
		{name: "absent", says: "carries no goss for linux/arm64"},
		{name: "another digest", gz: packed(t, arm), sum: strings.Repeat("0", 64), says: "damaged"},
		{name: "cut off", gz: packed(t, arm)[:30], sum: digest(t, arm), says: "unpack"},
		{name: "another architecture", gz: packed(t, amd), sum: digest(t, amd), says: "is for amd64 and should be for arm64"},
		{name: "no executable", gz: packed(t, []byte("#!/bin/sh\n")), sum: "", says: "not an ELF executable"},
		{name: "no gzip", gz: []byte("hello"), sum: "", says: "unpack"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := fstest.MapFS{}
			if tt.gz != nil {
				files["bin/goss-linux-arm64.gz"] = &fstest.MapFile{Data: tt.gz}
				files["bin/goss-linux-arm64.sha256"] = &fstest.MapFile{Data: []byte(tt.sum)}
			}
			exe, err := binary(files, "arm64")
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("got error %v, want %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if exe.Arch != "arm64" || exe.Size != 64 || !bytes.Equal(exe.Gzip, tt.gz) || exe.Origin != "goss "+Version {
				t.Errorf("got %+v", exe)
			}
		})
	}
}

func TestBinaryFromFile(t *testing.T) {
	arm := elfHeader(3, 183)
	tests := []struct {
		name  string
		data  []byte
		want  string
		arch  string
		says  string
		holds []byte // what is sent, if not data
	}{
		{name: "arm64", data: arm, arch: "arm64"},
		{name: "amd64", data: elfHeader(2, 62), arch: "amd64"},
		{name: "the right digest, in capitals", data: arm, want: strings.ToUpper(digest(t, arm)), arch: "arm64"},
		{name: "a wrong digest", data: arm, want: strings.Repeat("a", 64), says: "is demanded"},
		{name: "another machine", data: elfHeader(2, 8), says: "EM_MIPS"},
		{name: "an object file", data: elfHeader(1, 183), says: "not an executable"},
		{name: "a web page", data: []byte("404 page not found"), says: "not an ELF executable"},
		{name: "compressed", data: packed(t, arm), holds: arm, arch: "arm64"},
		{name: "an archive", data: tarred(t, "goss", arm), holds: arm, arch: "arm64"},
		{name: "an archive, by its own digest", data: tarred(t, "x/goss", arm), want: digestOf(tarred(t, "x/goss", arm)), holds: arm, arch: "arm64"},
		{name: "an archive, by the digest of what is in it", data: tarred(t, "goss", arm), want: digestOf(arm), says: "is demanded"},
		{name: "an archive of something else", data: tarred(t, "README.md", arm), says: "holds no file that is called goss"},
		{name: "an archive cut short", data: tarred(t, "goss", arm)[:60], says: "unpack"},
		{name: "nothing", data: nil, says: "not an ELF executable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "goss")
			if err := os.WriteFile(path, tt.data, 0o600); err != nil {
				t.Fatal(err)
			}
			exe, err := BinaryFromFile(path, tt.want)
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("got error %v, want %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			zr, err := gzip.NewReader(bytes.NewReader(exe.Gzip))
			if err != nil {
				t.Fatal(err)
			}
			if tt.holds == nil {
				tt.holds = tt.data
			}
			if raw, err := io.ReadAll(zr); err != nil || !bytes.Equal(raw, tt.holds) {
				t.Errorf("what would be sent differs from the file (%v)", err)
			}
			if exe.Arch != tt.arch {
				t.Errorf("arch %s", exe.Arch)
			}
			if tt.name == "compressed" && !bytes.Equal(exe.Gzip, tt.data) {
				t.Error("it is compressed once more")
			}
		})
	}
	if _, err := BinaryFromFile(filepath.Join(t.TempDir(), "none"), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file gave %v", err)
	}
}

// The version that the plugin claims to carry must be the one that is built.
func TestVersionIsThePinnedOne(t *testing.T) {
	mod, err := os.ReadFile("../../tools/goss/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "github.com/goss-org/goss "+Version) {
		t.Errorf("tools/goss does not pin goss %s", Version)
	}
}

// TestShippedBinary runs the goss that the plugin carries, on this machine, and
// judges what it prints.
func TestShippedBinary(t *testing.T) {
	exe, err := Binary("arm64")
	if err != nil {
		t.Skipf("no goss was built into the plugin: %v", err)
	}
	var emulator []string
	if runtime.GOARCH != "arm64" {
		path, err := exec.LookPath("qemu-aarch64-static")
		if err != nil {
			t.Skip("this machine is not arm64 and has no qemu-aarch64-static")
		}
		emulator = []string{path}
	}
	dir := t.TempDir()
	zr, err := gzip.NewReader(bytes.NewReader(exe.Gzip))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "goss")
	if err := os.WriteFile(bin, raw, 0o700); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		name, gossfile string
		want           Reason
	}{
		{"pass", "file: {/proc/self: {exists: true}, /no/such/file: {exists: false}}", 0},
		{"fail", "file: {/no/such/file: {exists: true}}", Failed},
		{"skip", "file: {/proc/self: {exists: true, skip: true}}", AllSkipped},
		{"zero", "file: {}", NotRun},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, tt.name+".yaml")
			if err := os.WriteFile(path, []byte(tt.gossfile), 0o600); err != nil {
				t.Fatal(err)
			}
			args := slices.Concat(emulator, []string{bin, "-L", "warn", "-g", path, "validate", "-f", "json", "-o", "sort", "--no-color"})
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
			output, err := cmd.Output()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			_, err = Judge(Run{ExitCode: cmd.ProcessState.ExitCode(), Output: output}, Rules{})
			check(t, err, tt.want, "")
		})
	}
}
