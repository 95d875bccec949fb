// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"
)

// A gossfile is a text/template that becomes YAML on the machine. Here it is
// never executed, since much of it depends on the machine. It is flattened
// instead: text stays, each value becomes a placeholder, and all branches are
// taken at once. What is left is YAML in nearly all gossfiles, and each of its
// bytes knows where it comes from.

// unknownValue stands for what a template puts in. It is a word that YAML
// takes anywhere that a scalar may be.
const unknownValue = "armfreeTemplateValue"

// maxFlat bounds a flattened file: templates may call one another.
const (
	maxFlat      = 4 << 20
	maxTemplates = 20 // deep
)

// branches says which branches of a condition are kept.
type branches int

const (
	allBranches branches = iota
	firstBranches
	elseBranches
)

// flat is a gossfile without its template.
type flat struct {
	text   []byte
	origin []int // for each byte of text: where in the source it is, or -1
	branch []int // for each byte: which branch it is in, by its place; 0 is outside all
	source []byte
	starts []int // where lines begin
	// templated says that the source has actions at all.
	templated bool
}

// parseTemplate reads the template of a gossfile.
func parseTemplate(source []byte) (map[string]*parse.Tree, *parse.Tree, error) {
	tree := parse.New("gossfile")
	trees := map[string]*parse.Tree{}
	if _, err := tree.Parse(string(source), "", "", trees, templateFuncs()); err != nil {
		return nil, nil, err
	}
	return trees, tree, nil
}

var templateError = regexp.MustCompile(`^template: gossfile:(\d+)(?::\d+)?: (.*)$`)

// templateSaid splits an error of the template's parser into line and words.
func templateSaid(err error) (int, string) {
	m := templateError.FindStringSubmatch(err.Error())
	if m == nil {
		return 0, clean(err.Error())
	}
	line, _ := strconv.Atoi(m[1]) // it is a number
	return line, clean(m[2])
}

// flattener walks through a template.
type flattener struct {
	flat
	trees  map[string]*parse.Tree
	keep   branches
	skip   map[int]bool // branches that are left out
	branch int          // the current one
	depth  int
	steps  int
}

func flatten(source []byte, trees map[string]*parse.Tree, tree *parse.Tree, keep branches, skip map[int]bool) *flat {
	f := &flattener{flat: flat{source: source}, trees: trees, keep: keep, skip: skip}
	if tree.Root != nil {
		f.list(tree.Root)
	}
	f.dropLonely()
	f.starts = []int{0}
	for i, c := range f.text {
		if c == '\n' {
			f.starts = append(f.starts, i+1)
		}
	}
	return &f.flat
}

func (f *flattener) emit(text []byte, origin int) {
	for i, c := range text {
		f.text = append(f.text, c)
		at := -1
		if origin >= 0 {
			at = origin + i
		}
		f.origin = append(f.origin, at)
		f.flat.branch = append(f.flat.branch, f.branch)
	}
}

func (f *flattener) list(list *parse.ListNode) {
	for _, node := range list.Nodes {
		if f.steps++; len(f.text) > maxFlat || f.steps > maxSteps {
			return
		}
		if node.Type() != parse.NodeText {
			f.templated = true
		}
		switch n := node.(type) {
		case *parse.TextNode:
			f.emit(n.Text, int(n.Pos))
		case *parse.ActionNode:
			if len(n.Pipe.Decl) == 0 {
				f.emit([]byte(unknownValue), -1)
			}
		case *parse.IfNode:
			f.either(&n.BranchNode)
		case *parse.RangeNode:
			f.either(&n.BranchNode)
		case *parse.WithNode:
			f.either(&n.BranchNode)
		case *parse.TemplateNode:
			if tree := f.trees[n.Name]; tree != nil && f.depth < maxTemplates {
				f.depth++
				f.within(tree.Root)
				f.depth--
			}
		}
	}
}

func (f *flattener) either(n *parse.BranchNode) {
	if f.keep != elseBranches || n.ElseList == nil {
		f.within(n.List)
	}
	if f.keep != firstBranches {
		f.within(n.ElseList)
	}
}

// within is list in a branch of its own.
func (f *flattener) within(list *parse.ListNode) {
	if list == nil || f.skip[int(list.Pos)+1] {
		return
	}
	outer := f.branch
	f.branch = int(list.Pos) + 1
	f.list(list)
	f.branch = outer
}

// dropLonely empties lines that hold nothing but values: what they become may
// be any number of lines, or none.
func (f *flattener) dropLonely() {
	at := 0
	for line := range bytes.Lines(slices.Clone(f.text)) {
		rest := bytes.TrimSpace(line)
		if lonely := bytes.ReplaceAll(rest, []byte(unknownValue), nil); len(rest) > 0 && len(bytes.TrimSpace(lonely)) == 0 {
			for i := range line {
				if line[i] != '\n' {
					f.text[at+i] = ' '
				}
			}
		}
		at += len(line)
	}
}

// offset is that of a line and column of the flattened text, both counted from
// 1, the column in characters as YAML's parser counts.
func (f *flat) offset(line, column int) int {
	if line < 1 || line > len(f.starts) {
		return len(f.text)
	}
	at := f.starts[line-1]
	for range column - 1 {
		if at >= len(f.text) {
			break
		}
		at++
		for at < len(f.text) && f.text[at]&0xc0 == 0x80 {
			at++
		}
	}
	return at
}

