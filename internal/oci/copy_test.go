// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// newBucket makes a bucket in the build tenancy.
func (s *sim) newBucket(t *testing.T) *Bucket {
	t.Helper()
	b := &Bucket{Client: s.client(t, s.build), Bucket: "images"}
	_, err := b.objects.CreateBucket(t.Context(), objectstorage.CreateBucketRequest{
		NamespaceName:       &s.build.Namespace,
		CreateBucketDetails: objectstorage.CreateBucketDetails{Name: &b.Bucket, CompartmentId: &s.build.CompartmentID},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Check(t.Context()); err != nil || b.Namespace != s.build.Namespace {
		t.Fatalf("namespace %q, %v", b.Namespace, err)
	}
	return b
}

func (b *Bucket) put(t *testing.T, object, content string) {
	t.Helper()
	size := int64(len(content))
	_, err := b.objects.PutObject(t.Context(), objectstorage.PutObjectRequest{
		NamespaceName: &b.Namespace, BucketName: &b.Bucket, ObjectName: &object, ContentLength: &size, PutObjectBody: io.NopCloser(strings.NewReader(content)),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (b *Bucket) upload(t *testing.T, object string) {
	t.Helper()
	_, err := b.objects.CreateMultipartUpload(t.Context(), objectstorage.CreateMultipartUploadRequest{
		NamespaceName: &b.Namespace, BucketName: &b.Bucket, CreateMultipartUploadDetails: objectstorage.CreateMultipartUploadDetails{Object: &object},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// contents lists what is in the bucket: objects, "up:" uploads, "par:" links.
func (s *sim) contents() (all []string) {
	for _, b := range s.Inventory().Tenancies[0].Regions[0].Buckets {
		for _, o := range b.Objects {
			all = append(all, o.Name)
		}
		for _, u := range b.Uploads {
			all = append(all, "up:"+u.Object)
		}
		for _, p := range b.PARs {
			all = append(all, "par:"+p.Name)
		}
	}
	slices.Sort(all)
	return all
}

// A link names the host that answered, not the one that the reply calls its
// full path, and does what it is for and nothing else.
func TestShare(t *testing.T) {
	s := newSim(t, simOptions{})
	b := s.newBucket(t)
	read, err := b.Share(t.Context(), "dir/o", "reader", cloud.Read, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	write, err := b.Share(t.Context(), "dir/o", owner.Build{ID: "w1", Expires: time.Unix(2e9, 0)}.Name("export"), cloud.Write, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []cloud.Link{read, write} {
		u, err := url.Parse(l.URL)
		if err != nil || u.Scheme != "https" || u.Host != "objectstorage."+simRegion+".oraclecloud.com" || !strings.HasPrefix(u.Path, "/p/") || !strings.HasSuffix(u.Path, "/o/dir/o") || l.ID == "" {
			t.Errorf("link %+v, %v", l, err)
		}
	}
	ask := func(method, link string) int {
		req, err := http.NewRequestWithContext(t.Context(), method, link, strings.NewReader(strings.Repeat("x", map[string]int{"PUT": 5}[method])))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := s.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	for _, tt := range []struct {
		method, link string
		works        bool
	}{
		{"PUT", read.URL, false},
		{"PUT", write.URL, true},
		{"GET", write.URL, false},
		{"GET", read.URL, true},
	} {
		if got := ask(tt.method, tt.link); (got/100 == 2) != tt.works {
			t.Errorf("%s: %d", tt.method, got)
		}
	}
	if size, ok, err := b.Size(t.Context(), "dir/o"); size != 5 || !ok || err != nil {
		t.Errorf("size %d, %t, %v", size, ok, err)
	}
	if size, ok, err := b.Size(t.Context(), "dir/other"); size != 0 || ok || err != nil {
		t.Errorf("of nothing: %d, %t, %v", size, ok, err)
	}
	if err := b.Unshare(t.Context(), "w1", "export"); err != nil || ask("PUT", write.URL)/100 == 2 || ask("GET", read.URL) != 200 {
		t.Errorf("after Unshare: %v", err)
	}
}

func TestUnshareAndRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		b := s.newBucket(t)
		mine, later, theirs := owner.Build{ID: "a1", Expires: time.Unix(2e9, 0)}, owner.Build{ID: "a1", Expires: time.Unix(3e9, 0)}, owner.Build{ID: "b1", Expires: time.Unix(2e9, 0)}
		for _, name := range []string{mine.Name("import"), later.Name("import"), mine.Name("export"), theirs.Name("import"), "else"} {
			if _, err := b.Share(t.Context(), "o", name, cloud.Read, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		for _, o := range []string{"o", "o2"} {
			b.put(t, o, "data")
			b.upload(t, o)
		}
		b.upload(t, "o")
		for _, f := range []ocisim.Fault{
			{Kind: ocisim.FaultStatus, Op: "DeletePreauthenticatedRequest", Status: 429, Code: "TooManyRequests", Message: "slow", Times: 1},
			{Kind: ocisim.FaultCutAfterEffect, Op: "AbortMultipartUpload", Times: 1},
			{Kind: ocisim.FaultStatusAfterEffect, Op: "DeleteObject", Status: 500, Code: "InternalServerError", Message: "oops", Times: 1},
		} {
			if err := s.AddFaults(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Unshare(t.Context(), "a1", "import"); err != nil {
			t.Error(err)
		}
		if got := s.contents(); !slices.Equal(got, []string{"o", "o2", "par:armfree-a1-export-2000000000", "par:armfree-b1-import-2000000000", "par:else", "up:o", "up:o", "up:o2"}) {
			t.Errorf("after Unshare: %q", got)
		}
		if err := b.Remove(t.Context(), "o"); err != nil {
			t.Error(err)
		}
		if got := s.contents(); !slices.Equal(got, []string{"o2", "par:armfree-a1-export-2000000000", "par:armfree-b1-import-2000000000", "par:else", "up:o2"}) {
			t.Errorf("after Remove: %q", got)
		}
		// Nothing there is no error.
		if err := b.Unshare(t.Context(), "a1", "import"); err != nil {
			t.Error(err)
		}
		if err := b.Remove(t.Context(), "o"); err != nil {
			t.Error(err)
		}
	})
}

// What time it is the service says, and nobody guesses before it has.
func TestBucketTellsTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		theirs := time.Now().Add(4 * time.Minute).Truncate(time.Second)
		c := wire(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", theirs.UTC().Format(http.TimeFormat))
			answer(w, 200, map[string]any{"objects": []any{}})
		})
		b := &Bucket{Client: c, Namespace: "ns", Bucket: "b"}
		if now := b.Now(); !now.IsZero() {
			t.Errorf("before any reply it is %s", now)
		}
		if _, err := b.Notes(t.Context()); err != nil || !b.Now().Equal(theirs) {
			t.Errorf("it is %s, not %s; %v", b.Now(), theirs, err)
		}
	})
}

// Every link and every upload goes, on whatever page it is, and one that
// cannot be removed does not keep the others.
func TestRemoveAcrossPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got seen
		c := wire(t, func(w http.ResponseWriter, r *http.Request) {
			got.add(r)
			last := r.URL.Query().Get("page") == "p1"
			id := map[bool]string{false: "QgT6f1/kDh+Lp=:dir/o", true: "x/y"}[last]
			switch {
			case r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "QgT6f1") || r.URL.Query().Get("uploadId") == "u1":
				refuse(w, 409, "Odd", "it stays")
				return
			case r.Method == http.MethodDelete:
				w.WriteHeader(http.StatusNoContent)
				return
			case !last:
				w.Header().Set("Opc-Next-Page", "p1")
			}
			if strings.HasSuffix(r.URL.Path, "/u") {
				answer(w, 200, []map[string]string{{"object": "o", "uploadId": map[bool]string{false: "u1", true: "u2"}[last]}, {"object": "other", "uploadId": "u3"}})
				return
			}
			answer(w, 200, []map[string]string{{"id": id, "name": "armfree-a1-import-2000000000", "accessType": "ObjectRead"}, {"id": "z", "name": "theirs", "accessType": "ObjectRead"}})
		})
		b := &Bucket{Client: c, Namespace: "ns", Bucket: "b"}
		if err := b.Unshare(t.Context(), "a1", "import"); err == nil || !strings.Contains(err.Error(), "it stays") {
			t.Errorf("Unshare: %v", err)
		}
		if got.count("DELETE /n/ns/b/b/p/") != 2 || got.count("DELETE /n/ns/b/b/p/x/y") != 1 || got.count("DELETE /n/ns/b/b/p/z") != 0 {
			t.Errorf("asked for %q", got.list)
		}
		if err := b.Remove(t.Context(), "o"); err == nil || !strings.Contains(err.Error(), "it stays") {
			t.Errorf("Remove: %v", err)
		}
		if got.count("DELETE /n/ns/b/b/u/o") != 2 || got.count("DELETE /n/ns/b/b/u/other") != 0 || got.count("DELETE /n/ns/b/b/o/o") != 1 {
			t.Errorf("asked for %q", got.list)
		}
	})
}

func TestImporterChecks(t *testing.T) {
	for _, tt := range []struct {
		name   string
		faults []ocisim.Fault
		change func(*sim, *Importer)
		says   string
	}{
		{name: "fine"},
		{name: "limits that may not be read", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "GetResourceAvailability", Status: 404, Code: "NotAuthorizedOrNotFound"}}},
		{name: "domains that may not be listed", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "ListAvailabilityDomains", Status: 404, Code: "NotAuthorizedOrNotFound"}}},
		{name: "no room", faults: []ocisim.Fault{{Kind: ocisim.FaultLimitValue, Limit: "custom-image-count", Value: 0}}, says: "leaves no room"},
		{name: "foreign compartment", change: func(s *sim, m *Importer) { m.Compartment = s.build.CompartmentID }, says: "there is no compartment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, simOptions{faults: tt.faults})
				m := &Importer{Client: s.client(t, s.production), Label: "production", Compartment: s.production.CompartmentID, Owner: owner.NewBuild(time.Now(), time.Hour)}
				if tt.change != nil {
					tt.change(s, m)
				}
				err := m.Preflight(t.Context())
				if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
					t.Errorf("%v, want %q", err, tt.says)
				}
			})
		})
	}
}
