// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package record

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// encode marshals without turning <, > and & into something unreadable.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// decode unmarshals strictly and keeps numbers as they were written.
func decode(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("decode JSON: %w", err)
	}
	if d.More() {
		return fmt.Errorf("decode JSON: something follows the value")
	}
	return nil
}

// mapStrings rebuilds a JSON value with f applied to every string; f also gets
// the name of the field that the string is in, or "" at the top. Names of
// fields go through f as well, since maps of tags may have identifiers there.
func mapStrings(v any, field string, f func(field, s string) string) any {
	switch v := v.(type) {
	case string:
		return f(field, v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, item := range v {
			out[f("", name)] = mapStrings(item, name, f)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = mapStrings(item, field, f)
		}
		return out
	default:
		return v
	}
}
