// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

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
}

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

// Check looks at a gossfile and everything that it includes. It runs nothing,
// and reads nothing but the sources.
func (l Lint) Check() Linted { return Linted{} }

// Errors returns the sentences of those findings that are failures, with file
// and line.
func (l Linted) Errors(strict bool) []error { return nil }
