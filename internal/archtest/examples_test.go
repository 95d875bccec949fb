// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package archtest

import (
	"maps"
	"slices"
	"strings"
)

// exampleRules want of every example that it says how it is run.
func exampleRules() []rule {
	return []rule{{
		name: "examples",
		check: func(t *tree) []finding {
			pages, folders := map[string]string{}, map[string]bool{}
			for _, f := range t.files {
				parts := strings.Split(f.path, "/")
				if len(parts) < 3 || parts[0] != "example" {
					continue
				}
				folders[parts[1]] = true
				if parts[len(parts)-1] == "README.md" { // an example of several parts says it in each
					pages[parts[1]] += string(f.data)
				}
			}
			var out []finding
			for _, name := range slices.Sorted(maps.Keys(folders)) {
				switch page, there := pages[name]; {
				case !there:
					out = append(out, finding{"example/" + name, "there is no README.md that says how to run it"})
				case !strings.Contains(page, "\n```sh\n") && !strings.Contains(page, ".github/workflows"):
					out = append(out, finding{"example/" + name, "README.md has no commands that run it"})
				}
			}
			return out
		},
		fine: map[string]string{
			"example/README.md": "overview", "example/a/README.md": "# A\n\n```sh\npacker build .\n```\n", "example/a/a.pkr.hcl": "",
			"example/b/README.md": "Put it into `.github/workflows`.", "example/b/b.yml": "",
		},
		broken: map[string]map[string]string{
			"example/a: there is no README.md": {"example/a/a.pkr.hcl": "", "example/README.md": "overview"},
			"example/a: README.md has no comm": {"example/a/README.md": "# A\n"},
		},
	}}
}
