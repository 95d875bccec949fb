// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	// What names of variables look like that programs have in common with this plugin.
	variableName = regexp.MustCompile(`^(OCI|AWS|BUILD_OCI|PROD_OCI|PACKER|ACTIONS|GITHUB|RUNNER|SSH|KUBERNETES)_[A-Z0-9_]+$`)
	documentedIn = regexp.MustCompile("`([A-Z][A-Z0-9]*_[A-Z0-9_]+(?:\\.\\.\\.)?)`")
)

// variables are the names of environment variables in the source of the product: what is
// read by name, and what looks like such a name.
func variables(name, text string) (found []string, err error) {
	f, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
	if err != nil {
		return nil, err
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			s, is := n.Fun.(*ast.SelectorExpr)
			if !is || len(n.Args) == 0 || s.Sel.Name != "Getenv" && s.Sel.Name != "LookupEnv" {
				return true
			}
			if l, is := n.Args[0].(*ast.BasicLit); is {
				v, _ := strconv.Unquote(l.Value)
				found = append(found, v)
			}
		case *ast.BasicLit:
			if v, err := strconv.Unquote(n.Value); err == nil && variableName.MatchString(v) {
				found = append(found, v)
			}
		}
		return true
	})
	return found, nil
}

// Every environment variable that the plugin knows is on the page about them.
func TestEveryVariableIsDocumented(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "environment.md"))
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, m := range documentedIn.FindAllStringSubmatch(string(page), -1) {
		said[m[1]] = true
	}
	known := func(name string) bool {
		if said[name] {
			return true
		}
		for s := range said {
			if head, open := strings.CutSuffix(s, "..."); open && strings.HasPrefix(name, head) {
				return true
			}
		}
		return false
	}
	where := map[string]string{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir() && (strings.HasPrefix(rel, ".") && rel != "." || rel == "internal/sim" || rel == "internal/e2e" || d.Name() == "testdata"):
			return fs.SkipDir
		case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		names, err := variables(path, string(text))
		for _, n := range names {
			where[n] = rel
		}
		return err
	})
	if err != nil || len(where) < 40 {
		t.Fatalf("%d variables, %v", len(where), err)
	}
	for _, name := range slices.Sorted(maps.Keys(where)) {
		if !known(name) {
			t.Errorf("%s: %s is not in docs/environment.md", where[name], name)
		}
	}
	got, err := variables("a.go", "package a\nvar x, y, z, v = os.Getenv(\"HOME\"), \"OCI_NEW\", `AWS_OTHER`, \"OCI is no name\"\n")
	if err != nil || !slices.Equal(got, []string{"HOME", "OCI_NEW", "AWS_OTHER"}) {
		t.Errorf("%q, %v", got, err)
	}
}
