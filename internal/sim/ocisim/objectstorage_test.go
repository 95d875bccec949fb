// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/objectstorage"
)

func TestBuckets(t *testing.T) {
	s := newStorage(t)
	ctx, ns := t.Context(), s.mine.Namespace
	got, err := s.client.GetNamespace(ctx, objectstorage.GetNamespaceRequest{})
	if err != nil || *got.Value != ns {
		t.Fatalf("namespace %v, %v", got.Value, err)
	}
	for _, name := range []string{"b", "a", "c"} {
		s.bucket(s.client, s.mine, name)
	}
	b, err := s.client.GetBucket(ctx, objectstorage.GetBucketRequest{NamespaceName: &ns, BucketName: new("b"),
		Fields: []objectstorage.GetBucketFieldsEnum{objectstorage.GetBucketFieldsApproximatecount}})
	if err != nil || *b.CompartmentId != s.mine.CompartmentID || *b.ApproximateCount != 0 || *b.ETag != *b.Etag {
		t.Errorf("bucket %v, %v", b, err)
	}
	if _, err := s.client.HeadBucket(ctx, objectstorage.HeadBucketRequest{NamespaceName: &ns, BucketName: new("b")}); err != nil {
		t.Error(err)
	}
	// Pages.
	var names []string
	request := objectstorage.ListBucketsRequest{NamespaceName: &ns, CompartmentId: &s.mine.CompartmentID, Limit: new(2)}
	for pages := 1; ; pages++ {
		r, err := s.client.ListBuckets(ctx, request)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range r.Items {
			names = append(names, *item.Name)
		}
		if request.Page = r.OpcNextPage; request.Page == nil {
			if pages != 2 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	if fmt.Sprint(names) != "[a b c]" {
		t.Errorf("listed %v", names)
	}

	create := func(c objectstorage.ObjectStorageClient, ns string, d objectstorage.CreateBucketDetails) error {
		_, err := c.CreateBucket(ctx, objectstorage.CreateBucketRequest{NamespaceName: &ns, CreateBucketDetails: d})
		return err
	}
	head := func(c objectstorage.ObjectStorageClient, ns, name string) error {
		_, err := c.HeadBucket(ctx, objectstorage.HeadBucketRequest{NamespaceName: &ns, BucketName: &name})
		return err
	}
	getBucket := func(c objectstorage.ObjectStorageClient, ns, name string) error {
		_, err := c.GetBucket(ctx, objectstorage.GetBucketRequest{NamespaceName: &ns, BucketName: &name})
		return err
	}
	details := objectstorage.CreateBucketDetails{Name: new("b"), CompartmentId: &s.mine.CompartmentID}
	wantRefusal(t, "same name twice", create(s.client, ns, details), 409, "BucketAlreadyExists")
	wantRefusal(t, "bad name", create(s.client, ns, objectstorage.CreateBucketDetails{Name: new("x/y"), CompartmentId: &s.mine.CompartmentID}), 400, "InvalidBucketName")
	wantRefusal(t, "foreign compartment", create(s.client, ns, objectstorage.CreateBucketDetails{Name: new("x"), CompartmentId: &s.theirs.CompartmentID}), 404, "NotAuthorizedOrNotFound")
	details.PublicAccessType = objectstorage.CreateBucketDetailsPublicAccessTypeObjectread
	wantRefusal(t, "public", create(s.client, ns, details), 400, "InvalidParameter")
	wantRefusal(t, "foreign namespace", create(s.stranger, ns, objectstorage.CreateBucketDetails{Name: new("x"), CompartmentId: &s.theirs.CompartmentID}), 404, "NamespaceNotFound")
	wantRefusal(t, "foreign bucket", getBucket(s.stranger, ns, "b"), 404, "NamespaceNotFound")
	wantRefusal(t, "foreign name in the own namespace", getBucket(s.stranger, s.theirs.Namespace, "b"), 404, "BucketNotFound")
	wantRefusal(t, "unknown bucket", getBucket(s.client, ns, "nope"), 404, "BucketNotFound")
	wantRefusal(t, "bucket of another region", getBucket(s.away, ns, "b"), 404, "BucketNotFound")
	wantRefusal(t, "head has no code", head(s.client, ns, "nope"), 404, "")
	_, err = s.client.GetNamespace(ctx, objectstorage.GetNamespaceRequest{CompartmentId: &s.theirs.CompartmentID})
	wantRefusal(t, "namespace of a foreign compartment", err, 404, "NotAuthorizedOrNotFound")
	_, err = s.client.DeleteBucket(ctx, objectstorage.DeleteBucketRequest{NamespaceName: &ns, BucketName: new("b"), IfMatch: new("other")})
	wantRefusal(t, "delete with a stale etag", err, 412, "IfMatchFailed")

	// The compartment that is asked about counts.
	r, err := s.client.ListBuckets(ctx, objectstorage.ListBucketsRequest{NamespaceName: &ns, CompartmentId: &s.mine.ID})
	if err != nil || len(r.Items) != 0 {
		t.Errorf("the root compartment has %d buckets, %v", len(r.Items), err)
	}
}

func TestObjects(t *testing.T) {
	s := newStorage(t)
	ctx, ns := t.Context(), s.mine.Namespace
	s.bucket(s.client, s.mine, "b")
	const name, content = "dir/a b+c=%.oci", "0123456789"
	put := s.put("dir/plain.oci", content)
	get := func(edit func(*objectstorage.GetObjectRequest)) (string, objectstorage.GetObjectResponse, error) {
		r := objectstorage.GetObjectRequest{NamespaceName: &ns, BucketName: new("b"), ObjectName: new("dir/plain.oci")}
		if edit != nil {
			edit(&r)
		}
		got, err := s.client.GetObject(ctx, r)
		if err != nil {
			return "", got, err
		}
		defer got.Content.Close()
		b, err := io.ReadAll(got.Content)
		return string(b), got, err
	}
	body, got, err := get(nil)
	sum := md5.Sum([]byte(content))
	if err != nil || body != content || *got.ETag != *put.ETag || *got.ContentMd5 != base64.StdEncoding.EncodeToString(sum[:]) || *got.ContentLength != 10 {
		t.Errorf("got %q, %v, %v", body, got, err)
	}
	for _, test := range []struct{ header, want, contentRange string }{
		{"bytes=2-4", "234", "bytes 2-4/10"}, {"bytes=7-", "789", "bytes 7-9/10"},
		{"bytes=-3", "789", "bytes 7-9/10"}, {"bytes=0-99", content, "bytes 0-9/10"},
	} {
		body, got, err := get(func(r *objectstorage.GetObjectRequest) { r.Range = &test.header })
		if err != nil || body != test.want || *got.ContentRange != test.contentRange || got.RawResponse.StatusCode != 206 {
			t.Errorf("%s: got %q, %v, %v", test.header, body, got, err)
		}
	}
	body, got, err = get(func(r *objectstorage.GetObjectRequest) { r.IfNoneMatch = new("other") })
	if err != nil || body != content {
		t.Errorf("modified: %q, %v, %v", body, got, err)
	}
	for _, header := range []string{"bytes=10-", "bytes=4-2", "bytes=x-", "2-4", "bytes=-0", "bytes=0-1,3-4"} {
		_, _, err := get(func(r *objectstorage.GetObjectRequest) { r.Range = &header })
		wantRefusal(t, header, err, 416, "InvalidRange")
	}
	_, _, err = get(func(r *objectstorage.GetObjectRequest) { r.IfMatch = new("other") })
	wantRefusal(t, "if-match", err, 412, "IfMatchFailed")
	body, got, err = get(func(r *objectstorage.GetObjectRequest) { r.IfNoneMatch = put.ETag })
	if err != nil || got.RawResponse.StatusCode != 304 || body != "" {
		t.Errorf("not modified: %q, %v, %v", body, got, err)
	}
	_, _, err = get(func(r *objectstorage.GetObjectRequest) { r.ObjectName = new("nope") })
	wantRefusal(t, "no object", err, 404, "ObjectNotFound")
	_, _, err = get(func(r *objectstorage.GetObjectRequest) { r.BucketName = new("nope") })
	wantRefusal(t, "no bucket", err, 404, "BucketNotFound")
	_, err = s.stranger.GetObject(ctx, objectstorage.GetObjectRequest{NamespaceName: &ns, BucketName: new("b"), ObjectName: new("dir/plain.oci")})
	wantRefusal(t, "foreign", err, 404, "NamespaceNotFound")
	_, err = s.client.HeadObject(ctx, objectstorage.HeadObjectRequest{NamespaceName: &ns, BucketName: new("b"), ObjectName: new("nope")})
	wantRefusal(t, "head", err, 404, "")

	type edit = func(*objectstorage.PutObjectRequest)
	wrong, right := md5.Sum([]byte("other")), sha256.Sum256([]byte(content))
	for _, test := range []struct {
		name   string
		edit   edit
		status int
		code   string
	}{
		{"create only, absent", func(r *objectstorage.PutObjectRequest) { r.ObjectName, r.IfNoneMatch = new("new"), new("*") }, 0, ""},
		{"create only, present", func(r *objectstorage.PutObjectRequest) { r.IfNoneMatch = new("*") }, 412, "IfNoneMatchFailed"},
		{"stale etag", func(r *objectstorage.PutObjectRequest) { r.IfMatch = new("other") }, 412, "IfMatchFailed"},
		{"etag of nothing", func(r *objectstorage.PutObjectRequest) { r.ObjectName, r.IfMatch = new("absent"), new("*") }, 412, "IfMatchFailed"},
		{"wrong MD5", func(r *objectstorage.PutObjectRequest) {
			r.ContentMD5 = new(base64.StdEncoding.EncodeToString(wrong[:]))
		}, 400, "UnmatchedContentMD5"},
		{"right SHA-256", func(r *objectstorage.PutObjectRequest) {
			r.ObjectName, r.OpcContentSha256 = new("sha"), new(base64.StdEncoding.EncodeToString(right[:]))
		}, 0, ""},
		{"wrong SHA-256", func(r *objectstorage.PutObjectRequest) {
			r.OpcContentSha256 = new(base64.StdEncoding.EncodeToString(make([]byte, 32)))
		}, 400, "UnmatchedContentChecksum"},
		{"own key", func(r *objectstorage.PutObjectRequest) { r.OpcSseCustomerAlgorithm = new("AES256") }, 400, "InvalidParameter"},
		{"archive", func(r *objectstorage.PutObjectRequest) { r.StorageTier = objectstorage.PutObjectStorageTierArchive }, 400, "InvalidParameter"},
		{"no bucket", func(r *objectstorage.PutObjectRequest) { r.BucketName = new("nope") }, 404, "BucketNotFound"},
		{"long name", func(r *objectstorage.PutObjectRequest) { r.ObjectName = new(strings.Repeat("x", 1025)) }, 400, "InvalidObjectName"},
	} {
		before := s.files()
		r := objectstorage.PutObjectRequest{NamespaceName: &ns, BucketName: new("b"), ObjectName: new("dir/plain.oci"),
			ContentLength: new(int64(10)), PutObjectBody: io.NopCloser(strings.NewReader(content))}
		test.edit(&r)
		_, err := s.client.PutObject(ctx, r)
		if test.status == 0 && err == nil {
			continue
		}
		wantRefusal(t, test.name, err, test.status, test.code)
		if s.files() != before {
			t.Errorf("%s: %d files, %d before", test.name, s.files(), before)
		}
	}
	// Overwriting keeps one copy; a reader that is at it reads on.
	before := s.files()
	reading, err := s.cloud.objects.openObject(objectRef{bucketRef{nearRegion, ns, "b"}, "dir/plain.oci"})
	if err != nil {
		t.Fatal(err)
	}
	s.put("dir/plain.oci", "new content")
	old, err := io.ReadAll(reading)
	reading.Close()
	if err != nil || string(old) != content || s.files() != before {
		t.Errorf("read %q, %v; %d files, %d before", old, err, s.files(), before)
	}
	// Names with everything that a path can get wrong: escaped by hand,
	// because the SDK does not escape.
	path := "https://objectstorage." + nearRegion + ".oraclecloud.com/n/" + ns + "/b/b/o/dir%2Fa%20b%2Bc%3D%25.oci"
	if status, reply := s.signed(http.MethodPut, path, "odd"); status != 200 {
		t.Errorf("put: %d %s", status, reply)
	}
	if o, err := s.cloud.objects.openObject(objectRef{bucketRef{nearRegion, ns, "b"}, name}); err != nil {
		t.Error(err)
	} else {
		o.Close()
	}
	_, err = s.client.DeleteBucket(ctx, objectstorage.DeleteBucketRequest{NamespaceName: &ns, BucketName: new("b")})
	wantRefusal(t, "delete a full bucket", err, 409, "BucketNotEmpty")
	_, err = s.client.DeleteObject(ctx, objectstorage.DeleteObjectRequest{NamespaceName: &ns, BucketName: new("b"), ObjectName: new("new"), IfMatch: new("stale")})
	wantRefusal(t, "delete with a stale etag", err, 412, "IfMatchFailed")
	for _, name := range []string{"new", "sha", "dir/plain.oci"} {
		if _, err := s.client.DeleteObject(ctx, objectstorage.DeleteObjectRequest{NamespaceName: &ns, BucketName: new("b"), ObjectName: &name}); err != nil {
			t.Error(err)
		}
	}
	_, err = s.client.DeleteObject(ctx, objectstorage.DeleteObjectRequest{NamespaceName: &ns, BucketName: new("b"), ObjectName: new("new")})
	wantRefusal(t, "delete twice", err, 404, "ObjectNotFound")
	if s.files() != 1 {
		t.Errorf("%d files left, one object", s.files())
	}
}

// Only the two operations whose body is bytes may leave it out of the
// signature.
func TestUnsignedBodies(t *testing.T) {
	s := newStorage(t)
	s.bucket(s.client, s.mine, "b")
	base := "https://objectstorage." + nearRegion + ".oraclecloud.com/n/" + s.mine.Namespace + "/b"
	request := func(method, url, body string, hashBody bool) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		s.sign(r, hashBody)
		return r
	}
	bucketBody := fmt.Sprintf(`{"name":"x","compartmentId":%q}`, s.mine.CompartmentID)
	for _, test := range []struct {
		name   string
		req    *http.Request
		status int
	}{
		{"object, body not signed", request("PUT", base+"/b/o/x", "x", false), 200},
		{"object, body signed", request("PUT", base+"/b/o/x", "x", true), 200},
		{"bucket, body not signed", request("POST", base, bucketBody, false), 401},
		{"bucket, body signed", request("POST", base, bucketBody, true), 200},
		{"unsigned", func() *http.Request {
			r := request("PUT", base+"/b/o/x", "x", false)
			r.Header.Del("Authorization")
			return r
		}(), 401},
		{"path changed after signing", func() *http.Request {
			r := request("PUT", base+"/b/o/x", "x", false)
			r.URL.Path += "y"
			return r
		}(), 401},
		{"unknown query", request("GET", base+"/b/o?limit=1&colour=red", "", false), 400},
		{"unknown field", request("POST", base, `{"name":"y","compartmentId":"c","colour":"red"}`, true), 400},
		{"wrong method", request("PATCH", base+"/b/o/x", "x", true), 405},
	} {
		if status, body := s.send(test.req); status != test.status {
			t.Errorf("%s: got %d %s, want %d", test.name, status, body, test.status)
		}
	}
}

// A body that is cut off leaves no object, with a length and without one.
func TestTruncatedUpload(t *testing.T) {
	s := newStorage(t)
	s.bucket(s.client, s.mine, "b")
	for _, length := range []int64{100, -1} {
		path := "https://objectstorage." + nearRegion + ".oraclecloud.com/n/" + s.mine.Namespace + "/b/b/o/x"
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, path, io.MultiReader(strings.NewReader("short"), brokenReader{}))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		s.sign(req, false)
		if resp, err := s.web.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				t.Errorf("length %d: accepted", length)
			}
		}
	}
	_, err := s.client.HeadObject(t.Context(), objectstorage.HeadObjectRequest{NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: new("x")})
	wantRefusal(t, "head", err, 404, "")
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the disk is gone") }

