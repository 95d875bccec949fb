// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package buildcfg

import (
	"bytes"
	"os"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// What a build that was killed left behind is replaced; nothing else is touched.
func TestWriteKey(t *testing.T) {
	const key = "-----BEGIN OPENSSH PRIVATE KEY-----\nnew\n-----END OPENSSH PRIVATE KEY-----\n"
	old := strings.Replace(key, "new", "old", 1)
	for _, tt := range []struct {
		name   string
		before func(t *testing.T, path string)
		kept   string // what is there is kept, and the build refused
	}{
		{name: "nothing", before: func(*testing.T, string) {}},
		{name: "a key", before: func(t *testing.T, path string) { write(t, path, old) }},
		{name: "the beginning of nothing", before: func(t *testing.T, path string) { write(t, path, "") }},
		{name: "something else", before: func(t *testing.T, path string) { write(t, path, "a certificate") }, kept: "a certificate"},
		{
			name: "a link", before: func(t *testing.T, path string) {
				write(t, "elsewhere", old)
				if err := os.Symlink("elsewhere", path); err != nil {
					t.Fatal(err)
				}
			}, kept: old,
		},
		{name: "a folder", before: func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, kept: "-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			const path = "oci_a_b.pem"
			tt.before(t, path)
			var out bytes.Buffer
			remove, err := writeKey("oci_a/b.pem", []byte(key), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out})
			if tt.kept != "" {
				if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "please move it away") {
					t.Errorf("%v", err)
				}
				if got, err := os.ReadFile(path); err == nil && string(got) != tt.kept {
					t.Errorf("it has %q", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != key {
				t.Errorf("%q, %v", got, err)
			}
			if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", i, err)
			}
			remove()
			if _, err := os.Stat(path); err == nil {
				t.Error("it stays")
			}
		})
	}
}

// write makes a file that others can read, as older builders did.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // so it was
		t.Fatal(err)
	}
}
