// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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

// spokenOf are the files that pages speak of and the example does not have.
func spokenOf() map[string]string {
	const gossfile = "port:\n  tcp:22:\n    listening: true\n"
	return map[string]string{
		"goss/base.yaml": gossfile, "goss/roles/web.yaml": gossfile, "goss/ready.yaml": gossfile,
		"vars/common.yaml": "a: b\n", "vars/arm64.yaml": "c: d\n", "tools/goss": "goss", "out/x": "", "recorded/x": "",
	}
}

// whole makes a template of a part of one, as its page means it: options belong to the
// component that the page is about. Empty is what cannot be checked here, because it
// needs a plugin that nobody has installed.
func whole(page, text string) string {
	const null = "source \"null\" \"x\" {\n  communicator = \"none\"\n}\n"
	const build = "build {\n  sources = [\"source.%s\"]\n%s}\n"
	text = strings.ReplaceAll(text, `"..."`, `"`+strings.Repeat("0", 64)+`"`)
	first, _, _ := strings.Cut(text, "\n")
	in := func(pages ...string) bool { return slices.Contains(pages, page) }
	switch {
	case strings.Contains(text, "github.com/hashicorp/") || strings.Contains(text, "data.amazon-"):
		return ""
	case strings.Contains(text, "build {"):
		return text
	case strings.HasPrefix(first, "packer {"):
		return text + null + fmt.Sprintf(build, "null.x", "")
	case strings.HasPrefix(first, "source "):
		name := strings.Split(first, `"`)
		return text + fmt.Sprintf(build, name[1]+"."+name[3], "")
	case strings.HasPrefix(first, "provisioner "):
		return null + fmt.Sprintf(build, "null.x", text)
	case in("docs/provisioners/goss.mdx"):
		return null + fmt.Sprintf(build, "null.x", "provisioner \"armfree-goss\" {\n  tests = [\"goss/base.yaml\"]\n"+text+"}\n")
	case in("docs/builders/oci.mdx"):
		return "source \"armfree-oci\" \"x\" {\n  ssh_username = \"debian\"\n" + text + "}\n" + fmt.Sprintf(build, "armfree-oci.x", "")
	case in("docs/builders/aws.mdx", "docs/credentials.md", "example/bootstrap/aws/README.md"):
		if !strings.Contains(text, "ami_name") {
			text += "ami_name = \"built\"\n"
		}
		return "source \"armfree-aws\" \"x\" {\n  ssh_username = \"admin\"\n" + text + "}\n" + fmt.Sprintf(build, "armfree-aws.x", "")
	}
	return text // which Packer will refuse: this page is not known here
}

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
	// What GitHub sets in a job that may ask for a token.
	onGitHub := []string{"ACTIONS_ID_TOKEN_REQUEST_URL=https://token.example.com/?a=b", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=token", "OCI_OIDC_CLIENT_SECRET=secret"}
	validate := func(name, dir string, env []string) {
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
		if d.IsDir() && (rel == ".git" || rel == ".web-docs" || rel == "bin" || rel == ".cache" || rel == "internal" || rel == "tools" || rel == "bench") {
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
			validate(rel, filepath.Join(dir, inside), env)
		case ".md", ".mdx":
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range block.FindAllStringSubmatch(string(text), -1) {
				if m[1] = whole(filepath.ToSlash(rel), m[1]); m[1] == "" {
					continue
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
				for name, text := range spokenOf() {
					if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
						return err
					}
					if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
						return err
					}
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
				more := slices.Clone(env)
				if strings.Contains(m[1], "oidc {") || strings.Contains(m[1], "web_identity {") {
					more = append(more, onGitHub...)
				}
				validate(rel, dir, more)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 40 {
		t.Errorf("only %d templates were found", found)
	}
}
