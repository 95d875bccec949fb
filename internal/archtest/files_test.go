// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package archtest

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Lines that a file written by hand may have.
const (
	maxProductLines = 450
	maxOtherLines   = 500
)

var (
	headerLines = []string{"Copyright (c) The packer-plugin-armfree Authors", "SPDX-License-Identifier: MPL-2.0"}

	// homes finds folders of people's machines. Those of the users that a
	// machine on a cloud begins with are no one's, and nor is that of "me".
	homes      = regexp.MustCompile(`(?:^|[\s"'=:(\x60])/(home|Users|work)/([A-Za-z0-9._-]+)`)
	partOfName = regexp.MustCompile(`^[A-Za-z0-9._-]`)

	cloudUser = []string{"debian", "ubuntu", "opc", "admin", "ec2-user", "me"}
)

// source code, as far as it can say under which licence it is
func (s *source) hasComments() bool {
	switch path.Ext(s.path) {
	case ".go", ".sh", ".hcl", ".mk", ".yml", ".yaml":
		return !s.generated()
	}
	base := path.Base(s.path)
	return base == "GNUmakefile" || base == "Makefile" || bytes.HasPrefix(s.data, []byte("#!"))
}

func fileRules() []rule {
	const header = "// Copyright (c) The packer-plugin-armfree Authors\n// SPDX-License-Identifier: MPL-2.0\n\n"
	return []rule{
		{
			name: "licence",
			check: func(t *tree) []finding {
				var out []finding
				for _, f := range t.files {
					if f.hasComments() && !licensed(f.data) {
						out = append(out, finding{f.path, "the file does not begin with the copyright line and the SPDX line"})
					}
				}
				return out
			},
			exceptions: map[string]string{
				"internal/goss/testdata/mixed.yaml":   "what goss was given when it wrote mixed.json",
				"internal/goss/testdata/pass.yaml":    "what goss was given when it wrote pass.json",
				"internal/goss/testdata/skipped.yaml": "what goss was given when it wrote skipped.json",
			},
			fine: map[string]string{
				"a.go": header + "package a", "run": "#!/bin/sh\n" + strings.ReplaceAll(header, "//", "#"), "notes": "no code",
				"x.hcl2spec.go": "// Code generated\npackage x", "b.go": "//go:build unix\n\n" + header + "package b",
			},
			broken: map[string]map[string]string{
				"a.go: the file does not begin":        {"a.go": "package a"},
				"b.pkr.hcl: the file does":             {"b.pkr.hcl": "# SPDX-License-Identifier: MPL-2.0\n"},
				".ci/run: the file does":               {".ci/run": "#!/bin/bash\n"},
				"GNUmakefile: the file does":           {"GNUmakefile": "all:\n"},
				"d.yml: the file does":                 {"d.yml": strings.Repeat("#\n", 20) + strings.ReplaceAll(header, "//", "#")},
				".github/workflows/ci.yaml: the file ": {".github/workflows/ci.yaml": "# Copyright (c) Somebody Else\n# SPDX-License-Identifier: MPL-2.0\n"},
			},
		},
		{
			name: "size",
			check: func(t *tree) []finding {
				var out []finding
				for _, f := range t.files {
					if !f.hasComments() {
						continue
					}
					limit := maxOtherLines
					if f.product() {
						limit = maxProductLines
					}
					if n := bytes.Count(f.data, []byte("\n")); n > limit {
						out = append(out, finding{f.path, fmt.Sprintf("%d lines; files have one idea each and at most %d lines", n, limit)})
					}
				}
				return out
			},
			fine: map[string]string{"a/a.go": "package a" + strings.Repeat("\n", 450), "a/a_test.go": "package a" + strings.Repeat("\n", 500), "go.sum": strings.Repeat("\n", 9999)},
			broken: map[string]map[string]string{
				"a/a.go: 451 lines":      {"a/a.go": "package a" + strings.Repeat("\n", 451)},
				"a/a_test.go: 501 lines": {"a/a_test.go": "package a" + strings.Repeat("\n", 501)},
			},
		},
		{
			name: "text only",
			check: func(t *tree) []finding {
				var out []finding
				for _, f := range t.files {
					if bytes.IndexByte(f.data, 0) >= 0 || !utf8.Valid(f.data) {
						out = append(out, finding{f.path, "a binary file"})
					}
				}
				return out
			},
			fine: map[string]string{"a.md": "plain – text"},
			broken: map[string]map[string]string{
				"prog: a binary file":    {"prog": "\x7fELF\x00"},
				"latin1: a binary file":  {"latin1": "caf\xe9"},
				"b/disk: a binary file":  {"b/disk": strings.Repeat("x", 100000) + "\x00"},
				"a/a.out: a binary file": {"a/a.out": "\x00"},
			},
		},
		{
			name:   "homes",
			check:  func(t *tree) []finding { return homesIn(t, nil) },
			fine:   map[string]string{"a.go": "package a // /home/debian/x, /home/ubuntu, the network /homely/x, https://example.com/home/x"},
			broken: map[string]map[string]string{"a.md: line 2 names": {"a.md": "\nsee /home/" + "jane/notes"}, "b.sh: line 1 names": {"b.sh": "cd '/Users/" + "jane'"}},
		},
	}
}

