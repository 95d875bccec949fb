// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// use is a mention of a function or variable of another package, or of a
// method: context.Background, t.Skip. It does not matter whether it is called.
type use struct {
	file *source
	pkg  string // its import path; of a method, the name before the dot
	name string
	fn   string // the top-level function that has it, or ""
	line int
}

// place names the function that holds a use, as exceptions do.
func (u use) place() string { return u.file.path + ":" + u.fn }

func uses(t *tree, of func(*source) bool) []use {
	var list []use
	for _, f := range t.files {
		if f.ast == nil || !of(f) {
			continue
		}
		names := make(map[string]string) // what this file calls its imports
		for _, spec := range f.ast.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue
			}
			name := path.Base(p)
			if spec.Name != nil {
				name = spec.Name.Name
			}
			names[name] = p
		}
		for _, decl := range f.ast.Decls {
			fn := ""
			if d, ok := decl.(*ast.FuncDecl); ok {
				fn = d.Name.Name
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok {
					u := use{file: f, pkg: x.Name, name: sel.Sel.Name, fn: fn, line: t.fset.Position(sel.Pos()).Line}
					if p, ok := names[x.Name]; ok {
						u.pkg = p
					}
					list = append(list, u)
				}
				return true
			})
		}
	}
	return list
}

// forbid is a rule's check: none of the names of a package is used.
func forbid(of func(*source) bool, pkg, why string, names ...string) func(*tree) []finding {
	return func(t *tree) []finding {
		var out []finding
		for _, u := range uses(t, of) {
			if u.pkg == pkg && slices.Contains(names, u.name) {
				out = append(out, finding{u.place(), "line " + strconv.Itoa(u.line) + " has " + u.pkg + "." + u.name + ": " + why})
			}
		}
		return out
	}
}

func (s *source) waits() bool { return s.dir() == "internal/wait" }

