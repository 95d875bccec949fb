// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awscfg

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// profiles are those of the shared files, read for what can be known without a
// request: which there are, and their regions. The SDK reads them again to sign in.
type profiles struct {
	files  []string // as messages call them
	values map[string]map[string]string
}

// readProfiles reads the shared files; shared replaces the one with credentials.
// A file that cannot be read is one without profiles.
func readProfiles(shared string) *profiles {
	p := &profiles{values: map[string]map[string]string{}}
	in := func(name string) string {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		return filepath.Join(home, ".aws", name)
	}
	credentials := cmp.Or(shared, os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), in("credentials"))
	// Both files may have both forms of a section's name, as amazon-ebs's
	// shared_credentials_file promises; what the first says counts.
	for _, path := range []string{credentials, cmp.Or(os.Getenv("AWS_CONFIG_FILE"), in("config"))} {
		p.files = append(p.files, path)
		if text, err := os.ReadFile(path); err == nil { //nolint:gosec // whoever sets the variables runs the build
			p.parse(string(text))
		}
	}
	return p
}

// parse adds the profiles of one file. Nested values, which are indented, and
// sections of other kinds are passed over.
func (p *profiles) parse(text string) {
	var section map[string]string
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';':
		case trimmed[0] == '[':
			name, _, closed := strings.Cut(trimmed[1:], "]")
			if kind, rest, ok := strings.Cut(strings.TrimSpace(name), " "); ok {
				if kind != "profile" {
					section = nil
					continue
				}
				name = rest
			}
			name = strings.Trim(strings.TrimSpace(name), `"'`)
			if !closed || name == "" {
				section = nil
				continue
			}
			if p.values[name] == nil {
				p.values[name] = map[string]string{}
			}
			section = p.values[name]
		case section == nil || line[0] == ' ' || line[0] == '\t':
		default:
			key, value, ok := strings.Cut(trimmed, "=")
			key = strings.ToLower(strings.TrimSpace(key))
			if _, there := section[key]; ok && !there {
				section[key] = strings.TrimSpace(value)
			}
		}
	}
}

func (p *profiles) has(name string) bool { return p.values[name] != nil }

func (p *profiles) value(name, key string) string { return p.values[name][key] }

// missing says that there is no such profile.
func (p *profiles) missing(name string) string {
	there := "there are none"
	if names := slices.Sorted(maps.Keys(p.values)); len(names) > 0 {
		there = "there are only " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("there is no profile %q in %s; %s", name, strings.Join(p.files, " or "), there)
}
