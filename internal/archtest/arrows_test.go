// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package archtest

import (
	"fmt"
	"go/ast"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The packages that components need of Packer's SDK and of HCL.
var component = []string{
	"github.com/hashicorp/packer-plugin-sdk/common",
	"github.com/hashicorp/packer-plugin-sdk/packer",
	"github.com/hashicorp/packer-plugin-sdk/template/config",
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate",
	"github.com/hashicorp/hcl/v2/hcldec",
	"github.com/zclconf/go-cty/cty",
}

// arrows returns the packages of the product and what each may import beside
// the standard library: packages of this module by their folder, others by
// their path, and a whole module with "/..." at its end. A new package, and a
// new arrow, is added here on purpose or not at all.
//
// The layers, top to bottom; an arrow never points up, and components never
// point at each other:
//
//	main
//	components: builder, provisioner, post-processor, datasource
//	the work:   phase, launch, imagecopy, goss, ocicfg, awscfg, capturecfg, ocibuild, awsbuild, sshkey, mask, tmpl, tunnel
//	adapters:   oci, ec2
//	the base:   cloud, capacity, owner, wait, version
func arrows() map[string][]string {
	return map[string][]string{
		".": {
			"datasource/capacity", "datasource/preflight", "builder/aws", "builder/either", "builder/oci", "provisioner/goss", "post-processor/oci-cross-tenancy-copy", "internal/capacitycmd", "internal/lifeline", "internal/mask", "internal/sweepcmd", "version",
			"github.com/hashicorp/packer-plugin-sdk/packer", "github.com/hashicorp/packer-plugin-sdk/plugin",
		},

		"builder/oci": append([]string{
			"internal/help", "internal/buildcfg", "internal/capacity", "internal/capture", "internal/fleet", "internal/mask", "internal/oci", "internal/ocibuild", "internal/ocicapture", "internal/ocicfg",
			"internal/owner", "internal/phase", "internal/preflight", "internal/sshkey", "version",
			"github.com/hashicorp/packer-plugin-sdk/communicator",
		}, component...),
		"builder/aws": append([]string{
			"internal/help", "internal/awsbuild", "internal/awscfg", "internal/buildcfg", "internal/capture", "internal/capturecfg", "internal/ec2", "internal/fleet", "internal/mask", "internal/oci", "internal/ocicapture", "internal/preflight",
			"internal/owner", "internal/phase", "internal/sshkey", "version",
			"github.com/hashicorp/packer-plugin-sdk/communicator",
		}, component...),
		"builder/either": append([]string{
			"internal/help", "internal/awsbuild", "internal/awscfg", "internal/buildcfg", "internal/capacity", "internal/capture", "internal/capturecfg", "internal/cloud", "internal/ec2", "internal/fleet", "internal/mask",
			"internal/oci", "internal/ocibuild", "internal/ocicapture", "internal/ocicfg", "internal/owner", "internal/phase", "internal/preflight", "internal/sshkey", "internal/tmpl", "version",
			"github.com/hashicorp/packer-plugin-sdk/communicator", "golang.org/x/crypto/ssh",
		}, component...),
		"provisioner/goss": append([]string{"internal/help", "internal/goss", "internal/mask", "internal/proof", "internal/tmpl", "internal/wait"}, component...),
		"post-processor/oci-cross-tenancy-copy": append([]string{
			"internal/help", "internal/awscfg", "internal/buildcfg", "internal/cloud", "internal/diskimage", "internal/ebsdirect", "internal/ec2", "internal/fleet", "internal/goss", "internal/imagecopy", "internal/imagefile",
			"internal/imagestream", "internal/lifeline", "internal/mask", "internal/oci", "internal/ocibuild", "internal/ocicfg", "internal/owner", "internal/phase", "internal/preflight", "internal/proof", "internal/sweep",
			"internal/tmpl", "internal/wait", "version",
			"github.com/hashicorp/packer-plugin-sdk/communicator", "github.com/hashicorp/packer-plugin-sdk/packer/registry/image",
		}, component...),
		"datasource/capacity": append([]string{
			"internal/help", "internal/buildcfg", "internal/capacity", "internal/mask", "internal/oci", "internal/ocibuild", "internal/ocicfg", "internal/outlook", "internal/tmpl", "version",
			"github.com/zclconf/go-cty/cty/gocty",
		}, component...),
		"datasource/preflight": append([]string{
			"internal/help", "internal/buildcfg", "internal/mask", "internal/oci", "internal/preflight", "internal/tmpl", "version",
			"github.com/hashicorp/packer-plugin-sdk/hcl2helper",
		}, component...),

		"internal/phase": {
			"internal/help", "internal/launch", "internal/lifeline", "internal/capture", "internal/capture/wire", "internal/cloud", "internal/capacity", "internal/goss", "internal/proof", "internal/sweep", "internal/trace", "internal/tunnel", "internal/wait",
			"github.com/hashicorp/packer-plugin-sdk/communicator",
			"github.com/hashicorp/packer-plugin-sdk/multistep",
			"github.com/hashicorp/packer-plugin-sdk/packer",
			"github.com/hashicorp/packer-plugin-sdk/pathing",
			"golang.org/x/crypto/ssh", "golang.org/x/crypto/ssh/agent", "golang.org/x/net/proxy",
		},
		"internal/diskimage":                   {"github.com/klauspost/compress/flate", "github.com/klauspost/compress/zlib", "github.com/klauspost/compress/zstd"},
		"internal/ebsdirect":                   {"internal/diskimage", "internal/wait", "github.com/aws/aws-sdk-go-v2/aws", "github.com/aws/aws-sdk-go-v2/service/ebs/...", "github.com/aws/smithy-go/..."},
		"internal/imagestream":                 {"internal/diskimage", "internal/wait"},
		"internal/imagefile":                   {"internal/diskimage", "internal/wait"},
		"internal/ocicapture":                  {"internal/capture", "internal/capture/wire", "internal/capturecfg", "internal/cloud", "internal/fleet", "internal/oci", "internal/ocibuild", "internal/owner", "internal/phase", "internal/proof", "internal/sweep"},
		"internal/capturecfg":                  {"internal/capture/wire", "internal/diskimage", "internal/oci", "internal/ocicfg", "internal/tmpl", "github.com/hashicorp/packer-plugin-sdk/communicator", "github.com/hashicorp/packer-plugin-sdk/template/config", "github.com/hashicorp/hcl/v2/hcldec", "github.com/zclconf/go-cty/cty"},
		"internal/capture":                     {"internal/capture/wire", "internal/diskimage"},
		"internal/capture/wire":                {"internal/diskimage"},
		"internal/capture/blockmap":            {"internal/diskimage"},
		"internal/capture/quiesce":             {"internal/wait", "golang.org/x/sys/unix"},
		"internal/capture/helper":              {"internal/capture/blockmap", "internal/capture/quiesce", "internal/capture/wire", "internal/diskimage", "internal/wait", "golang.org/x/sys/unix"},
		"internal/capture/cmd/armfree-capture": {"internal/capture/helper", "internal/capture/wire", "golang.org/x/sys/unix"},
		"internal/capture/cmd/embedhelper":     {"internal/capture"},
		"internal/capacitycmd": {
			"internal/flags", "internal/mask", "internal/oci", "internal/ocicfg", "internal/outlook", "internal/wait", "version",
		},
		"internal/outlook":            {"internal/capacity", "internal/oci"},
		"internal/flags":              nil,
		"internal/sweepcmd":           {"internal/awscfg", "internal/ec2", "internal/flags", "internal/mask", "internal/oci", "internal/ocicfg", "internal/sweep", "version"},
		"internal/fleet":              {"internal/cloud", "internal/capacity", "internal/sweep"},
		"internal/lifeline":           {"internal/wait", "github.com/hashicorp/packer-plugin-sdk/packer"},
		"internal/launch":             {"internal/help", "internal/cloud", "internal/capacity", "internal/wait"},
		"internal/imagecopy":          {"internal/help", "internal/cloud", "internal/diskimage", "internal/imagestream", "internal/owner", "internal/wait"},
		"internal/goss":               {"go.yaml.in/yaml/v3"},
		"internal/proof":              {"internal/goss"},
		"internal/goss/cmd/embedgoss": {"internal/goss"},
		"internal/licences":           nil,
		"tools/release/zip":           nil,
		"internal/webdocs":            {"internal/help"},
		"internal/ocicfg":             {"internal/oci", "internal/tmpl", "github.com/hashicorp/packer-plugin-sdk/pathing", "github.com/hashicorp/hcl/v2/hcldec", "github.com/zclconf/go-cty/cty"},
		"internal/preflight":          {"internal/buildcfg", "internal/oci", "internal/ocibuild", "internal/ocicfg", "internal/owner", "internal/tmpl", "github.com/hashicorp/packer-plugin-sdk/communicator", "github.com/hashicorp/packer-plugin-sdk/template/config", "github.com/hashicorp/hcl/v2/hcldec", "github.com/zclconf/go-cty/cty"},
		"internal/awscfg":             {"internal/ec2", "internal/tmpl", "github.com/hashicorp/packer-plugin-sdk/pathing", "github.com/hashicorp/hcl/v2/hcldec", "github.com/zclconf/go-cty/cty"},
		"internal/ocibuild": append([]string{
			"internal/buildcfg", "internal/capacity", "internal/capturecfg", "internal/fleet", "internal/oci", "internal/ocicfg", "internal/owner", "internal/sshkey", "internal/tmpl",
			"internal/wait", "github.com/hashicorp/packer-plugin-sdk/communicator", "github.com/hashicorp/packer-plugin-sdk/packer/registry/image",
		}, component[2:]...),
		"internal/awsbuild": append([]string{
			"internal/awscfg", "internal/buildcfg", "internal/capacity", "internal/diskimage", "internal/ec2", "internal/fleet", "internal/owner", "internal/sshkey", "internal/tmpl",
			"internal/wait", "github.com/hashicorp/packer-plugin-sdk/communicator", "github.com/hashicorp/packer-plugin-sdk/packer/registry/image",
		}, component[2:]...),
		"internal/buildcfg": append([]string{
			"internal/capacity", "internal/owner", "internal/sshkey", "internal/tmpl", "github.com/hashicorp/packer-plugin-sdk/communicator",
		}, component...),
		"internal/sshkey": {"internal/tmpl", "github.com/hashicorp/packer-plugin-sdk/communicator/...", "golang.org/x/crypto/ssh"},
		"internal/mask":   {"github.com/hashicorp/packer-plugin-sdk/packer"},
		"internal/tmpl":   {},
		"internal/tunnel": {"internal/wait", "golang.org/x/crypto/ssh"},

		"internal/oci": {"internal/help", "internal/cloud", "internal/capacity", "internal/owner", "internal/sweep", "internal/trace", "internal/wait", "github.com/oracle/oci-go-sdk/v65/..."},

		"internal/ec2": {"internal/help", "internal/cloud", "internal/capacity", "internal/owner", "internal/sweep", "internal/trace", "internal/wait", "github.com/aws/aws-sdk-go-v2/...", "github.com/aws/smithy-go/..."},

		"internal/cloud":    {"internal/help", "internal/capacity"},
		"internal/capacity": {},
		"internal/help":     {},
		"internal/owner":    {},
		"internal/sweep":    {"internal/owner", "internal/wait"},
		"internal/trace":    {},
		"internal/wait":     {},
		"version":           {"github.com/hashicorp/packer-plugin-sdk/version"},
	}
}

// layer is the height of a folder; it only matters which is higher.
func layer(dir string) int {
	switch top, _, _ := strings.Cut(dir, "/"); {
	case dir == ".":
		return 4
	case top == "builder", top == "provisioner", top == "post-processor", top == "datasource":
		return 3
	case under(dir, "internal/oci"), under(dir, "internal/ec2"):
		return 1
	case slices.Contains([]string{"version", "internal/cloud", "internal/capacity", "internal/help", "internal/owner", "internal/sweep", "internal/trace", "internal/wait"}, dir):
		return 0
	}
	return 2
}

// wrongArrows returns the arrows of a table that point up, and those between
// components or between adapters.
func wrongArrows(table map[string][]string) []string {
	var wrong []string
	for _, from := range slices.Sorted(maps.Keys(table)) {
		for _, to := range table[from] {
			if to != "." && strings.Contains(strings.Split(to, "/")[0], ".") {
				continue // another module
			}
			a, b := layer(from), layer(to)
			if a < b || a == b && (a == 3 || a == 1) {
				wrong = append(wrong, from+" -> "+to)
			}
		}
	}
	return wrong
}

func TestArrowsPointDown(t *testing.T) {
	for _, w := range wrongArrows(arrows()) {
		t.Errorf("%s: the table allows an arrow that the layers do not", w)
	}
	for _, bad := range [][2]string{
		{"internal/oci", "internal/ec2"}, {"internal/ec2", "internal/oci"}, {"internal/oci", "internal/phase"},
		{"builder/oci", "builder/aws"}, {"internal/capacity", "internal/oci"}, {"internal/phase", "builder/oci"},
		{"provisioner/goss", "."},
	} {
		if len(wrongArrows(map[string][]string{bad[0]: {bad[1]}})) != 1 {
			t.Errorf("%s -> %s is allowed", bad[0], bad[1])
		}
	}
}

// imported is one import of a file: a folder of this module, or another path.
type imported struct {
	file *source
	path string
	ours bool
}

func imports(t *tree, of func(*source) bool) []imported {
	var list []imported
	for _, f := range t.files {
		if f.ast == nil || !of(f) {
			continue
		}
		for _, spec := range f.ast.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue // no Go compiler takes that
			}
			i := imported{file: f, path: p}
			if p == modulePath {
				i.path, i.ours = ".", true
			} else if dir, ok := strings.CutPrefix(p, modulePath+"/"); ok {
				i.path, i.ours = dir, true
			}
			list = append(list, i)
		}
	}
	return list
}

