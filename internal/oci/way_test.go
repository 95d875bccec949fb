// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the checksum of Object Storage
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// makeBucket makes a bucket as a tenancy's user would.
func makeBucket(t *testing.T, c *Client, of *ocisim.Tenancy, name string) *Bucket {
	t.Helper()
	b := &Bucket{Client: c, Bucket: name}
	_, err := b.objects.CreateBucket(t.Context(), objectstorage.CreateBucketRequest{
		NamespaceName: &of.Namespace, CreateBucketDetails: objectstorage.CreateBucketDetails{Name: &name, CompartmentId: &of.CompartmentID},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *Bucket) read(t *testing.T, object string) []byte {
	t.Helper()
	r, err := b.objects.GetObject(t.Context(), objectstorage.GetObjectRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &object})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Content.Close()
	all, err := io.ReadAll(r.Content)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// noise is data that is not the same anywhere.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// relayed is a simulated cloud with an object behind a link and a way to the
// production tenancy.
func relaying(t *testing.T, s *sim, data []byte) (*RelayWay, cloud.Link) {
	t.Helper()
	from := makeBucket(t, s.client(t, s.build), s.build, "images")
	from.put(t, "o", string(data))
	link, err := from.Share(t.Context(), "o", "reader", cloud.Read, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // an upload is younger than what it uploads
	return &RelayWay{Bucket: makeBucket(t, s.client(t, s.production), s.production, "near"), Timeout: time.Hour}, link
}

const relaySize = 3*relayPart + 12345

func TestRelay(t *testing.T) {
	data := noise(relaySize)
	for _, tt := range []struct {
		name   string
		faults []ocisim.Fault
		wrap   func(http.Handler) http.Handler
		parts  int // requests
	}{
		{name: "fine", parts: 4},
		{name: "throttled", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "UploadPart", Status: 429, Code: "TooManyRequests", Times: 2}}, parts: 6},
		{name: "broken", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "UploadPart", Status: 500, Code: "InternalServerError", Times: 1}}, parts: 5},
		{name: "a part's reply is lost", faults: []ocisim.Fault{{Kind: ocisim.FaultCutAfterEffect, Op: "UploadPart", Times: 1}}, parts: 5},
		{name: "the upload's reply is lost", faults: []ocisim.Fault{{Kind: ocisim.FaultCutAfterEffect, Op: "CreateMultipartUpload", Times: 1}}, parts: 4},
		{name: "the commit's reply is lost", faults: []ocisim.Fault{{Kind: ocisim.FaultCutAfterEffect, Op: "CommitMultipartUpload", Times: 1}}, parts: 4},
		{name: "a byte is changed on its way", wrap: spoil(), parts: 5},
		{name: "the link breaks off", wrap: breakOff(), parts: 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, simOptions{wrap: tt.wrap})
				w, link := relaying(t, s, data)
				if err := s.AddFaults(tt.faults...); err != nil {
					t.Fatal(err)
				}
				last := 0.0
				if err := w.Bring(t.Context(), "o", link, "copy", func(p float64) { last = max(last, p) }); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(w.read(t, "copy"), data) {
					t.Error("the copy is not the same")
				}
				if n := s.CountRequests("UploadPart"); n < tt.parts {
					t.Errorf("%d requests for parts, want at least %d", n, tt.parts)
				}
				if last != 100 {
					t.Errorf("%g %% at the end", last)
				}
				// A second run has nothing to do.
				time.Sleep(2 * time.Second)
				before := s.CountRequests("UploadPart")
				if err := w.Bring(t.Context(), "o", link, "copy", func(float64) {}); err != nil || s.CountRequests("UploadPart") != before {
					t.Errorf("%v, %d more parts", err, s.CountRequests("UploadPart")-before)
				}
				if err := w.Remove(t.Context(), "copy"); err != nil {
					t.Error(err)
				}
				if b := s.Inventory().Tenancies[1].Regions[0].Buckets[0]; len(b.Objects)+len(b.Uploads) > 0 {
					t.Errorf("left: %+v", b)
				}
			})
		})
	}
}

// spoil changes a byte of the second part, once, on its way to Object Storage.
func spoil() func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		var done atomic.Bool
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && r.URL.Query().Get("uploadPartNum") == "2" && done.CompareAndSwap(false, true) {
				b, _ := io.ReadAll(r.Body)
				b[1000] ^= 1
				r.Body = io.NopCloser(bytes.NewReader(b))
			}
			next.ServeHTTP(w, r)
		})
	}
}

