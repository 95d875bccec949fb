// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagefile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// image is a raw disk of 3 MiB.
func image() []byte {
	p := bytes.Repeat([]byte("some bytes of a disk; "), 3<<20/22+1)[:3<<20]
	copy(p[510:], "\x55\xaa")
	return p
}

func digest(p []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(p)) }

// content reads a raw image that was opened.
func content(t *testing.T, i *Image) (all []byte) {
	t.Helper()
	for p, err := range i.Pieces(t.Context()) {
		buf := make([]byte, p.Length)
		if err == nil {
			err = i.ReadPiece(t.Context(), p, buf)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, buf...)
	}
	return all
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, image(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sum := range []string{digest(image()), strings.TrimPrefix(digest(image()), "sha256:"), fmt.Sprintf("sha512:%X", sha512.Sum512(image())), "SHA256:" + strings.TrimPrefix(digest(image()), "sha256:"), fmt.Sprintf("Sha512: %x", sha512.Sum512(image()))} {
		i, err := Open(t.Context(), Options{File: path, Checksum: sum})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(content(t, i), image()) {
			t.Error("other bytes")
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Open(t.Context(), Options{File: path, Checksum: digest(nil)}); err == nil || !strings.Contains(err.Error(), "source_checksum") {
		t.Error(err)
	}
	if _, err := Open(t.Context(), Options{File: path + "x", Checksum: digest(nil)}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "source_file") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Options{File: path, Checksum: digest(image())}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 3<<20 {
		t.Error("the file is no longer there")
	}
}

func TestMistakes(t *testing.T) {
	for want, o := range map[string]Options{
		"source_file or source_url must be set source_checksum must be": {},
		"only one of source_file and source_url":                        {File: "a", URL: "https://h/a", Checksum: digest(nil)},
		"http or https":                                                 {URL: "ftp://h/a", Checksum: digest(nil)},
		"source_url must be":                                            {URL: "://", Checksum: digest(nil)},
		"source_checksum must":                                          {File: "a", Checksum: "sha512:" + strings.Repeat("0", 64)},
		"in hexadecimal":                                                {File: "a", Checksum: "sha1:" + strings.Repeat("0", 40)},
	} {
		var text []string
		for _, err := range o.Mistakes() {
			text = append(text, err.Error())
		}
		for part := range strings.SplitSeq(want, " source_checksum") {
			if !strings.Contains(strings.Join(text, "; "), part) {
				t.Errorf("%q is not in %q", part, text)
			}
		}
	}
	if errs := (Options{URL: "https://h/a", Checksum: digest(nil)}).Mistakes(); len(errs) > 0 {
		t.Error(errs)
	}
}

// What a file is known by does not depend on how its digest is written.
func TestIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "debian-12.generic.qcow2")
	if err := os.WriteFile(file, image(), 0o600); err != nil {
		t.Fatal(err)
	}
	sum, err := Digest(t.Context(), file)
	if err != nil || sum != digest(image()) {
		t.Errorf("%q, %v", sum, err)
	}
	for _, same := range []string{sum, strings.ToUpper(strings.TrimPrefix(sum, "sha256:"))} {
		if id, err := (Options{Checksum: same}).ID(); err != nil || id != sum {
			t.Errorf("%q is %q, %v", same, id, err)
		}
	}
	if _, err := Digest(t.Context(), file+"x"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Open(t.Context(), Options{File: file}); err == nil {
		t.Error("a file is opened whose digest nobody knows")
	}
	if got := (Options{File: file}).Name(); got != "debian-12.generic" {
		t.Error(got)
	}
	if got := (Options{URL: "https://h/a/debian-12.qcow2?token=1.2"}).Name(); got != "debian-12" {
		t.Error(got)
	}
	if got := (Options{URL: "https://u:p@h/a.qcow2?token=1"}).Place(); got != "https://h/a.qcow2" {
		t.Error(got)
	}
}

// server serves the image, and fails as often as it is told to.
type server struct {
	data     []byte
	ranges   bool
	cutAfter int // bytes of each answer; 0: none is cut
	refuse   []int
	hang     int // answers that never end
	asked    []string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked = append(s.asked, r.Header.Get("Range"))
	if len(s.refuse) > 0 {
		status := s.refuse[0]
		s.refuse = s.refuse[1:]
		w.WriteHeader(status)
		return
	}
	if s.ranges {
		w.Header().Set("Etag", `"one"`)
	} else {
		r.Header.Del("Range")
	}
	if s.hang > 0 {
		s.hang--
		_, _ = w.Write(s.data[:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	}
	if s.cutAfter > 0 {
		w = &cut{w, s.cutAfter}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.data))
}

type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	if len(p) >= c.left {
		_, _ = c.ResponseWriter.Write(p[:c.left])
		panic(http.ErrAbortHandler)
	}
	c.left -= len(p)
	return c.ResponseWriter.Write(p)
}

func TestURL(t *testing.T) {
	for name, tt := range map[string]struct {
		server server
		sum    string
		says   string // "": it goes well
		asked  int
	}{
		"at once":                       {server: server{ranges: true}, asked: 1},
		"busy, then there":              {server: server{refuse: []int{503, 429, 500}}, asked: 4},
		"broken off":                    {server: server{ranges: true, cutAfter: 1 << 20}, asked: 3},
		"broken off, without ranges":    {server: server{cutAfter: 1 << 20}, says: "EOF"},
		"silent":                        {server: server{ranges: true, hang: 2}, asked: 3},
		"silent, without ranges":        {server: server{hang: 1}, asked: 2},
		"refused ranges":                {server: server{refuse: []int{206}}, asked: 2},
		"not there":                     {server: server{refuse: []int{404}}, says: "404", asked: 1},
		"something else":                {server: server{}, sum: digest([]byte("x")), says: "source_checksum", asked: 1},
		"no image, with the right hash": {server: server{data: []byte("<html>")}, sum: digest([]byte("<html>")), says: "neither qcow2", asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tt.server.data == nil {
					tt.server.data = image()
				}
				if tt.sum == "" {
					tt.sum = digest(image())
				}
				web := simnet.Pipe(&tt.server)
				defer web.CloseIdleConnections()
				dir := t.TempDir()
				i, err := Open(t.Context(), Options{URL: "https://images.example/disk.raw?secret", Checksum: tt.sum, HTTP: web, Dir: dir})
				if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "secret")) {
					t.Fatalf("%v, want %q", err, tt.says)
				}
				if err == nil {
					if !bytes.Equal(content(t, i), image()) {
						t.Error("other bytes")
					}
					if there, _ := os.ReadDir(dir); len(there) > 0 && runtime.GOOS != "windows" {
						t.Errorf("a process that is killed now leaves %v", there)
					}
					if err := i.Close(); err != nil {
						t.Error(err)
					}
				}
				if tt.asked > 0 && len(tt.server.asked) != tt.asked {
					t.Errorf("asked for %q", tt.server.asked)
				}
				if left, _ := os.ReadDir(dir); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			})
		})
	}
}

