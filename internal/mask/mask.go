// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package mask keeps secrets out of everything that people read.
//
// Packer masks what it knows to be sensitive, but only in its own process, and
// only in one-line form: what a plugin prints of a private key reaches the
// screen and the log in clear. So the plugin masks for itself. A Masker is told
// every secret as soon as it is known; the Ui that components talk to and the
// writer behind the standard logger both go through it. A secret is recognised
// whole, line by line, and in the forms it takes on the way into a log: quoted,
// as JSON, URL-escaped, and in base64, also as a part of something longer.
package mask

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// Hidden is what stands in place of a secret.
const Hidden = "<sensitive>"

// shortest is the length from which on a value is masked: shorter ones occur
// by chance, and masking them would make the output unreadable.
const shortest = 6

// Masker replaces secrets in text. The zero value masks nothing yet. It is
// safe for concurrent use.
type Masker struct {
	mu    sync.RWMutex
	known map[string]bool
	words []string // longest first
	swap  *strings.Replacer
}

// Add makes secrets known. Values shorter than six characters are ignored, as
// are the lines of a multi-line secret that say nothing ("-----BEGIN ...").
func (m *Masker) Add(secrets ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := false
	for _, s := range secrets {
		for _, form := range forms(s) {
			if !m.known[form] {
				if m.known == nil {
					m.known = map[string]bool{}
				}
				m.known[form] = true
				m.words = append(m.words, form)
				changed = true
			}
		}
	}
	if !changed {
		return
	}
	sort.Slice(m.words, func(i, j int) bool {
		if len(m.words[i]) != len(m.words[j]) {
			return len(m.words[i]) > len(m.words[j])
		}
		return m.words[i] < m.words[j]
	})
	pairs := make([]string, 0, 2*len(m.words))
	for _, w := range m.words {
		pairs = append(pairs, w, Hidden)
	}
	m.swap = strings.NewReplacer(pairs...)
}

// AddURL makes a URL known that is a secret, whole and as a path: what is said
// of a request often lacks its host.
func (m *Masker) AddURL(secret string) {
	m.Add(secret)
	if u, err := url.Parse(secret); err == nil {
		m.Add(u.Path, u.EscapedPath(), u.RequestURI())
	}
}

// AddVariables makes the values of Packer's sensitive variables known.
func (m *Masker) AddVariables(sensitive []string, values map[string]string) {
	for _, name := range sensitive {
		m.Add(values[name])
	}
}

// forms lists the shapes in which a secret may turn up.
func forms(secret string) []string {
	secret = strings.TrimSpace(secret)
	parts := []string{secret}
	if strings.ContainsAny(secret, "\r\n") {
		for line := range strings.Lines(secret) {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "-----") {
				parts = append(parts, line)
			}
		}
	}
	var all []string
	for _, p := range parts {
		if len(p) < shortest {
			continue
		}
		all = append(all, p, url.QueryEscape(p), url.PathEscape(p))
		all = append(all, encoded(p)...)
		quoted := strconv.Quote(p)
		all = append(all, quoted[1:len(quoted)-1])
		if j, err := json.Marshal(p); err == nil {
			all = append(all, string(j[1:len(j)-1]))
		}
	}
	return all
}

// encoded lists how something looks in base64, in both alphabets, padded or not, and
// in a query. Within something else it begins at any of three places: then it lacks
// the characters at its ends that it shares with what is around it.
func encoded(plain string) (all []string) {
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		all = append(all, e.EncodeToString([]byte(plain)))
		for shift := range 3 {
			text := e.WithPadding(base64.NoPadding).EncodeToString(append(make([]byte, shift), plain...))
			all = append(all, text[(8*shift+5)/6:len(text)-1])
		}
	}
	for _, form := range all {
		if escaped := url.QueryEscape(form); escaped != form {
			all = append(all, escaped)
		}
	}
	return all
}

// Text returns s without the secrets.
func (m *Masker) Text(s string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.swap == nil {
		return s
	}
	return m.swap.Replace(s)
}

// Error returns err, or an error with the same text without the secrets where
// err has some. What a component returns is printed by Packer, which knows less
// of them than the component does.
func (m *Masker) Error(err error) error {
	if err == nil {
		return nil
	}
	if text := m.Text(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}

// Writer returns a writer that masks what is written through it to w. Each
// call of Write is masked on its own, which suits a logger: it writes whole
// messages.
func (m *Masker) Writer(w io.Writer) io.Writer { return writer{m, w} }

type writer struct {
	m *Masker
	w io.Writer
}

func (w writer) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.w, w.m.Text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