// breakOff cuts the first answer with a part of the object in the middle.
func breakOff() func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		var done atomic.Bool
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/p/") && r.Header.Get("Range") != "bytes=0-0" && done.CompareAndSwap(false, true) {
				w.Header().Set("Content-Range", "bytes 0-1/2")
				w.Header().Set("Content-Length", "16777216")
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(make([]byte, 5000))
				panic(http.ErrAbortHandler)
			}
			next.ServeHTTP(w, r)
		})
	}
}

// A relay that was broken off goes on where it was; parts of another object do
// not count.
func TestRelayGoesOn(t *testing.T) {
	data := noise(relaySize)
	for _, newer := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, simOptions{})
			w, link := relaying(t, s, data)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := w.Bring(ctx, "o", link, "copy", func(p float64) {
				if p > 50 {
					cancel()
				}
			})
			if err == nil {
				t.Fatal("it was not broken off")
			}
			before := s.CountRequests("UploadPart")
			if newer {
				time.Sleep(2 * time.Second)
				data = slices.Concat(data[1:], data[:1])
				from := &Bucket{Client: s.client(t, s.build), Namespace: s.build.Namespace, Bucket: "images"}
				from.put(t, "o", string(data))
			}
			if err := w.Bring(t.Context(), "o", link, "copy", func(float64) {}); err != nil {
				t.Fatal(err)
			}
			if n := s.CountRequests("UploadPart") - before; (n >= 4) != newer {
				t.Errorf("newer %t: %d parts were uploaded again", newer, n)
			}
			if !bytes.Equal(w.read(t, "copy"), data) {
				t.Error("the copy is not the same")
			}
		})
	}
}

func TestRelayFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		w, link := relaying(t, s, noise(100))
		closed := link
		closed.URL = strings.Replace(link.URL, "/p/", "/p/x", 1)
		err := w.Bring(t.Context(), "o", closed, "copy", func(float64) {})
		if err == nil || !strings.Contains(err.Error(), "read the object through its link") || strings.Contains(err.Error(), "/p/") {
			t.Errorf("%v", err)
		}
		if err := s.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "UploadPart", Status: 503, Code: "ServiceUnavailable"}); err != nil {
			t.Fatal(err)
		}
		w.Timeout = time.Minute
		err = w.Bring(t.Context(), "o", link, "copy", func(float64) {})
		if err == nil || !strings.Contains(err.Error(), `within 1m0s (the limit is the option "import_timeout")`) {
			t.Errorf("%v", err)
		}
	})
}

func TestCopyObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{wide: true})
		from := makeBucket(t, s.client(t, s.build), s.build, "images")
		far := makeBucket(t, s.clientIn(t, s.build, farRegion), s.build, "images")
		from.put(t, "o", "data")
		w := &CopyWay{Bucket: far, From: from, Timeout: time.Hour}
		for _, f := range []ocisim.Fault{
			{Kind: ocisim.FaultCutAfterEffect, Op: "CopyObject", Times: 1},
			{Kind: ocisim.FaultStatus, Op: "CopyObject", Status: 429, Code: "TooManyRequests", Times: 1},
		} {
			if err := s.AddFaults(f); err != nil {
				t.Fatal(err)
			}
		}
		last := 0.0
		if err := w.Bring(t.Context(), "o", cloud.Link{}, "copy", func(p float64) { last = p }); err != nil || last != 100 {
			t.Fatalf("%v, %g %%", err, last)
		}
		if got := far.read(t, "copy"); string(got) != "data" {
			t.Errorf("%q", got)
		}
		before := s.CountRequests("CopyObject")
		if err := w.Bring(t.Context(), "o", cloud.Link{}, "copy", func(float64) {}); err != nil || s.CountRequests("CopyObject") != before {
			t.Errorf("%v; it was copied again", err)
		}
		if err := w.Bring(t.Context(), "none", cloud.Link{}, "copy", func(float64) {}); err == nil || !strings.Contains(err.Error(), `there is no object "none"`) {
			t.Errorf("%v", err)
		}
		if err := s.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CopyObject", Status: 404, Code: "BucketNotFound"}); err != nil {
			t.Fatal(err)
		}
		if err := w.Bring(t.Context(), "o", cloud.Link{}, "other", func(float64) {}); err == nil || !strings.Contains(err.Error(), "Allow service objectstorage-eu-frankfurt-1") {
			t.Errorf("%v", err)
		}
	})
}