func codeRules() []rule {
	anywhere := func(*source) bool { return true }
	return []rule{
		{
			name:   "context.TODO",
			check:  forbid(anywhere, "context", "contexts come from the caller", "TODO"),
			fine:   map[string]string{"a.go": "package a\nimport \"context\"\nvar x = context.Background"},
			broken: map[string]map[string]string{"a.go:f: line 4 has context.TODO": {"a.go": "package a\nimport c \"context\"\nfunc f() {\n_ = c.TODO()\n}"}},
		},
		{
			name:  "context.Background",
			check: forbid((*source).product, "context", "contexts come from the caller", "Background"),
			exceptions: map[string]string{
				"internal/awsbuild/artifact.go:Destroy":             "Packer gives Destroy no context; it has a deadline of its own",
				"internal/ocibuild/artifact.go:Destroy":             "Packer gives Destroy no context; it has a deadline of its own",
				"internal/ocibuild/captured.go:Destroy":             "Packer gives Destroy no context; it has a deadline of its own",
				"internal/capture/cmd/armfree-capture/main.go:main": "a program begins here",
				"internal/capture/cmd/embedhelper/main.go:main":     "a program begins here",
				"datasource/preflight/data.go:Execute":              "Packer gives Execute no context; it listens for signals itself",
				"internal/goss/cmd/embedgoss/main.go:main":          "a program begins here",
				"main.go:main":                        "a program begins here",
				"datasource/capacity/data.go:Execute": "Packer gives Execute no context; it listens for signals itself",
				"internal/licences/main.go:main":      "a program begins here",
			},
			fine: map[string]string{
				"a/a.go":                     "package a\nimport \"context\"\nvar x = context.WithCancel",
				"a/a_test.go":                "package a\nimport \"context\"\nvar y = context.Background()",
				"internal/sim/cmd/x/main.go": "package main\nimport \"context\"\nfunc main() { context.Background() }",
			},
			broken: map[string]map[string]string{
				"a/a.go:f: line 3 has context.Background": {"a/a.go": "package a\nimport \"context\"\nfunc f() { context.Background() }"},
				"a/a.go:: line 3 has context.Background":  {"a/a.go": "package a\nimport \"context\"\nvar x = context.Background"},
			},
		},
		{
			name: "sleeping",
			check: forbid(func(f *source) bool { return f.product() && !f.waits() }, "time", "only internal/wait sleeps",
				"Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"),
			fine: map[string]string{
				"internal/wait/wait.go": "package wait\nimport \"time\"\nvar x = time.NewTimer",
				"internal/oci/a.go":     "package oci\nimport \"time\"\nvar x = time.Now().After(y)",
			},
			broken: map[string]map[string]string{
				"time.Sleep":    {"a.go": "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }"},
				"time.NewTimer": {"internal/waiter/a.go": "package a\nimport \"time\"\nvar x = time.NewTimer(1)"},
			},
		},
		{
			// A simulator has timers, which a test can stop.
			name:   "sleeping simulators",
			check:  forbid(func(f *source) bool { return f.simulation() && !f.test() }, "time", "wait on a timer and on what may end the wait", "Sleep"),
			fine:   map[string]string{"internal/sim/a.go": "package a\nimport \"time\"\nvar x = time.NewTimer"},
			broken: map[string]map[string]string{"time.Sleep": {"internal/sim/a.go": "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }"}},
		},
		{
			// A test that is skipped looks like one that passed.
			name: "skipped tests",
			check: func(t *tree) []finding {
				var out []finding
				for _, u := range uses(t, (*source).test) {
					if (u.name == "Skip" || u.name == "Skipf" || u.name == "SkipNow") && !strings.Contains(u.pkg, "/") {
						out = append(out, finding{u.file.dir() + ":" + u.fn, fmt.Sprintf("%s:%d skips a test", u.file.path, u.line)})
					}
				}
				return out
			},
			exceptions: map[string]string{
				"internal/diskimage:needQemuImg":              "qemu-img, a second reader and writer of disks, where there is one",
				"internal/e2e:bootstrapStage":                 "the AWS CLI may not be installed; make testacc installs it where it can",
				"internal/e2e:newHost":                        "the artifacts of a release take minutes; .ci/run makes them first",
				"internal/e2e/bootstrap:newOracle":            "openssl may not be installed",
				"internal/e2e:alone":                          "an acceptance test, run by make testacc",
				"internal/e2e:newCLI":                         "the AWS CLI, where it is installed; .ci installs it",
				"internal/sim/cmd/demo:acceptance":            "an acceptance test, run by make testacc",
				"internal/sim/machine:guest":                  "an acceptance test, run by make testacc",
				"internal/sim/machine:TestHelperMachine":      "the child process that a test starts",
				"internal/sim/machine:TestQEMUNeedsItsParts":  "needs QEMU and its firmware",
				"internal/e2e:fromAWS":                        "half an hour where ARM64 is emulated; ACC_SLOW=1 make testacc",
				"internal/e2e:TestAccAWSDropIn":               "the peer's binary is not in this repository; what it made is recorded",
				"internal/e2e:TestAccDropIn":                  "the peer's binary is not in this repository; what it made is recorded",
				"internal/e2e:TestAccPeerAmazon":              "the peer's binary is not in this repository",
				"internal/e2e:TestAccStreamPeerAmazon":        "the peer's binary is not in this repository",
				"internal/e2e:TestAccPeerOracle":              "the peer's binary is not in this repository; what it said is replayed",
				"internal/e2e:TestAccPeerOracleScarcity":      "the peer's binary is not in this repository; what it did is recorded",
				"internal/capture/blockmap:tool":              "e2fsprogs and sfdisk, the other readers of disks, where they are",
				"internal/capture/quiesce:lacks":              "root, loop devices and e2fsprogs, where they are; CI requires them",
				"internal/capture/quiesce:TestPrepareOthers":  "xfsprogs and btrfs-progs, where they are; CI requires them",
				"internal/capture/quiesce:TestPrepareOfChild": "a part of other tests",
				"internal/capture:tool":                       "e2fsprogs and qemu-img, the other readers of disks, where they are",
				"internal/capture:TestHelper":                 "make helper puts the helper in",
				"internal/e2e:needE2fsprogs":                  "e2fsprogs, the other reader of disks, where they are",
				"internal/e2e:TestAccCaptureGuest":            "half an hour where ARM64 is emulated; ACC_SLOW=1 make testacc",
				"internal/goss:realGoss":                      "a test downloads nothing; slow",
				"internal/goss:TestShippedBinary":             "make goss puts goss in; an ARM64 program needs ARM64 or its emulator",
				"provisioner/goss:realGoss":                   "a test downloads nothing; slow",
				"internal/sim/machine:TestDisk":               "qemu-img, a second reader of disks, where there is one",
				"internal/sim/ocisim:TestOverlayDisks":        "made by qemu-img, where there is one",
				"internal/sim/simnet:TestEnv":                 "the child process that TestEnv starts",
				"internal/sim/simnet:TestEnvChild":            "the child process that TestEnv starts",
				"provisioner/goss:TestInputsStopAtALoop":      "file systems without symbolic links",
				"provisioner/goss:needUnix":                   "where there is no Unix",
				"provisioner/goss:FuzzQuote":                  "inputs that no shell can be given",
			},
			fine: map[string]string{"a/a.go": "package a\nfunc f() { x.Skip() }", "a/a_test.go": "package a\nfunc f() { t.Run() }"},
			broken: map[string]map[string]string{
				".:TestX: a_test.go:2 skips": {"a_test.go": "package a\nfunc TestX(t *testing.T) { t.Skip() }"},
				".:f: a_test.go:2 skips":     {"a_test.go": "package a\nfunc f(tb testing.TB) { tb.Skipf(\"\") }"},
				".:g: a_test.go:2 skips":     {"a_test.go": "package a\nfunc g(b *testing.B) { b.SkipNow() }"},
			},
		},
		{
			name:  "package-level state",
			check: packageState,
			exceptions: map[string]string{
				"version/version.go:Version":           "the release tooling sets it by -ldflags",
				"version/version.go:VersionPrerelease": "the release tooling sets it by -ldflags",
				"internal/goss/executable.go:embedded": "the compiler fills it in, and it cannot be written",
				"internal/wait/wait.go:Door":           "a value that nobody changes; Go has no such constants",
				"internal/capture/binary.go:embedded":  "the compiler fills it in, and it cannot be written",
				"internal/wait/wait.go:Quick":          "a value that nobody changes; Go has no such constants",
				"internal/wait/wait.go:Slow":           "a value that nobody changes; Go has no such constants",
				"internal/wait/wait.go:Backoff":        "a value that nobody changes; Go has no such constants",
			},
			fine: map[string]string{
				"a/a.go":      "package a\nvar _ I = (*T)(nil)\nvar (\n\tErrA = errors.New(\"a\")\n\terrB = fmt.Errorf(\"b: %w\", ErrA)\n\tre = regexp.MustCompile(\"x\")\n)\nconst c = 1\nfunc f() { var x int }",
				"a/a_test.go": "package a\nvar state int",
			},
			broken: map[string]map[string]string{
				"a/a.go:state: package-level variable": {"a/a.go": "package a\nvar state int"},
				"a/a.go:table: package-level variable": {"a/a.go": "package a\nvar table = map[string]int{}"},
				"a/a.go:y: package-level variable":     {"a/a.go": "package a\nvar x, y = errors.New(\"\"), new(int)"},
			},
		},
	}
}

// packageState finds variables of packages. Errors to compare with, compiled
// expressions and assertions about types are none.
func packageState(t *tree) []finding {
	var out []finding
	for _, f := range t.files {
		if !f.product() || f.generated() {
			continue
		}
		for _, decl := range f.ast.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok || d.Tok != token.VAR {
				continue
			}
			for _, spec := range d.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for i, name := range v.Names {
					if name.Name != "_" && (i >= len(v.Values) || !constant(v.Values[i])) {
						out = append(out, finding{f.path + ":" + name.Name, "package-level variable"})
					}
				}
			}
		}
	}
	return out
}

// constant says whether a value is one of those that Go cannot declare as
// constants but that nobody changes.
func constant(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && slices.Contains([]string{"errors.New", "fmt.Errorf", "regexp.MustCompile"}, x.Name+"."+sel.Sel.Name)
}
