// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ShowOutput rewrites the pattern lists of a gossfile so that goss shows what
// it compared them with.
//
// goss 0.4 matches a list of patterns (stdout: [a, b]) against a stream and
// then reports `object: *bytes.Reader` as the actual value. Written as
// stdout: {have-patterns: [a, b]} the same patterns are matched in the same way
// against the text, and the text is reported. So that is how lists are sent to
// the machine. Only what commands print and what a web server answers is
// rewritten: the contents of files may be secret (/etc/shadow) or endless, and
// the file can be looked at by its name.
//
// The rewriting is an edit of the text, so that templates, comments and all
// else stay. It is made only where nothing of a template decides which items
// the list has, and it is proven afterwards: flattened and parsed, the new text
// must be the old one but for those lists. Otherwise the text stays as it is,
// and goss shows what it always showed.
func ShowOutput(gossfile []byte) []byte {
	doc := parseFlat(gossfile)
	if doc == nil || doc.root == nil {
		return gossfile
	}
	edits := doc.patternLists()
	if len(edits) == 0 || len(edits) > 500 {
		return gossfile
	}
	if out, ok := doc.apply(edits); ok {
		return out
	}
	// One that cannot be made must not keep the others from being made.
	best, made := gossfile, []listEdit(nil)
	for _, e := range edits {
		if out, ok := doc.apply(append(slices.Clone(made), e)); ok {
			best, made = out, append(made, e)
		}
	}
	return best
}

// flatDoc is a gossfile, flattened and parsed.
type flatDoc struct {
	*flat
	root *yaml.Node
}

func parseFlat(source []byte) *flatDoc {
	trees, tree, err := parseTemplate(source)
	if err != nil {
		return nil
	}
	skip := map[int]bool{}
	for range maxSkipped {
		d := &flatDoc{flat: flatten(source, trees, tree, allBranches, skip)}
		var doc yaml.Node
		// Tabs between the words of JSON are none of YAML's.
		err := yaml.Unmarshal(bytes.ReplaceAll(d.text, []byte{'\t'}, []byte{' '}), &doc)
		if err == nil {
			if len(doc.Content) == 1 && doc.Content[0].Kind == yaml.MappingNode {
				d.root = doc.Content[0]
			}
			return d
		}
		// A branch that stands in the way is left as it is.
		at, _ := yamlSaid(err)
		branch := d.branchNear(at)
		if branch == 0 {
			return nil
		}
		skip[branch] = true
	}
	return nil
}

// listEdit makes one list a matcher.
type listEdit struct {
	lists []*yaml.Node // several where a template is called several times
	parts []insertion
}

// insertion puts text at an offset of the source.
type insertion struct {
	at   int
	text string
}

// patternLists finds the lists that can be rewritten.
func (d *flatDoc) patternLists() []listEdit {
	var edits []listEdit
	for section, attrs := range map[string][]string{"command": {"stdout", "stderr"}, "http": {"body"}} {
		for _, resource := range entries(entry(d.root, section)) {
			for _, attr := range entries(resource.value) {
				list := attr.value
				if !slices.Contains(attrs, attr.key.Value) || list.Kind != yaml.SequenceNode || len(list.Content) == 0 || list.Anchor != "" {
					continue
				}
				if parts := d.wrap(attr.key, list); parts != nil {
					edits = append(edits, listEdit{[]*yaml.Node{list}, parts})
				}
			}
		}
	}
	slices.SortFunc(edits, func(a, b listEdit) int { return cmp.Compare(a.parts[0].at, b.parts[0].at) })
	var once []listEdit
	for _, e := range edits {
		if n := len(once); n > 0 && once[n-1].parts[0].at == e.parts[0].at {
			once[n-1].lists = append(once[n-1].lists, e.lists...)
			continue
		}
		once = append(once, e)
	}
	return once
}

// entries lists what is literally in a mapping.
func entries(n *yaml.Node) []pair {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var list []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		list = append(list, pair{n.Content[i], n.Content[i+1]})
	}
	return list
}

func entry(n *yaml.Node, key string) *yaml.Node {
	for _, p := range entries(n) {
		if p.key.Value == key {
			return p.value
		}
	}
	return nil
}

