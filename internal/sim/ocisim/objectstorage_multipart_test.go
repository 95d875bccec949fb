// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"crypto/md5"
	"encoding/base64"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/objectstorage"
	"github.com/oracle/oci-go-sdk/v65/objectstorage/transfer"
)

func (s *storage) begin(object string) string {
	s.Helper()
	u, err := s.client.CreateMultipartUpload(s.Context(), objectstorage.CreateMultipartUploadRequest{
		NamespaceName: &s.mine.Namespace, BucketName: new("b"),
		CreateMultipartUploadDetails: objectstorage.CreateMultipartUploadDetails{Object: &object, ContentType: new("application/x-tar"),
			Metadata: map[string]string{"opc-meta-build": "7"}},
	})
	if err != nil {
		s.Fatal(err)
	}
	return *u.UploadId
}

func (s *storage) part(id, object string, number int, content string) (string, error) {
	r, err := s.client.UploadPart(s.Context(), objectstorage.UploadPartRequest{
		NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: &object, UploadId: &id, UploadPartNum: &number,
		ContentLength: new(int64(len(content))), UploadPartBody: io.NopCloser(strings.NewReader(content)),
	})
	if err != nil {
		return "", err
	}
	return *r.ETag, nil
}

func (s *storage) commit(id, object string, exclude []int, parts ...objectstorage.CommitMultipartUploadPartDetails) (objectstorage.CommitMultipartUploadResponse, error) {
	return s.client.CommitMultipartUpload(s.Context(), objectstorage.CommitMultipartUploadRequest{
		NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: &object, UploadId: &id,
		CommitMultipartUploadDetails: objectstorage.CommitMultipartUploadDetails{PartsToCommit: parts, PartsToExclude: exclude},
	})
}

