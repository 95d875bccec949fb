// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package archtest

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// finding is something that a rule does not like. Its place is what an
// exception is made for.
type finding struct {
	place, text string
}

// rule is one rule of the repository.
type rule struct {
	name string
	// check returns all that is against the rule.
	check func(*tree) []finding
	// exceptions has the reasons why places are exempt.
	exceptions map[string]string
	// fine is a small tree that obeys the rule; broken has trees which do not,
	// by a part of what is said about each.
	fine   map[string]string
	broken map[string]map[string]string
}

// apply returns what is wrong with a tree: findings without an exception, and
// exceptions without a finding.
func (r rule) apply(t *tree, exceptions map[string]string) []string {
	var wrong []string
	used := make(map[string]bool)
	for _, f := range r.check(t) {
		if exceptions[f.place] != "" {
			used[f.place] = true
			continue
		}
		wrong = append(wrong, f.place+": "+f.text)
	}
	for _, place := range slices.Sorted(maps.Keys(exceptions)) {
		if !used[place] {
			wrong = append(wrong, place+": this exception of the rule is not needed any more")
		}
	}
	return wrong
}

func rules() []rule {
	return slices.Concat(arrowRules(), codeRules(), fileRules(), messageRules(), exampleRules())
}

func TestRepository(t *testing.T) {
	repo := repository(t)
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			for _, w := range r.apply(repo, r.exceptions) {
				t.Error(w)
			}
		})
	}
}

// Every rule can fail, and does not always.
func TestRules(t *testing.T) {
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			if wrong := r.apply(example(t, r.fine), nil); len(wrong) > 0 {
				t.Errorf("the good example is refused: %q", wrong)
			}
			if len(r.broken) == 0 {
				t.Error("no example breaks this rule")
			}
			for want, files := range r.broken {
				tree := example(t, files)
				wrong := r.apply(tree, nil)
				if !strings.Contains(strings.Join(wrong, "\n"), want) {
					t.Errorf("want %q, got %q", want, wrong)
					continue
				}
				exempt := make(map[string]string)
				for _, f := range r.check(tree) {
					exempt[f.place] = "a reason"
				}
				if wrong := r.apply(tree, exempt); len(wrong) > 0 {
					t.Errorf("with exceptions: %q", wrong)
				}
				exempt["nowhere.go"] = "a reason"
				if wrong := r.apply(tree, exempt); len(wrong) != 1 {
					t.Errorf("an exception that is not needed: %q", wrong)
				}
			}
		})
	}
}

func example(t *testing.T, files map[string]string) *tree {
	t.Helper()
	fsys := make(fstest.MapFS)
	for p, text := range files {
		fsys[p] = &fstest.MapFile{Data: []byte(text)}
	}
	tree, err := load(fsys, slices.Sorted(maps.Keys(files)))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestWalk(t *testing.T) {
	fsys := fstest.MapFS{
		".gitignore":       {Data: []byte("/bin/\n# builds\n/a/prog-*\n*.out\n\n/lone\n")},
		".git/config":      {},
		".ci/run":          {},
		"bin/x":            {},
		"a/bin/kept.go":    {},
		"a/prog-arm64":     {},
		"a/b/prog-arm64":   {},
		"a/b/profile.out":  {},
		"lone":             {},
		"sub/lone":         {},
		"a/outer/notes.md": {},
	}
	got, err := walk(fsys)
	want := []string{".ci/run", ".gitignore", "a/b/prog-arm64", "a/bin/kept.go", "a/outer/notes.md", "sub/lone"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	fsys[".gitignore"] = &fstest.MapFile{Data: []byte("[\n")}
	if _, err := walk(fsys); err == nil {
		t.Error("a pattern that cannot be understood is passed over")
	}
}

// A file that is committed although .gitignore names it is checked as well.
func TestRepositoryIsSeen(t *testing.T) {
	repo := repository(t)
	var names []string
	for _, f := range repo.files {
		names = append(names, f.path)
	}
	for _, want := range []string{"main.go", ".ci/run", "go.mod", "internal/archtest/doc.go", "builder/oci/builder.go"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among the %d files that are checked", want, len(names))
		}
	}
}
