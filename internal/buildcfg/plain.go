// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package buildcfg

import (
	"errors"
	"regexp"
	"strings"
)

// undecodedError is an error of the decoder in the words of a template.
type undecodedError struct {
	text string
	err  error
}

func (e *undecodedError) Error() string { return e.text }

// Unwrap returns what the decoder says.
func (e *undecodedError) Unwrap() error { return e.err }

// What the decoder says, with the option, what it should be, and what it is.
var (
	noDuration = regexp.MustCompile(`^error decoding '([^']+)': time: .* ("[^"]*")$`)
	noNumber   = regexp.MustCompile(`^cannot parse '([^']+)' as (\w+): strconv\.\w+: parsing ("[^"]*")`)
	noSuchType = regexp.MustCompile(`^'([^']+)' expected (?:type '([^']+)', got unconvertible type|a map, got) '([^']+)'`)
)

// Plain puts what the decoder says of one option into the words in which all other
// mistakes are told. What it does not know stays as it is.
func Plain(err error) error {
	if err == nil {
		return nil
	}
	said := strings.TrimSpace(err.Error())
	var text string
	if m := noDuration.FindStringSubmatch(said); m != nil {
		text = m[1] + ` must be a duration such as "30m", it is ` + m[2]
	} else if m := noNumber.FindStringSubmatch(said); m != nil {
		text = m[1] + " must be " + typeName(m[2]) + ", it is " + m[3]
	} else if m := noSuchType.FindStringSubmatch(said); m != nil {
		text = m[1] + " must be " + typeName(m[2]) + ", and is " + typeName(m[3])
	} else {
		return err
	}
	return &undecodedError{text, err}
}

// typeName is what people call a type of Go.
func typeName(t string) string {
	switch {
	case t == "bool":
		return "true or false"
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "uint"):
		return "a whole number"
	case strings.HasPrefix(t, "float"):
		return "a number"
	case t == "string":
		return "a text"
	case strings.HasPrefix(t, "[]"):
		return "a list"
	}
	return "a block or a map"
}

// PlainAll is Plain for all that an error of the decoder consists of.
func PlainAll(err error) error {
	var m Mistakes
	m.Note(Each(err)...)
	return m.Err()
}

// unplain is what the decoder said.
func unplain(err error) string {
	var u *undecodedError
	if errors.As(err, &u) {
		return u.err.Error()
	}
	return err.Error()
}