func (i imported) standard() bool {
	return !i.ours && !strings.Contains(strings.Split(i.path, "/")[0], ".")
}

func allowed(i imported, list []string) bool {
	return slices.ContainsFunc(list, func(a string) bool {
		dir, all := strings.CutSuffix(a, "/...")
		return i.path == a || all && under(i.path, dir)
	})
}

func arrowRules() []rule {
	file := func(imports ...string) string {
		text := "package p\n"
		for _, i := range imports {
			text += fmt.Sprintf("import _ %q\n", i)
		}
		return text
	}
	return []rule{
		{
			name: "arrows",
			check: func(t *tree) []finding {
				var out []finding
				table := arrows()
				unknown := make(map[string]bool)
				for _, f := range t.files {
					if _, ok := table[f.dir()]; !ok && f.product() && !unknown[f.dir()] {
						unknown[f.dir()] = true
						out = append(out, finding{f.dir(), "this package is not in the table of arrows (arrows_test.go)"})
					}
				}
				for _, i := range imports(t, (*source).product) {
					if list, ok := table[i.file.dir()]; ok && !i.standard() && !allowed(i, list) {
						out = append(out, finding{i.file.path, i.file.dir() + " must not import " + i.path})
					}
				}
				return out
			},
			fine: map[string]string{
				"main.go":                    file(modulePath+"/builder/oci", "fmt"),
				"internal/oci/a.go":          file("github.com/oracle/oci-go-sdk/v65/core", modulePath+"/internal/capacity"),
				"internal/capacity/a.go":     file("iter", "go/token"),
				"internal/oci/a_test.go":     file(modulePath + "/internal/sim/ocisim"),
				"internal/sim/ocisim/a.go":   file("golang.org/x/crypto/ssh"),
				"internal/oci/testdata/x.go": "not Go",
			},
			broken: map[string]map[string]string{
				"internal/new: this package is not in the table":                       {"internal/new/a.go": file()},
				"internal/capacity must not import github.com/oracle/oci-go-sdk":       {"internal/capacity/a.go": file("github.com/oracle/oci-go-sdk/v65/common")},
				"internal/capacity must not import internal/wait":                      {"internal/capacity/a.go": file(modulePath + "/internal/wait")},
				"internal/owner must not import github.com/hashicorp":                  {"internal/owner/a.go": file("github.com/hashicorp/packer-plugin-sdk/packer")},
				"internal/oci must not import internal/ec2":                            {"internal/oci/a.go": file(modulePath + "/internal/ec2")},
				"internal/oci must not import github.com/oracle/oci-go-sdk/v650":       {"internal/oci/a.go": file("github.com/oracle/oci-go-sdk/v650/core")},
				"builder/oci must not import github.com/hashicorp/packer-plugin-sdk/m": {"builder/oci/a.go": file("github.com/hashicorp/packer-plugin-sdk/multistep")},
				"internal/wait must not import .":                                      {"internal/wait/a.go": file(modulePath)},
			},
		},
		{
			name: "simulators stay outside the product",
			check: func(t *tree) []finding {
				var out []finding
				for _, i := range imports(t, (*source).product) {
					if i.ours && simulation(i.path) {
						out = append(out, finding{i.file.path, "product code imports " + i.path})
					}
				}
				return out
			},
			fine:   map[string]string{"internal/oci/a_test.go": file(modulePath + "/internal/sim/ocisim"), "internal/sim/a/a.go": file(modulePath + "/internal/sim/b")},
			broken: map[string]map[string]string{"product code imports internal/sim/machine": {"internal/oci/a.go": file(modulePath + "/internal/sim/machine")}},
		},
		{
			// What judges the product shares no code with it.
			name: "the product stays outside the simulators",
			check: func(t *tree) []finding {
				var out []finding
				for _, i := range imports(t, func(f *source) bool { return !f.test() && under(f.dir(), "internal/sim") }) {
					if i.ours && !simulation(i.path) {
						out = append(out, finding{i.file.path, "a simulator imports " + i.path})
					}
				}
				return out
			},
			fine:   map[string]string{"internal/sim/a/a.go": file(modulePath + "/internal/sim/b"), "internal/sim/a/a_test.go": file(modulePath + "/internal/oci")},
			broken: map[string]map[string]string{"a simulator imports internal/owner": {"internal/sim/a/a.go": file(modulePath + "/internal/owner")}},
		},
		{
			// commonsteps costs 12 MB and 6 ms per start; internal/phase does
			// what it did. Packer itself is not free software.
			name: "Packer",
			check: func(t *tree) []finding {
				var out []finding
				for _, i := range imports(t, func(*source) bool { return true }) {
					switch {
					case under(i.path, "github.com/hashicorp/packer-plugin-sdk/multistep") && i.file.dir() != "internal/phase":
						out = append(out, finding{i.file.path, "only internal/phase may import " + i.path})
					case under(i.path, "github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps"):
						out = append(out, finding{i.file.path, "nothing may import " + i.path})
					case under(i.path, "github.com/hashicorp/packer"):
						out = append(out, finding{i.file.path, "nothing may import Packer itself, " + i.path})
					}
				}
				return out
			},
			fine: map[string]string{"internal/phase/a.go": file("github.com/hashicorp/packer-plugin-sdk/multistep")},
			broken: map[string]map[string]string{
				"only internal/phase":                 {"builder/oci/a_test.go": file("github.com/hashicorp/packer-plugin-sdk/multistep")},
				"nothing may import github.com":       {"internal/phase/a.go": file("github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps")},
				"nothing may import Packer itself, g": {"main.go": file("github.com/hashicorp/packer/packer")},
			},
		},
		{
			name: "package docs",
			check: func(t *tree) []finding {
				docs := make(map[string]string)
				for _, f := range t.files {
					if f.ast == nil {
						continue
					}
					docs[f.dir()] += strings.TrimSpace(packageDoc(f.ast))
				}
				var out []finding
				for _, dir := range slices.Sorted(maps.Keys(docs)) {
					switch lines := strings.Count(docs[dir], "\n") + 1; {
					case docs[dir] == "":
						out = append(out, finding{dir, "the package has no doc comment"})
					case lines < 2:
						out = append(out, finding{dir, "the package's doc comment has a single line"})
					}
				}
				return out
			},
			fine: map[string]string{"a/a.go": "// Package a is\n// good.\npackage a", "a/b.go": "// A licence.\n\npackage a", "t/t_test.go": "// Package t has\n// tests only.\npackage t"},
			broken: map[string]map[string]string{
				"a: the package has no doc comment":    {"a/a.go": "// A licence,\n// in two lines.\n\npackage a"},
				"a: the package's doc comment has a s": {"a/a.go": "// Package a is short.\npackage a"},
				"b: the package has no doc comment":    {"a/a.go": "// Package a is\n// good.\npackage a", "b/b.go": "package b"},
			},
		},
	}
}

