// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import "strings"

// about tells whether a phantom, if there is one, is about a limit: the one
// that it names, or else all that are otherwise concerned.
func (f *Fault) about(l limitSpec, otherwise bool) bool {
	return f != nil && ((f.Limit == "" && otherwise) || f.Limit == l.name)
}

// hitLimit is hit for phantoms. It passes over those that are not about what a
// request needs; concerns is asked with the limit that a phantom names, or "".
func (l faultList) hitLimit(t target, concerns func(limit string) bool) *Fault {
	var concerned faultList
	for _, f := range l {
		if concerns(f.Limit) {
			concerned = append(concerned, f)
		}
	}
	return concerned.hit(t, FaultLimit)
}

// peekLimit tells whether a phantom makes the counters of a limit lie now, for
// whatever size: those of A1, or of the one limit that it names.
func (l faultList) peekLimit(t target, limit limitSpec) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	for _, f := range l {
		if f.Kind == FaultLimit && f.due() && f.about(limit, strings.HasPrefix(limit.name, "standard-a1")) &&
			is(f.Op, t.op) && is(f.Tenancy, t.tenancy) && is(f.Region, t.region) && (t.ad == "" || strings.HasSuffix(t.ad, f.AD)) {
			return true
		}
	}
	return false
}
