// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package awsbuild

import (
	"encoding/csv"
	"regexp"
	"slices"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// idOf is what the ids of EC2 look like behind their prefix.
var idOf = regexp.MustCompile(`^[0-9a-f]{8,17}$`)

// id checks that the value of an option, if it is set and known, is the id of a
// resource of that kind: "subnet" for subnet-0123abcd.
func (n *notes) id(option, kind, value string) {
	if value == "" || tmpl.Unknown(value) {
		return
	}
	if rest, ok := strings.CutPrefix(value, kind+"-"); !ok || !idOf.MatchString(rest) {
		n.bad("%s must be an id such as %s-0123456789abcdef0, it is %q", option, kind, value)
	}
}

// oneOf checks that the value of an option, if it is set and known, is allowed.
func (n *notes) oneOf(option, value string, allowed ...string) {
	if value != "" && !tmpl.Unknown(value) && !slices.Contains(allowed, value) {
		n.bad("%s must be %s, it is %q", option, quoted(allowed), value)
	}
}

// quoted is a choice as people read it: "a", "b" or "c".
func quoted(words []string) string {
	s := `"` + words[0] + `"`
	for i, w := range words[1:] {
		if i == len(words)-2 {
			s += " or "
		} else {
			s += ", "
		}
		s += `"` + w + `"`
	}
	return s
}

// set is a list without empty elements, which variables that are not set leave.
func set(list []string) (out []string) {
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// either puts an option and its plural together, where one at most is set.
func (n *notes) either(one, many, value string, list []string) []string {
	list = set(list)
	if value == "" {
		return list
	}
	if len(list) > 0 && !slices.Equal(list, []string{value}) {
		n.bad("%s and %s exclude each other", one, many)
	}
	return []string{value}
}

// twice names what is in a list for the second time.
func (n *notes) twice(option string, list []string) {
	for i, s := range list {
		if slices.Contains(list[:i], s) && !tmpl.Unknown(s) {
			n.bad("%s: %s is there twice", option, s)
		}
	}
}

// NameValue is one filter.
type NameValue struct {
	// The name of the filter, as EC2 has it.
	Name string `mapstructure:"name" required:"true"`
	// Its value. Several are separated by commas.
	Value string `mapstructure:"value" required:"true"`
}

// Filter finds something by EC2's own filters.
type Filter struct {
	// EC2's filters by name, such as `tag:Name`. Several values are separated by
	// commas.
	Filters map[string]string `mapstructure:"filters" required:"false"`
	// The same as a block that may be repeated, with `name` and `value`.
	Filter []NameValue `mapstructure:"filter" required:"false"`
}

func (f Filter) set() bool { return len(f.Filters)+len(f.Filter) > 0 }

// values are the filters as EC2 has them; nil if there are none.
func (f Filter) values() map[string][]string {
	if !f.set() {
		return nil
	}
	out := map[string][]string{}
	for name, value := range f.Filters {
		out[name] = split(value)
	}
	for _, nv := range f.Filter {
		out[nv.Name] = split(nv.Value)
	}
	return out
}

// split reads values that are separated by commas. Quotes keep a comma in a value.
func split(text string) []string {
	r := csv.NewReader(strings.NewReader(text))
	r.TrimLeadingSpace = true
	if fields, err := r.Read(); err == nil {
		return fields
	}
	return []string{text}
}
