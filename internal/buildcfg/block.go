// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package buildcfg

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// Blocks takes blocks out of a template, as Packer hands it over, so that each can
// be decoded by itself, with what Packer adds to every template. A block that is
// not there is not in the result. JSON templates may have a block as a list of one.
// Several are an error, and so is what is no block; the rest of the template is
// returned all the same.
func Blocks(raws []interface{}, names ...string) (rest []interface{}, blocks map[string][]interface{}, err error) {
	found := map[string]interface{}{}
	var packers []interface{}
	for _, raw := range raws {
		switch v := raw.(type) {
		case map[string]interface{}:
			v = maps.Clone(v)
			own := map[string]interface{}{}
			for name, value := range v {
				if strings.HasPrefix(name, "packer_") {
					own[name] = value
				}
			}
			packers = append(packers, own)
			for _, n := range names {
				value, ok := v[n]
				if delete(v, n); ok && value != nil {
					block, bad := single(n, value)
					if err = errors.Join(err, bad); bad == nil {
						found[n] = block
					}
				}
			}
			raw = v
		case cty.Value:
			if !v.Type().IsObjectType() || v.IsNull() || !v.IsKnown() {
				break
			}
			attrs := v.AsValueMap()
			for _, n := range names {
				value, ok := attrs[n]
				if delete(attrs, n); ok && !value.IsNull() {
					found[n] = value
				}
			}
			raw = cty.ObjectVal(attrs)
		}
		rest = append(rest, raw)
	}
	blocks = map[string][]interface{}{}
	for n, value := range found {
		blocks[n] = append([]interface{}{value}, packers...)
	}
	return rest, blocks, err
}

// single is a block of a JSON template.
func single(name string, value interface{}) (interface{}, error) {
	switch v := value.(type) {
	case map[string]interface{}:
		return v, nil
	case map[interface{}]interface{}:
		out := map[string]interface{}{}
		for k, value := range v {
			out[fmt.Sprint(k)] = value
		}
		return out, nil
	case []map[string]interface{}:
		if len(v) == 1 {
			return v[0], nil
		}
	case []interface{}:
		if len(v) == 1 {
			return single(name, v[0])
		}
	}
	return nil, fmt.Errorf("%s must be one block with options", name)
}
