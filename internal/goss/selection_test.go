// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each selector leaves what it says, in both languages, whatever is in names
// and values.
func TestSelection(t *testing.T) {
	const inYAML = `command:
    echo {{ braces }}:
        title: "it's \"here\" {{ .Vars.x }}"
        exit-status: 0
        stdout: ["{{{"]
        meta: {level: [cis-1, cis-2], owner: {name: x}}
file:
    /etc/ssh/sshd_config:
        title: sshd
        meta: {level: cis-2, number: 7, yes: true}
        exists: true
    /etc/passwd:
        exists: true
service:
    sshd: {enabled: true, running: true}
`
	const inJSON = `{"command":{"echo {{ braces }}":{"title":"it's \"here\" {{ .Vars.x }}","exit-status":0,"stdout":["{{{"],"meta":{"level":["cis-1","cis-2"],"owner":{"name":"x"}}}},
"file":{"/etc/ssh/sshd_config":{"title":"sshd","meta":{"level":"cis-2","number":7,"yes":true},"exists":true},"/etc/passwd":{"exists":true}},"service":{"sshd":{"enabled":true,"running":true}}}`
	const echo, sshd, passwd, service = "Command echo {{ braces }}", "File /etc/ssh/sshd_config", "File /etc/passwd", "Service sshd"
	tests := []struct {
		name string
		s    Selection
		out  []string
	}{
		{"nothing is selected apart", Selection{}, nil},
		{"a type", Selection{Select: []Selector{{Type: "file"}}}, []string{echo, service}},
		{"a name", Selection{Select: []Selector{{Name: "*ssh*"}}}, []string{echo, passwd}},
		{"a name is all of it", Selection{Select: []Selector{{Name: "ssh"}}}, []string{echo, passwd, sshd, service}},
		{"one sign", Selection{Select: []Selector{{Name: "/etc/passw?"}}}, []string{echo, sshd, service}},
		{"a dot is a dot", Selection{Select: []Selector{{Name: "....."}}}, []string{echo, passwd, sshd, service}},
		{"a title", Selection{Select: []Selector{{Title: "it's \"here\"*"}}}, []string{passwd, sshd, service}},
		{"any title", Selection{Deselect: []Selector{{Title: "?*"}}}, []string{echo, sshd}},
		{"meta, a list too", Selection{Select: []Selector{{Meta: map[string]string{"level": "cis-2"}}}}, []string{passwd, service}},
		{"meta of other types", Selection{Select: []Selector{{Meta: map[string]string{"number": "7", "yes": "true"}}}}, []string{echo, passwd, service}},
		{"meta that is not there", Selection{Select: []Selector{{Meta: map[string]string{"none": "*"}}}}, []string{echo, passwd, sshd, service}},
		{"all of one must fit", Selection{Select: []Selector{{Type: "service", Title: "sshd"}}}, []string{echo, passwd, sshd, service}},
		{"one of several", Selection{Select: []Selector{{Type: "service"}, {Title: "sshd"}}}, []string{echo, passwd}},
		{"taken out again", Selection{Select: []Selector{{Type: "file"}}, Deselect: []Selector{{Name: "/etc/ssh/*"}}}, []string{echo, sshd, service}},
	}
	for _, tt := range tests {
		for name, text := range map[string]string{"a.yaml": inYAML, "a.json": inJSON} {
			c, err := tt.s.Apply(name, []byte(text))
			if err != nil {
				t.Errorf("%s, %s: %v", tt.name, name, err)
			}
			var out []string
			for _, r := range c.Out {
				out = append(out, r.Type+" "+r.ID)
			}
			slices.Sort(out)
			if !slices.Equal(out, tt.out) || c.Kept+len(out) != 4 {
				t.Errorf("%s, %s: left out %q, kept %d; want out %q", tt.name, name, out, c.Kept, tt.out)
			}
		}
	}
	for _, bad := range []string{"", "- a\n", "file: [\n", "file: {a: 1}\n", "file: {a: {meta: 1}}\n", "\x00"} {
		for _, name := range []string{"a.yaml", "a.json"} {
			if c, err := (Selection{Select: []Selector{{Type: "file"}}}).Apply(name, []byte(bad)); err == nil {
				t.Errorf("%s %q gave %+v", name, bad, c)
			}
		}
	}
	for says, s := range map[string]Selector{"it says nothing": {}, `"fiel" is no type`: {Type: "fiel"}, `"gossfile" is no type`: {Type: "gossfile", Name: "x"}} {
		if err := s.Check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// What the real goss makes of a gossfile that was rendered and reduced is what
// it makes of those resources in the whole one.
func TestSelectionWithRealGoss(t *testing.T) {
	for _, ext := range []string{".yaml", ".json"} {
		dir := project(t, map[string]string{
			"more" + ext: `{"file": {"/proc/self": {"exists": true, "filetype": "symlink", "meta": {"tag": "keep"}}}, "user": {"root": {"exists": true, "uid": 0, "shell": {"have-prefix": "/"}, "meta": {"tag": ["x", "keep"]}}}}`,
			"goss" + ext: `{"gossfile": {"more` + ext + `": {}}, "command": {"echo '{{ "{{" }} {{ .Vars.word }}'": {"exit-status": 0, "stdout": ["{{ "{{" }} it is", "!none"], "stderr": "", "timeout": 5000, "title": "{{ "{{" }}", "meta": {"tag": "keep"}},
				"false": {"exit-status": 1, "exec": "false"}, "true": {"exit-status": 1, "meta": {"tag": "keep"}}},
				"matching": {"m": {"content": {"a": [1, 2.5, null, "x"]}, "matches": {"have-key": "a"}, "meta": {"tag": "keep"}}, "n": {"content": 1, "matches": {"gt": 0}, "skip": true, "meta": {"tag": "keep"}}},
				"port": {"tcp:1": {"listening": false, "ip": [], "meta": {"tag": "keep"}}}, "mount": {"/": {"exists": true}}}`,
		})
		render := exec.CommandContext(t.Context(), realGoss(t), "--gossfile", "goss"+ext, "--vars-inline", `{word: "it is"}`, "render")
		render.Dir = dir
		var words bytes.Buffer
		render.Stderr = &words
		out, err := render.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, words.String())
		}
		chosen, err := Selection{Select: []Selector{{Meta: map[string]string{"tag": "keep"}}}}.Apply("goss"+ext, out)
		if err != nil {
			t.Fatal(err)
		}
		if chosen.Kept != 7 || len(chosen.Out) != 2 {
			t.Errorf("%s: kept %d, out %v", ext, chosen.Kept, chosen.Out)
		}
		reduced := project(t, map[string]string{"x" + ext: string(chosen.Gossfile)})
		lines := func(run Run, only bool) []string {
			report, err := Parse(run.Output)
			if err != nil {
				t.Fatalf("%v\n%s", err, run.Warnings)
			}
			var list []string
			for i := range report.Tests {
				x := &report.Tests[i]
				if x.Meta["tag"] != nil || !only {
					list = append(list, x.Outcome.String()+" "+x.Line()+" "+string(x.Expected))
				}
			}
			slices.Sort(list)
			return list
		}
		whole := lines(runGoss(t, dir, "goss"+ext, "--vars-inline", `{word: "it is"}`), true)
		part := lines(runGoss(t, reduced, filepath.Join(reduced, "x"+ext)), false)
		if len(part) < 12 || !slices.Equal(whole, part) {
			t.Errorf("%s: whole\n%s\nreduced\n%s", ext, strings.Join(whole, "\n"), strings.Join(part, "\n"))
		}
	}
}

