// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
)

// secretForms are the shapes that a secret may turn up in, line by line. It shares no
// code with internal/mask, which it judges.
func secretForms(secret string) (forms []string) {
	for line := range strings.Lines(secret) {
		line = strings.TrimSpace(line)
		if len(line) < 12 || strings.HasPrefix(line, "-----") {
			continue
		}
		quoted := strconv.Quote(line)
		asJSON, _ := json.Marshal(line)
		forms = append(forms, line, url.QueryEscape(line), url.PathEscape(line), quoted[1:len(quoted)-1], string(asJSON[1:len(asJSON)-1]))
		// Within something else in base64 it begins at any of three places.
		for shift := range 3 {
			for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				text := e.EncodeToString(append(make([]byte, shift), line...))
				forms = append(forms, text[(shift*8+5)/6:len(text)-1]) // without the characters that it shares
			}
		}
	}
	return forms
}

func TestSecretForms(t *testing.T) {
	const secret = "a secret/with+signs=\"and\" more"
	forms := secretForms("-----BEGIN-----\n" + secret + "\n")
	for _, text := range []string{
		secret, "x=" + url.QueryEscape(secret), strconv.Quote("a" + secret), base64.StdEncoding.EncodeToString([]byte("1" + secret + "tail")),
		base64.StdEncoding.EncodeToString([]byte("12" + secret)), base64.URLEncoding.EncodeToString([]byte("123" + secret + "t")),
	} {
		found := false
		for _, f := range forms {
			found = found || strings.Contains(text, f)
		}
		if !found {
			t.Errorf("it is not found in %q", text)
		}
	}
}

// Nothing that the scanner knows a secret by is left of it in what the plugin prints.
func TestMaskerHidesSecretForms(t *testing.T) {
	der := make([]byte, 1190)
	for i := range der {
		der[i] = byte(i*i>>3 ^ i*89)
	}
	for name, secret := range map[string]string{
		"key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "word": `a secret/with+signs="and" more~>?`, "short": "tskey-auth-k1",
		"windows": "-----BEGIN X-----\r\n" + strings.Repeat("0aZ+/", 12) + "\r\nq/+9==\r\n-----END X-----\r\n",
	} {
		var m mask.Masker
		m.Add(secret)
		var all scanner
		all.add(name, secret)
		texts := secretForms(secret)
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			for _, before := range []string{"", "k", "k=", "k: "} {
				for _, after := range []string{"", "\n", "\n\n", "; more"} {
					texts = append(texts, e.EncodeToString([]byte(before+secret+after)), e.EncodeToString([]byte(before+strings.TrimSpace(secret)+after)))
					texts = append(texts, url.QueryEscape(e.EncodeToString([]byte(before+secret+after))))
				}
			}
		}
		for _, text := range texts {
			all.scan(t, "what is printed", []byte(m.Text("a "+text+" b\n")))
		}
	}
}

// scanner looks for secrets.
type scanner struct{ forms map[string][]string } // by name

func (s *scanner) add(name string, secrets ...string) {
	if s.forms == nil {
		s.forms = map[string][]string{}
	}
	for _, x := range secrets {
		s.forms[name] = append(s.forms[name], secretForms(x)...)
	}
}

func (s *scanner) scan(t *testing.T, where string, text []byte, but ...string) {
	t.Helper()
next:
	for name, forms := range s.forms {
		for _, b := range but {
			if b == name {
				continue next
			}
		}
		for _, f := range forms {
			if i := bytes.Index(text, []byte(f)); i >= 0 {
				t.Errorf("%s has the %s: %.160q", where, name, text[max(0, i-80):])
				break
			}
		}
	}
}

// files scans all files below a folder but those that are given secrets on purpose.
func (s *scanner) files(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "plugins" && d.IsDir() {
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil // it went meanwhile
		}
		if !d.Type().IsRegular() || d.Name() == "credentials" {
			return nil
		}
		if b, err := os.ReadFile(path); err == nil { // else it went meanwhile
			n++
			s.scan(t, "the file "+d.Name(), b)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return n
}

// eavesdropper keeps what clients send, and the links that the cloud makes for them.
type eavesdropper struct {
	mu    sync.Mutex
	sent  bytes.Buffer
	links []string
}

var linkOf = regexp.MustCompile(`"accessUri":\s*"([^"]+)"`)

func (e *eavesdropper) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		small := r.ContentLength < 1<<20 && r.Header.Get("Authorization") != ""
		if small {
			if body, err := io.ReadAll(r.Body); err == nil {
				r.Body = io.NopCloser(bytes.NewReader(body))
				e.mu.Lock()
				e.sent.WriteString(r.Method + " " + r.URL.String() + "\n")
				e.sent.Write(body)
				if form, err := url.QueryUnescape(string(body)); err == nil {
					e.sent.WriteString("\n" + form)
				}
				e.sent.WriteByte('\n')
				e.mu.Unlock()
			}
		}
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/p/") && !strings.HasSuffix(r.URL.Path, "/p") {
			next.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(&teeWriter{w, &e.mu, &e.links}, r)
	})
}

type teeWriter struct {
	http.ResponseWriter
	mu    *sync.Mutex
	links *[]string
}

func (t *teeWriter) Write(b []byte) (int, error) {
	if m := linkOf.FindSubmatch(b); m != nil {
		t.mu.Lock()
		*t.links = append(*t.links, string(m[1]))
		t.mu.Unlock()
	}
	return t.ResponseWriter.Write(b)
}