// endless is a cloud that gives and takes objects of any size, and keeps none of
// their bytes.
type endless struct {
	size  int64
	table []byte
	sums  sync.Map // part -> checksum
	parts atomic.Int64
}

// pattern is the bytes of the object from an offset on.
type pattern struct {
	table []byte
	at    int64
}

func (p *pattern) Read(b []byte) (int, error) {
	n := copy(b, p.table[p.at%int64(len(p.table)):])
	p.at += int64(n)
	return n, nil
}

// sum is the checksum of an object of all parts.
func (e *endless) sum() string {
	h := md5.New() //nolint:gosec // the service's own checksum
	for i := range e.parts.Load() {
		sum, _ := e.sums.Load(strconv.FormatInt(i+1, 10))
		h.Write(sum.([]byte))
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil)) + "-" + strconv.FormatInt(e.parts.Load(), 10)
}

func (e *endless) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: http.NoBody, Request: r}
	q := r.URL.Query()
	reply := func(text string) { resp.Body = io.NopCloser(strings.NewReader(text)) }
	switch {
	case strings.HasPrefix(r.URL.Path, "/p/"):
		var first, last int64
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err != nil {
			return nil, err
		}
		resp.StatusCode = http.StatusPartialContent
		resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, e.size))
		resp.Body = io.NopCloser(io.LimitReader(&pattern{e.table, first}, last-first+1))
	case r.Method == http.MethodPut:
		h := md5.New() //nolint:gosec // the service's own checksum
		n, err := io.Copy(h, r.Body)
		if err != nil || n != r.ContentLength {
			return nil, fmt.Errorf("%d bytes of %d: %w", n, r.ContentLength, err)
		}
		e.parts.Add(1)
		e.sums.Store(q.Get("uploadPartNum"), h.Sum(nil))
		resp.Header.Set("Etag", "e"+q.Get("uploadPartNum"))
		resp.Header.Set("Opc-Content-Md5", base64.StdEncoding.EncodeToString(h.Sum(nil)))
	case r.Method == http.MethodHead && e.parts.Load() == 0:
		resp.StatusCode = http.StatusNotFound
	case r.Method == http.MethodHead:
		resp.Header.Set("Content-Length", strconv.FormatInt(e.size, 10))
		resp.Header.Set("Opc-Multipart-Md5", e.sum())
	case r.Method == http.MethodGet:
		reply("[]")
	case q.Get("uploadId") != "":
		resp.Header.Set("Opc-Multipart-Md5", e.sum())
	default:
		reply(`{"namespace":"ns","bucket":"b","object":"copy","uploadId":"u","timeCreated":"2026-01-01T00:00:00Z"}`)
	}
	return resp, nil
}

// An object of 2 GiB goes through less than 128 MiB of memory.
func TestRelayMemory(t *testing.T) {
	sample.Not(t)
	e := &endless{size: 2<<30 + 1, table: noise(1<<20 - 7)}
	w := &RelayWay{Bucket: &Bucket{Client: clientOver(t, &http.Client{Transport: e}), Namespace: "ns", Bucket: "b"}, Timeout: time.Hour}
	var most atomic.Uint64
	look := func() {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
		metrics.Read(sample)
		var sum uint64
		for _, s := range sample {
			sum += s.Value.Uint64()
		}
		for old := most.Load(); sum > old && !most.CompareAndSwap(old, sum); old = most.Load() {
		}
	}
	runtime.GC()
	look()
	before := most.Load()
	if err := w.Bring(t.Context(), "o", cloud.Link{URL: "https://objectstorage.eu-frankfurt-1.oraclecloud.com/p/x"}, "copy", func(float64) { look() }); err != nil {
		t.Fatal(err)
	}
	if n := e.parts.Load(); n != 129 {
		t.Errorf("%d parts", n)
	}
	t.Logf("%d MiB of memory at most, %d MiB before", most.Load()>>20, before>>20)
	if most.Load() > 128<<20 {
		t.Errorf("%d MiB of memory", most.Load()>>20)
	}
}