// What was left out is said, is no failure by itself, and never makes a pass of
// nothing.
func TestUnselected(t *testing.T) {
	out := []Resource{{"File", "/x"}}
	pass := Run{Output: recording(t, "pass.json")}
	record := func(rules Rules, suites ...Suite) *Result {
		s := NewSession(rules, suites...)
		for _, i := range s.Pending() {
			s.Record(i, pass, time.Time{}, 0)
		}
		return s.Result()
	}
	r := record(Rules{}, Suite{Name: "a", Out: out}, Suite{Name: "b", Out: out, Unselected: true})
	check(t, r.Err(), 0, "")
	if said := strings.Join(r.Named, "\n"); said != "a: 1 resource was not selected and not checked\nb was not run: select and deselect leave nothing of it" {
		t.Error(said)
	}
	for _, format := range Formats() {
		text := string(rendered(t, format, r))
		if strings.Contains(text, "no result") {
			t.Errorf("%s: %s", format, text)
		}
	}
	r = record(Rules{ReportOnly: true}, Suite{Name: "a", Out: out, Unselected: true}, Suite{Name: "b", Out: out, Unselected: true})
	check(t, r.Err(), NoTests, "select and deselect leave no test to run")
	if !strings.Contains(string(rendered(t, "junit", r)), "<error") || !strings.Contains(string(rendered(t, "tap", r)), "not ok") {
		t.Error("reports do not show it")
	}
	check(t, record(Rules{}, Suite{Name: "a", Out: out, Unselected: true, Findings: []Finding{{Rule: ruleMisspelt, Level: LevelError}}}, Suite{Name: "b"}).Err(), Mistaken, "")
}

// A test that was not selected has not vanished.
func TestBaselineAndSelection(t *testing.T) {
	mixed := mixedResult(t)
	name := mixed.Suites[0].Name
	b, err := ReadBaseline(rendered(t, "json", mixed))
	if err != nil {
		t.Fatal(err)
	}
	var out []Resource
	for _, x := range mixed.Suites[0].Report.Tests {
		out = append(out, Resource{x.Type, x.ID})
	}
	pass := Run{Output: recording(t, "pass.json")}
	s := NewSession(Rules{Baseline: b, Vanished: true}, Suite{Name: name, Out: out, Unselected: true}, Suite{Name: "b"})
	s.Record(1, pass, time.Time{}, 0)
	check(t, s.Result().Err(), 0, "")
	s = NewSession(Rules{Baseline: b, Vanished: true}, Suite{Name: name, Out: out})
	s.Record(0, pass, time.Time{}, 0)
	check(t, s.Result().Err(), 0, "")
	out = slices.DeleteFunc(out, func(r Resource) bool { return r.ID == "sleep 5" })
	s = NewSession(Rules{Baseline: b, Vanished: true}, Suite{Name: name, Out: out})
	s.Record(0, pass, time.Time{}, 0)
	check(t, s.Result().Err(), Vanished, "not carried out, such as "+name+": Command sleep 5")
}

func FuzzSelection(f *testing.F) {
	f.Add("*", "a\n", []byte("file: {/x: {title: a, meta: {k: [1]}}}\n"))
	f.Add("?", "x", []byte(`{"file":{"/x":{"title":"{{a"}}}`))
	f.Fuzz(func(t *testing.T, pattern, text string, rendered []byte) {
		if wild(pattern, text) && !strings.ContainsAny(pattern, "*?") && pattern != text {
			t.Errorf("%q fits %q", pattern, text)
		}
		for _, name := range []string{"a.yaml", "a.json"} {
			c, err := Selection{Select: []Selector{{Title: pattern}}}.Apply(name, rendered)
			if err == nil && bytes.Contains(bytes.ReplaceAll(c.Gossfile, []byte(`{{ "{{" }}`), nil), []byte("{{")) {
				t.Errorf("a template is left: %s", c.Gossfile)
			}
		}
	})
}
