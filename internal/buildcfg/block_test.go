// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package buildcfg

import (
	"reflect"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

func TestBlocks(t *testing.T) {
	type m = map[string]interface{}
	packers := m{"packer_build_name": "x"}
	for _, tt := range []struct {
		name   string
		in     interface{}
		blocks m // what is found
		rest   interface{}
		fails  bool
	}{
		{name: "none", in: m{"c": 1}, blocks: m{}, rest: m{"c": 1}},
		{name: "a map", in: m{"a": m{"k": "v"}, "c": 1}, blocks: m{"a": m{"k": "v"}}, rest: m{"c": 1}},
		{name: "a list of one", in: m{"a": []interface{}{m{"k": "v"}}}, blocks: m{"a": m{"k": "v"}}, rest: m{}},
		{name: "a list of maps", in: m{"b": []map[string]interface{}{{"k": "v"}}}, blocks: m{"b": m{"k": "v"}}, rest: m{}},
		{name: "keys that are no texts", in: m{"a": map[interface{}]interface{}{1: "v"}}, blocks: m{"a": m{"1": "v"}}, rest: m{}},
		{name: "null", in: m{"a": nil}, blocks: m{}, rest: m{}},
		{name: "two", in: m{"a": []interface{}{m{}, m{}}}, fails: true},
		{name: "a text", in: m{"a": "x"}, fails: true},
		{
			name: "HCL", in: cty.ObjectVal(map[string]cty.Value{"a": cty.ObjectVal(map[string]cty.Value{"k": cty.StringVal("v")}), "b": cty.NullVal(cty.DynamicPseudoType), "c": cty.True}),
			blocks: m{"a": cty.ObjectVal(map[string]cty.Value{"k": cty.StringVal("v")})}, rest: cty.ObjectVal(map[string]cty.Value{"c": cty.True}),
		},
		{name: "nothing is known", in: cty.DynamicVal, blocks: m{}, rest: cty.DynamicVal},
		{name: "null in HCL", in: cty.NullVal(cty.EmptyObject), blocks: m{}, rest: cty.NullVal(cty.EmptyObject)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rest, blocks, err := Blocks([]interface{}{tt.in, packers}, "a", "b")
			if (err != nil) != tt.fails {
				t.Fatal(err)
			}
			if tt.fails {
				return
			}
			if len(rest) != 2 || !reflect.DeepEqual(rest[0], tt.rest) || !reflect.DeepEqual(rest[1], packers) {
				t.Errorf("the rest is %v", rest)
			}
			got := m{}
			for name, raws := range blocks {
				got[name] = raws[0]
				if last := raws[len(raws)-1]; !reflect.DeepEqual(last, packers) {
					t.Errorf("%s has %v of Packer's", name, last)
				}
			}
			if !reflect.DeepEqual(got, tt.blocks) {
				t.Errorf("got %v", got)
			}
		})
	}
}
