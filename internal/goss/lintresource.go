// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// merged is what one gossfile and all that it includes come to. goss keeps one
// resource of a name, whichever it read last.
type merged struct {
	first    map[string]Place // by "file: /etc/passwd"
	includes []include        // of the file that is being read
}

// include is one entry of the section gossfile.
type include struct {
	pattern string
	key     *yaml.Node
}

// resources looks at one section.
func (in *inspector) resources(g *gossfile, name string, s section, value *yaml.Node, top *merged) {
	v := resolve(value)
	if v.Kind != yaml.MappingNode {
		if v.Tag != "!!null" && !fromTemplate(v.Value) {
			in.at(g, value, LevelError, "syntax", "the section %q is not a map of resources", name)
		}
		return
	}
	in.duplicates(g, v, name)
	seen := map[string]bool{}
	for _, p := range in.pairs(v) {
		id := p.key.Value
		if fromTemplate(id) {
			in.attributes(g, name, s, p)
			continue
		}
		if seen[id] {
			continue // merged in by <<, and given here: what is here counts
		}
		seen[id] = true
		in.attributes(g, name, s, p)
		if name == "gossfile" {
			continue
		}
		place := Place{g.source.Origin, g.flat.line(p.key.Line, p.key.Column)}
		if other, twice := top.first[name+": "+id]; twice {
			in.at(g, p.key, LevelStrict, "duplicate-key", "%s: %s replaces the one in %s line %d, which is not checked",
				name, clean(id), other.File, other.Line)
			in.findings[len(in.findings)-1].Key = name + ": " + id
			continue
		}
		top.first[name+": "+id] = place
		in.places[s.typ+"\x00"+id] = place
	}
	if name == "gossfile" {
		top.includes = in.includes(v)
	}
}

// includes lists what the section gossfile includes.
func (in *inspector) includes(v *yaml.Node) []include {
	var list []include
	for _, p := range in.pairs(v) {
		i := include{pattern: p.key.Value, key: p.key}
		skip := false
		for _, attr := range in.pairs(resolve(p.value)) {
			switch value := resolve(attr.value); attr.key.Value {
			case "file":
				if value.Value != "" {
					i.pattern = value.Value
				}
			case "skip":
				skip, _ = truthOf(value)
			}
		}
		if !skip {
			list = append(list, i)
		}
	}
	return list
}

// attributes looks at one resource.
func (in *inspector) attributes(g *gossfile, name string, s section, p pair) {
	v := resolve(p.value)
	if v.Kind != yaml.MappingNode {
		switch {
		case fromTemplate(v.Value), v.Tag == "!!null" && !g.certain:
		case v.Tag == "!!null":
			in.at(g, p.key, LevelError, "syntax", "%s %s is empty, which goss refuses; {} would do", name, shown(p.key.Value))
		default:
			in.at(g, p.value, LevelError, "syntax", "%s %s is not a map of attributes", name, shown(p.key.Value))
		}
		return
	}
	in.duplicates(g, v, "attribute")
	must, skipped := s.must == "", false
	for _, attr := range in.pairs(v) {
		key := attr.key.Value
		k, known := s.attrs[key]
		switch {
		case fromTemplate(key):
			must = true // it may be anything
			continue
		case !known:
			hint := ""
			var names []string
			for a := range s.attrs {
				names = append(names, a)
			}
			slices.Sort(names)
			if near, d := nearest(key, names); d <= 2 {
				hint = "; it may be " + strconv.Quote(near)
			}
			in.at(g, attr.key, LevelError, "unknown-attribute", "%s %s has an attribute %s, which goss does not know%s",
				name, shown(p.key.Value), shown(key), hint)
			continue
		}
		if slices.Contains(strings.Fields(s.must), key) {
			must = true
		}
		if yes, ok := truthOf(resolve(attr.value)); key == "skip" && ok && yes {
			skipped = true
		}
		in.value(g, name+" "+shown(p.key.Value)+": "+key, k, attr.value)
	}
	if !must && !skipped && g.certain {
		in.at(g, p.key, LevelError, "missing-attribute", "%s %s has no %s, without which goss fails it in any case",
			name, shown(p.key.Value), strings.ReplaceAll(s.must, " ", " or "))
	}
}

