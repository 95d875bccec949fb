// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

const root = "../.."

var (
	keyFile  = regexp.MustCompile(`key_file\s*=\s*"[^"]*"`)
	used     = regexp.MustCompile(`source\.(armfree-oci|armfree-aws|armfree)\.(\w+)`)
	block    = regexp.MustCompile("(?ms)^```hcl\n(.*?)^```$")
	required = `packer {
  required_plugins {
    armfree = {
      source  = "github.com/armfree/armfree"
      version = ">= 0.1.0"
    }
  }
}
`
)

// Every template in the documentation, and every example, is one that Packer
// takes. What a page leaves out comes from the environment, as it says.
func TestAccDocumentedTemplates(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	s := stage.ForTest(t, stage.Options{})
	found := 0
	env := s.Env()
	for name, of := range map[string]string{"fingerprint": s.Build.Fingerprint(), "build_fingerprint": s.Build.Fingerprint(), "production_fingerprint": s.Production.Fingerprint()} {
		env = append(env, "PKR_VAR_"+name+"="+of)
	}
	keys := map[string]string{"": s.Build.PrivateKeyPEM(), "production": s.Production.PrivateKeyPEM()}
	validate := func(name, dir string) {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := p.Run(t.Context(), dir, env, &out, "validate", "."); err != nil {
				t.Errorf("%v\n%s", err, &out)
			}
		})
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() && (rel == ".git" || rel == ".web-docs" || rel == "bin" || rel == ".cache" || rel == "internal" || rel == "tools") {
			return fs.SkipDir
		}
		switch filepath.Ext(path) {
		case ".hcl":
			found++
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "example"))); err != nil {
				return err
			}
			inside, _ := filepath.Rel("example", filepath.Dir(rel))
			validate(rel, filepath.Join(dir, inside))
		case ".md", ".mdx":
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range block.FindAllStringSubmatch(string(text), -1) {
				if !strings.Contains(m[1], "build {") {
					continue // a part of a template
				}
				found++
				dir := t.TempDir()
				// What a template reads beside itself is the example's.
				if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "example/pipeline"))); err != nil {
					return err
				}
				if err := os.Remove(filepath.Join(dir, "pipeline.pkr.hcl")); err != nil {
					return err
				}
				if !strings.Contains(m[1], "required_plugins") {
					m[1] = required + m[1]
				}
				for name, pem := range keys {
					if err := os.WriteFile(filepath.Join(dir, name+".pem"), []byte(pem), 0o600); err != nil {
						return err
					}
				}
				m[1] = keyFile.ReplaceAllStringFunc(m[1], func(line string) string {
					if strings.Contains(line, "production") {
						return `key_file = "` + filepath.Join(dir, "production.pem") + `"`
					}
					return `key_file = "` + filepath.Join(dir, ".pem") + `"`
				})
				if of := used.FindStringSubmatch(m[1]); of != nil && !strings.Contains(m[1], `source "`) {
					m[1] += `source "` + of[1] + `" "` + of[2] + "\" {}\n" // the page has it in another block
				}
				if err := os.WriteFile(filepath.Join(dir, "page.pkr.hcl"), []byte(m[1]), 0o600); err != nil {
					return err
				}
				validate(rel, dir)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 6 {
		t.Errorf("only %d templates were found", found)
	}
}
