// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"archive/tar"
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tarred is an archive with one file in it, as goss publishes them.
func tarred(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
		t.Fatal(err)
	}
	tw.Write(data)
	tw.Close()
	return packed(t, b.Bytes())
}

func TestAssetURL(t *testing.T) {
	tests := []struct{ version, arch, want string }{
		{"0.4.9", "arm64", "m/v0.4.9/goss-linux-arm64"},
		{"v0.4.2", "amd64", "m/v0.4.2/goss-linux-amd64"},
		{"0.3.23", "amd64", "m/v0.3.23/goss-linux-amd64"},
		{"0.4.10", "arm64", "m/v0.4.10/goss_0.4.10_linux_arm64.tar.gz"},
		{"0.4.10", "amd64", "m/v0.4.10/goss_0.4.10_linux_x86_64.tar.gz"},
		{"0.5.0", "amd64", "m/v0.5.0/goss_0.5.0_linux_x86_64.tar.gz"},
		{"1.0.0", "arm64", "m/v1.0.0/goss_1.0.0_linux_arm64.tar.gz"},
		{"latest", "arm64", ""}, {"0.4", "arm64", ""}, {"", "arm64", ""}, {"0.4.x", "arm64", ""},
	}
	for _, tt := range tests {
		got, err := AssetURL("m/", tt.version, tt.arch)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s %s: got %q, %v", tt.version, tt.arch, got, err)
		}
	}
}

func TestFetch(t *testing.T) {
	arm := elfHeader(2, 183)
	served := map[string][]byte{
		"/raw": arm, "/archive.tar.gz": tarred(t, "goss", arm), "/page": []byte("404 page not found"),
		"/secret": arm, "/elsewhere": nil, "/busy": nil,
	}
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		data, ok := served[r.URL.Path]
		user, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/elsewhere":
			http.Redirect(w, r, "/raw", http.StatusFound)
		case !ok:
			http.NotFound(w, r)
		case r.URL.Path == "/secret" && user+":"+password != "me:hunter2":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Write(data)
		}
	}))
	defer server.Close()
	tests := []struct {
		name string
		d    Download
		says string
		temp bool
	}{
		{name: "a binary", d: Download{URL: "/raw", SHA256: digestOf(arm)}},
		{name: "an archive", d: Download{URL: "/archive.tar.gz", SHA256: digestOf(served["/archive.tar.gz"])}},
		{name: "sent on", d: Download{URL: "/elsewhere", SHA256: strings.ToUpper(digestOf(arm))}},
		{name: "signed in", d: Download{URL: "/secret", SHA256: digestOf(arm), User: "me", Password: "hunter2"}},
		{name: "not signed in", d: Download{URL: "/secret", SHA256: digestOf(arm)}, says: "401"},
		{name: "not there", d: Download{URL: "/none?token=hunter2", SHA256: digestOf(arm)}, says: "/none: the server says 404"},
		{name: "a page in place of it", d: Download{URL: "/page", SHA256: digestOf(arm)}, says: "is demanded"},
		{name: "a page that is what was asked for", d: Download{URL: "/page", SHA256: digestOf(served["/page"])}, says: "not an ELF executable"},
		{name: "another digest", d: Download{URL: "/raw", SHA256: strings.Repeat("0", 64)}, says: "is demanded"},
		{name: "no digest", d: Download{URL: "/raw"}, says: "needs a SHA-256"},
		{name: "busy", d: Download{URL: "/busy", SHA256: digestOf(arm)}, says: "503", temp: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.d.URL = server.URL + tt.d.URL
			tt.d.Cache = filepath.Join(t.TempDir(), "cache")
			exe, err := tt.d.Fetch(t.Context())
			if tt.says != "" {
				var temp *TemporaryError
				if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") {
					t.Fatalf("got error %v, want %q", err, tt.says)
				}
				if errors.As(err, &temp) != tt.temp {
					t.Errorf("temporary: %v", !tt.temp)
				}
				if files, _ := os.ReadDir(tt.d.Cache); len(files) != 0 && !strings.Contains(tt.says, "ELF") {
					t.Errorf("what was refused is kept: %v", files)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if exe.SHA256 != digestOf(arm) || exe.Arch != "arm64" {
				t.Errorf("got %+v", exe)
			}
			before := asked
			if _, err := tt.d.Fetch(t.Context()); err != nil || asked != before {
				t.Errorf("fetched again: %v", err)
			}
			// A cache that was tampered with is not believed.
			files, _ := filepath.Glob(filepath.Join(tt.d.Cache, "*"))
			if len(files) != 1 {
				t.Fatalf("cached %v", files)
			}
			os.WriteFile(files[0], []byte("evil"), 0o600)
			if exe, err := tt.d.Fetch(t.Context()); err != nil || exe.SHA256 != digestOf(arm) || asked == before {
				t.Errorf("the cache is believed: %v", err)
			}
		})
	}
}

// Fetched with a digest or not, nothing goes from TLS to none.
func TestFetchStaysOnTLS(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(elfHeader(2, 183)) }))
	defer plain.Close()
	tls := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer tls.Close()
	d := Download{URL: tls.URL, SHA256: digestOf(elfHeader(2, 183))}
	// Neither gets better by trying again.
	var temporary *TemporaryError
	if _, err := d.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") || errors.As(err, &temporary) {
		t.Errorf("a strange certificate gave %v", err)
	}
	d.AnyCertificate = true
	if _, err := d.Fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "without TLS") || errors.As(err, &temporary) {
		t.Errorf("got %v", err)
	}
}