func TestListObjects(t *testing.T) {
	s := newStorage(t)
	s.bucket(s.client, s.mine, "b")
	for _, name := range []string{"a", "dir/1", "dir/2", "dir/sub/3", "z"} {
		s.put(name, name)
	}
	for _, test := range []struct {
		name string
		edit func(*objectstorage.ListObjectsRequest)
		want string // names | prefixes, pages joined with a comma
	}{
		{"all", func(*objectstorage.ListObjectsRequest) {}, "a dir/1 dir/2 dir/sub/3 z |"},
		{"pages", func(r *objectstorage.ListObjectsRequest) { r.Limit = new(2) }, "a dir/1 |, dir/2 dir/sub/3 |, z |"},
		{"prefix", func(r *objectstorage.ListObjectsRequest) { r.Prefix = new("dir/") }, "dir/1 dir/2 dir/sub/3 |"},
		{"delimiter", func(r *objectstorage.ListObjectsRequest) { r.Delimiter = new("/") }, "a z | dir/"},
		{"both", func(r *objectstorage.ListObjectsRequest) { r.Delimiter, r.Prefix = new("/"), new("dir/") }, "dir/1 dir/2 | dir/sub/"},
		{"delimiter in pages", func(r *objectstorage.ListObjectsRequest) { r.Delimiter, r.Limit = new("/"), new(1) }, "a |, | dir/, z |"},
		{"start and end", func(r *objectstorage.ListObjectsRequest) { r.Start, r.End = new("dir/1"), new("dir/sub") }, "dir/1 dir/2 |"},
		{"after", func(r *objectstorage.ListObjectsRequest) { r.StartAfter = new("dir/2") }, "dir/sub/3 z |"},
		{"nothing", func(r *objectstorage.ListObjectsRequest) { r.Prefix = new("nope") }, "|"},
	} {
		r := objectstorage.ListObjectsRequest{NamespaceName: &s.mine.Namespace, BucketName: new("b")}
		test.edit(&r)
		var pages []string
		for {
			got, err := s.client.ListObjects(t.Context(), r)
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			var words []string
			for _, o := range got.Objects {
				words = append(words, *o.Name)
				if o.Size != nil {
					t.Errorf("%s: more than the name, unasked", test.name)
				}
			}
			words = append(append(words, "|"), got.Prefixes...)
			pages = append(pages, strings.Join(words, " "))
			if got.NextStartWith == nil {
				break
			}
			r.Start = got.NextStartWith
		}
		if got := strings.Join(pages, ", "); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	got, err := s.client.ListObjects(t.Context(), objectstorage.ListObjectsRequest{NamespaceName: &s.mine.Namespace, BucketName: new("b"),
		Prefix: new("z"), Fields: new("name,size,etag,md5,timeCreated,timeModified,storageTier")})
	if err != nil || len(got.Objects) != 1 || *got.Objects[0].Size != 1 || got.Objects[0].Md5 == nil || got.Objects[0].TimeModified == nil {
		t.Errorf("got %v, %v", got, err)
	}
	for name, edit := range map[string]func(*objectstorage.ListObjectsRequest){
		"fields":    func(r *objectstorage.ListObjectsRequest) { r.Fields = new("name,colour") },
		"limit":     func(r *objectstorage.ListObjectsRequest) { r.Limit = new(1001) },
		"delimiter": func(r *objectstorage.ListObjectsRequest) { r.Delimiter = new("-") },
		"start":     func(r *objectstorage.ListObjectsRequest) { r.Start, r.StartAfter = new("a"), new("a") },
	} {
		r := objectstorage.ListObjectsRequest{NamespaceName: &s.mine.Namespace, BucketName: new("b")}
		edit(&r)
		_, err := s.client.ListObjects(t.Context(), r)
		wantRefusal(t, name, err, 400, "InvalidParameter")
	}
}