// wrap plans the edit of one list, or returns nil if it cannot be made.
func (d *flatDoc) wrap(key, list *yaml.Node) []insertion {
	from, at := d.offset(key.Line, key.Column), d.offset(list.Line, list.Column)
	last := list.Content[len(list.Content)-1]
	to := d.offset(last.Line, last.Column)
	if at >= len(d.text) || to >= len(d.text) || from > at || at > to {
		return nil
	}
	for i := from; i <= to; i++ {
		if d.branch[i] != d.branch[from] {
			return nil // which items there are is decided on the machine
		}
	}
	if d.text[at] == '[' {
		end := closing(d.text, at)
		if end < 0 || d.origin[at] < 0 || d.origin[end] < 0 {
			return nil
		}
		return []insertion{{d.origin[at], `{"have-patterns": `}, {d.origin[end] + 1, "}"}}
	}
	if d.text[at] != '-' || d.origin[at] < 0 {
		return nil
	}
	dash := d.origin[at]
	start := bytes.LastIndexByte(d.source[:dash], '\n') + 1
	indent := string(d.source[start:dash])
	if strings.Trim(indent, " ") != "" || len(indent) != list.Column-1 {
		return nil
	}
	if list.Column > key.Column {
		// YAML lets the items of a list stand below the first letter of its key.
		return []insertion{{start, indent + "have-patterns:\n"}}
	}
	return d.shift(start, indent)
}

// shift moves a list that is not indented at all to the right, with its key
// before it.
func (d *flatDoc) shift(start int, indent string) []insertion {
	parts := []insertion{{start, indent + "  have-patterns:\n"}}
	at := start
	for line := range bytes.Lines(d.source[start:]) {
		rest := bytes.TrimLeft(line, " ")
		depth := len(line) - len(rest)
		if bytes.Contains(line, []byte("{{")) && !bytes.Contains(line, []byte("}}")) {
			return nil // an action of several lines
		}
		switch {
		case len(bytes.TrimSpace(rest)) == 0:
		case depth < len(indent), depth == len(indent) && rest[0] != '-' && rest[0] != '#':
			return parts
		default:
			parts = append(parts, insertion{at, "  "})
		}
		at += len(line)
	}
	return parts
}

// closing finds the bracket that closes a flow sequence.
func closing(text []byte, open int) int {
	depth, fresh := 0, true // fresh: a scalar may begin here, and with it a quote
	for i := open; i < len(text); i++ {
		switch c := text[i]; {
		case fresh && (c == '"' || c == '\''):
			for i++; i < len(text) && text[i] != c; i++ {
				if c == '"' && text[i] == '\\' {
					i++
				}
			}
			if c == '\'' && i+1 < len(text) && text[i+1] == c {
				continue // two of them are one inside a scalar, which goes on
			}
			fresh = false
		case c == '[', c == '{':
			depth++
			fresh = true
		case c == ']', c == '}':
			if depth--; depth == 0 {
				return i
			}
			fresh = false
		case c == ',', c == ':':
			fresh = true
		case c != ' ' && c != '\n' && c != '\r' && c != '\t':
			fresh = false
		}
	}
	return -1
}

// apply makes edits and proves that nothing else changed.
func (d *flatDoc) apply(edits []listEdit) ([]byte, bool) {
	var all []insertion
	wrapped := map[*yaml.Node]bool{}
	for _, e := range edits {
		all = append(all, e.parts...)
		for _, list := range e.lists {
			wrapped[list] = true
		}
	}
	slices.SortStableFunc(all, func(a, b insertion) int { return cmp.Compare(a.at, b.at) })
	var out []byte
	at := 0
	for _, ins := range all {
		out = append(out, d.source[at:ins.at]...)
		out = append(out, ins.text...)
		at = ins.at
	}
	out = append(out, d.source[at:]...)
	again := parseFlat(out)
	return out, again != nil && again.root != nil && same(d.root, again.root, wrapped)
}

// same compares two trees, in the second of which some lists are matchers.
func same(a, b *yaml.Node, wrapped map[*yaml.Node]bool) bool {
	if wrapped[a] {
		if b.Kind != yaml.MappingNode || len(b.Content) != 2 || b.Content[0].Value != "have-patterns" {
			return false
		}
		b = b.Content[1]
	}
	if a.Kind != b.Kind || a.ShortTag() != b.ShortTag() || a.Value != b.Value || a.Anchor != b.Anchor || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !same(a.Content[i], b.Content[i], wrapped) {
			return false
		}
	}
	return true
}