// line is the line of the source that a line and column of the flattened text
// come from.
func (f *flat) line(line, column int) int {
	for at := f.offset(line, column); at < len(f.origin); at++ {
		if o := f.origin[at]; o >= 0 {
			return lineOf(f.source, o)
		}
	}
	return lineOf(f.source, len(f.source))
}

// branchNear is the branch of a line, or of the one before or after it: YAML's
// parser is not always right about lines. It is 0 if there is none.
func (f *flat) branchNear(line int) int {
	for _, l := range []int{line, line - 1, line + 1} {
		if l < 1 || l > len(f.starts) {
			continue
		}
		for at := f.starts[l-1]; at < len(f.text) && f.text[at] != '\n'; at++ {
			if f.text[at] != ' ' {
				if b := f.branch[at]; b != 0 {
					return b
				}
				break
			}
		}
	}
	return 0
}

// branchAt is the branch of a place in the flattened text.
func (f *flat) branchAt(line, column int) int {
	if at := f.offset(line, column); at < len(f.branch) {
		return f.branch[at]
	}
	return 0
}

func lineOf(text []byte, offset int) int {
	return 1 + bytes.Count(text[:min(offset, len(text))], []byte{'\n'})
}

// missingVar is a variable that a template uses and nobody gives.
type missingVar struct {
	name string
	line int
	// sure says that the template cannot do without it.
	sure bool
}

// missingVars finds the variables that a template reads although they are not
// there. goss ends with an error at the first one; `default` does not help,
// since the error comes before it. What does help is to ask first, with hasKey
// or get, and then the name is a string in the template.
func missingVars(source []byte, trees map[string]*parse.Tree, tree *parse.Tree, vars map[string]any) []missingVar {
	w := &varWalker{vars: vars, source: source}
	w.node(tree.Root, true, true)
	for _, t := range trees {
		if t != tree {
			w.node(t.Root, false, false)
		}
	}
	slices.SortFunc(w.missing, func(a, b missingVar) int { return a.line - b.line })
	return w.missing
}

type varWalker struct {
	vars    map[string]any
	source  []byte
	missing []missingVar
	asked   []string // strings of the conditions around
}

// node looks at a node. sure says that it is executed for certain, root that
// dot is still goss's own.
func (w *varWalker) node(node parse.Node, sure, root bool) {
	switch n := node.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		for _, child := range n.Nodes {
			w.node(child, sure, root)
		}
	case *parse.ActionNode:
		w.pipe(n.Pipe, sure, root)
	case *parse.IfNode:
		w.branch(&n.BranchNode, sure, root, root)
	case *parse.RangeNode:
		w.branch(&n.BranchNode, sure, root, false)
	case *parse.WithNode:
		w.branch(&n.BranchNode, sure, root, false)
	case *parse.TemplateNode:
		w.pipe(n.Pipe, sure, root)
	}
}

func (w *varWalker) branch(n *parse.BranchNode, sure, root, inner bool) {
	w.pipe(n.Pipe, sure, root)
	outer := len(w.asked)
	w.asked = append(w.asked, stringsIn(n.Pipe)...)
	w.node(n.List, false, inner)
	if n.ElseList != nil {
		w.node(n.ElseList, false, root)
	}
	w.asked = w.asked[:outer]
}

func (w *varWalker) pipe(p *parse.PipeNode, sure, root bool) {
	if p == nil {
		return
	}
	own := stringsIn(p)
	for _, cmd := range p.Cmds {
		for _, arg := range cmd.Args {
			switch a := arg.(type) {
			case *parse.FieldNode:
				if root {
					w.chain(a.Ident, a.Position(), sure, own)
				}
			case *parse.VariableNode:
				if a.Ident[0] == "$" {
					w.chain(a.Ident[1:], a.Position(), sure, own)
				}
			case *parse.PipeNode:
				w.pipe(a, sure, root)
			}
		}
	}
}

func (w *varWalker) chain(ident []string, pos parse.Pos, sure bool, own []string) {
	if len(ident) < 2 || ident[0] != "Vars" {
		return
	}
	vars := w.vars
	for i, name := range ident[1:] {
		value, there := vars[name]
		if !there {
			if slices.Contains(own, name) || slices.Contains(w.asked, name) {
				return
			}
			w.missing = append(w.missing, missingVar{strings.Join(ident[1:i+2], "."), lineOf(w.source, int(pos)), sure})
			return
		}
		inner, ok := value.(map[string]any)
		if !ok {
			return
		}
		vars = inner
	}
}

// stringsIn lists the string constants of a pipeline.
func stringsIn(p *parse.PipeNode) []string {
	if p == nil {
		return nil
	}
	var found []string
	for _, cmd := range p.Cmds {
		for _, arg := range cmd.Args {
			switch a := arg.(type) {
			case *parse.StringNode:
				found = append(found, a.Text)
			case *parse.PipeNode:
				found = append(found, stringsIn(a)...)
			}
		}
	}
	return found
}

// shown replaces placeholders by what people know.
func shown(s string) string {
	return fmt.Sprintf("%q", strings.ReplaceAll(s, unknownValue, "{{...}}"))
}

func fromTemplate(s string) bool { return strings.Contains(s, unknownValue) }
