// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicfg

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/pathing"
)

const defaultProfile = "DEFAULT"

// location is where a profile is to be read from.
type location struct {
	file, profile           string
	fileOption, profileFrom string // what said so, for messages; empty if nobody did
	// asked: the template names it, so that it counts before the environment.
	asked bool
}

// locate finds out where the profile is. Without a name for either, the file at
// its usual place may count, but not for a destination: what is lacking there
// must not come from the tenancy that people use every day.
func (a *Access) locate(block string, prefixes []string) (location, bool) {
	l := location{file: a.AccessCfgFile, profile: a.AccessCfgFileAccount, asked: a.AccessCfgFile != "" || a.AccessCfgFileAccount != ""}
	if l.file != "" {
		l.fileOption = block + "access_cfg_file"
	}
	if l.profile != "" {
		l.profileFrom = block + "access_cfg_file_account"
	}
	envs := environments(prefixes)
	if v, s := first(envs, "profile"); l.profile == "" && v != "" && !l.asked {
		l.profile, l.profileFrom = v, s.label("profile")
	}
	if l.profile != "" && !slices.Contains(prefixes, "") {
		envs = append(envs, environments([]string{""})...) // a file is nobody's name
	}
	if v, s := first(envs, "file"); l.file == "" && v != "" {
		l.file, l.fileOption = v, s.label("file")
	}
	known := l.fileOption != "" || l.profileFrom != "" || slices.Contains(prefixes, "")
	if l.file == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return l, false
		}
		l.file = filepath.Join(home, ".oci", "config")
	}
	l.profile = cmp.Or(l.profile, defaultProfile)
	return l, known
}

// shown is the file as a message calls it.
func (l location) shown() string {
	if home, err := os.UserHomeDir(); err == nil && home != "" {
		if rest, ok := strings.CutPrefix(l.file, home+string(filepath.Separator)); ok {
			return "~/" + filepath.ToSlash(rest)
		}
	}
	return l.file
}

// errNoFile says that there is no file where nobody said that there is one.
var errNoFile = errors.New("there is no configuration file")

// read returns the profile, and the profile DEFAULT from which it inherits, if it
// is another.
func (l location) read() ([]*source, error) {
	path, err := pathing.ExpandUser(l.file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.fileOption, err)
	}
	if home, herr := os.UserHomeDir(); herr == nil && strings.HasPrefix(l.file, "~/") {
		path = filepath.Join(home, l.file[2:]) // as OCI's own tools do
	}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && l.fileOption == "" && l.profileFrom == "":
		return nil, errNoFile
	case err != nil && l.fileOption == "":
		return nil, fmt.Errorf("%s cannot be read: %w", cmp.Or(l.profileFrom, "the configuration file")+" names a profile, but the configuration file", err)
	case err != nil:
		return nil, fmt.Errorf("%s cannot be read: %w", l.fileOption, err)
	}
	profiles, order := parseProfiles(string(b))
	if _, ok := profiles[l.profile]; !ok {
		what := cmp.Or(l.profileFrom, l.fileOption, "the configuration file")
		if len(order) == 0 {
			return nil, fmt.Errorf("%s: %s has no profiles; it needs a line [%s]", what, l.shown(), l.profile)
		}
		return nil, fmt.Errorf("%s: %s has no profile %q, only %s", what, l.shown(), l.profile, strings.Join(order, ", "))
	}
	list := []*source{l.source(path, l.profile, profiles[l.profile])}
	if values, ok := profiles[defaultProfile]; ok && l.profile != defaultProfile {
		list = append(list, l.source(path, defaultProfile, values))
	}
	return list, nil
}

// source is a profile in our words.
func (l location) source(path, profile string, values map[string]string) *source {
	keys := map[string]string{
		tenancyOCID: "tenancy", userOCID: "user", fingerprint: "fingerprint", keyText: "key_content", keyPath: "key_file",
		passPhrase: "pass_phrase", region: "region", tokenPath: "security_token_file",
		"authentication_type": "authentication_type", "delegation_token_file": "delegation_token_file",
	}
	s := &source{name: fmt.Sprintf("the profile %q of %s", profile, l.shown()), values: map[string]string{}, folder: filepath.Dir(path)}
	for field, key := range keys {
		s.values[field] = values[key]
	}
	s.values[passPhrase] = cmp.Or(s.values[passPhrase], values["passphrase"])
	s.label = func(field string) string { return cmp.Or(keys[field], field) + " in " + s.name }
	return s
}

// parseProfiles reads the form of OCI's configuration file: sections in brackets,
// lines "key = value", comments behind # or ; at the start of a line. A key in PEM
// may go on over several lines.
func parseProfiles(text string) (profiles map[string]map[string]string, order []string) {
	profiles = map[string]map[string]string{}
	var section map[string]string
	inKey := false
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = strings.TrimSpace(line)
		if inKey {
			section["key_content"] += "\n" + line
			inKey = !strings.HasPrefix(line, "-----END")
			continue
		}
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' && line[len(line)-1] == ']' {
			name := strings.TrimSpace(line[1 : len(line)-1])
			if profiles[name] == nil {
				profiles[name] = map[string]string{}
				order = append(order, name)
			}
			section = profiles[name]
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section == nil {
			continue
		}
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		section[key] = value
		inKey = key == "key_content" && strings.HasPrefix(value, "-----BEGIN") && !strings.Contains(value, "-----END")
	}
	return profiles, order
}
