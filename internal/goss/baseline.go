// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Baseline is an earlier result, from its JSON report.
type Baseline struct {
	tests map[TestKey]Outcome
	mask  func(string) string
}

// Masking says through what the names in a report went before it was written,
// so that a secret in the name of a test does not make it another test.
func (b *Baseline) Masking(mask func(string) string) *Baseline {
	return &Baseline{tests: b.tests, mask: mask}
}

// TestKey names a test across runs. Titles are not part of it: to reword one
// is no change of what is tested.
type TestKey struct {
	Gossfile string `json:"gossfile"`
	Type     string `json:"type"`
	ID       string `json:"id"`
	Property string `json:"property"`
}

// String names the test for people.
func (k TestKey) String() string {
	return fmt.Sprintf("%s: %s %s: %s", clean(k.Gossfile), clean(k.Type), clean(k.ID), clean(k.Property))
}

// Comparison is what changed since the baseline. Each list is sorted.
type Comparison struct {
	NewFailures []TestKey `json:"new_failures"` // fail now, did not fail before
	Fixed       []TestKey `json:"fixed"`        // failed before, pass now
	Vanished    []TestKey `json:"vanished"`     // carried out before, not any more
	Added       []TestKey `json:"added"`        // carried out now, not before
}

// ReadBaseline reads a JSON report that Render wrote.
func ReadBaseline(report []byte) (*Baseline, error) {
	var doc jsonReport
	if err := json.Unmarshal(report, &doc); err != nil {
		return nil, fmt.Errorf("the baseline is not a JSON report: %w", err)
	}
	if doc.Schema != jsonSchema {
		return nil, fmt.Errorf("the baseline is of the schema %q and must be of %q", doc.Schema, jsonSchema)
	}
	b := &Baseline{tests: map[TestKey]Outcome{}}
	for _, s := range doc.Gossfiles {
		for _, t := range s.Tests {
			o, ok := map[string]Outcome{"pass": Pass, "fail": Fail, "skip": Skip}[t.Outcome]
			if !ok {
				return nil, fmt.Errorf("the baseline has a test with the outcome %q", clean(t.Outcome))
			}
			b.tests[TestKey{s.Name, t.Type, t.ID, t.Property}] = o
		}
	}
	if len(b.tests) == 0 {
		return nil, fmt.Errorf("the baseline holds no tests")
	}
	return b, nil
}

// Compare says what changed since the baseline. A test that is skipped now
// counts as vanished; one that was not selected, or whose gossfile has no
// result, does not, since nothing is known of it.
func (b *Baseline) Compare(r *Result) *Comparison {
	now, unknown := map[TestKey]Outcome{}, map[string]bool{}
	out := map[TestKey]bool{} // left out, whatever the property
	for i := range r.Suites {
		s := &r.Suites[i]
		for _, x := range s.Out {
			out[b.masked(TestKey{Gossfile: s.Name, Type: x.Type, ID: x.ID})] = true
		}
		if s.Report == nil {
			unknown[s.Name] = true
			continue
		}
		for j := range s.Report.Tests {
			t := &s.Report.Tests[j]
			now[b.masked(TestKey{s.Name, t.Type, t.ID, t.Property})] = t.Outcome
		}
	}
	c := &Comparison{NewFailures: []TestKey{}, Fixed: []TestKey{}, Vanished: []TestKey{}, Added: []TestKey{}}
	for key, o := range now {
		before, known := b.tests[key]
		switch {
		case o == Fail && (!known || before != Fail):
			c.NewFailures = append(c.NewFailures, key)
		case o == Pass && known && before == Fail:
			c.Fixed = append(c.Fixed, key)
		}
		if o != Skip && (!known || before == Skip) {
			c.Added = append(c.Added, key)
		}
	}
	for key, before := range b.tests {
		o, there := now[key]
		chosen := !unknown[key.Gossfile] && !out[TestKey{Gossfile: key.Gossfile, Type: key.Type, ID: key.ID}]
		if before != Skip && chosen && (!there || o == Skip) {
			c.Vanished = append(c.Vanished, key)
		}
	}
	for _, list := range [][]TestKey{c.NewFailures, c.Fixed, c.Vanished, c.Added} {
		slices.SortFunc(list, func(a, b TestKey) int {
			return cmp.Or(cmp.Compare(a.Gossfile, b.Gossfile), cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Property, b.Property))
		})
	}
	return c
}

// masked is a key as it is in a report.
func (b *Baseline) masked(key TestKey) TestKey {
	if b.mask == nil {
		return key
	}
	return maskKeys([]TestKey{key}, b.mask)[0]
}