// A server that is busy in the middle of a download costs nothing of what is there; one
// that sends another range than was asked for does.
func TestURLBusyInTheMiddle(t *testing.T) {
	const piece = 1 << 20
	for name, tt := range map[string]struct {
		status int
		then   string // the range that is asked for after that
	}{
		"busy":              {http.StatusServiceUnavailable, "bytes=1048576-"},
		"too many requests": {http.StatusTooManyRequests, "bytes=1048576-"},
		"too slow":          {http.StatusRequestTimeout, "bytes=1048576-"},
		"another range":     {http.StatusPartialContent, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good := server{data: image(), ranges: true}
				asked := 0
				web := simnet.Pipe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch asked++; asked {
					case 1:
						good.cutAfter = piece
					case 2:
						good.refuse = []int{tt.status}
					default:
						good.cutAfter = 0
					}
					good.ServeHTTP(w, r)
				}))
				defer web.CloseIdleConnections()
				i, err := Open(t.Context(), Options{URL: "https://images.example/disk.raw", Checksum: digest(image()), HTTP: web, Dir: t.TempDir()})
				if err != nil {
					t.Fatal(err)
				}
				defer i.Close()
				if want := []string{"", "bytes=1048576-", tt.then}; !slices.Equal(good.asked, want) {
					t.Errorf("asked for %q, want %q", good.asked, want)
				}
			})
		})
	}
}

// A file that is written to after its digest was computed is noticed; one that another took
// the place of is read as it was.
func TestFileThatChanges(t *testing.T) {
	write := func(path string, at int64) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("CHANGED"), at)
		return errors.Join(err, f.Close())
	}
	for name, tt := range map[string]struct {
		change func(path string) error
		says   string
	}{
		"untouched":  {func(string) error { return nil }, ""},
		"written to": {func(path string) error { return write(path, 4096) }, "changed while it was read"},
		"longer":     {func(path string) error { return write(path, int64(len(image()))) }, "changed while it was read"},
		"cut off":    {func(path string) error { return os.Truncate(path, 512) }, "and now 512 of"},
		"another instead": {func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o600))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.raw")
			if err := os.WriteFile(path, image(), 0o600); err != nil {
				t.Fatal(err)
			}
			before := time.Now().Add(-time.Hour)
			if err := os.Chtimes(path, before, before); err != nil {
				t.Fatal(err)
			}
			i, err := Open(t.Context(), Options{File: path, Checksum: digest(image())})
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			if err := tt.change(path); err != nil {
				t.Fatal(err)
			}
			if err := i.Unchanged(); (err != nil) != (tt.says != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}
}