func licensed(data []byte) bool {
	head := strings.Split(string(data[:min(len(data), 400)]), "\n")
	head = head[:min(len(head), 5)]
	for i, line := range head {
		head[i] = strings.TrimSpace(strings.TrimLeft(line, "/#"))
	}
	at := slices.Index(head, headerLines[0])
	return at >= 0 && at+1 < len(head) && head[at+1] == headerLines[1]
}

// homesIn finds paths of somebody's machine: of homes, and those that are
// named.
func homesIn(t *tree, named []string) []finding {
	var out []finding
	for _, f := range t.files {
		for i, line := range strings.Split(string(f.data), "\n") {
			if strings.Count(line, "/") < 2 {
				continue // no path that could tell, and expressions are slow
			}
			for _, m := range homes.FindAllStringSubmatch(line, -1) {
				if m[1] != "home" || !slices.Contains(cloudUser, m[2]) {
					out = append(out, finding{f.path, fmt.Sprintf("line %d names a folder of somebody's machine, %q", i+1, m[0])})
				}
			}
			for _, n := range named {
				if _, rest, ok := strings.Cut(line, n); ok && !partOfName.MatchString(rest) {
					out = append(out, finding{f.path, fmt.Sprintf("line %d names a folder of this machine, %q", i+1, n)})
				}
			}
		}
	}
	return out
}

// telling returns those folders whose names are not so common that a file may
// name them without thinking of this machine: "/src", "/tmp/out".
func telling(temp string, dirs ...string) []string {
	return slices.DeleteFunc(dirs, func(d string) bool {
		return strings.Count(filepath.ToSlash(d), "/") < 2 || under(filepath.ToSlash(d), filepath.ToSlash(temp))
	})
}

// Neither the folder of this checkout nor the caches of this Go are named in
// it, wherever they are.
func TestThisMachineIsNotNamed(t *testing.T) {
	repo := repository(t)
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	named := telling(os.TempDir(), here, os.Getenv("GOPATH"), os.Getenv("GOCACHE"), os.Getenv("GOMODCACHE"))
	for _, f := range homesIn(repo, named) {
		t.Errorf("%s: %s", f.place, f.text)
	}

	named = telling("/t", "", "/src", "/t/out", "/a/clone", "/deep/er/cache")
	if !slices.Equal(named, []string{"/a/clone", "/deep/er/cache"}) {
		t.Errorf("folders that tell: %q", named)
	}
	for text, want := range map[string]int{
		"in /a/clone": 1, "in /a/clone/x": 1, "/a/clones": 0, "/a": 0, "x\n=/deep/er/cache\n": 1,
	} {
		if got := homesIn(example(t, map[string]string{"a.md": text}), named); len(got) != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}
