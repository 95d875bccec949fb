// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"slices"
	"strings"
)

// Commands are what somebody may type into a shell to remove what a build has made in
// these places, one for each cloud. binary is the path of this program, and more is
// put before the rest. Who signs in is not said: that may be a secret.
func Commands(binary, build string, clouds []Cloud, more ...string) []string {
	type scope struct{ regions, compartments []string }
	scopes := map[string]*scope{}
	var names []string
	for _, c := range clouds {
		name, region, _ := strings.Cut(c.Place(), " ")
		s := scopes[name]
		if s == nil {
			s = &scope{}
			scopes[name] = s
			names = append(names, name)
		}
		if !slices.Contains(s.regions, region) {
			s.regions = append(s.regions, region)
		}
		if in, ok := c.(interface{ In() []string }); ok {
			for _, id := range in.In() {
				if !slices.Contains(s.compartments, id) {
					s.compartments = append(s.compartments, id)
				}
			}
		}
	}
	var all []string
	for _, name := range names {
		s := scopes[name]
		words := append([]string{quote(binary), "sweep", "--build", build, "--cloud", name}, more...)
		words = append(words, "--region", strings.Join(s.regions, ","))
		if len(s.compartments) > 0 {
			words = append(words, "--compartment", strings.Join(s.compartments, ","))
		}
		all = append(all, strings.Join(words, " "))
	}
	return all
}

// quote makes a word of a path, for a shell of Unix.
func quote(path string) string {
	plain := func(r rune) bool {
		return strings.ContainsRune("/._-+@:,", r) || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 && path != "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
