// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestLint(t *testing.T) {
	type files = map[string]string
	const (
		fine   = 0  // goss takes it, and so does lint
		refuse = 78 // goss refuses it
		fails  = 1  // goss fails the test in any case
	)
	tests := []struct {
		name string
		main string // goss.yaml unless given
		text string
		more files
		vars map[string]any
		want []string // "line level rule", in order
		says string   // in one of the sentences
		goss int      // the exit code of the real goss, -1: not asked
	}{
		{name: "nothing wrong", text: "file:\n  /proc/self: {exists: true}\ncommand:\n  a b: {exit-status: 0, exec: 'true', stdout: ['!x'], timeout: 1000}\n"},
		{name: "empty", text: "", goss: refuse},
		{name: "not YAML", text: "file:\n  /a: {exists: true\n", want: []string{"2 error syntax"}, goss: refuse},
		{name: "not a map", text: "- file\n", want: []string{"1 error syntax"}, goss: refuse},
		{name: "a section twice", text: "user: {root: {exists: true}}\nuser: {}\n", want: []string{"2 error duplicate-key"}, says: "already in line 1", goss: refuse},
		{name: "a resource twice", text: "user:\n  root: {exists: true}\n  root: {exists: false}\n", want: []string{"3 error duplicate-key"}, goss: refuse},
		{name: "an attribute twice", text: "user:\n  root:\n    exists: true\n    exists: false\n", want: []string{"4 error duplicate-key"}, goss: refuse},
		{name: "an attribute that is none", text: "user:\n  root:\n    exist: true\n    exists: true\n", want: []string{"3 error unknown-attribute"}, says: `it may be "exists"`, goss: refuse},
		{name: "an attribute of another type", text: "user: {root: {exists: true, mode: '0644'}}\n", want: []string{"1 error unknown-attribute"}, goss: refuse},
		{name: "misspelt", text: "user: {root: {exists: true}}\nfiel: {}\nServices: {}\nkernel_param: {}\n", want: []string{"2 error misspelt-section", "3 error misspelt-section", "4 error misspelt-section"}, says: `it must be "file"`},
		{name: "in another case", text: "user: {root: {exists: true}}\nFile: {}\n", want: []string{"2 error misspelt-section"}},
		{name: "a section for anchors", text: "x: &x\n  exists: true\nuser:\n  root:\n    <<: *x\n", want: []string{"1 strict unknown-section"}},
		{name: "an unknown attribute by an anchor", text: "x: &x\n  exist: true\nuser:\n  root:\n    <<: *x\n    exists: true\n", want: []string{"1 strict unknown-section", "2 error unknown-attribute"}, goss: refuse},
		{name: "an empty resource", text: "user:\n  root:\n", want: []string{"2 error syntax"}, goss: refuse},
		{name: "a resource that is no map", text: "user:\n  root: true\n", want: []string{"2 error syntax"}, goss: refuse},
		{name: "empty lists", text: "command:\n  'true':\n    exit-status: 0\n    stdout: []\n    stderr:\n      have-patterns: []\n", want: []string{"4 strict empty-list", "6 strict empty-list"}},
		{name: "a list that is meant to be empty", text: "command: {'true': {exit-status: 0, stdout: {consist-of: []}}}\n", goss: fails},
		{name: "no value", text: "user:\n  root:\n    exists: true\n    home:\n", want: []string{"4 strict empty-value"}},
		{name: "a timeout with a unit", text: "command:\n  'true': {exit-status: 0, timeout: 5s}\n", want: []string{"2 error duration"}, says: "milliseconds", goss: refuse},
		{name: "a short timeout", text: "command:\n  'true': {exit-status: 0, timeout: 30}\n", want: []string{"2 note duration"}, goss: -1},
		{name: "a skip that is none", text: "user: {root: {exists: true, skip: perhaps}}\n", want: []string{"1 error wrong-type"}, goss: refuse},
		{name: "a skip in old YAML", text: "user: {root: {exists: true, skip: no}}\n"},
		{name: "a title that is a list", text: "user: {root: {exists: true, title: [a]}}\n", want: []string{"1 error wrong-type"}, goss: refuse},
		{name: "an unknown matcher", text: "user:\n  root:\n    exists: true\n    uid: {gtt: 5}\n", want: []string{"4 error unknown-matcher"}, says: `it may be "gt"`, goss: fails},
		{name: "two matchers", text: "user:\n  root:\n    exists: true\n    uid: {ge: 0, lt: 5}\n", want: []string{"4 error unknown-matcher"}, says: "and: [...]", goss: fails},
		{name: "matchers in matchers", text: "user:\n  root:\n    exists: true\n    uid: {and: [{ge: 0}, {not: {le: -1}}, {lesser: 5}]}\n", want: []string{"4 error unknown-matcher"}, goss: fails},
		{name: "what must be there", text: "user: {root: {uid: 0}}\nfile: {/x: {skip: true}}\n", want: []string{"1 error missing-attribute"}, goss: fails},
		{name: "a second document", text: "user: {root: {exists: true}}\n---\nuser: {nobody9: {exists: true}}\n", want: []string{"2 strict second-document"}},

		{name: "a template that is none", text: "user:\n  root: {exists: {{ if }}}\n", want: []string{"2 error template"}, goss: refuse},
		{name: "a function that is none", text: "user:\n  {{ nofunc 1 }}: {exists: true}\n", want: []string{"2 error template"}, says: `"nofunc" not defined`, goss: refuse},
		{name: "a template", text: "{{ $users := list \"root\" }}\nuser:\n  {{- range $users }}\n  {{ . | quote }}:\n    exists: {{ true }}\n    {{ if .x | default true }}\n    uid: {ge: 0}\n    {{ else }}\n    uid: {ge: 0}\n    {{ end }}\n  {{- end }}\n", goss: -1},
		{name: "in a branch", text: "user:\n  root:\n    exists: true\n{{ if false }}\n    exist: true\n{{ end }}\nfiel: {}\n", want: []string{"5 note unknown-attribute", "7 error misspelt-section"}},
		{name: "both branches", text: "user:\n  root:\n    exists: true\n{{ if false }}\n    uid: 1\n{{ else }}\n    uid: 0\n{{ end }}\n"},
		{name: "branches that are no YAML together", text: "user:\n  root:\n    exists:{{ if true }} true\n{{ else }} false\n{{ end }}\nfiel: {}\n", want: []string{"6 error misspelt-section"}},
		{name: "not YAML, perhaps by its template", text: "user:\n  root: [{{ if true }}]{{ end }}\n  {exists: }}\n", want: []string{"3 note syntax"}, goss: refuse},
		{name: "a branch that is not YAML", text: "user:\n  root: {exists: true}\n{{ if false }}\n  awk 'found ? 0 : 1': {exists: true}\n{{ end }}\n{{ if false }}\n  x: {\n{{ end }}\nfiel: {}\n", want: []string{"4 note syntax", "7 note syntax", "9 error misspelt-section"}},
		{name: "a missing variable", text: "user:\n  {{ .Vars.who | default \"root\" }}: {exists: true}\n", want: []string{"2 error missing-variable"}, says: `"who"`, goss: refuse},
		{name: "a missing variable, by $", text: "user:\n  {{ range list 1 }}{{ $.Vars.who }}{{ end }}: {exists: true}\n", want: []string{"2 note missing-variable"}, goss: refuse},
		{name: "a variable that is given", text: "user:\n  {{ .Vars.who.name }}: {exists: true}\n", vars: map[string]any{"who": map[string]any{"name": "root"}}},
		{name: "a part of it is missing", text: "user:\n  {{ .Vars.who.name }}: {exists: true}\n", vars: map[string]any{"who": map[string]any{}}, want: []string{"2 error missing-variable"}, says: `"who.name"`, goss: refuse},
		{name: "asked for first", text: "user:\n  {{ get .Vars \"who\" | default \"root\" }}: {exists: true}\n  {{ if hasKey .Vars \"other\" }}{{ .Vars.other }}: {exists: true}{{ end }}\n"},
		{name: "in a branch that is not taken", text: "user:\n  root: {exists: true}\n  {{ if false }}{{ .Vars.who }}: {exists: true}{{ end }}\n", want: []string{"3 note missing-variable"}},

		{name: "includes", text: "gossfile:\n  sub/*.yaml: {}\n  other: {file: more.yaml}\n  no.yaml: {skip: true}\n", more: files{"sub/a.yaml": "gossfile: {../b.yaml: {}}\n", "b.yaml": "user: {root: {exists: true}}\n", "more.yaml": "user: {daemon: {exists: true}}\n"}},
		{name: "an include that is not there", text: "gossfile:\n  sub/*.yaml: {}\n", more: files{"a.yaml": ""}, want: []string{"2 error include"}, goss: refuse},
		{name: "an include of the machine", text: "gossfile:\n  /no/such.yaml: {}\n", want: []string{"2 note include"}, goss: refuse},
		{name: "an include of itself", text: "user: {root: {exists: true}}\ngossfile: {a.yaml: {}}\n", more: files{"a.yaml": "gossfile: {b.yaml: {}}\n", "b.yaml": "gossfile:\n  a.yaml: {}\n"}, want: []string{"b.yaml:2 error include"}, goss: refuse},
		{name: "taken over", text: "gossfile: {a.yaml: {}, b.yaml: {}}\n", more: files{"a.yaml": "user: {root: {exists: true}}\n", "b.yaml": "user:\n  root: {exists: true}\n"}, want: []string{"b.yaml:2 strict duplicate-key"}, says: "user: root replaces the one in a.yaml line 1"},
		{name: "included twice", text: "gossfile: {a.yaml: {}, x: {file: a.yaml}}\n", more: files{"a.yaml": "user: {root: {exists: true}}\n"}, want: []string{"1 strict duplicate-key"}},
		{name: "wrong in an include", text: "gossfile: {a.yaml: {}}\n", more: files{"a.yaml": "\nusr: {}\nuser: {root: {exists: true}}\n"}, want: []string{"a.yaml:2 error misspelt-section"}},

		{name: "JSON", main: "goss.json", text: "{\n\t\"user\": {\n\t\t\"root\": {\"exists\": true, \"uid\": 0}}}\n"},
		{name: "not JSON", main: "goss.json", text: "{\n\"user\": {'root': {}}}\n", want: []string{"2 error syntax"}, goss: refuse},
		{name: "a key twice in JSON", main: "goss.json", text: "{\"user\": {\"root\": {\"exists\": false},\n\"root\": {\"exists\": true}}}\n", want: []string{"2 strict duplicate-key"}},
		{name: "another case in JSON", main: "goss.json", text: "{\"User\": {\"root\": {\"exists\": true}}}\n", want: []string{"1 note unknown-section"}},
		{name: "JSON that includes YAML", main: "goss.json", text: "{\"gossfile\": {\"a.yaml\": {}}}\n", more: files{"a.yaml": "user: {root: {exists: true}}\n"}, want: []string{"a.yaml:1 error syntax"}, goss: refuse},
		{name: "another extension", main: "goss.txt", text: "user: {root: {exists: true}}\n", want: []string{"0 error extension"}, goss: refuse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.main == "" {
				tt.main = "goss.yaml"
			}
			all := files{tt.main: tt.text}
			maps.Copy(all, tt.more)
			linted := lintOf(all, tt.main, tt.vars)
			var got []string
			said := ""
			for _, f := range linted.Findings {
				place := strconv.Itoa(f.Line)
				if f.File != tt.main {
					place = f.File + ":" + place
				}
				got = append(got, place+" "+string(f.Level)+" "+f.Rule)
				said += f.String() + "\n"
			}
			if !slices.Equal(got, tt.want) || !strings.Contains(said, tt.says) {
				t.Errorf("got  %q\nwant %q and the words %q\n%s", got, tt.want, tt.says, said)
			}
			if tt.goss < 0 {
				return
			}
			vars, err := json.Marshal(tt.vars)
			if err != nil {
				t.Fatal(err)
			}
			if run := runGoss(t, project(t, all), tt.main, "--vars-inline", string(vars)); run.ExitCode != tt.goss {
				t.Errorf("goss ends with %d and not with %d\n%s", run.ExitCode, tt.goss, run.Output)
			}
		})
	}
	if l := (Lint{Gossfile: "none.yaml"}).Check(); len(l.Findings) != 1 || l.Findings[0].Rule != "missing-file" {
		t.Errorf("a missing file: %v", l.Findings)
	}
}

