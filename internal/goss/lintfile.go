// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// gossfile is one file as lint sees it.
type gossfile struct {
	source Source
	json   bool
	flat   *flat
	root   *yaml.Node // its top-level mapping, nil if there is none
	// certain says that the file is what goss reads, no template in between.
	certain bool
}

// inspector gathers findings about several files.
type inspector struct {
	findings []Finding
	places   Places
	files    []string // Names, in the order in which they were read
	steps    int      // taken so far; aliases of aliases could make them endless
}

// maxSteps is far more than any gossfile needs.
const maxSteps = 500_000

func (in *inspector) add(file string, line int, level Level, rule, format string, args ...any) {
	in.findings = append(in.findings, Finding{File: file, Line: line, Level: level, Rule: rule, Sentence: fmt.Sprintf(format, args...)})
}

// at adds a finding about a node. Inside a branch that may never be taken an
// error is a note.
func (in *inspector) at(g *gossfile, n *yaml.Node, level Level, rule, format string, args ...any) {
	if level == LevelError && g.flat.branchAt(n.Line, n.Column) != 0 {
		level = LevelNote
	}
	in.add(g.source.Origin, g.flat.line(n.Line, n.Column), level, rule, format, args...)
}

var yamlError = regexp.MustCompile(`^yaml: (?:unmarshal errors:\n\s*)?(?:line (\d+): )?(.*)`)

// parserError knows those errors in which the library counts lines from 0.
var parserError = regexp.MustCompile(`^did not find expected (?:<document start>|node content|'-' indicator|key|',' or)`)

// read parses one file, template and YAML. It returns nil if there is nothing
// to look at.
func (in *inspector) read(src Source, l Lint) *gossfile {
	in.files = append(in.files, src.Name)
	trees, tree, err := parseTemplate(src.Data)
	if err != nil {
		line, words := templateSaid(err)
		in.add(src.Origin, line, LevelError, "template", "its template cannot be read: %s", words)
		return nil
	}
	if !l.VarsUnknown {
		for _, m := range missingVars(src.Data, trees, tree, l.Vars) {
			if m.sure {
				in.add(src.Origin, m.line, LevelError, "missing-variable", "its template needs the variable %q, which nothing gives a value", m.name)
			} else {
				in.add(src.Origin, m.line, LevelNote, "missing-variable", "a branch of its template needs the variable %q, which nothing gives a value", m.name)
			}
		}
	}
	g := &gossfile{source: src, json: l.json()}
	for _, keep := range []branches{allBranches, firstBranches, elseBranches} {
		g.flat = flatten(src.Data, trees, tree, keep, nil)
		g.certain = !g.flat.templated
		if err = g.parse(in); err == nil {
			return g
		}
		if g.certain {
			break
		}
	}
	language := "YAML"
	if g.json {
		language = "JSON"
	}
	if g.certain {
		at, words := yamlSaid(err)
		line := 0
		if at > 0 {
			line = g.flat.line(at, 1)
		}
		in.add(src.Origin, line, LevelError, "syntax", "it is not %s: %s", language, clean(words))
		return nil
	}
	// Without the branches that stand in the way the rest can be looked at.
	skip := map[int]bool{}
	for range maxSkipped {
		g.flat = flatten(src.Data, trees, tree, allBranches, skip)
		if err = g.parse(in); err == nil {
			return g
		}
		at, words := yamlSaid(err)
		branch := g.flat.branchNear(at)
		if branch == 0 {
			in.add(src.Origin, g.flat.line(at, 1), LevelNote, "syntax", "it may not be %s once its template is filled in, and could not be looked at further: %s",
				language, shown(clean(words)))
			return nil
		}
		in.add(src.Origin, g.flat.line(at, 1), LevelNote, "syntax", "a branch of its template may not be %s, and could not be looked at: %s", language, shown(clean(words)))
		skip[branch] = true
	}
	return nil
}

// maxSkipped is how many branches are left out before lint gives up.
const maxSkipped = 50

// yamlSaid splits an error of the YAML library into line, if it is known, and
// words.
func yamlSaid(err error) (int, string) {
	m := yamlError.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, err.Error()
	}
	line, convErr := strconv.Atoi(m[1])
	if convErr != nil {
		return 0, m[2]
	}
	if parserError.MatchString(m[2]) {
		line++
	}
	return line, m[2]
}

