// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestMergeVars(t *testing.T) {
	doc := func(name, text string) VarsDoc { return VarsDoc{Origin: name, Data: []byte(text)} }
	tests := []struct {
		name string
		docs []VarsDoc
		want string // as JSON
		says string
	}{
		{name: "none", want: `{}`},
		{name: "empty ones", docs: []VarsDoc{doc("a", ""), doc("b", "# nothing\n"), doc("c", "{}")}, want: `{}`},
		{name: "deep", docs: []VarsDoc{doc("a", "a: {b: {c: 1, d: [1, 2]}, e: x}\nf: 1\n"), doc("b", `{"a":{"b":{"d":[3]}},"f":{"g":null}}`)}, want: `{"a":{"b":{"c":1,"d":[3]},"e":"x"},"f":{"g":null}}`},
		{name: "a map by a scalar", docs: []VarsDoc{doc("a", "a: {b: 1}"), doc("b", "a: 2")}, want: `{"a":2}`},
		{name: "aliases", docs: []VarsDoc{doc("a", "x: &x {k: 1}\ny: *x\nz: {<<: *x, l: 2}\n"), doc("b", "y: {k: 9}")}, want: `{"x":{"k":1},"y":{"k":9},"z":{"k":1,"l":2}}`},
		{name: "dates stay as they are written", docs: []VarsDoc{doc("a", "d: 2024-02-03\nt: 2001-12-14t21:59:43.10-05:00\n")}, want: `{"d":"2024-02-03","t":"2001-12-14t21:59:43.10-05:00"}`},
		{name: "old words for truth", docs: []VarsDoc{doc("a", "a: yes\nb: true\n")}, want: `{"a":"yes","b":true}`},
		{name: "JSON with tabs", docs: []VarsDoc{doc("a", "{\n\t\"a\":\t1\n}\n")}, want: `{"a":1}`},
		{name: "not YAML", docs: []VarsDoc{doc("vars.yaml", "a: 1\npassword: [hunter2\nb: 2")}, says: "vars.yaml is not YAML, see line"},
		{name: "a key twice", docs: []VarsDoc{doc("vars.yaml", "hunter2: 1\nhunter2: 2\n")}, says: "vars.yaml is not YAML, see line 2"},
		{name: "a list", docs: []VarsDoc{doc("vars.yaml", "- hunter2")}, says: "must be a map"},
		{name: "a text", docs: []VarsDoc{doc("vars.yaml", "hunter2")}, says: "must be a map"},
		{name: "keys that are no strings", docs: []VarsDoc{doc("vars.yaml", "a: {1: hunter2}")}, says: "no strings"},
		{name: "no number", docs: []VarsDoc{doc("vars.yaml", "a: .nan")}, says: "no finite number"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := MergeVars(tt.docs...)
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("got error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if b, err := json.Marshal(got); err != nil || string(b) != tt.want {
				t.Errorf("got %s, %v", b, err)
			}
		})
	}
}

func FuzzMergeVars(f *testing.F) {
	f.Add([]byte("a: {b: 1}\n"), []byte(`{"a":{"c":"\u0007"}}`))
	f.Add([]byte("a: 2024-01-01\nb: 0x1F\nc: 1e3\n"), []byte("a: {}"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		vars, err := MergeVars(VarsDoc{"a", a}, VarsDoc{"b", b})
		if err != nil {
			return
		}
		file, err := VarsFile(vars)
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]any
		if json.Unmarshal(file, &back) == nil {
			return // plain JSON
		}
		if err := yaml.Unmarshal(file, &back); err != nil || !reflect.DeepEqual(normal(back), normal(vars)) {
			t.Fatalf("%v: %#v became %#v", err, vars, back)
		}
	})
}
