// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"
)

// VarsDoc is a YAML or JSON document with variables.
type VarsDoc struct {
	Origin string // for people: a file, or the name of an option
	Data   []byte
}

// MergeVars merges documents of variables, the later ones over the earlier
// ones. Where both have a map it is merged key by key, at any depth; anything
// else, lists included, is replaced. An empty document counts as an empty map.
// Errors name the document and never quote a value.
func MergeVars(docs ...VarsDoc) (map[string]any, error) {
	vars := map[string]any{}
	for _, doc := range docs {
		more, err := readVars(doc)
		if err != nil {
			return nil, err
		}
		mergeInto(vars, more)
	}
	return vars, nil
}

func mergeInto(vars, more map[string]any) {
	for key, value := range more {
		inner, ok := value.(map[string]any)
		outer, both := vars[key].(map[string]any)
		if ok && both {
			mergeInto(outer, inner)
			continue
		}
		vars[key] = value
	}
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

func readVars(doc VarsDoc) (map[string]any, error) {
	var node yaml.Node
	err := yaml.Unmarshal(doc.Data, &node)
	var value any
	if err == nil {
		keepDates(&node, 0)
		err = node.Decode(&value)
	}
	if err != nil {
		if value, err2 := jsonVars(doc.Data); err2 == nil {
			return value, nil // JSON that YAML does not take: with tabs
		}
		// The words of the parser may quote a value, which may be a secret.
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			return nil, fmt.Errorf("%s is not YAML, see line %s", doc.Origin, m[1])
		}
		return nil, fmt.Errorf("%s is neither YAML nor JSON", doc.Origin)
	}
	switch v := value.(type) {
	case nil:
		return map[string]any{}, nil
	case map[string]any:
		if _, err := json.Marshal(v); err != nil {
			return nil, fmt.Errorf("%s holds a value that JSON has no word for: a map with keys that are no strings, or no finite number", doc.Origin)
		}
		return v, nil
	}
	return nil, fmt.Errorf("%s must be a map of variables at its top level", doc.Origin)
}

func jsonVars(data []byte) (map[string]any, error) {
	vars := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(data))
	err := dec.Decode(&vars)
	return vars, err
}

// keepDates makes dates the strings that they are written as: JSON has none,
// and a template would show another text than the file does.
func keepDates(n *yaml.Node, depth int) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, child := range n.Content {
		if depth < 1000 {
			keepDates(child, depth+1)
		}
	}
}

// VarsFile is the document that goss is given for merged variables: JSON below
// a comment. With the comment goss reads it as YAML; without, it would take
// every number for a fraction, and a template would show 1000000 as 1e+06.
func VarsFile(vars map[string]any) ([]byte, error) {
	if vars == nil {
		vars = map[string]any{}
	}
	plain, err := marshal(vars)
	if err != nil {
		return nil, fmt.Errorf("variables: %w", err)
	}
	commented := append([]byte("# merged by the plugin\n"), plain...)
	var back map[string]any
	if yaml.Unmarshal(commented, &back) == nil && reflect.DeepEqual(normal(back), normal(vars)) {
		return commented, nil
	}
	return plain, nil // such as keys that are longer than YAML takes them
}

// normal makes values comparable that came by different ways.
func normal(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range x {
			out[k] = normal(e)
		}
		return out
	case []any:
		out := []any{}
		for _, e := range x {
			out = append(out, normal(e))
		}
		return out
	case int, int64, uint64, float64:
		return fmt.Sprint(x)
	case time.Time:
		return x.String()
	}
	return v
}