func TestMultipart(t *testing.T) {
	s := newStorage(t) // parts of 10 bytes at least
	ctx, ns := t.Context(), s.mine.Namespace
	s.bucket(s.client, s.mine, "b")
	const object = "dir/big"
	id := s.begin(object)
	etags := map[int]string{}
	for number, content := range map[int]string{1: "aaaaaaaaaa", 2: "short", 3: "cccccccccc", 7: "dd"} {
		etag, err := s.part(id, object, number, content)
		if err != nil {
			t.Fatal(err)
		}
		etags[number] = etag
	}
	named := func(numbers ...int) (parts []objectstorage.CommitMultipartUploadPartDetails) {
		for _, n := range numbers {
			parts = append(parts, objectstorage.CommitMultipartUploadPartDetails{PartNum: &n, Etag: new(etags[n])})
		}
		return parts
	}
	listed, err := s.client.ListMultipartUploadParts(ctx, objectstorage.ListMultipartUploadPartsRequest{
		NamespaceName: &ns, BucketName: new("b"), ObjectName: new(object), UploadId: &id, Limit: new(3)})
	if err != nil || len(listed.Items) != 3 || *listed.Items[2].PartNumber != 3 || listed.OpcNextPage == nil {
		t.Errorf("parts %v, %v", listed, err)
	}
	_, err = s.client.DeleteBucket(ctx, objectstorage.DeleteBucketRequest{NamespaceName: &ns, BucketName: new("b")})
	wantRefusal(t, "delete a bucket with an upload", err, 409, "BucketNotEmpty")

	for _, test := range []struct {
		name    string
		exclude []int
		parts   []objectstorage.CommitMultipartUploadPartDetails
	}{
		{"nothing", []int{1, 2, 3, 7}, []objectstorage.CommitMultipartUploadPartDetails{}},
		{"part not uploaded", []int{2}, append(named(1, 3, 7), objectstorage.CommitMultipartUploadPartDetails{PartNum: new(4), Etag: new("e")})},
		{"part unmentioned", nil, named(1, 3, 7)},
		{"part twice", []int{2}, named(1, 3, 3, 7)},
		{"committed and excluded", []int{2, 3}, named(1, 3, 7)},
		{"excluded but not uploaded", []int{2, 9}, named(1, 3, 7)},
		{"small part in the middle", nil, named(1, 2, 3, 7)},
		{"stale etag", []int{2}, append(named(1, 3), objectstorage.CommitMultipartUploadPartDetails{PartNum: new(7), Etag: new(etags[1])})},
	} {
		_, err := s.commit(id, object, test.exclude, test.parts...)
		wantRefusal(t, test.name, err, 400, "InvalidUploadPart")
	}
	_, err = s.commit(id, "other", nil, named(1)...)
	wantRefusal(t, "another object's upload", err, 404, "NoSuchUpload")
	for _, number := range []int{0, 10001} {
		_, err = s.part(id, object, number, "x")
		wantRefusal(t, "part number", err, 400, "InvalidParameter")
	}
	_, err = s.part("nope", object, 1, "x")
	wantRefusal(t, "unknown upload", err, 404, "NoSuchUpload")
	if inventory := s.cloud.objects.inventory(ns, nearRegion); len(inventory) != 1 || inventory[0].Uploads[0].Size != 27 || len(inventory[0].Objects) != 0 {
		t.Errorf("inventory %+v", inventory)
	}

	done, err := s.commit(id, object, []int{2}, named(7, 1, 3)...) // in any order
	if err != nil {
		t.Fatal(err)
	}
	var digests []byte
	for _, content := range []string{"aaaaaaaaaa", "cccccccccc", "dd"} {
		sum := md5.Sum([]byte(content))
		digests = append(digests, sum[:]...)
	}
	all := md5.Sum(digests)
	if want := base64.StdEncoding.EncodeToString(all[:]) + "-3"; *done.OpcMultipartMd5 != want {
		t.Errorf("digest %s, want %s", *done.OpcMultipartMd5, want)
	}
	got, err := s.client.GetObject(ctx, objectstorage.GetObjectRequest{NamespaceName: &ns, BucketName: new("b"), ObjectName: new(object)})
	if err != nil {
		t.Fatal(err)
	}
	content, _ := io.ReadAll(got.Content)
	got.Content.Close()
	if string(content) != "aaaaaaaaaaccccccccccdd" || *got.ContentType != "application/x-tar" || got.OpcMeta["build"] != "7" || got.ContentMd5 != nil {
		t.Errorf("got %q, %v", content, got)
	}
	if s.files() != 1 {
		t.Errorf("%d files for one object", s.files())
	}
	_, err = s.commit(id, object, []int{2}, named(1, 3, 7)...)
	wantRefusal(t, "commit twice", err, 404, "NoSuchUpload")

	// Abort.
	id = s.begin("other")
	if _, err := s.part(id, "other", 1, "x"); err != nil {
		t.Fatal(err)
	}
	abort := objectstorage.AbortMultipartUploadRequest{NamespaceName: &ns, BucketName: new("b"), ObjectName: new("other"), UploadId: &id}
	if _, err := s.client.AbortMultipartUpload(ctx, abort); err != nil {
		t.Error(err)
	}
	_, err = s.client.AbortMultipartUpload(ctx, abort)
	wantRefusal(t, "abort twice", err, 404, "NoSuchUpload")
	uploads, err := s.client.ListMultipartUploads(ctx, objectstorage.ListMultipartUploadsRequest{NamespaceName: &ns, BucketName: new("b")})
	if err != nil || len(uploads.Items) != 0 || s.files() != 1 {
		t.Errorf("uploads %v, %v, %d files", uploads.Items, err, s.files())
	}

	// Conditions hold at the beginning and at the end.
	_, err = s.client.CreateMultipartUpload(ctx, objectstorage.CreateMultipartUploadRequest{NamespaceName: &ns, BucketName: new("b"), IfNoneMatch: new("*"),
		CreateMultipartUploadDetails: objectstorage.CreateMultipartUploadDetails{Object: new(object)}})
	wantRefusal(t, "create only", err, 412, "IfNoneMatchFailed")
	_, err = s.client.CreateMultipartUpload(ctx, objectstorage.CreateMultipartUploadRequest{NamespaceName: &ns, BucketName: new("b"),
		CreateMultipartUploadDetails: objectstorage.CreateMultipartUploadDetails{Object: new("x"), Metadata: map[string]string{"build": "7"}}})
	wantRefusal(t, "metadata without its prefix", err, 400, "InvalidParameter")
	_, err = s.stranger.ListMultipartUploads(ctx, objectstorage.ListMultipartUploadsRequest{NamespaceName: &ns, BucketName: new("b")})
	wantRefusal(t, "foreign", err, 404, "NamespaceNotFound")
}