// value looks at the value of one attribute.
func (in *inspector) value(g *gossfile, what string, k kind, node *yaml.Node) {
	v := resolve(node)
	if v.Kind == yaml.ScalarNode && fromTemplate(v.Value) {
		return
	}
	if v.Tag == "!!null" {
		if k == matcher && g.certain {
			in.at(g, node, LevelStrict, "empty-value", "%s has no value and asserts nothing", what)
		}
		return
	}
	switch k {
	case text:
		if v.Kind != yaml.ScalarNode {
			in.at(g, node, LevelError, "wrong-type", "%s must be a string", what)
		}
	case truth:
		if _, ok := truthOf(v); !ok {
			in.at(g, node, LevelError, "wrong-type", "%s must be true or false", what)
		}
	case millis:
		n, err := strconv.Atoi(strings.ReplaceAll(v.Value, "_", ""))
		switch {
		case v.Kind != yaml.ScalarNode || err != nil:
			in.at(g, node, LevelError, "duration", "%s is %s and must be a whole number of milliseconds, such as 10000", what, shown(v.Value))
		case n < 0:
			in.at(g, node, LevelError, "duration", "%s is negative", what)
		case n > 0 && n < 100:
			in.at(g, node, LevelNote, "duration", "%s is %d milliseconds, which is very little; goss does not count in seconds", what, n)
		}
	case list:
		if v.Kind != yaml.SequenceNode {
			in.at(g, node, LevelError, "wrong-type", "%s must be a list of strings", what)
		}
	case matcher:
		in.expectation(g, what, node, 0)
	}
}

// truthOf reads a boolean as goss does.
func truthOf(v *yaml.Node) (yes, ok bool) {
	if v.Kind != yaml.ScalarNode {
		return false, false
	}
	err := v.Decode(&yes)
	return yes, err == nil && v.Tag != "!!null"
}

// expectation looks at a matcher, which may have others in it.
func (in *inspector) expectation(g *gossfile, what string, node *yaml.Node, depth int) {
	v := resolve(node)
	if in.steps++; depth > 20 || in.steps > maxSteps {
		return
	}
	switch v.Kind {
	case yaml.SequenceNode:
		if len(v.Content) == 0 {
			in.at(g, node, LevelStrict, "empty-list", "%s is an empty list, which asserts nothing", what)
		}
		for _, item := range v.Content {
			if resolve(item).Kind == yaml.MappingNode {
				in.expectation(g, what, item, depth+1)
			}
		}
	case yaml.MappingNode:
		entries := in.pairs(v)
		if len(entries) == 0 && g.certain {
			in.at(g, node, LevelError, "unknown-matcher", "%s is an empty map, and no matcher", what)
		}
		if len(entries) > 1 && g.certain {
			in.at(g, entries[1].key, LevelError, "unknown-matcher", "%s has several matchers side by side, of which goss takes one only: put them into and: [...]", what)
		}
		for _, e := range entries {
			in.matcher(g, what, e, depth)
		}
	}
}

func (in *inspector) matcher(g *gossfile, what string, e pair, depth int) {
	name := e.key.Value
	if fromTemplate(name) {
		return
	}
	if !slices.Contains(matchers(), name) {
		hint := ""
		if near, d := nearest(name, matchers()); d <= 2 {
			hint = "; it may be " + strconv.Quote(near)
		}
		in.at(g, e.key, LevelError, "unknown-matcher", "%s uses a matcher %s, which goss does not know%s", what, shown(name), hint)
		return
	}
	v := resolve(e.value)
	switch {
	case v.Kind == yaml.SequenceNode && len(v.Content) == 0:
		if vacuous(name) {
			in.at(g, e.value, LevelStrict, "empty-list", "%s: %s is an empty list, which asserts nothing", what, name)
		}
	case name == "equal": // compares with any value
	case name == "gjson":
		for _, inner := range in.pairs(v) {
			in.expectation(g, what, inner.value, depth+1)
		}
	case v.Kind == yaml.SequenceNode, v.Kind == yaml.MappingNode:
		in.expectation(g, what, e.value, depth+1)
	}
}
