// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

// VarsDoc is a YAML or JSON document with variables.
type VarsDoc struct {
	Origin string // for people: a file, or "vars"
	Data   []byte
}

// MergeVars merges documents of variables, the later ones over the earlier
// ones. Where both have a map it is merged key by key, at any depth; anything
// else, lists included, is replaced. An empty document counts as an empty map.
func MergeVars(docs ...VarsDoc) (map[string]any, error) { return nil, nil }

// VarsFile is the document that goss is given for merged variables.
func VarsFile(vars map[string]any) ([]byte, error) { return nil, nil }
