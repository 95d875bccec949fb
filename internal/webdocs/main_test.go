// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclsimple"
)

func TestBody(t *testing.T) {
	for in, want := range map[string]string{
		"---\na: b\n---\n\n# Head\n\ntext\n": "text\n", "# Head\n\ntext\n": "text\n",
		"---\na: b\n# Head\n": "error: the front matter has no end", "text\n": `error: it begins by "text", not by a heading`,
		"# Head\n\n@include 'a.mdx'\n": "error: a partial was not put in",
	} {
		got, err := body([]byte(in))
		if err != nil {
			got = []byte("error: " + err.Error())
		}
		if string(got) != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestRelink(t *testing.T) {
	for in, want := range map[string]string{
		"[a](../builders/oci.mdx#what)": "[a](/packer/integrations/armfree/armfree/latest/components/builder/oci#what)",
		"[a](aws.mdx)":                  "[a](/packer/integrations/armfree/armfree/latest/components/builder/aws)",
		"[a](../credentials.md#aws)":    "[a](https://github.com/armfree/packer-plugin-armfree/blob/main/docs/credentials.md#aws)",
		"[a](../../example/README.md)":  "[a](https://github.com/armfree/packer-plugin-armfree/blob/main/example/README.md)",
		"[a](#here) [b](https://x.y/z)": "[a](#here) [b](https://x.y/z)",
	} {
		if got := string(relink([]byte(in), "builders/oci.mdx")); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// metadata is what the registry is told: https://github.com/hashicorp/integration-template
type metadata struct {
	Integration struct {
		Name        string   `hcl:"name"`
		Description string   `hcl:"description"`
		Identifier  string   `hcl:"identifier"`
		Flags       []string `hcl:"flags"`
		Docs        struct {
			Process  bool   `hcl:"process_docs"`
			Readme   string `hcl:"readme_location"`
			External string `hcl:"external_url"`
		} `hcl:"docs,block"`
		License struct {
			Type string `hcl:"type"`
			URL  string `hcl:"url"`
		} `hcl:"license,block"`
		Components []struct {
			Type string `hcl:"type"`
			Name string `hcl:"name"`
			Slug string `hcl:"slug"`
		} `hcl:"component,block"`
	} `hcl:"integration,block"`
}

// Every component that the registry is told of has its page, and the other way round.
func TestMetadata(t *testing.T) {
	const out = "../../.web-docs"
	var m metadata
	if err := hclsimple.DecodeFile(filepath.Join(out, "metadata.hcl"), nil, &m); err != nil {
		t.Fatal(err)
	}
	pages := map[string]bool{}
	found, err := filepath.Glob(filepath.Join(out, "components", "*", "*", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		parts := strings.Split(filepath.ToSlash(p), "/")
		pages[parts[len(parts)-3]+"/"+parts[len(parts)-2]] = true
	}
	for _, c := range m.Integration.Components {
		if !pages[c.Type+"/"+c.Slug] || c.Name == "" {
			t.Errorf("there is no page of the %s %s", c.Type, c.Slug)
		}
		delete(pages, c.Type+"/"+c.Slug)
	}
	if len(pages) > 0 {
		t.Errorf("the registry is not told of %v", pages)
	}
	// main.go registers these by name; the default one is called armfree.
	text, err := os.ReadFile("../../main.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range m.Integration.Components {
		name := `"` + c.Slug + `"`
		if c.Slug == "armfree" {
			name = "plugin.DEFAULT_NAME"
		}
		if !strings.Contains(string(text), "("+name+",") {
			t.Errorf("main.go registers no %s", c.Slug)
		}
	}
}
