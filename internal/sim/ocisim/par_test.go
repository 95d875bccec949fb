// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"
)

const parHost = "https://objectstorage." + nearRegion + ".oraclecloud.com"

func (s *storage) par(access, object string, edits ...func(*objectstorage.CreatePreauthenticatedRequestDetails)) (objectstorage.PreauthenticatedRequest, error) {
	d := objectstorage.CreatePreauthenticatedRequestDetails{
		Name: new("share"), AccessType: objectstorage.CreatePreauthenticatedRequestDetailsAccessTypeEnum(access),
		TimeExpires: &common.SDKTime{Time: time.Now().Add(time.Hour)},
	}
	if object != "" {
		d.ObjectName = &object
	}
	for _, edit := range edits {
		edit(&d)
	}
	r, err := s.client.CreatePreauthenticatedRequest(s.Context(), objectstorage.CreatePreauthenticatedRequestRequest{
		NamespaceName: &s.mine.Namespace, BucketName: new("b"), CreatePreauthenticatedRequestDetails: d,
	})
	return r.PreauthenticatedRequest, err
}

func (s *storage) mustPAR(access, object string, edits ...func(*objectstorage.CreatePreauthenticatedRequestDetails)) objectstorage.PreauthenticatedRequest {
	s.Helper()
	p, err := s.par(access, object, edits...)
	if err != nil {
		s.Fatal(err)
	}
	return p
}

// anonymous sends a request that nobody signed.
func (s *storage) anonymous(method, url, body string) (int, string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, url, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	return s.send(req)
}

func TestPARAccess(t *testing.T) {
	s := newStorage(t)
	s.bucket(s.client, s.mine, "b")
	s.put("dir/image.oci", "bytes")
	s.put("other", "secret")
	list := func(d *objectstorage.CreatePreauthenticatedRequestDetails) {
		d.BucketListingAction = objectstorage.PreauthenticatedRequestBucketListingActionListobjects
	}
	const gone, fine, absent = 401, 200, 404
	for _, test := range []struct {
		access, object               string
		listing                      bool
		read, write, other, newWrite int // status of: GET and PUT of dir/image.oci, GET of other, PUT of a new object dir/new
		list                         int
	}{
		{"ObjectRead", "dir/image.oci", false, fine, gone, gone, gone, gone},
		{"ObjectWrite", "dir/image.oci", false, gone, fine, gone, gone, gone},
		{"ObjectReadWrite", "dir/image.oci", false, fine, fine, gone, gone, gone},
		{"ObjectWrite", "dir/new", false, gone, gone, gone, fine, gone},
		{"ObjectRead", "dir/absent", false, gone, gone, gone, gone, gone},
		{"AnyObjectRead", "", false, fine, gone, fine, gone, gone},
		{"AnyObjectRead", "", true, fine, gone, fine, gone, fine},
		{"AnyObjectRead", "dir/", true, fine, gone, gone, gone, fine},
		{"AnyObjectWrite", "", false, gone, fine, gone, fine, gone},
		{"AnyObjectReadWrite", "", false, fine, fine, fine, fine, gone},
	} {
		var p objectstorage.PreauthenticatedRequest
		if test.listing {
			p = s.mustPAR(test.access, test.object, list)
		} else {
			p = s.mustPAR(test.access, test.object)
		}
		uri, object, _ := strings.Cut(*p.AccessUri, "/o/")
		if strings.HasPrefix(test.access, "Any") == (object != "") || !strings.HasSuffix(*p.FullPath, *p.AccessUri) {
			t.Errorf("%s: uri %s, full path %s", test.access, *p.AccessUri, *p.FullPath)
		}
		base := parHost + uri + "/o"
		for _, do := range []struct {
			method, url string
			want        int
		}{
			{http.MethodGet, base + "/dir/image.oci", test.read},
			{http.MethodGet, base + "/dir%2Fimage.oci", test.read},
			{http.MethodHead, base + "/dir/image.oci", test.read},
			{http.MethodPut, base + "/dir/image.oci", test.write},
			{http.MethodGet, base + "/other", test.other},
			{http.MethodPut, base + "/dir/new", test.newWrite},
			{http.MethodGet, base, test.list},
			{http.MethodGet, base + "/", test.list},
			{http.MethodDelete, base + "/dir/image.oci", 405},
		} {
			if status, body := s.anonymous(do.method, do.url, "bytes"); status != do.want {
				t.Errorf("%s %q: %s %s: got %d %s, want %d", test.access, test.object, do.method, strings.TrimPrefix(do.url, parHost+uri), status, body, do.want)
			}
		}
	}
	// A PAR for an object that is not there admits and finds nothing.
	p := s.mustPAR("ObjectRead", "dir/absent")
	if status, body := s.anonymous(http.MethodGet, parHost+*p.AccessUri, ""); status != absent || !strings.Contains(body, "ObjectNotFound") {
		t.Errorf("absent: %d %s", status, body)
	}
	// What a bound PAR lists is bound too.
	p = s.mustPAR("AnyObjectRead", "dir/", list)
	if _, body := s.anonymous(http.MethodGet, parHost+*p.AccessUri, ""); !strings.Contains(body, "dir/image.oci") || strings.Contains(body, "other") {
		t.Errorf("listed %s", body)
	}
	// The URL holds for its own bucket, namespace and region, on either host.
	p = s.mustPAR("ObjectRead", "dir/image.oci")
	s.bucket(s.client, s.mine, "b2")
	for url, want := range map[string]int{
		parHost + *p.AccessUri: fine,
		*p.FullPath:            fine,
		strings.Replace(*p.FullPath, "https://"+s.mine.Namespace, "https://"+s.theirs.Namespace, 1): gone,
		strings.Replace(parHost+*p.AccessUri, nearRegion, farRegion, 1):                             gone,
		strings.Replace(parHost+*p.AccessUri, "/b/b/", "/b/b2/", 1):                                 gone,
		strings.Replace(parHost+*p.AccessUri, s.mine.Namespace, s.theirs.Namespace, 1):              gone,
		parHost + *p.AccessUri + "x": gone,
	} {
		status, body := s.anonymous(http.MethodGet, url, "")
		if status != want {
			t.Errorf("%s: %d %s, want %d", url, status, body, want)
		}
		if status == gone && body != `{"code":"NotAuthenticated","message":"PAR does not exist"}` {
			t.Errorf("body %s", body)
		}
	}
	// Ranges, for an import that resumes.
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, parHost+*p.AccessUri, nil)
	req.Header.Set("Range", "bytes=1-2")
	if status, body := s.send(req); status != 206 || body != "yt" {
		t.Errorf("range: %d %q", status, body)
	}
	for _, r := range s.cloud.Requests() {
		if strings.Contains(r.Path, strings.Split(*p.AccessUri, "/")[2]) {
			t.Errorf("the request log gives away the token: %s", r.Path)
		}
	}
}

