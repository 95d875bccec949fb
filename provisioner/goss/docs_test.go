// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// checks are the bodies of our provisioner within a body, at any depth.
func checks(body *hclsyntax.Body) (list []*hclsyntax.Body) {
	for _, b := range body.Blocks {
		if b.Type == "provisioner" && len(b.Labels) == 1 && b.Labels[0] == "armfree-goss" {
			list = append(list, b.Body)
		}
		list = append(list, checks(b.Body)...)
	}
	return list
}

// What the pages show is taken as it stands: whole blocks, and lines that belong
// into one.
func TestWhatIsDocumentedIsTaken(t *testing.T) {
	files := map[string]string{"goss/roles/web.yaml": gossfileText, "vars/common.yaml": "a: 1\n", "vars/arm64.yaml": "b: 2\n", "tools/goss": "x", "scripts/forget.sh": "#!/bin/sh\n"}
	for _, name := range []string{"base.goss.yaml", "base.yaml", "ready.yaml"} {
		files["goss/"+name] = gossfileText
	}
	page, err := os.ReadFile(filepath.Join(here, "..", "..", "docs", "provisioners", "goss.mdx"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(tree(t, files))
	found := 0
	for _, m := range regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		text := strings.ReplaceAll(m[1], `"..."`, `"`+strings.Repeat("0", 64)+`"`)
		file, diags := hclparse.NewParser().ParseHCL([]byte(text), "page.hcl")
		if diags.HasErrors() {
			t.Fatalf("%v\n%s", diags, text)
		}
		bodies := checks(file.Body.(*hclsyntax.Body))
		alone := len(bodies) == 0
		if alone {
			bodies = []*hclsyntax.Body{file.Body.(*hclsyntax.Body)}
		}
		for _, body := range bodies {
			found++
			var p Provisioner
			functions := map[string]function.Function{"jsonencode": stdlib.JSONEncodeFunc}
			value, diags := hcldec.Decode(body, p.ConfigSpec(), &hcl.EvalContext{Functions: functions})
			if diags.HasErrors() {
				t.Errorf("%v\n%s", diags, text)
				continue
			}
			raws := []any{value}
			if alone {
				raws = append(raws, map[string]any{"goss_file": "goss/base.yaml"})
			}
			if err := p.Prepare(raws...); err != nil {
				t.Errorf("%v\n%s", err, text)
			}
		}
	}
	if found < 8 {
		t.Errorf("only %d blocks were found", found)
	}
	// And every option is on the page, by the parts that are made of the fields.
	for name := range (&Provisioner{}).ConfigSpec() {
		if strings.HasPrefix(name, "packer_") {
			continue
		}
		parts, err := filepath.Glob(filepath.Join(here, "..", "..", "docs-partials", "provisioner", "goss", "*-not-required.mdx"))
		if err != nil || len(parts) == 0 {
			t.Fatal(err)
		}
		documented := false
		for _, part := range parts {
			b, err := os.ReadFile(part)
			documented = documented || err == nil && strings.Contains(string(b), "\n- `"+name+"` (") && strings.Contains(string(page), "@include 'provisioner/goss/"+filepath.Base(part)+"'")
		}
		if !documented {
			t.Errorf("%s is not documented", name)
		}
	}
}
