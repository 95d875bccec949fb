// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"os"
	"path/filepath"
	"testing"
)

// What is brought is the same wherever it is, and another thing when anything of it is.
func TestInputsDigest(t *testing.T) {
	t.Parallel()
	digest := func(options map[string]any) string {
		t.Helper()
		p := new(Provisioner)
		if err := p.Prepare(options); err != nil {
			t.Fatal(err)
		}
		sum, err := p.InputsDigest()
		if err != nil || len(sum) != 64 {
			t.Fatalf("%q, %v", sum, err)
		}
		return sum
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		write(filepath.Join(dir, "real", "a.yaml"), "file: {}\n")
		write(filepath.Join(dir, "real", "b.yaml"), "file: {}\n")
		write(filepath.Join(dir, "vars.yaml"), "a: 1\n")
		if err := os.Symlink("real", filepath.Join(dir, "tests")); err != nil {
			t.Fatal(err)
		}
	}
	ways := map[string]func(dir string) map[string]any{
		"a pattern": func(dir string) map[string]any {
			return map[string]any{"goss_files": []string{filepath.Join(dir, "real", "*.yaml")}, "vars_files": []string{filepath.Join(dir, "vars.yaml")}}
		},
		"a linked folder": func(dir string) map[string]any {
			return map[string]any{"tests": []string{filepath.Join(dir, "tests")}, "goss_files": []string{"tests/a.yaml"}, "vars_files": []string{filepath.Join(dir, "vars.yaml")}}
		},
	}
	before := map[string]string{}
	for name, of := range ways {
		before[name] = digest(of(one))
		if digest(of(two)) != before[name] {
			t.Errorf("%s: it depends on where the files are", name)
		}
	}
	if before["a pattern"] == before["a linked folder"] {
		t.Error("the names on the machine do not count")
	}
	write(filepath.Join(one, "real", "b.yaml"), "file: {/x: {exists: true}}\n")
	write(filepath.Join(two, "vars.yaml"), "a: 2\n")
	for name, of := range ways {
		if digest(of(one)) == before[name] || digest(of(two)) == before[name] {
			t.Errorf("%s: a change is not seen", name)
		}
	}
	p := new(Provisioner)
	if err := p.Prepare(ways["a pattern"](one)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(one, "vars.yaml")); err != nil {
		t.Fatal(err)
	}
	if sum, err := p.InputsDigest(); err == nil {
		t.Errorf("a file that is gone has the digest %s", sum)
	}
}