// parse finds the top-level mapping.
func (g *gossfile) parse(in *inspector) error {
	text := g.flat.text
	if g.json {
		if g.certain && !json.Valid(text) {
			return jsonError(text)
		}
		// YAML takes JSON, but for tabs, which JSON has only between its words.
		text = bytes.ReplaceAll(text, []byte{'\t'}, []byte{' '})
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // empty; goss says so itself, if nothing else is there
		}
		return err
	}
	if len(doc.Content) == 0 {
		return nil
	}
	root := resolve(doc.Content[0])
	switch {
	case root.Kind == yaml.MappingNode:
		g.root = root
	case root.Tag == "!!null":
	case g.certain:
		in.at(g, root, LevelError, "syntax", "its top level is not a map of sections")
	}
	var more yaml.Node
	if dec.Decode(&more) == nil {
		in.at(g, &more, LevelStrict, "second-document", "goss reads the first YAML document of a file only and passes over what follows it")
	}
	return nil
}

func jsonError(text []byte) error {
	var v any
	err := json.Unmarshal(text, &v)
	if err == nil {
		return nil
	}
	line := 0
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		line = lineOf(text, int(syntax.Offset))
	}
	return fmt.Errorf("yaml: line %d: %w", line, err)
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	for range 10 {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	return n
}

// pair is an entry of a mapping.
type pair struct{ key, value *yaml.Node }

// pairs lists the entries of a mapping, those that it merges in included.
func (in *inspector) pairs(n *yaml.Node) []pair { return in.merge(n, 0) }

func (in *inspector) merge(n *yaml.Node, depth int) []pair {
	var list []pair
	if n.Kind != yaml.MappingNode || depth > 10 {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if in.steps++; in.steps > maxSteps {
			return list
		}
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag != "!!merge" {
			list = append(list, pair{resolve(key), value})
			continue
		}
		from := []*yaml.Node{resolve(value)}
		if from[0].Kind == yaml.SequenceNode {
			from = from[0].Content
		}
		for _, m := range from {
			list = append(list, in.merge(resolve(m), depth+1)...)
		}
	}
	return list
}

// sections looks at the top level and at what is below it.
func (in *inspector) sections(g *gossfile, top *merged) {
	if g.root == nil {
		return
	}
	in.duplicates(g, g.root, "section")
	for _, p := range in.pairs(g.root) {
		name := p.key.Value
		s, known := sectionOf(name)
		switch {
		case known:
			in.resources(g, name, s, p.value, top)
		case fromTemplate(name):
		case g.json && isSection(strings.ToLower(name)):
			in.at(g, p.key, LevelNote, "unknown-section", "goss takes the section %q in JSON whatever its case, but not in YAML", name)
		default:
			in.unknownSection(g, p.key)
		}
	}
}

func isSection(name string) bool { _, ok := sectionOf(name); return ok }

func (in *inspector) unknownSection(g *gossfile, key *yaml.Node) {
	near, d := nearest(key.Value, sections())
	if d == 1 {
		// Where it stands does not matter: nobody means it.
		in.add(g.source.Origin, g.flat.line(key.Line, key.Column), LevelError, ruleMisspelt,
			"it has a section %s, which goss passes over; it must be %q", shown(key.Value), near)
		return
	}
	hint := ""
	if d == 2 && len(near) > 4 {
		hint = fmt.Sprintf("; %q may be meant", near)
	}
	in.at(g, key, LevelStrict, "unknown-section", "it has a section %s, which goss passes over: nothing in it is checked%s", shown(key.Value), hint)
}

// duplicates finds keys that are given twice. goss refuses them in YAML and
// takes the last one in JSON.
func (in *inspector) duplicates(g *gossfile, n *yaml.Node, what string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	type spot struct {
		key    string
		branch int
	}
	first := map[spot]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || fromTemplate(key.Value) {
			continue
		}
		at := spot{key.Value, g.flat.branchAt(key.Line, key.Column)}
		if other, twice := first[at]; twice {
			line := g.flat.line(other.Line, other.Column)
			if g.json {
				in.at(g, key, LevelStrict, "duplicate-key", "the %s %q is already in line %d, and goss checks only the last one", what, clean(key.Value), line)
			} else {
				in.at(g, key, LevelError, "duplicate-key", "the %s %q is already in line %d", what, clean(key.Value), line)
			}
			continue
		}
		first[at] = key
	}
}

// nearest returns the word that is closest to a name, and how many letters
// apart they are; two letters in the wrong order count as one.
func nearest(name string, words []string) (string, int) {
	best, least := "", 1000
	name = strings.ToLower(name)
	if len(name) > 40 {
		return "", least
	}
	for _, w := range words {
		if d := apart(name, w); d < least {
			best, least = w, d
		}
	}
	return best, max(least, 1) // the same but for its case is a mistake as well
}

func apart(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}

func sortFindings(f []Finding) []Finding {
	slices.SortStableFunc(f, func(a, b Finding) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	return slices.Compact(f)
}