// A part that gets no answer and is late takes the place of its repetition, with an ETag of
// its own.
func TestLatePart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorage(t)
		s.bucket(s.client, s.mine, "b")
		id := s.begin("o")
		if err := s.cloud.AddFaults(Fault{Kind: FaultLate, Op: "UploadPart", Times: 1, Delay: Duration(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		list := func() []objectstorage.MultipartUploadPartSummary {
			l, err := s.client.ListMultipartUploadParts(t.Context(), objectstorage.ListMultipartUploadPartsRequest{
				NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: new("o"), UploadId: &id})
			if err != nil {
				t.Fatal(err)
			}
			return l.Items
		}
		if etag, err := s.part(id, "o", 1, "aaaaaaaaaa"); err == nil || len(list()) != 0 {
			t.Fatalf("there is an answer: %s, %v; %v", etag, err, list())
		}
		etag, err := s.part(id, "o", 1, "aaaaaaaaaa")
		if err != nil || len(list()) != 1 || *list()[0].Etag != etag {
			t.Fatalf("%s, %v; %v", etag, err, list())
		}
		time.Sleep(2 * time.Minute)
		now := *list()[0].Etag
		of := func(etag string) objectstorage.CommitMultipartUploadPartDetails {
			return objectstorage.CommitMultipartUploadPartDetails{PartNum: new(1), Etag: &etag}
		}
		if now == etag {
			t.Error("it has not arrived")
		}
		_, err = s.commit(id, "o", nil, of(etag))
		wantRefusal(t, "the part that was replaced", err, 400, "InvalidUploadPart")
		if _, err := s.commit(id, "o", nil, of(now)); err != nil {
			t.Error(err)
		}
	})
}

