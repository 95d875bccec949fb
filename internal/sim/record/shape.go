// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A shape is JSON itself. Objects and arrays are objects and arrays of shapes;
// what else there is becomes one of these words, or "=" and a template that
// the string must match.
const (
	shapeString = "string"
	shapeTime   = "time"
	shapeNumber = "number"
	shapeBool   = "bool"
	shapeNull   = "null"
)

// passing are the lifecycle states that a resource goes through by itself. A
// client may or may not see them, so they are not compared.
func passing(state string) bool {
	switch state {
	case "PROVISIONING", "STARTING", "STOPPING", "TERMINATING", "CREATING_IMAGE", "MOVING", "IMPORTING", "EXPORTING",
		"ATTACHING", "DETACHING", "ACCEPTED", "IN_PROGRESS", "CANCELING":
		return true
	}
	return false
}

// shapeOf describes a reply's body. Everything in it must have been learned.
func shapeOf(n *names, body any, failed bool) any {
	return shapeAt(n, body, "", failed)
}

func shapeAt(n *names, v any, field string, failed bool) any {
	switch v := v.(type) {
	case nil:
		return shapeNull
	case bool:
		return shapeBool
	case json.Number:
		return shapeNumber
	case string:
		return shapeOfString(n, v, field, failed)
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, item := range v {
			out[n.hide(name)] = shapeAt(n, item, name, failed)
		}
		return out
	case []any:
		// Items of the same shape say no more than one of them.
		out := []any{}
		for _, item := range v {
			s := shapeAt(n, item, field, failed)
			if !slices.ContainsFunc(out, func(other any) bool { return reflect.DeepEqual(s, other) }) {
				out = append(out, s)
			}
		}
		return out
	default:
		return fmt.Sprintf("%T", v) // no JSON decoder makes anything else
	}
}

func shapeOfString(n *names, s, field string, failed bool) string {
	if failed && (field == "code" || field == "message") {
		return "=" + n.hide(s)
	}
	if (field == "lifecycleState" || field == "status") && !passing(s) {
		return "=" + s
	}
	if hidden := n.hide(s); hidden != s {
		return "=" + hidden
	}
	if _, err := time.Parse(time.RFC3339, s); err == nil {
		return shapeTime
	}
	return shapeString
}

// fit compares a reply's body with a shape and learns the placeholders in it.
// Nothing is learned from a body that does not fit.
func fit(v values, shape, body any) error {
	trial := maps.Clone(v)
	if err := fitAt(trial, shape, body, "reply"); err != nil {
		return err
	}
	maps.Copy(v, trial)
	return nil
}

func fitAt(v values, shape, body any, path string) error {
	switch shape := shape.(type) {
	case string:
		return fitWord(v, shape, body, path)
	case map[string]any:
		object, ok := body.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: got %s, want an object", path, typeOf(body))
		}
		return fitObject(v, shape, object, path)
	case []any:
		items, ok := body.([]any)
		if !ok {
			return fmt.Errorf("%s: got %s, want an array", path, typeOf(body))
		}
		return fitItems(v, shape, items, path)
	default:
		return fmt.Errorf("%s: the recording has the shape %v, which means nothing", path, shape)
	}
}

func fitObject(v values, shape, object map[string]any, path string) error {
	seen := map[string]bool{}
	// In order, so that the same placeholder is always learned first.
	for _, template := range slices.Sorted(maps.Keys(shape)) {
		name, err := v.reveal(template)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		value, present := object[name]
		if !present {
			return fmt.Errorf("%s.%s is missing", path, name)
		}
		seen[name] = true
		if err := fitAt(v, shape[template], value, path+"."+name); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if !seen[name] {
			return fmt.Errorf("%s.%s is new", path, name)
		}
	}
	return nil
}

// fitItems wants an item for every shape, and a shape for every item. Which
// item fills a shape is tried in order: a list of one's own things may be
// sorted by identifiers, which are others each time.
func fitItems(v values, shapes, items []any, path string) error {
	used := make([]bool, len(items))
	var problem error
	for i, shape := range shapes {
		found := false
		for j, item := range items {
			if used[j] {
				continue
			}
			trial := maps.Clone(v)
			if err := fitAt(trial, shape, item, fmt.Sprintf("%s[%d]", path, j)); err != nil {
				problem = errors.Join(problem, err)
				continue
			}
			maps.Copy(v, trial)
			used[j], found = true, true
			break
		}
		if !found {
			return fmt.Errorf("%s: no item has the recorded shape %d: %w", path, i+1, orMissing(problem))
		}
	}
	if len(shapes) == 0 {
		return nil // an empty list tells nothing about items
	}
	for j, item := range items {
		if used[j] {
			continue
		}
		if !slices.ContainsFunc(shapes, func(shape any) bool { return fitAt(loose(v), shape, item, path) == nil }) {
			return fmt.Errorf("%s[%d] has a shape that was not recorded", path, j)
		}
	}
	return nil
}

// loose forgets what numbered placeholders stand for, to ask whether something
// is of a kind with what was recorded.
func loose(v values) values {
	out := values{}
	for name, value := range v {
		if !strings.Contains(name, ".") {
			out[name] = value
		}
	}
	return out
}

func orMissing(err error) error {
	if err == nil {
		return errors.New("there are too few items")
	}
	return err
}

func fitWord(v values, word string, body any, path string) error {
	template, isTemplate := strings.CutPrefix(word, "=")
	s, isString := body.(string)
	switch {
	case isTemplate && isString:
		if err := v.match(template, s); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	case word == shapeString && isString:
		return nil
	case word == typeOf(body):
		return nil
	default:
		return fmt.Errorf("%s: got %s, want %s", path, typeOf(body), word)
	}
}

func typeOf(body any) string {
	switch body := body.(type) {
	case nil:
		return shapeNull
	case bool:
		return shapeBool
	case json.Number:
		return shapeNumber
	case string:
		if _, err := time.Parse(time.RFC3339, body); err == nil {
			return shapeTime
		}
		return shapeString
	case map[string]any:
		return "an object"
	default:
		return "an array"
	}
}
