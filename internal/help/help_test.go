// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package help

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const docs = "../../docs/errors"

// Every page that a message names exists, and every page that exists is named.
func TestPagesExist(t *testing.T) {
	files, err := filepath.Glob(docs + "/*.md")
	if err != nil || len(files) != len(Pages())+1 { // and README.md
		t.Errorf("%d files, %d pages, %v", len(files), len(Pages()), err)
	}
	index, err := os.ReadFile(docs + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Pages() {
		text, err := os.ReadFile(filepath.Join(docs, string(p)+".md"))
		if err != nil || !strings.HasPrefix(string(text), "# ") || !strings.Contains(string(text), "```text\n") {
			t.Errorf("%s: %v", p, err)
		}
		if !strings.Contains(string(index), "("+string(p)+".md)") {
			t.Errorf("%s is not in the index", p)
		}
		if want := Repository + "/blob/main/docs/errors/" + string(p) + ".md"; p.URL() != want {
			t.Errorf("%s, want %s", p.URL(), want)
		}
	}
}

// A page that no code names would never be met.
func TestPagesAreUsed(t *testing.T) {
	used := map[string]bool{}
	name := regexp.MustCompile(`\bhelp\.([A-Z]\w+)`)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && d.Name() != "../..":
			return fs.SkipDir
		case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range name.FindAllStringSubmatch(string(text), -1) {
			used[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"Capacity", "Limits", "Permissions", "SignIn", "Connection", "Links", "Boot", "Check"} {
		if !used[n] {
			t.Errorf("help.%s is used nowhere", n)
		}
	}
}

func TestWith(t *testing.T) {
	plain := errors.New("plain")
	limit, link := About(Limits, errors.New("a limit")), About(Links, errors.New("a link"))
	for _, tt := range []struct {
		name string
		err  error
		want []Page
	}{
		{"nothing", nil, nil},
		{"no page", plain, nil},
		{"a page", limit, []Page{Limits}},
		{"a wrapped one", fmt.Errorf("outside: %w", limit), []Page{Limits}},
		{"several, each once", errors.Join(plain, limit, fmt.Errorf("x: %w", link), limit), []Page{Limits, Links}},
		{"the outer one first", About(Boot, fmt.Errorf("x: %w", limit)), []Page{Boot, Limits}},
		{"not too many", errors.Join(About(Boot, plain), About(Check, plain), limit, link), []Page{Boot, Check, Limits}},
		{"again", With(limit), []Page{Limits}},
		{"a cancel", fmt.Errorf("%w: %w", context.Canceled, limit), nil},
		{"an empty page", About("", plain), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := With(tt.err)
			if tt.err == nil {
				if got != nil {
					t.Error(got)
				}
				return
			}
			if !errors.Is(got, tt.err) {
				t.Errorf("%v is lost", tt.err)
			}
			rest := strings.TrimPrefix(got.Error(), strings.TrimSuffix(tt.err.Error(), "\nWhat helps: "+Limits.URL()))
			var want strings.Builder
			for _, p := range tt.want {
				want.WriteString("\nWhat helps: " + p.URL())
			}
			if rest != want.String() {
				t.Errorf("%q, want %q", rest, want.String())
			}
		})
	}
	if About(Limits, nil) != nil {
		t.Error("an error of nothing")
	}
}
