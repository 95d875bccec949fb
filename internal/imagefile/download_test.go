// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagefile

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// A file that is longer than the limit is not downloaded: what its server says of its length
// is enough, and where that says nothing, the first byte that is too many.
func TestURLTooLarge(t *testing.T) {
	const mib = 1 << 20
	for name, tt := range map[string]struct {
		limit     int64
		chunked   bool
		cut       bool // the first answer breaks off after 1 MiB
		size      int64
		fails     bool
		most      int64 // bytes that may have come
		downloads int
	}{
		"no limit":                        {downloads: 1, most: 3 * mib},
		"as large as the limit":           {limit: 3 * mib, downloads: 1, most: 3 * mib},
		"as large as the limit, chunked":  {limit: 3 * mib, chunked: true, downloads: 1, most: 3 * mib},
		"larger by a byte":                {limit: 3*mib - 1, fails: true, size: 3 * mib, downloads: 1},
		"larger by a byte, chunked":       {limit: 3*mib - 1, chunked: true, fails: true, most: 3 * mib, downloads: 1},
		"larger, chunked":                 {limit: mib, chunked: true, fails: true, most: 2 * mib, downloads: 1},
		"larger, chunked, and broken off": {limit: 3*mib - 1, chunked: true, cut: true, fails: true, most: 3 * mib, downloads: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good := server{data: image(), ranges: true}
				web := simnet.Pipe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if good.cutAfter = 0; tt.cut && len(good.asked) == 0 {
						good.cutAfter = mib
					}
					if tt.chunked && !strings.HasPrefix(r.Header.Get("Range"), "bytes=1") {
						w = withoutLength{w}
					}
					good.ServeHTTP(w, r)
				}))
				defer web.CloseIdleConnections()
				dir, came := t.TempDir(), int64(0)
				i, err := Open(t.Context(), Options{
					URL: "https://images.example/disk.raw", Checksum: digest(image()), HTTP: web, Dir: dir, Limit: tt.limit,
					Progress: func(done, _ int64) { came = max(came, done) },
				})
				if err == nil {
					defer i.Close()
				}
				var large *TooLargeError
				if errors.As(err, &large) != tt.fails || !tt.fails && err != nil || tt.fails && (large.Size != tt.size || large.Limit != tt.limit) {
					t.Errorf("%v (%+v), want %+v", err, large, tt)
				}
				if came > tt.most || len(good.asked) != tt.downloads {
					t.Errorf("%d bytes came in %d downloads, want at most %d in %d", came, len(good.asked), tt.most, tt.downloads)
				}
				if left, _ := os.ReadDir(dir); tt.fails && len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			})
		})
	}
}

// withoutLength does not say how long an answer is.
type withoutLength struct{ http.ResponseWriter }

func (w withoutLength) WriteHeader(status int) {
	w.Header().Del("Content-Length")
	w.ResponseWriter.WriteHeader(status)
}

// The limit is for files of one's own as well, before they are read.
func TestFileTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, image(), 0o600); err != nil {
		t.Fatal(err)
	}
	for limit, fails := range map[int64]bool{0: false, 3 << 20: false, 3<<20 - 1: true} {
		i, err := Open(t.Context(), Options{File: path, Checksum: digest(image()), Limit: limit})
		if large := new(*TooLargeError); errors.As(err, large) != fails || (err != nil) != fails || fails && (*large).Size != 3<<20 {
			t.Errorf("a limit of %d: %v", limit, err)
		}
		if err == nil {
			_ = i.Close()
		}
	}
}

// dialer fails as it is told to, where that is not nil, and leads to a server then.
type dialer struct {
	errs  []error
	dials int
}

func (d *dialer) client(h http.Handler) *http.Client {
	web := simnet.Pipe(h)
	next := web.Transport.(*http.Transport).DialContext //nolint:forcetypeassert // Pipe makes it
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if d.dials++; d.dials <= len(d.errs) && d.errs[d.dials-1] != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: d.errs[d.dials-1]}
		}
		return next(ctx, network, addr)
	}
	web.Transport = &http.Transport{DialContext: dial, DialTLSContext: dial}
	return web
}

