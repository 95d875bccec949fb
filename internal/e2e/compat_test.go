// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A name that `make compat` selects and that no test has would select nothing, quietly.
func TestCompatSelectsTests(t *testing.T) {
	rules, err := os.ReadFile(filepath.FromSlash("../../GNUmakefile"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`-run '\^TestAcc\(([^)]*)\)\$\$' \./internal/e2e`).FindSubmatch(rules)
	if m == nil {
		t.Fatal("what make compat runs is not found")
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	for _, name := range strings.Split(string(m[1]), "|") {
		if !strings.Contains(all.String(), "\nfunc TestAcc"+name+"(t *testing.T)") {
			t.Errorf("there is no TestAcc%s", name)
		}
	}
}
