// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package helper

import (
	"bytes"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
)

// A part is uploaded with its checksum, again if it did not get there, and goes through
// the plugin if it never does; the URL is never told.
func TestDirect(t *testing.T) {
	const sum = "jXd/OF09/siBXSD3SWAm3A==" // of "data"
	tests := []struct {
		name    string
		answer  func(n int32, w http.ResponseWriter)
		relayed bool
		puts    int32 // requests that are made; 0 is any number
		says    string
	}{
		{name: "at once", answer: func(_ int32, w http.ResponseWriter) { w.Header().Set("ETag", "e") }},
		{name: "busy at first", answer: func(n int32, w http.ResponseWriter) {
			w.Header().Set("ETag", "e")
			if n < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}},
		{name: "damaged at first", answer: func(n int32, w http.ResponseWriter) {
			w.Header().Set("ETag", "e")
			w.Header().Set("opc-content-md5", map[bool]string{true: "AAAA", false: sum}[n == 1])
		}},
		{name: "damaged on its way at first", answer: func(n int32, w http.ResponseWriter) {
			w.Header().Set("ETag", "e")
			if n == 1 {
				http.Error(w, `{"code": "UnmatchedContentMD5", "message": "The computed MD5 does not match"}`, http.StatusBadRequest)
			}
		}, puts: 2},
		{name: "too many at first", answer: func(n int32, w http.ResponseWriter) {
			w.Header().Set("ETag", "e")
			if n < 4 {
				w.WriteHeader([]int{http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests}[n-1])
			}
		}, puts: 4},
		{name: "always busy", answer: func(_ int32, w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }, relayed: true, puts: tries, says: "502 Bad Gateway"},
		{name: "refused", answer: func(_ int32, w http.ResponseWriter) {
			http.Error(w, "PAR does not exist", http.StatusUnauthorized)
		}, relayed: true, puts: 1, says: "401 Unauthorized: PAR does not exist"},
		{name: "no ETag", answer: func(int32, http.ResponseWriter) {}, relayed: true, puts: tries, says: "no ETag"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var n atomic.Int32
			s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					http.NotFound(w, r)
					return
				}
				b, err := io.ReadAll(r.Body)
				if err != nil || string(b) != "data" || r.URL.Path != "/p/secret/u/o/id/1/3" || r.Header.Get("Content-MD5") != sum || r.Method != http.MethodPut {
					t.Errorf("%s %s %q %v, %v", r.Method, r.URL, b, r.Header, err)
				}
				tt.answer(n.Add(1), w)
			}))
			defer s.Close()
			var out bytes.Buffer
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
			d, err := newDirect(t.Context(), wire.Job{URL: s.URL + "/p/secret/u/o/id/1/", CA: string(ca)}, wire.NewWriter(&out), nil)
			if err != nil {
				t.Fatal(err)
			}
			d.pause = time.Millisecond
			if err := d.Part(t.Context(), 3, []byte("data")); err != nil {
				t.Fatal(err)
			}
			if tt.puts > 0 && n.Load() != tt.puts {
				t.Errorf("%d requests, want %d", n.Load(), tt.puts)
			}
			said := out.String()
			if strings.Contains(said, "secret") || !strings.Contains(said, tt.says) {
				t.Error(said)
			}
			var last wire.Frame
			for {
				f, err := wire.Read(&out, func(n int) []byte { return make([]byte, n) })
				if err != nil {
					break
				}
				last = f
			}
			if tt.relayed {
				if last.Number != 3 || string(last.Data) != "data" {
					t.Errorf("%+v", last)
				}
			} else if last.Sent == nil || *last.Sent != (wire.Sent{Number: 3, Size: 4, ETag: "e", MD5: sum}) {
				t.Errorf("%+v", last)
			}
		})
	}
}

// What cannot be reached is said, without the URL.
func TestDirectIsNotReached(t *testing.T) {
	plain := httptest.NewTLSServer(http.NotFoundHandler())
	defer plain.Close()
	for url, says := range map[string]string{
		plain.URL + "/p/secret": "certificate", "https://127.0.0.1:1/p/secret": "refused", "p/secret": "the URL of the upload is none",
	} {
		_, err := newDirect(t.Context(), wire.Job{URL: url}, wire.NewWriter(io.Discard), nil)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := newDirect(t.Context(), wire.Job{URL: plain.URL, CA: "no PEM"}, wire.NewWriter(io.Discard), nil); err == nil || !strings.Contains(err.Error(), "certificates") {
		t.Error(err)
	}
}

// Once a part has not arrived all others go through the plugin, those that are about to be
// sent again among them, and it is said once.
func TestDirectGivesUp(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		puts   int32
	}{
		"refused": {http.StatusUnauthorized, 1},
		"busy":    {http.StatusServiceUnavailable, tries},
		"stalled": {0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut {
					n.Add(1)
					if tt.status == 0 {
						_, _ = io.Copy(io.Discard, r.Body) // else the end of the connection is not seen
						<-r.Context().Done()
						return
					}
					w.WriteHeader(tt.status)
				}
			}))
			defer s.Close()
			var out bytes.Buffer
			d, err := newDirect(t.Context(), wire.Job{URL: s.URL + "/p/secret/"}, wire.NewWriter(&out), s.Client())
			if err != nil {
				t.Fatal(err)
			}
			d.pause = time.Millisecond
			if tt.status == 0 {
				d.limit = 200 * time.Millisecond
			}
			for number := 1; number <= 5; number++ {
				if err := d.Part(t.Context(), number, []byte("data")); err != nil {
					t.Fatal(err)
				}
			}
			said, parts := out.String(), 0
			for {
				f, err := wire.Read(&out, func(n int) []byte { return make([]byte, n) })
				if err != nil {
					break
				}
				if string(f.Data) == "data" {
					parts++
				}
			}
			if n.Load() != tt.puts || parts != 5 || strings.Count(said, "through this computer") != 1 {
				t.Errorf("%d requests, %d parts relayed: %q", n.Load(), parts, said)
			}
		})
	}
}

// A part that is between two attempts when the way is given up is not sent again.
func TestDirectGivesUpMeanwhile(t *testing.T) {
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			n.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	var out bytes.Buffer
	d, err := newDirect(t.Context(), wire.Job{URL: s.URL + "/p/secret/"}, wire.NewWriter(&out), s.Client())
	if err != nil {
		t.Fatal(err)
	}
	d.pause = 300 * time.Millisecond
	done := make(chan error, 1)
	go func() { done <- d.Part(t.Context(), 1, []byte("data")) }()
	for n.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	d.closed.Store(true)
	if err := <-done; err != nil || n.Load() != 1 {
		t.Errorf("%d requests, %v", n.Load(), err)
	}
}