func packageDoc(f *ast.File) string {
	if f.Doc == nil {
		return ""
	}
	return f.Doc.Text()
}

// The rules above look at imports of this module's own files; what those
// import in turn is part of the plugin too.
func TestLinked(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	list := strings.Fields(string(out))
	if !slices.Contains(list, modulePath+"/internal/capacity") {
		t.Errorf("the search for capacity is not among the %d packages of the plugin", len(list))
	}
	for _, p := range unwanted(list) {
		t.Errorf("the plugin links %s", p)
	}
}

// unwanted returns those packages that the plugin must not link: Packer
// itself, the SDK's steps, the simulators.
func unwanted(list []string) []string {
	var out []string
	for _, p := range list {
		dir, ours := strings.CutPrefix(p, modulePath+"/")
		if under(p, "github.com/hashicorp/packer") || under(p, "github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps") ||
			ours && simulation(dir) || p == "net/http/httptest" {
			out = append(out, p)
		}
	}
	return out
}

func TestUnwanted(t *testing.T) {
	bad := []string{"github.com/hashicorp/packer/packer", "github.com/hashicorp/packer-plugin-sdk/multistep/commonsteps", modulePath + "/internal/sim/machine", "net/http/httptest"}
	good := []string{"fmt", "github.com/hashicorp/packer-plugin-sdk/packer", modulePath + "/internal/oci", "github.com/hashicorp/packer-plugin-sdk/multistep", "net/http"}
	if got := unwanted(slices.Concat(good, bad)); !slices.Equal(got, bad) {
		t.Errorf("got %q", got)
	}
}
