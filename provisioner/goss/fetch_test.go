// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// published serves a goss as its project does, in the layouts of old and new
// releases, and tells what was asked for.
type published struct {
	*httptest.Server
	raw, archive      []byte
	rawPath, archived string
	asked             []string
	user, pass        string
}

func hexOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// newServer serves without TLS.
func newServer(h http.Handler) *httptest.Server { return httptest.NewServer(h) }

func publish(t *testing.T, start func(http.Handler) *httptest.Server) *published {
	t.Helper()
	bin, err := standin()
	if err != nil {
		t.Fatal(err)
	}
	p := &published{}
	if p.raw, err = os.ReadFile(bin); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for name, data := range map[string][]byte{"LICENSE": []byte("x"), "goss": p.raw} {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	p.archive = gzipped(b.Bytes())
	p.rawPath = "/v0.4.9/goss-linux-" + runtime.GOARCH
	p.archived = "/v0.4.10/goss_0.4.10_linux_" + map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH] + ".tar.gz"
	p.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked = append(p.asked, r.URL.Path)
		user, pass, _ := r.BasicAuth()
		switch {
		case user != p.user || pass != p.pass:
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == p.rawPath:
			w.Write(p.raw)
		case r.URL.Path == p.archived:
			w.Write(p.archive)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// A goss for the machine that the plugin does not carry is fetched by this host:
// from a mirror by its version, in both layouts, or by its URL, with a password
// and without a known certificate; and it is known by its digest.
func TestFetchedBinary(t *testing.T) {
	plain := publish(t, newServer)
	locked := publish(t, httptest.NewTLSServer)
	locked.user, locked.pass = "me", "hunter2-hunter2"
	for _, tt := range []struct {
		name, says string
		options    map[string]any
		asked      string
	}{
		{name: "an old release", options: map[string]any{"goss_mirror": plain.URL, "version": "0.4.9", "goss_sha256": hexOf(plain.raw)}, asked: plain.rawPath},
		{name: "a new release", options: map[string]any{"goss_mirror": plain.URL + "/", "version": "v0.4.10", "goss_sha256": hexOf(plain.archive)}, asked: plain.archived},
		{name: "a release that is not there", options: map[string]any{"goss_mirror": plain.URL, "version": "0.4.8", "goss_sha256": hexOf(plain.raw)}, says: "404"},
		{name: "the digest of what is in the archive", options: map[string]any{"goss_mirror": plain.URL, "version": "0.4.10", "goss_sha256": hexOf(plain.raw)}, says: "is demanded"},
		{name: "goss_url", options: map[string]any{"goss_url": plain.URL + plain.archived, "goss_sha256": hexOf(plain.archive)}, asked: plain.archived},
		{name: "url", options: map[string]any{"url": plain.URL + plain.rawPath, "goss_sha256": hexOf(plain.raw)}, asked: plain.rawPath},
		{name: "a strange certificate", options: map[string]any{"goss_url": locked.URL + locked.rawPath, "goss_sha256": hexOf(plain.raw), "username": "me", "password": "hunter2-hunter2"}, says: "certificate"},
		{
			name: "skip_ssl and a password", asked: locked.rawPath,
			options: map[string]any{"goss_url": locked.URL + locked.rawPath, "goss_sha256": hexOf(plain.raw), "username": "me", "password": "hunter2-hunter2", "skip_ssl": true},
		},
		{name: "no password", options: map[string]any{"goss_url": locked.URL + locked.rawPath, "goss_sha256": hexOf(plain.raw), "skip_ssl": true}, says: "401"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("PACKER_CACHE_DIR", t.TempDir())
			c := newCheck(t, "print checks/pass.json")
			delete(c.options, "goss_binary")
			maps.Copy(c.options, tt.options)
			plain.asked, locked.asked = nil, nil
			err := c.run(t.Context())
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got error %v, want %q\n%s", err, tt.says, c.ui.text())
			}
			if asked := strings.Join(append(plain.asked, locked.asked...), " "); tt.says == "" && asked != tt.asked {
				t.Errorf("asked for %q, want %q", asked, tt.asked)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") || strings.Contains(c.ui.text()+c.host.said(), "hunter2") {
				t.Error("the password is shown")
			}
			c.mustBeClean()
		})
	}
}

// This host's proxy is used. Go reads it once for a process, so that the fetch is
// made in another one.
func TestFetchThroughProxy(t *testing.T) {
	const target = "http://goss.invalid/v1/goss"
	if os.Getenv("FETCH_THROUGH_PROXY") != "" {
		c := newCheck(t, "print checks/pass.json")
		delete(c.options, "goss_binary")
		c.options["goss_url"], c.options["goss_sha256"] = target, os.Getenv("FETCH_THROUGH_PROXY")
		if err := c.run(t.Context()); err != nil {
			t.Error(err)
		}
		return
	}
	bin, err := standin()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		w.Write(raw)
	}))
	defer proxy.Close()
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestFetchThroughProxy$", "-test.count=1")
	cmd.Dir = here
	cmd.Env = append(os.Environ(), "FETCH_THROUGH_PROXY="+hexOf(raw), "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=", "PACKER_CACHE_DIR="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if len(asked) != 1 || asked[0] != target {
		t.Errorf("the proxy was asked for %q", asked)
	}
}