func TestPARLife(t *testing.T) {
	for _, notFound := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newStorage(t, func(c *Config) { c.Switches.GonePARIsNotFound = notFound })
			gone := http.StatusUnauthorized
			if notFound {
				gone = http.StatusNotFound
			}
			ctx, ns := t.Context(), s.mine.Namespace
			s.bucket(s.client, s.mine, "b")
			s.put("dir/o", "bytes")
			p := s.mustPAR("ObjectRead", "dir/o")
			if !strings.Contains(*p.Id, "/") || !strings.Contains(*p.Id, "+") || !strings.HasSuffix(*p.Id, "=:dir/o") {
				t.Errorf("id %q is easier than the real ones", *p.Id)
			}
			// Neither get nor list tell the URL again.
			status, body := s.signed(http.MethodGet, parHost+"/n/"+ns+"/b/b/p", "")
			if status != 200 || strings.Contains(body, "accessUri") || strings.Contains(body, "fullPath") || !strings.Contains(body, *p.Id) {
				t.Errorf("list: %d %s", status, body)
			}
			got, err := s.client.GetPreauthenticatedRequest(ctx, objectstorage.GetPreauthenticatedRequestRequest{NamespaceName: &ns, BucketName: new("b"), ParId: p.Id})
			if err != nil || *got.Id != *p.Id || *got.ObjectName != "dir/o" {
				t.Errorf("get: %v, %v", got, err)
			}
			// The id in its escaped form.
			if status, body := s.signed(http.MethodGet, parHost+"/n/"+ns+"/b/b/p/"+url.PathEscape(*p.Id), ""); status != 200 {
				t.Errorf("escaped id: %d %s", status, body)
			}
			// One hour later.
			use := func() int { status, _ := s.anonymous(http.MethodGet, parHost+*p.AccessUri, ""); return status }
			time.Sleep(time.Hour - time.Minute)
			if status := use(); status != 200 {
				t.Errorf("a minute before it expires: %d", status)
			}
			time.Sleep(time.Minute)
			if status := use(); status != gone {
				t.Errorf("expired: %d", status)
			}
			if inventory := s.cloud.objects.inventory(ns, nearRegion); !inventory[0].PARs[0].Expired {
				t.Errorf("inventory %+v", inventory)
			}
			// Also an expired one keeps the bucket.
			if _, err := s.client.DeleteObject(ctx, objectstorage.DeleteObjectRequest{NamespaceName: &ns, BucketName: new("b"), ObjectName: new("dir/o")}); err != nil {
				t.Fatal(err)
			}
			_, err = s.client.DeleteBucket(ctx, objectstorage.DeleteBucketRequest{NamespaceName: &ns, BucketName: new("b")})
			wantRefusal(t, "delete the bucket", err, 409, "BucketNotEmpty")
			remove := objectstorage.DeletePreauthenticatedRequestRequest{NamespaceName: &ns, BucketName: new("b"), ParId: p.Id}
			_, err = s.stranger.DeletePreauthenticatedRequest(ctx, remove)
			wantRefusal(t, "foreign", err, 404, "NamespaceNotFound")
			if _, err := s.client.DeletePreauthenticatedRequest(ctx, remove); err != nil {
				t.Error(err)
			}
			_, err = s.client.DeletePreauthenticatedRequest(ctx, remove)
			wantRefusal(t, "delete twice", err, 404, "NotAuthorizedOrNotFound")
			// Deleted before it expires.
			s.put("dir/o", "bytes")
			p = s.mustPAR("ObjectRead", "dir/o")
			if status := use(); status != 200 {
				t.Errorf("fresh: %d", status)
			}
			remove.ParId = p.Id
			if _, err := s.client.DeletePreauthenticatedRequest(ctx, remove); err != nil {
				t.Error(err)
			}
			if status := use(); status != gone {
				t.Errorf("deleted: %d", status)
			}
		})
	}
}

