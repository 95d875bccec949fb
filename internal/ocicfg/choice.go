// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicfg

import (
	"fmt"
	"slices"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
)

// choice is who signs in, put together from sources, the first one first.
type choice struct {
	sources []*source
	from    map[string]*source // where each field was taken from
	session bool               // a session token instead of a user
	text    string             // the private key, once it is read
	file    string             // and its path, if it is in a file
	keyName string             // the field that has it
	unread  error              // why it could not be read
}

// choose takes each field from the first source that has it.
func choose(sessions bool, sources ...*source) *choice {
	c := &choice{sources: sources, from: map[string]*source{}}
	rank := func(fields ...string) int {
		i := slices.IndexFunc(sources, func(s *source) bool { return s.has(fields...) })
		if i < 0 {
			return len(sources)
		}
		return i
	}
	for _, f := range []string{tenancyOCID, userOCID, fingerprint, region, tokenPath} {
		_, c.from[f] = first(sources, f)
	}
	if i := rank(keyText, keyPath); i < len(sources) {
		c.from[keyText] = sources[i]
	}
	// What is nearer counts: a session, or a user. A profile that has both is the
	// user's, unless sessions are asked for.
	token, user := rank(tokenPath), rank(userOCID)
	c.session = token < user || token < len(sources) && (sessions && token == user)
	return c
}

// complete says whether there is all that signing needs.
func (c *choice) complete() bool {
	if c.session {
		return c.from[keyText] != nil
	}
	return c.from[tenancyOCID] != nil && c.from[userOCID] != nil && c.from[fingerprint] != nil && c.from[keyText] != nil
}

func (c *choice) value(field string) string {
	if s := c.from[field]; s != nil {
		return s.values[field]
	}
	return ""
}

// passphrase is that of the source that has the key, unless the template says
// one. A passphrase alone in the environment opens whatever key there is.
func (c *choice) passphrase() (string, *source) {
	tpl, s := c.sources[0], c.from[keyText]
	if tpl.values[passPhrase] != "" {
		return tpl.values[passPhrase], tpl
	}
	if s != nil && s.values[passPhrase] != "" {
		return s.values[passPhrase], s
	}
	for _, s := range c.sources {
		if s.folder == "" && s.values[passPhrase] != "" && !s.has(keyText, keyPath) {
			return s.values[passPhrase], s
		}
	}
	return "", nil
}

// readKey reads the private key.
func (c *choice) readKey() {
	c.text, c.keyName, c.file, c.unread = c.from[keyText].key()
}

// torn finds a field that was taken from a source whose own user, fingerprint,
// key or tenancy was overruled by another: what is left of it fits nobody.
func (c *choice) torn() error {
	parts := []string{userOCID, fingerprint, keyText}
	if c.session {
		parts = []string{tokenPath, keyText}
	}
	for _, field := range parts {
		s := c.from[field]
		if s == nil {
			continue
		}
		for _, other := range append(parts, tenancyOCID) {
			o := c.from[other]
			if o == nil || o == s || c.session && other == tenancyOCID || !c.differs(other, s) {
				continue
			}
			return fmt.Errorf("%s and %s do not belong together: %s has another %s; take tenancy, user, fingerprint and key from one place, or the region alone from another",
				c.label(other), c.label(field), s.name, other)
		}
	}
	return nil
}

// differs says whether a source has its own value of a field, and not the one
// that was chosen.
func (c *choice) differs(field string, s *source) bool {
	switch field {
	case keyText:
		if !s.has(keyText, keyPath) {
			return false
		}
		pass, _ := c.passphrase()
		if print := oci.KeyFingerprint(c.text, pass); print != "" && strings.EqualFold(print, s.values[fingerprint]) {
			return false
		}
		own, _, _, err := s.key()
		return err != nil || !oci.SameKey(own, c.text, s.values[passPhrase], pass)
	case fingerprint:
		return s.has(field) && !strings.EqualFold(s.values[field], c.value(field))
	}
	return s.has(field) && s.values[field] != c.value(field)
}

// label is what a message calls a field that was chosen.
func (c *choice) label(field string) string {
	if field == passPhrase {
		if _, s := c.passphrase(); s != nil {
			return s.label(field)
		}
		return c.sources[0].label(field)
	}
	s := c.from[field]
	switch {
	case s == nil:
		return c.sources[0].label(field)
	case field == keyText && s.values[keyText] == "":
		return s.label(keyPath)
	}
	return s.label(field)
}

// credentials is what was chosen.
func (c *choice) credentials() oci.Credentials {
	pass, _ := c.passphrase()
	out := oci.Credentials{Tenancy: c.value(tenancyOCID), KeyPEM: c.text, Passphrase: pass, Region: c.value(region)}
	if s := c.from[keyText]; s != nil && c.text == "" {
		out.KeyPEM = s.values[keyText] // not read, and no less a secret
	}
	if !c.session {
		out.User, out.Fingerprint = c.value(userOCID), c.value(fingerprint)
		return out
	}
	out.Kind, out.KeyFile = oci.SessionToken, c.file
	return out
}
