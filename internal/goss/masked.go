// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Masked returns a copy in which every text went through mask: names, what
// tests found and expected, sentences. Whole texts go through it, before
// anything is cut off or escaped, so that a secret is recognised.
func (r *Result) Masked(mask func(string) string) *Result {
	if mask == nil {
		return r
	}
	m := *r
	m.Suites = slices.Clone(r.Suites)
	for i := range m.Suites {
		m.Suites[i].mask(mask)
	}
	m.Problems, m.Waived = maskErrors(r.Problems, mask), maskErrors(r.Waived, mask)
	m.Named = maskAll(r.Named, mask)
	if r.Changes != nil {
		m.Changes = &Comparison{
			NewFailures: maskKeys(r.Changes.NewFailures, mask), Fixed: maskKeys(r.Changes.Fixed, mask),
			Vanished: maskKeys(r.Changes.Vanished, mask), Added: maskKeys(r.Changes.Added, mask),
		}
	}
	return &m
}

func (s *SuiteResult) mask(mask func(string) string) {
	s.Name, s.Path = mask(s.Name), mask(s.Path)
	s.Warnings = maskAll(s.Warnings, mask)
	s.Out = slices.Clone(s.Out)
	for i := range s.Out {
		s.Out[i].ID = mask(s.Out[i].ID)
	}
	if s.Err != nil {
		s.Err = maskErrors([]*Error{s.Err}, mask)[0]
	}
	s.Findings = slices.Clone(s.Findings)
	for i := range s.Findings {
		f := &s.Findings[i]
		f.File, f.Sentence, f.Key = mask(f.File), mask(f.Sentence), mask(f.Key)
	}
	s.Attempts = slices.Clone(s.Attempts)
	for i := range s.Attempts {
		s.Attempts[i].Verdict = mask(s.Attempts[i].Verdict)
	}
	places := Places{}
	for key, place := range s.Places {
		typ, id, _ := strings.Cut(key, "\x00")
		places[typ+"\x00"+mask(id)] = Place{mask(place.File), place.Line}
	}
	s.Places = places
	s.Report = s.Report.Masked(mask)
}

// Masked returns a copy in which every text went through mask, whole. It is nil
// if r is.
func (r *Report) Masked(mask func(string) string) *Report {
	if r == nil || mask == nil {
		return r
	}
	report := *r
	report.Tests = slices.Clone(r.Tests)
	for i := range report.Tests {
		report.Tests[i].mask(mask)
	}
	return &report
}

func (t *Test) mask(mask func(string) string) {
	for _, s := range []*string{&t.Title, &t.ID, &t.Property, &t.Err, &t.Relation} {
		*s = mask(*s)
	}
	for _, v := range []*json.RawMessage{&t.Expected, &t.Actual, &t.Missing} {
		*v = maskJSON(*v, mask)
	}
	if t.Meta != nil {
		t.Meta, _ = maskValue(t.Meta, mask).(map[string]any) // a map stays one
	}
}

// maskJSON masks the strings inside a JSON value. A secret with a line break
// or a quote in it looks different in JSON than by itself.
func maskJSON(v json.RawMessage, mask func(string) string) json.RawMessage {
	if v == nil {
		return nil
	}
	var value any
	dec := json.NewDecoder(strings.NewReader(string(v)))
	dec.UseNumber()
	if dec.Decode(&value) != nil {
		return quoted(mask(string(v)))
	}
	return quoted(maskValue(value, mask))
}

// quoted is a value as JSON, as legible as JSON can be.
func quoted(v any) json.RawMessage {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return json.RawMessage(`"?"`)
	}
	return json.RawMessage(strings.TrimSpace(b.String()))
}

func maskValue(v any, mask func(string) string) any {
	switch x := v.(type) {
	case string:
		return mask(x)
	case json.Number:
		// A password may look like a number.
		if s := mask(x.String()); s != x.String() {
			return s
		}
	case float64:
		if s := fmt.Sprint(x); mask(s) != s {
			return mask(s)
		}
	case []any:
		out := make([]any, len(x))
		for i := range x {
			out[i] = maskValue(x[i], mask)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[mask(k)] = maskValue(e, mask)
		}
		return out
	}
	return v
}

func maskAll(list []string, mask func(string) string) []string {
	out := slices.Clone(list)
	for i := range out {
		out[i] = mask(out[i])
	}
	return out
}

func maskErrors(list []*Error, mask func(string) string) []*Error {
	var out []*Error
	for _, e := range list {
		out = append(out, &Error{Reason: e.Reason, sentence: mask(e.sentence)})
	}
	return out
}

func maskKeys(list []TestKey, mask func(string) string) []TestKey {
	out := slices.Clone(list)
	for i := range out {
		out[i].Gossfile, out[i].ID = mask(out[i].Gossfile), mask(out[i].ID)
	}
	return out
}
