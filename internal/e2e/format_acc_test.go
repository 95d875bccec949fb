// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
)

// Every template, and every block of HCL in every page, is as "packer fmt" writes it.
func TestAccFormat(t *testing.T) {
	acceptance(t)
	p, err := runpacker.Bare(os.Getenv("ACC_PACKER"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, strings.NewReplacer("/", "_", ".", "_").Replace(name)+".pkr.hcl"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() && (rel == ".git" || rel == "bin" || rel == ".cache") {
			return fs.SkipDir
		}
		ext := filepath.Ext(path)
		if ext != ".hcl" && ext != ".md" && ext != ".mdx" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if ext == ".hcl" {
			found++
			put(rel, text)
			return nil
		}
		if strings.HasPrefix(rel, ".web-docs") { // made of the others
			return nil
		}
		for i, m := range block.FindAllStringSubmatch(string(text), -1) {
			found++
			put(rel+"-"+string(rune('a'+i)), []byte(m[1]))
		}
		return nil
	})
	if err != nil || found < 60 {
		t.Fatalf("%d templates, %v", found, err)
	}
	var out bytes.Buffer
	if err := p.Run(t.Context(), dir, nil, &out, "fmt", "-check", "-diff", "."); err != nil {
		t.Errorf("%v\n%s", err, &out)
	}
	// That a check which finds nothing has looked.
	put("bad", []byte("a   = 1\nbb = 2\n"))
	if err := p.Run(t.Context(), dir, nil, new(bytes.Buffer), "fmt", "-check", "."); err == nil {
		t.Error("a template that is not formatted is let pass")
	}
}