// The SDK's own upload manager, which runs several parts at a time.
func TestUploadManager(t *testing.T) {
	s := newStorage(t)
	s.bucket(s.client, s.mine, "b")
	content := strings.Repeat("0123456789abcdef", 1000)
	r, err := transfer.NewUploadManager().UploadStream(t.Context(), transfer.UploadStreamRequest{
		UploadRequest: transfer.UploadRequest{
			NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: new("big"), PartSize: new(int64(4000)),
			NumberOfGoroutines: new(3), ObjectStorageClient: &s.client, EnableMultipartChecksumVerification: new(true),
		},
		StreamReader: strings.NewReader(content),
	})
	if err != nil || r.Type != transfer.MultipartUpload {
		t.Fatal(r, err)
	}
	o, err := s.cloud.objects.openObject(objectRef{bucketRef{nearRegion, s.mine.Namespace, "b"}, "big"})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if b, err := io.ReadAll(o); err != nil || string(b) != content {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func (s *storage) copyTo(edit func(*objectstorage.CopyObjectDetails)) (string, error) {
	d := objectstorage.CopyObjectDetails{
		SourceObjectName: new("image.oci"), DestinationRegion: new(farRegion), DestinationNamespace: &s.mine.Namespace,
		DestinationBucket: new("far"), DestinationObjectName: new("copy.oci"),
	}
	if edit != nil {
		edit(&d)
	}
	r, err := s.client.CopyObject(s.Context(), objectstorage.CopyObjectRequest{NamespaceName: &s.mine.Namespace, BucketName: new("b"), CopyObjectDetails: d})
	if err != nil {
		return "", err
	}
	return *r.OpcWorkRequestId, nil
}

func TestCopyObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delays := QuickDelays()
		delays.Copy = 10 * time.Minute
		s := newStorage(t, func(c *Config) { c.Delays = delays })
		ctx := t.Context()
		s.bucket(s.client, s.mine, "b")
		s.bucket(s.away, s.mine, "far")
		put := s.put("image.oci", "the image")
		status := func(id string) string {
			t.Helper()
			r, err := s.client.GetWorkRequest(ctx, objectstorage.GetWorkRequestRequest{WorkRequestId: &id})
			if err != nil {
				t.Fatal(err)
			}
			return string(r.Status)
		}
		id, err := s.copyTo(func(d *objectstorage.CopyObjectDetails) { d.SourceObjectIfMatchETag = put.ETag })
		if err != nil {
			t.Fatal(err)
		}
		var states []string
		for range 3 {
			states = append(states, status(id))
			time.Sleep(5*time.Minute + time.Second)
		}
		if got := strings.Join(states, " "); got != "ACCEPTED IN_PROGRESS COMPLETED" {
			t.Errorf("states %s", got)
		}
		got, err := s.away.GetObject(ctx, objectstorage.GetObjectRequest{NamespaceName: &s.mine.Namespace, BucketName: new("far"), ObjectName: new("copy.oci")})
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(got.Content)
		got.Content.Close()
		if string(b) != "the image" {
			t.Errorf("copied %q", b)
		}
		// The work request is known to its owner, in its region.
		_, err = s.away.GetWorkRequest(ctx, objectstorage.GetWorkRequestRequest{WorkRequestId: &id})
		wantRefusal(t, "another region", err, 404, "NotAuthorizedOrNotFound")
		_, err = s.stranger.GetWorkRequest(ctx, objectstorage.GetWorkRequestRequest{WorkRequestId: &id})
		wantRefusal(t, "another tenancy", err, 404, "NotAuthorizedOrNotFound")
		_, err = s.client.CancelWorkRequest(ctx, objectstorage.CancelWorkRequestRequest{WorkRequestId: &id})
		wantRefusal(t, "cancel too late", err, 409, "IncorrectState")

		for _, test := range []struct {
			name   string
			edit   func(*objectstorage.CopyObjectDetails)
			status int
			code   string
		}{
			{"no source", func(d *objectstorage.CopyObjectDetails) { d.SourceObjectName = new("nope") }, 404, "ObjectNotFound"},
			{"stale source", func(d *objectstorage.CopyObjectDetails) { d.SourceObjectIfMatchETag = new("old") }, 412, "IfMatchFailed"},
			{"no destination bucket", func(d *objectstorage.CopyObjectDetails) { d.DestinationBucket = new("nope") }, 404, "BucketNotFound"},
			{"another tenancy", func(d *objectstorage.CopyObjectDetails) { d.DestinationNamespace = &s.theirs.Namespace }, 404, "BucketNotFound"},
			{"region not subscribed", func(d *objectstorage.CopyObjectDetails) { d.DestinationRegion = new("uk-london-1") }, 400, "InvalidParameter"},
			{"create only", func(d *objectstorage.CopyObjectDetails) { d.DestinationObjectIfNoneMatchETag = new("*") }, 412, "IfNoneMatchFailed"},
			{"metadata", func(d *objectstorage.CopyObjectDetails) { d.DestinationObjectMetadata = map[string]string{"x": "y"} }, 400, "InvalidParameter"},
		} {
			_, err := s.copyTo(test.edit)
			wantRefusal(t, test.name, err, test.status, test.code)
		}

		// A copy whose source goes away on the way fails, and says why.
		if id, err = s.copyTo(nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.client.DeleteObject(ctx, objectstorage.DeleteObjectRequest{NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: new("image.oci")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Minute)
		if status(id) != "FAILED" {
			t.Errorf("status %s", status(id))
		}
		problems, err := s.client.ListWorkRequestErrors(ctx, objectstorage.ListWorkRequestErrorsRequest{WorkRequestId: &id})
		if err != nil || len(problems.Items) != 1 || *problems.Items[0].Code != "ObjectNotFound" {
			t.Errorf("errors %v, %v", problems.Items, err)
		}

		// Cancelled in time, it writes nothing.
		s.put("image.oci", "the image")
		if id, err = s.copyTo(func(d *objectstorage.CopyObjectDetails) { d.DestinationObjectName = new("cancelled.oci") }); err != nil {
			t.Fatal(err)
		}
		if _, err := s.client.CancelWorkRequest(ctx, objectstorage.CancelWorkRequestRequest{WorkRequestId: &id}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Minute)
		_, err = s.away.HeadObject(ctx, objectstorage.HeadObjectRequest{NamespaceName: &s.mine.Namespace, BucketName: new("far"), ObjectName: new("cancelled.oci")})
		wantRefusal(t, "cancelled copy", err, 404, "")
		if status(id) != "CANCELED" {
			t.Errorf("status %s", status(id))
		}
		// One more is under way when the cloud closes.
		if _, err = s.copyTo(nil); err != nil {
			t.Fatal(err)
		}
	})
}

// A copy that has begun may go on without its source; one that has not does not.
func TestCopyOutlivesItsSource(t *testing.T) {
	for _, begun := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			delays := QuickDelays()
			delays.Copy = 10 * time.Minute
			s := newStorage(t, func(c *Config) { c.Delays, c.Switches.CopiesOutliveSource = delays, true })
			ctx := t.Context()
			s.bucket(s.client, s.mine, "b")
			s.bucket(s.away, s.mine, "far")
			s.put("image.oci", "the image")
			id, err := s.copyTo(nil)
			if err != nil {
				t.Fatal(err)
			}
			if begun {
				time.Sleep(6 * time.Minute)
			}
			if _, err := s.client.DeleteObject(ctx, objectstorage.DeleteObjectRequest{NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: new("image.oci")}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(11 * time.Minute)
			r, err := s.client.GetWorkRequest(ctx, objectstorage.GetWorkRequestRequest{WorkRequestId: &id})
			if want := map[bool]objectstorage.WorkRequestStatusEnum{false: "FAILED", true: "COMPLETED"}[begun]; err != nil || r.Status != want {
				t.Errorf("begun %t: %s, %v", begun, r.Status, err)
			}
			got, err := s.away.GetObject(ctx, objectstorage.GetObjectRequest{NamespaceName: &s.mine.Namespace, BucketName: new("far"), ObjectName: new("copy.oci")})
			if begun != (err == nil) {
				t.Fatalf("begun %t: %v", begun, err)
			}
			if begun {
				b, _ := io.ReadAll(got.Content)
				got.Content.Close()
				if string(b) != "the image" {
					t.Errorf("copied %q", b)
				}
			}
		})
	}
}
