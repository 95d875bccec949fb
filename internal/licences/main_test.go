// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The file has what is beside and above the packages of each product; a module without a
// licence is no release.
func TestLicences(t *testing.T) {
	out := filepath.Join(t.TempDir(), "folder", "file")
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	all := []product{{dir: root, pkg: "./version", platforms: []string{"linux"}}, {dir: root, pkg: "./internal/diskimage", platforms: []string{"linux", "windows"}}}
	if err := write(t.Context(), out, all); err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nGo\n", "\ngithub.com/hashicorp/packer-plugin-sdk v", "Mozilla Public License", "\ngithub.com/klauspost/compress v", "Redistribution and use"} {
		if !strings.Contains(string(said), want) {
			t.Errorf("%q is not in it", want)
		}
	}
	if strings.Contains(string(said), "\ngithub.com/aws/") {
		t.Error("it has what is not shipped")
	}
	// One that has none.
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/a\n\ngo 1.26\n\nrequire example.com/b v0.0.0\n\nreplace example.com/b => ./b\n", "a.go": "package a\n\nimport _ \"example.com/b\"\n",
		"b/go.mod": "module example.com/b\n\ngo 1.26\n", "b/b.go": "package b\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bare := []product{{dir: dir, pkg: ".", platforms: []string{"linux"}}}
	if err := write(t.Context(), out, bare); err == nil || !strings.Contains(err.Error(), "has no licence") {
		t.Errorf("%v", err)
	}
}
