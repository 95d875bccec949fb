// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicfg

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/pathing"
)

// The fields that sources have, by the names of options.
const (
	tenancyOCID = "tenancy_ocid"
	userOCID    = "user_ocid"
	fingerprint = "fingerprint"
	keyText     = "key"
	keyPath     = "key_file"
	passPhrase  = "pass_phrase"
	region      = "region"
	tokenPath   = "security_token_file"
)

// source is one place that may say who signs in.
type source struct {
	name   string // "the template"; two with the same name are one
	values map[string]string
	// label is what a message calls a field of it.
	label func(field string) string
	// folder is what relative paths may be relative to, beside the working
	// directory.
	folder string
}

func (s *source) has(fields ...string) bool {
	return slices.ContainsFunc(fields, func(f string) bool { return s.values[f] != "" })
}

// template is what the options say.
func (a *Access) template(block string) *source {
	return &source{
		name: "the template",
		values: map[string]string{
			tenancyOCID: a.TenancyOCID, userOCID: a.UserOCID, fingerprint: a.Fingerprint, keyText: a.Key, keyPath: a.KeyFile,
			passPhrase: a.PassPhrase, region: a.Region, tokenPath: a.SecurityTokenFile,
		},
		label: func(field string) string { return block + field },
	}
}

// ownNames are this plugin's variables.
func ownNames(prefix string) map[string]string {
	names := map[string]string{ //nolint:gosec // names, no values
		tenancyOCID: "OCI_TENANCY_OCID", userOCID: "OCI_USER_OCID", fingerprint: "OCI_FINGERPRINT",
		keyText: "OCI_API_PRIVATE_KEY", passPhrase: "OCI_API_PRIVATE_KEY_PASSPHRASE", region: "OCI_REGION",
		"oidc.domain_url": "OCI_OIDC_DOMAIN_URL", "oidc.client_id": "OCI_OIDC_CLIENT_ID", "oidc.client_secret": "OCI_OIDC_CLIENT_SECRET",
		"oidc.audience": "OCI_OIDC_AUDIENCE", "oidc.token_file": "OCI_OIDC_TOKEN_FILE", "oidc.token": "OCI_OIDC_TOKEN",
		"file": "OCI_CONFIG_FILE", "profile": "OCI_CONFIG_PROFILE",
	}
	for field, name := range names {
		names[field] = prefix + name
	}
	return names
}

// cliNames are the variables of OCI's command line.
func cliNames() map[string]string {
	return map[string]string{ //nolint:gosec // names, no values
		tenancyOCID: "OCI_CLI_TENANCY", userOCID: "OCI_CLI_USER", fingerprint: "OCI_CLI_FINGERPRINT",
		keyText: "OCI_CLI_KEY_CONTENT", keyPath: "OCI_CLI_KEY_FILE", passPhrase: "OCI_CLI_PASSPHRASE", region: "OCI_CLI_REGION",
		tokenPath: "OCI_CLI_SECURITY_TOKEN_FILE", "file": "OCI_CLI_CONFIG_FILE", "profile": "OCI_CLI_PROFILE",
	}
}

// environment is one family of variables.
func environment(names map[string]string) *source {
	s := &source{
		name: "the environment (" + names[userOCID] + "...)", values: map[string]string{},
		label: func(field string) string {
			if names[field] == "" {
				return field
			}
			return "the environment variable " + names[field]
		},
	}
	for field, name := range names {
		s.values[field] = os.Getenv(name)
	}
	return s
}

// environments are the families that count, in their order. A prefix is put
// before our names; only without one the command line's count too.
func environments(prefixes []string) (list []*source) {
	for _, p := range prefixes {
		list = append(list, environment(ownNames(p)))
		if p == "" {
			list = append(list, environment(cliNames()))
		}
	}
	return list
}

// first is the first value of a field in some sources, with its source.
func first(sources []*source, field string) (string, *source) {
	for _, s := range sources {
		if v := s.values[field]; v != "" {
			return v, s
		}
	}
	return "", nil
}

// path resolves a path that a source has.
func (s *source) path(field string) (string, error) {
	p := s.values[field]
	switch {
	case s.folder == "":
		return pathing.ExpandUser(p)
	case p == "~" || strings.HasPrefix(p, "~/") || strings.HasPrefix(p, `~\`):
		home, err := os.UserHomeDir() // as OCI's own tools do
		return filepath.Join(home, p[1:]), err
	case strings.HasPrefix(p, "~"):
		return pathing.ExpandUser(p)
	}
	if _, err := os.Stat(p); err != nil && !filepath.IsAbs(p) {
		if beside := filepath.Join(s.folder, p); exists(beside) {
			return beside, nil
		}
	}
	return p, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// key reads the private key of a source. from is the field that has it, and file
// the path if it is in one.
func (s *source) key() (text, from, file string, err error) {
	switch {
	case s == nil:
		return "", keyText, "", nil
	case s.values[keyText] != "":
		return s.values[keyText], keyText, "", nil
	case s.values[keyPath] == "":
		return "", keyText, "", nil
	}
	file, err = s.path(keyPath)
	if err == nil {
		var b []byte
		b, err = os.ReadFile(file)
		text = string(b)
	}
	if err != nil {
		return "", keyPath, file, fmt.Errorf("%s cannot be read: %w", s.label(keyPath), err)
	}
	return text, keyPath, file, nil
}
