// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every call of the SDK gets a shielded context; see shield.
func TestEveryCallIsShielded(t *testing.T) {
	call := regexp.MustCompile(`\.(compute|network|volumes|identity|limits|objects|work)\.[A-Z]\w*\(([^,)]*\)?)`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllStringSubmatch(string(b), -1) {
			if n++; !strings.HasPrefix(m[2], "shield(") {
				t.Errorf("%s: %s", f, m[0])
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d calls were found: the pattern no longer fits", n)
	}
}
