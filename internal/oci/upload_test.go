// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// smallParts lets parts be small.
func smallParts(c *ocisim.Config) { c.MinPartSize = 10 }

// inParts is what an object of four parts is uploaded from.
func inParts() [][]byte {
	var all [][]byte
	for n := range 4 {
		all = append(all, bytes.Repeat([]byte{byte('a' + n)}, 20-n))
	}
	return all
}

// send uploads parts, the first one last.
func (u *Upload) send(ctx context.Context, parts [][]byte) error {
	for n := range parts {
		n = (n + 1) % len(parts)
		if err := u.Part(ctx, n+1, parts[n]); err != nil {
			return err
		}
	}
	return nil
}

// get reads an object.
func (b *Bucket) get(t *testing.T, object string) []byte {
	t.Helper()
	r, err := b.objects.GetObject(t.Context(), objectstorage.GetObjectRequest{NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &object})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Content.Close()
	content, err := io.ReadAll(r.Content)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// counter counts requests by method and the kind of their path.
type counter struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counter) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		if c.n == nil {
			c.n = map[string]int{}
		}
		c.n[r.Method+" "+strings.Split(r.URL.Path+"/////", "/")[5]]++
		c.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

func TestUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{config: smallParts})
		b := s.newBucket(t)
		u, err := b.Upload(t.Context(), "disk.oci")
		if err == nil {
			err = u.send(t.Context(), inParts())
		}
		if err == nil {
			err = u.Commit(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := b.get(t, "disk.oci"); !bytes.Equal(got, bytes.Join(inParts(), nil)) || u.Kept() != 0 {
			t.Errorf("%q, %d kept", got, u.Kept())
		}
		if all := s.contents(); len(all) != 1 {
			t.Errorf("left: %v", all)
		}
		if err := u.Abort(t.Context()); err != nil {
			t.Errorf("abort after commit: %v", err)
		}
		if _, err := b.Upload(t.Context(), "disk.oci"); err == nil {
			t.Error("an object that exists is to be replaced")
		}
	})
}

// A second run finds the parts of the first; other parts than the object's do not get
// into it.
func TestUploadGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c counter
		s := newSim(t, simOptions{config: smallParts, wrap: c.wrap})
		b := s.newBucket(t)
		parts := inParts()
		first, err := b.Upload(t.Context(), "disk.oci")
		if err != nil {
			t.Fatal(err)
		}
		for n, data := range map[int][]byte{2: parts[1], 3: []byte("something of old"), 9: []byte("a longer disk's")} {
			if err := first.Part(t.Context(), n, data); err != nil {
				t.Fatal(err)
			}
		}
		before := c.n["PUT u"]
		second, err := b.Upload(t.Context(), "disk.oci")
		if err == nil {
			err = second.send(t.Context(), parts)
		}
		if err == nil {
			err = second.Commit(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := b.get(t, "disk.oci"); !bytes.Equal(got, bytes.Join(parts, nil)) {
			t.Errorf("%q", got)
		}
		if second.Kept() != 1 || c.n["PUT u"]-before != 3 || len(s.contents()) != 1 {
			t.Errorf("%d kept, %d sent; %v", second.Kept(), c.n["PUT u"]-before, s.contents())
		}
	})
}

// Each request of an upload fails once, in each way there is; the object is made all
// the same, once, and nothing else is left.
func TestUploadFaults(t *testing.T) {
	ops := []string{"ListMultipartUploads", "CreateMultipartUpload", "UploadPart", "CommitMultipartUpload"}
	faults := map[string]ocisim.Fault{
		"busy":           {Kind: ocisim.FaultStatus, Status: 429, Code: "TooManyRequests"},
		"broken":         {Kind: ocisim.FaultStatus, Status: 500, Code: "InternalServerError"},
		"a gateway":      {Kind: ocisim.FaultStatus, Status: 502},
		"an open answer": {Kind: ocisim.FaultStatusAfterEffect, Status: 500, Code: "InternalServerError"},
		"no answer":      {Kind: ocisim.FaultCutAfterEffect},
	}
	for _, op := range ops {
		for name, f := range faults {
			for skip := range 2 {
				t.Run(fmt.Sprintf("%s %s %d", op, name, skip), func(t *testing.T) {
					sample.Case(t)
					synctest.Test(t, func(t *testing.T) {
						s := newSim(t, simOptions{config: smallParts})
						b := s.newBucket(t)
						once := ocisim.Fault{Kind: f.Kind, Status: f.Status, Code: f.Code, Op: op, Times: 1, Skip: skip}
						if err := s.AddFaults(once); err != nil {
							t.Fatal(err)
						}
						u, err := b.Upload(t.Context(), "disk.oci")
						if err == nil {
							err = u.send(t.Context(), inParts())
						}
						if err == nil {
							err = u.Commit(t.Context())
						}
						if err != nil {
							t.Fatal(err)
						}
						if got := b.get(t, "disk.oci"); !bytes.Equal(got, bytes.Join(inParts(), nil)) || len(s.contents()) != 1 {
							t.Errorf("%q; %v", got, s.contents())
						}
						if m := s.Faults()[0].Matched; skip == 0 && m == 0 {
							t.Error("the fault had no effect")
						}
					})
				})
			}
		}
	}
}