func TestPARRefused(t *testing.T) {
	s := newStorage(t)
	s.bucket(s.client, s.mine, "b")
	type details = objectstorage.CreatePreauthenticatedRequestDetails
	for _, test := range []struct {
		name, access, object string
		edit                 func(*details)
		code                 string
	}{
		{"no object", "ObjectRead", "", nil, "MissingParameter"},
		{"blank name", "ObjectRead", "o", func(d *details) { d.Name = new(" ") }, "MissingParameter"},
		{"expired", "ObjectRead", "o", func(d *details) { d.TimeExpires = &common.SDKTime{Time: time.Now().Add(-time.Second)} }, "InvalidParameter"},
		{"listing without reading", "AnyObjectWrite", "", func(d *details) {
			d.BucketListingAction = objectstorage.PreauthenticatedRequestBucketListingActionListobjects
		}, "InvalidParameter"},
		{"object name", "ObjectRead", "a\nb", nil, "InvalidObjectName"},
	} {
		_, err := s.par(test.access, test.object, func(d *details) {
			if test.edit != nil {
				test.edit(d)
			}
		})
		wantRefusal(t, test.name, err, 400, test.code)
	}
	// What the SDK would not send.
	base := parHost + "/n/" + s.mine.Namespace + "/b/b/p"
	for body, code := range map[string]string{
		`{"name":"n","accessType":"ObjectList","objectName":"o","timeExpires":"2999-01-01T00:00:00Z"}`:                             "InvalidParameter",
		`{"name":"n","accessType":"AnyObjectRead","bucketListingAction":"Sometimes","timeExpires":"2999-01-01T00:00:00Z"}`:         "InvalidParameter",
		`{"name":"n","accessType":"ObjectRead","objectName":"o"}`:                                                                  "MissingParameter",
		`{"name":"n","accessType":"ObjectRead","objectName":"o","timeExpires":"tomorrow"}`:                                         "CannotParseRequest",
		`{"name":"n","accessType":"ObjectRead","objectName":"o","timeExpires":"2999-01-01T00:00:00Z","accessUri":"/p/mine/n/b/o"}`: "CannotParseRequest",
	} {
		if status, reply := s.postJSON(base, body); status != 400 || !strings.Contains(reply, code) {
			t.Errorf("%s: got %d %s, want %s", body, status, reply, code)
		}
	}
	_, err := s.stranger.CreatePreauthenticatedRequest(t.Context(), objectstorage.CreatePreauthenticatedRequestRequest{
		NamespaceName: &s.mine.Namespace, BucketName: new("b"), CreatePreauthenticatedRequestDetails: details{
			Name: new("n"), AccessType: "ObjectRead", ObjectName: new("o"), TimeExpires: &common.SDKTime{Time: time.Now().Add(time.Hour)}}})
	wantRefusal(t, "foreign bucket", err, 404, "NamespaceNotFound")
	if rows := s.cloud.objects.inventory(s.mine.Namespace, nearRegion); len(rows[0].PARs) != 0 {
		t.Errorf("left %+v", rows)
	}
}