// What will not be otherwise the next time is told at once; what may be is tried again.
func TestURLThatLeadsNowhere(t *testing.T) {
	nowhere := &net.DNSError{Err: "no such host", Name: "images.example", IsNotFound: true}
	busy := &net.DNSError{Err: "server misbehaving", Name: "images.example", IsTemporary: true}
	untrusted := &tls.CertificateVerificationError{Err: errors.New("certificate has expired")}
	good := &server{data: image()}
	for name, tt := range map[string]struct {
		errs     []error
		handler  http.Handler
		says     string // "": it goes well
		requests int64
	}{
		"no such host":       {errs: []error{nowhere, nowhere}, handler: good, says: "no such host"},
		"an old certificate": {errs: []error{untrusted}, handler: good, says: "certificate has expired"},
		// What has led to the server before will most likely do so again.
		"no such host, after the first MiB":       {errs: []error{nil, nowhere, nowhere}, handler: &breaking{next: good}, requests: 2},
		"an old certificate, after the first MiB": {errs: []error{nil, untrusted}, handler: &breaking{next: good}, requests: 2},
		"name server is down":                     {errs: []error{busy, busy}, handler: good, requests: 1},
		"refused, then there":                     {errs: []error{errors.New("connection refused")}, handler: good, requests: 1},
		"a redirect to itself":                    {handler: http.RedirectHandler("https://images.example/disk.raw", http.StatusFound), says: "redirects more than 10 times", requests: 11},
		"a redirect to a file":                    {handler: http.RedirectHandler("file:///etc/passwd", http.StatusFound), says: "neither http nor https", requests: 1},
		"a redirect that leads":                   {handler: &onward{next: good}, requests: 11},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int64
				d := &dialer{errs: tt.errs}
				web := d.client(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					tt.handler.ServeHTTP(w, r)
				}))
				defer web.CloseIdleConnections()
				start := time.Now()
				i, err := Open(t.Context(), Options{URL: "https://images.example/disk.raw?secret", Checksum: digest(image()), HTTP: web, Dir: t.TempDir()})
				if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "secret")) {
					t.Errorf("%v, want %q", err, tt.says)
				}
				if err == nil {
					_ = i.Close()
				}
				if took := time.Since(start); tt.says != "" && took > 0 || requests.Load() != tt.requests {
					t.Errorf("%d requests in %s, want %d", requests.Load(), took, tt.requests)
				}
			})
		})
	}
}

// breaking breaks its first answer off after 1 MiB.
type breaking struct {
	n    int
	next http.Handler
}

func (b *breaking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.n++; b.n == 1 {
		w = &cut{w, 1 << 20}
	}
	b.next.ServeHTTP(w, r)
}

// onward redirects as often as is allowed.
type onward struct {
	n    int
	next http.Handler
}

func (o *onward) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if o.n++; o.n <= 10 {
		http.Redirect(w, r, "https://images.example/elsewhere", http.StatusFound)
		return
	}
	o.next.ServeHTTP(w, r)
}

// Neither does a server become another one that has a certificate of nobody known, or none.
func TestURLOfAnotherServer(t *testing.T) {
	for name, tt := range map[string]struct {
		start func(*httptest.Server)
		says  string
	}{
		"unknown authority": {(*httptest.Server).StartTLS, "certificate"},
		"no TLS":            {(*httptest.Server).Start, "HTTP response to HTTPS client"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(&server{data: image()})
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			tt.start(s)
			defer s.Close()
			// What is tried again does not come to its end before.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			web := &http.Client{Transport: &http.Transport{}}
			defer web.CloseIdleConnections()
			_, err := Open(ctx, Options{
				URL: "https://" + s.Listener.Addr().String() + "/disk.raw", Checksum: digest(image()), HTTP: web, Dir: t.TempDir(),
			})
			if err == nil || !strings.Contains(err.Error(), tt.says) || errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
}

// How far a download is is told with each part of it, from the beginning again where it begins
// again.
func TestProgress(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			good := server{data: image(), ranges: ranges}
			web := simnet.Pipe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if good.cutAfter = 0; len(good.asked) == 0 {
					good.cutAfter = 1 << 20
				}
				good.ServeHTTP(w, r)
			}))
			defer web.CloseIdleConnections()
			var last int64
			again := 0
			i, err := Open(t.Context(), Options{
				URL: "https://images.example/disk.raw", Checksum: digest(image()), HTTP: web, Dir: t.TempDir(),
				Progress: func(done, of int64) {
					if done < last {
						again++
					}
					if last = done; of != 3<<20 {
						t.Errorf("%d bytes of %d", done, of)
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			if last != 3<<20 || (again == 0) != ranges {
				t.Errorf("told of %d bytes at last, from the beginning %d times", last, again)
			}
		})
	}
}

// A file that changes after its digest was computed here is told as that: nobody has given a
// checksum that it could be held against.
func TestFileThatChangesAfterItsDigest(t *testing.T) {
	for _, computed := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "disk.raw")
		if err := os.WriteFile(path, image(), 0o600); err != nil {
			t.Fatal(err)
		}
		sum, err := Digest(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.ToUpper(image()), 0o600); err != nil {
			t.Fatal(err)
		}
		says := "is not the image that source_checksum is of"
		if computed {
			says = "source_file: " + path + " changed while it was read"
		}
		_, err = Open(t.Context(), Options{File: path, Checksum: sum, Computed: computed})
		if err == nil || !strings.Contains(err.Error(), says) || computed && strings.Contains(err.Error(), "source_checksum") {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