func TestLintTellsWhereResourcesAre(t *testing.T) {
	linted := lintOf(map[string]string{
		"goss.yaml": "{{ if true }}\ngossfile: {a.yaml: {}}\n{{ end }}\n\nkernel-param:\n  x.y: {value: '1'}\n",
		"a.yaml":    "command:\n\n  echo hello: {exit-status: 0}\n  {{ .Vars.x }}: {exit-status: 0}\n", "unused.yaml": "fiel: {}\n",
	}, "goss.yaml", map[string]any{"x": "y"})
	want := Places{"KernelParam\x00x.y": {"goss.yaml", 6}, "Command\x00echo hello": {"a.yaml", 3}}
	if !maps.Equal(linted.Places, want) {
		t.Errorf("got %v", linted.Places)
	}
	if got := linted.Gossfiles; !slices.Equal(got, []string{"goss.yaml", "a.yaml"}) {
		t.Errorf("gossfiles %q", got)
	}
}

func TestLintErrors(t *testing.T) {
	linted := lintOf(map[string]string{"goss.yaml": "fiel: {}\nanchors: {}\ncommand: {a: {exit-status: 0, timeout: 1}}\n"}, "goss.yaml", nil)
	if lax, strict := linted.Errors(false), linted.Errors(true); len(lax) != 1 || len(strict) != 2 ||
		!strings.HasPrefix(lax[0].Error(), `goss.yaml:1: it has a section "fiel"`) {
		t.Errorf("errors %v, strict %v", lax, strict)
	}
	l := Lint{Gossfile: "g.yaml", Sources: []Source{{Name: "g.yaml", Data: []byte("user: {'{{ .Vars.x }}': {exists: true}}")}}, VarsUnknown: true}
	if got := l.Check().Findings; len(got) != 0 {
		t.Errorf("a variable that only a build knows is called missing: %v", got)
	}
}

