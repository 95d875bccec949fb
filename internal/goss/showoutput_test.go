// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"strings"
	"testing"
)

func TestShowOutput(t *testing.T) {
	same := "\x00"
	tests := []struct{ name, in, want string }{
		{"indented", "command:\n  a:\n    exit-status: 0\n    stdout:\n      # why\n      - x\n\n      - y: z\n    stderr: []\n",
			"command:\n  a:\n    exit-status: 0\n    stdout:\n      # why\n      have-patterns:\n      - x\n\n      - y: z\n    stderr: []\n"},
		{"not indented", "command:\n  a:\n    stdout:\n    - x\n    # why\n    - >\n      two\n      lines\n\n    timeout: 5\n",
			"command:\n  a:\n    stdout:\n      have-patterns:\n      - x\n      # why\n      - >\n        two\n        lines\n\n    timeout: 5\n"},
		{"not indented, at the end of the file", "command:\n  a:\n    stdout:\n    - x\n    - y",
			"command:\n  a:\n    stdout:\n      have-patterns:\n      - x\n      - y"},
		{"in brackets", "command: {a: {stdout: [\"]\", 'it''s [', it's, {a: b}], stderr: [x]}}\n",
			"command: {a: {stdout: {\"have-patterns\": [\"]\", 'it''s [', it's, {a: b}]}, stderr: {\"have-patterns\": [x]}}}\n"},
		{"over several lines", "http:\n  http://x:\n    status: 200\n    body: [\n      a, # ]\n      b\n    ]\n", same},
		{"over several lines, without a comment", "http:\n  http://x:\n    status: 200\n    body: [\n      a,\n      b\n    ]\n",
			"http:\n  http://x:\n    status: 200\n    body: {\"have-patterns\": [\n      a,\n      b\n    ]}\n"},
		{"JSON", "{\n\t\"command\": {\"a\": {\"stdout\": [\"é\", \"\\\"]\"]}}\n}\n", "{\n\t\"command\": {\"a\": {\"stdout\": {\"have-patterns\": [\"é\", \"\\\"]\"]}}}\n}\n"},
		{"a template around it", "command:\n{{ range .Vars.x }}\n  {{ . | quote }}:\n    stdout:\n      - {{ .y }}\n      - b {{ .z }}\n{{ end }}\n",
			"command:\n{{ range .Vars.x }}\n  {{ . | quote }}:\n    stdout:\n      have-patterns:\n      - {{ .y }}\n      - b {{ .z }}\n{{ end }}\n"},
		{"a template that calls it twice", "{{ define \"t\" }}\n    stdout: [a]\n{{ end }}command:\n  a:{{ template \"t\" }}\n  b:{{ template \"t\" }}\n",
			"{{ define \"t\" }}\n    stdout: {\"have-patterns\": [a]}\n{{ end }}command:\n  a:{{ template \"t\" }}\n  b:{{ template \"t\" }}\n"},
		{"a template in it", "command:\n  a:\n    stdout:\n      {{ range .Vars.x }}\n      - {{ . }}\n      {{ end }}\n", same},
		{"a template decides", "command:\n  a:\n    stdout:\n      - x\n{{ if .Vars.x }}\n      - y\n{{ end }}\n", same},
		{"a branch that is not YAML", "command:\n  a: {stdout: [x]}\n{{ if .Vars.y }}\n  b 'x ? y : z': {stdout: [x]}\n{{ end }}\n", "command:\n  a: {stdout: {\"have-patterns\": [x]}}\n{{ if .Vars.y }}\n  b 'x ? y : z': {stdout: [x]}\n{{ end }}\n"},
		{"matchers", "command: {a: {stdout: {have-patterns: [x]}, stderr: x}}\n", same},
		{"the contents of files", "file: {/etc/shadow: {exists: true, contents: [x]}}\n", same},
		{"an empty list", "command: {a: {stdout: []}}\n", same},
		{"an anchor", "command: {a: {stdout: &x [a]}, b: {stdout: *x}}\n", same},
		{"another section", "x: {a: {stdout: [a]}}\n", same},
		{"not YAML", "command: {a: {stdout: [a]}\n", same},
		{"not a template", "command: {a: {stdout: [a]}} {{ \n", same},
		{"CRLF", "command:\r\n  a:\r\n    stdout:\r\n      - x\r\n", "command:\r\n  a:\r\n    stdout:\r\n      have-patterns:\n      - x\r\n"},
		{"one that can be and one that cannot", "command:\n  a: {stdout: [x]}\n  b:\n    stdout:\n    - {{ .Vars.a |\n      quote }}\n", "command:\n  a: {stdout: {\"have-patterns\": [x]}}\n  b:\n    stdout:\n    - {{ .Vars.a |\n      quote }}\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == same {
				tt.want = tt.in
			}
			if got := string(ShowOutput([]byte(tt.in))); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// Whatever comes out is what went in but for the lists, and stays as it is
// when it is rewritten again.
func FuzzShowOutput(f *testing.F) {
	for _, text := range []string{
		"command:\n  a:\n    stdout:\n    - x\n    - y\n", "command: {a: {stdout: [a, 'b']}}", "http:\n  a:\n    body:\n      - {{ .x }}\n",
		"{\"command\": {\"a\": {\"stderr\": [\"x\"]}}}", "command:\n  ? a\n  : stdout:\n    - |\n      x\n    -\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out := ShowOutput(in)
		if bytes.Equal(in, out) {
			return
		}
		if len(out) <= len(in) || strings.Count(string(out), "have-patterns") <= strings.Count(string(in), "have-patterns") {
			t.Fatalf("%q became %q", in, out)
		}
		if again := ShowOutput(out); !bytes.Equal(again, out) {
			t.Fatalf("%q became %q and then %q", in, out, again)
		}
	})
}