// A part that arrives damaged is sent again; one that always does ends the upload.
func TestDamagedPart(t *testing.T) {
	for times, fine := range map[int]bool{1: true, 1000: false} {
		synctest.Test(t, func(t *testing.T) {
			var hit int
			damage := func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/u/") && hit < times {
						hit++
						data, _ := io.ReadAll(r.Body)
						data[0] ^= 1
						r.Body = io.NopCloser(bytes.NewReader(data))
					}
					next.ServeHTTP(w, r)
				})
			}
			s := newSim(t, simOptions{config: smallParts, wrap: damage})
			b := s.newBucket(t)
			u, err := b.Upload(t.Context(), "disk.oci")
			if err != nil {
				t.Fatal(err)
			}
			err = u.Part(t.Context(), 1, []byte("whole"))
			if (err == nil) != fine || !fine && !strings.Contains(err.Error(), "does not match") {
				t.Errorf("%d times: %v", times, err)
			}
			if err := u.Abort(t.Context()); err != nil || len(s.contents()) != 0 {
				t.Errorf("%v; %v", err, s.contents())
			}
		})
	}
}

// A cancel ends a part at once.
func TestUploadCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stuck := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/u/") {
					_, _ = io.ReadAll(r.Body)
					time.AfterFunc(time.Second, cancel)
					<-r.Context().Done()
					return
				}
				next.ServeHTTP(w, r)
			})
		}
		s := newSim(t, simOptions{config: smallParts, wrap: stuck})
		b := s.newBucket(t)
		u, err := b.Upload(ctx, "disk.oci")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := u.Part(ctx, 1, []byte("part")); !errors.Is(err, context.Canceled) || time.Since(start) > 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		if err := u.Abort(t.Context()); err != nil || len(s.contents()) != 0 {
			t.Errorf("%v; %v", err, s.contents())
		}
	})
}

// A part that was given up and arrives after its repetition is the same part under another
// ETag: the object is made of it. What arrives late and is something else is not.
func TestLatePart(t *testing.T) {
	late := func(skip int) ocisim.Fault {
		return ocisim.Fault{Kind: ocisim.FaultLate, Op: "UploadPart", Skip: skip, Times: 1, Delay: ocisim.Duration(10 * time.Minute)}
	}
	for name, tt := range map[string]struct {
		faults []ocisim.Fault
		old    bool // an earlier run uploads something else, which is late
	}{
		"the first":                 {faults: []ocisim.Fault{late(0)}},
		"the last":                  {faults: []ocisim.Fault{late(3)}},
		"several":                   {faults: []ocisim.Fault{late(1), late(3)}},
		"another, under its number": {faults: []ocisim.Fault{late(0)}, old: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c counter
				s := newSim(t, simOptions{config: smallParts, wrap: c.wrap, faults: tt.faults})
				b := s.newBucket(t)
				if tt.old {
					first, err := b.Upload(t.Context(), "disk.oci")
					if err == nil {
						err = first.Part(t.Context(), 1, []byte("something of old"))
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				u, err := b.Upload(t.Context(), "disk.oci")
				if err == nil {
					err = u.send(t.Context(), inParts())
				}
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				lists, commits := c.n["GET u"], c.n["POST u"]
				err = u.Commit(t.Context())
				lists, commits = c.n["GET u"]-lists, c.n["POST u"]-commits
				if tt.old {
					if !code(err, "InvalidUploadPart") || lists != 1 || commits != 1 {
						t.Errorf("%v; %d lists, %d commits", err, lists, commits)
					}
					if err := u.Abort(t.Context()); err != nil || len(s.contents()) != 0 {
						t.Errorf("%v; %v", err, s.contents())
					}
					return
				}
				if err != nil || lists != 1 || commits != 2 {
					t.Fatalf("%v; %d lists, %d commits", err, lists, commits)
				}
				if got := b.get(t, "disk.oci"); !bytes.Equal(got, bytes.Join(inParts(), nil)) || len(s.contents()) != 1 {
					t.Errorf("%q; %v", got, s.contents())
				}
			})
		})
	}
}

// The parts are looked at again for as long as that may help; and an upload that is gone
// meanwhile may be one whose commit got no answer.
func TestPartsThatAreRefused(t *testing.T) {
	refused := func(skip, times int) ocisim.Fault {
		return ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CommitMultipartUpload", Status: 400, Code: invalidPart, Skip: skip, Times: times}
	}
	for name, tt := range map[string]struct {
		faults []ocisim.Fault
		looks  int
		fails  bool
	}{
		"twice":  {faults: []ocisim.Fault{refused(0, 2)}, looks: 2},
		"always": {faults: []ocisim.Fault{refused(0, 0)}, looks: 3, fails: true},
		"after a commit without an answer": {
			faults: []ocisim.Fault{{Kind: ocisim.FaultCutAfterEffect, Op: "CommitMultipartUpload", Times: 1}, refused(1, 1)}, looks: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c counter
				s := newSim(t, simOptions{config: smallParts, wrap: c.wrap, faults: tt.faults})
				b := s.newBucket(t)
				u, err := b.Upload(t.Context(), "disk.oci")
				if err == nil {
					err = u.send(t.Context(), inParts())
				}
				if err != nil {
					t.Fatal(err)
				}
				lists := c.n["GET u"]
				err = u.Commit(t.Context())
				if looks := c.n["GET u"] - lists; (err != nil) != tt.fails || tt.fails && !code(err, invalidPart) || looks != tt.looks {
					t.Fatalf("%v; %d looks, want %d", err, looks, tt.looks)
				}
				if err := u.Abort(t.Context()); err != nil {
					t.Error(err)
				}
				if left := s.contents(); len(left) != map[bool]int{false: 1, true: 0}[tt.fails] {
					t.Errorf("left %v", left)
				}
			})
		})
	}
}