// gossModule is the folder of the pinned goss.
func gossModule(t *testing.T, module string) string {
	t.Helper()
	realGoss(t) // skips where the modules are absent
	cmd := exec.Command("go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir = filepath.Join("..", "..", "tools", "goss")
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// fields lists the YAML names of the fields of a struct, by the struct's name.
func fields(t *testing.T, dir string) map[string][]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					if f.Tag == nil {
						continue
					}
					tag, _ := strconv.Unquote(f.Tag.Value)
					name, _, _ := strings.Cut(reflect.StructTag(tag).Get("yaml"), ",")
					if name != "" && name != "-" {
						found[spec.Name.Name] = append(found[spec.Name.Name], name)
					}
				}
			}
			return true
		})
	}
	return found
}

// The table is that of the goss that is pinned.
func TestSchemaIsThatOfGoss(t *testing.T) {
	dir := gossModule(t, "github.com/goss-org/goss")
	top := fields(t, dir)["GossConfig"]
	slices.Sort(top)
	if !slices.Equal(top, sections()) {
		t.Errorf("goss has the sections %q", top)
	}
	types := fields(t, filepath.Join(dir, "resource"))
	for _, name := range sections() {
		s, ok := sectionOf(name)
		if !ok {
			t.Errorf("no section %s", name)
			continue
		}
		want := types[s.typ]
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(s.attrs)); !slices.Equal(got, want) {
			t.Errorf("%s has the attributes %q and not %q", name, want, got)
		}
	}
	source, err := os.ReadFile(filepath.Join(dir, "resource", "gomega.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range matchers() {
		if !strings.Contains(string(source), strconv.Quote(m)) {
			t.Errorf("goss has no matcher %s", m)
		}
	}
	sprig, err := os.ReadFile(filepath.Join(gossModule(t, "github.com/Masterminds/sprig/v3"), "functions.go"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile(filepath.Join(dir, "template.go"))
	if err != nil {
		t.Fatal(err)
	}
	funcs := templateFuncs()
	for _, line := range strings.Split(string(sprig)+string(own), "\n") {
		line = strings.TrimSpace(line)
		if name, rest, ok := strings.Cut(strings.TrimPrefix(line, `"`), `":`); ok && strings.HasPrefix(line, `"`) && rest != "" && funcs[name] == nil {
			t.Errorf("goss has a template function %s", name)
		}
	}
}

// Nothing that somebody writes keeps lint busy.
func TestLintComesToAnEnd(t *testing.T) {
	aliases := "x0: &x0 [{and: []}]\n"
	merges := "y0: &y0 {exists: true}\n"
	for i := 1; i < 40; i++ {
		aliases += fmt.Sprintf("x%d: &x%d [{and: *x%d}, {and: *x%d}, {and: *x%d}]\n", i, i, i-1, i-1, i-1)
		merges += fmt.Sprintf("y%d: &y%d {<<: [*y%d, *y%d, *y%d]}\n", i, i, i-1, i-1, i-1)
	}
	for _, text := range []string{
		`{{ define "t" }}{{ template "t" }}{{ template "t" }}{{ end }}{{ template "t" }}`,
		aliases + "user: {root: {exists: *x39}}\n",
		merges + "user: {root: *y39}\n",
		"a: &a [*a]\nuser: {root: {exists: *a}}\n",
		strings.Repeat("a: {", 20_000),
	} {
		start := time.Now()
		lintOf(map[string]string{"goss.yaml": text}, "goss.yaml", nil)
		ShowOutput([]byte(text))
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%v for %.60q", took, text)
		}
	}
}

func FuzzLint(f *testing.F) {
	for _, text := range []string{
		"file:\n  /a: {exists: true}\n", "a: &a [*a]\n", "{{ range $i, $x := .Vars.y }}{{ template \"t\" . }}{{ end }}{{ define \"t\" }}{{ template \"t\" }}{{ end }}",
		"x: &x {<<: *x, exists: true}\nuser: {root: *x}\n", "gossfile: {'*': {}}\n", "command:\n  {{ .Vars.a.b }}:\n    stdout:\n      {{ .x | toYaml }}\n", "{\t\"user\": {}}", "? [a]\n: b\n",
	} {
		f.Add(text, "user: {root: {exists: true}}\n")
	}
	f.Fuzz(func(t *testing.T, main, other string) {
		for _, name := range []string{"goss.yaml", "goss.json"} {
			linted := lintOf(map[string]string{name: main, "other.yaml": other}, name, map[string]any{"a": 1})
			for _, finding := range linted.Findings {
				if strings.ContainsAny(finding.String(), "\n\r\x1b") {
					t.Fatalf("a finding can steer the terminal: %q", finding)
				}
				if finding.Line < 0 || finding.Line > 1+strings.Count(main+other, "\n") {
					t.Fatalf("there is no line %d", finding.Line)
				}
			}
		}
	})
}
