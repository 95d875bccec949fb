// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Level is what follows from a finding.
type Level string

// The levels.
const (
	LevelError  Level = "error"  // goss would refuse it, or misread it: always a failure
	LevelStrict Level = "strict" // goss would silently check less than is written: a failure under strict
	LevelNote   Level = "note"   // worth knowing
)

// Finding is something that is wrong, or odd, about a gossfile.
type Finding struct {
	File     string `json:"file"`           // as Source.Origin has it
	Line     int    `json:"line,omitempty"` // counted from 1; 0 if it concerns the whole file
	Level    Level  `json:"level"`
	Rule     string `json:"rule"` // a short name, for example "unknown-section"
	Sentence string `json:"sentence"`
	// Key is the resource as goss calls it ("file: /etc/passwd"), where the
	// finding is about one that replaces another.
	Key string `json:"key,omitempty"`
}

// ruleMisspelt is a section one letter away from a real one. goss passes over
// it without a word, so that only this finding can fail it.
const ruleMisspelt = "misspelt-section"

// Places tells in which file and line a resource is written, by the words that
// a result has for it ("Command\x00echo hello").
type Places map[string]Place

// Place is a line of a file on this host.
type Place struct {
	File string
	Line int
}

// Source is a file that goss reads.
type Source struct {
	// Name is its path relative to goss's working directory, with slashes.
	Name string
	// Origin is its path on this host, for people.
	Origin string
	Data   []byte
}

// Lint is what is looked at before a machine exists.
type Lint struct {
	// Sources are all files that reach goss's working directory. Only those
	// that are gossfiles, or are included by one, are read.
	Sources []Source
	// Gossfile is the Name of the source to begin with.
	Gossfile string
	// Vars are the merged variables.
	Vars map[string]any
	// VarsUnknown says that there are variables that only a build will tell,
	// so that none can be called missing.
	VarsUnknown bool
}

// Linted is what came of it.
type Linted struct {
	// Findings are sorted by file and line.
	Findings []Finding
	// Places are those of the resources whose names are not made by templates.
	Places Places
	// Gossfiles are the Names of the sources that goss will read as gossfiles,
	// the first one included.
	Gossfiles []string
}

// maxGossfiles bounds how many files are read, one that is included several
// times counted each time.
const maxGossfiles = 2000

// Check looks at a gossfile and everything that it includes. It runs nothing,
// executes no template, and reads nothing but the sources.
func (l Lint) Check() Linted {
	c := &checker{
		lint: l, inspector: inspector{places: Places{}}, sources: map[string]Source{},
		top: &merged{first: map[string]Place{}}, read: map[string]bool{},
	}
	for _, s := range l.Sources {
		c.sources[path.Clean(s.Name)] = s
	}
	name := path.Clean(l.Gossfile)
	src, there := c.sources[name]
	switch ext := path.Ext(name); {
	case !there:
		c.add(l.Gossfile, 0, LevelError, "missing-file", "this gossfile is not among the files that reach the machine")
	case ext != ".yaml" && ext != ".yml" && ext != ".json":
		c.add(src.Origin, 0, LevelError, "extension", "the name of a gossfile must end in .yaml, .yml or .json, or goss will not read it")
	default:
		c.visit(name, nil)
	}
	return Linted{Findings: sortFindings(c.findings), Places: c.places, Gossfiles: c.files}
}

// json says whether goss reads all files as JSON: it goes by the name of the
// first one.
func (l Lint) json() bool { return path.Ext(l.Gossfile) == ".json" }

// checker goes through a gossfile and its includes.
type checker struct {
	inspector
	lint    Lint
	sources map[string]Source // by cleaned name
	top     *merged
	read    map[string]bool
	visits  int
}

// visit looks at one file. The stack holds the files that lead to it.
func (c *checker) visit(name string, stack []string) {
	src := c.sources[name]
	if c.visits++; c.visits > maxGossfiles {
		return
	}
	c.read[name] = true
	g := c.inspector.read(src, c.lint)
	if g == nil {
		return
	}
	c.top.includes = nil
	c.sections(g, c.top)
	includes := c.top.includes
	slices.SortStableFunc(includes, func(a, b include) int { return strings.Compare(a.key.Value, b.key.Value) })
	stack = append(slices.Clone(stack), name)
	for _, i := range includes {
		c.include(g, name, i, stack)
	}
}

// include follows one entry of the section gossfile.
func (c *checker) include(g *gossfile, from string, i include, stack []string) {
	if fromTemplate(i.pattern) {
		return
	}
	pattern := i.pattern
	if path.IsAbs(pattern) {
		c.at(g, i.key, LevelNote, "include", "it includes %s on the machine, which cannot be looked at here", shown(pattern))
		return
	}
	pattern = path.Join(path.Dir(from), pattern)
	var found []string
	for name := range c.sources {
		if ok, err := path.Match(pattern, name); err != nil {
			c.at(g, i.key, LevelError, "include", "it includes %s, which is no pattern for file names", shown(i.pattern))
			return
		} else if ok {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		c.at(g, i.key, LevelError, "include", "it includes %s, but no such file reaches the machine beside it", shown(i.pattern))
	}
	slices.Sort(found)
	for _, name := range found {
		switch {
		case slices.Contains(stack, name):
			c.at(g, i.key, LevelError, "include", "it includes %s, which leads back to itself", shown(i.pattern))
		case c.read[name]:
			c.at(g, i.key, LevelStrict, "duplicate-key", "it includes %s once more, so that each of its resources replaces itself", shown(name))
		default:
			c.visit(name, stack)
		}
	}
}

// String is the finding with its place, for people.
func (f Finding) String() string {
	if f.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Sentence)
	}
	return fmt.Sprintf("%s: %s", f.File, f.Sentence)
}

// fails says whether a finding is a failure.
func (f Finding) fails(strict bool) bool {
	return f.Level == LevelError || strict && f.Level == LevelStrict
}

// Errors returns those findings that are failures, each with file and line.
func (l Linted) Errors(strict bool) []error {
	var errs []error
	for _, f := range l.Findings {
		if f.fails(strict) {
			errs = append(errs, errors.New(f.String()))
		}
	}
	return errs
}
