// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// objectStore is Object Storage in all regions. Bytes are files below dir and
// only ever streamed; what is in memory is their description. A file never
// changes once an object refers to it: writing an object again makes a new
// file, so whoever still reads the old one reads it to its end.
type objectStore struct {
	cloud *Cloud
	dir   string

	mu      sync.Mutex // guards everything below, and no I/O but opening and removing files
	buckets map[bucketRef]*bucket
	copies  table[*copyJob]
}

func newObjectStore(c *Cloud) *objectStore {
	return &objectStore{cloud: c, dir: filepath.Join(c.cfg.WorkDir, "objects"), buckets: map[bucketRef]*bucket{}}
}

// bucketRef names a bucket in the whole cloud.
type bucketRef struct{ region, namespace, bucket string }

// objectRef names an object in the whole cloud, whether it exists or not.
type objectRef struct {
	bucketRef
	object string
}

// bucket is one bucket and what is in it.
type bucket struct {
	ref         bucketRef
	id          string
	compartment string
	createdBy   string
	created     time.Time
	etag        string
	details     createBucketDetails

	objects map[string]*object
	uploads map[string]*upload // by upload id
	pars    map[string]*par    // by PAR id
}

// object is one object. It is replaced, never changed.
type object struct {
	name     string
	blob     *blob
	etag     string
	created  time.Time
	modified time.Time
	tier     string
	// multipartMD5 is set instead of an MD5 of the whole for objects that came
	// in parts.
	multipartMD5 string
	// headers are what the client said about the content and gets back:
	// Content-Type and its like, and opc-meta-….
	headers http.Header
}

func (s *objectStore) routes() []route {
	const b = "/n/{namespace}/b/{bucket}"
	const p = "/p/{token}" + b
	return []route{
		op("GetNamespace", "GET /n", s.getNamespace, "compartmentId").withoutLock(),
		op("ListBuckets", "GET /n/{namespace}/b", s.listBuckets, "compartmentId!", "limit", "page", "fields").withoutLock(),
		op("CreateBucket", "POST /n/{namespace}/b", s.createBucket).withoutLock(),
		op("GetBucket", "GET "+b, s.getBucket, "fields").withoutLock(),
		op("HeadBucket", "HEAD "+b, s.headBucket).withoutLock(),
		op("DeleteBucket", "DELETE "+b, s.deleteBucket).withoutLock(),

		op("ListObjects", "GET "+b+"/o", s.listObjects,
			"prefix", "start", "end", "limit", "delimiter", "fields", "startAfter").withoutLock(),
		op("PutObject", "PUT "+b+"/o/{object...}", s.putObject).streaming(),
		op("GetObject", "GET "+b+"/o/{object...}", s.getObject).withoutLock(),
		op("HeadObject", "HEAD "+b+"/o/{object...}", s.headObject).withoutLock(),
		op("DeleteObject", "DELETE "+b+"/o/{object...}", s.deleteObject).withoutLock(),

		op("ListMultipartUploads", "GET "+b+"/u", s.listUploads, "limit", "page").withoutLock(),
		op("CreateMultipartUpload", "POST "+b+"/u", s.createUpload).withoutLock(),
		op("UploadPart", "PUT "+b+"/u/{object...}", s.uploadPart, "uploadId!", "uploadPartNum!").streaming(),
		op("ListMultipartUploadParts", "GET "+b+"/u/{object...}", s.listParts, "uploadId!", "limit", "page").withoutLock(),
		op("CommitMultipartUpload", "POST "+b+"/u/{object...}", s.commitUpload, "uploadId!").withoutLock(),
		op("AbortMultipartUpload", "DELETE "+b+"/u/{object...}", s.abortUpload, "uploadId!").withoutLock(),

		op("CopyObject", "POST "+b+"/actions/copyObject", s.copyObject).withoutLock(),
		op("GetObjectStorageWorkRequest", "GET /workRequests/{id}", s.getCopy).withoutLock(),
		op("CancelObjectStorageWorkRequest", "DELETE /workRequests/{id}", s.cancelCopy).withoutLock(),
		op("ListObjectStorageWorkRequestErrors", "GET /workRequests/{id}/errors", s.listCopyErrors, "limit", "page").withoutLock(),

		op("ListPreauthenticatedRequests", "GET "+b+"/p", s.listPARs, "objectNamePrefix", "limit", "page").withoutLock(),
		op("CreatePreauthenticatedRequest", "POST "+b+"/p", s.createPAR).withoutLock(),
		op("GetPreauthenticatedRequest", "GET "+b+"/p/{par...}", s.getPAR).withoutLock(),
		op("DeletePreauthenticatedRequest", "DELETE "+b+"/p/{par...}", s.deletePAR).withoutLock(),

		// With a PAR's URL alone. The names are the simulator's own, so that
		// faults and the log can tell these from signed requests.
		op("ListObjectsByPAR", "GET "+p+"/o", s.listByPAR, "prefix", "start", "end", "limit", "delimiter", "fields", "startAfter").withoutLock().unsigned(),
		op("ListObjectsByPAR", "GET "+p+"/o/", s.listByPAR, "prefix", "start", "end", "limit", "delimiter", "fields", "startAfter").withoutLock().unsigned(),
		op("GetObjectByPAR", "GET "+p+"/o/{object...}", s.getByPAR).withoutLock().unsigned(),
		op("HeadObjectByPAR", "HEAD "+p+"/o/{object...}", s.headByPAR).withoutLock().unsigned(),
		op("PutObjectByPAR", "PUT "+p+"/o/{object...}", s.putByPAR).streaming().unsigned(),
		op("UploadPartByPAR", "PUT "+p+"/u/{object...}", s.uploadPartByPAR).streaming().unsigned(),
		op("CommitMultipartUploadByPAR", "POST "+p+"/u/{object...}", s.commitByPAR).withoutLock().unsigned(),
		op("AbortMultipartUploadByPAR", "DELETE "+p+"/u/{object...}", s.abortByPAR).withoutLock().unsigned(),
	}
}

// The names that the service accepts.
var bucketName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,256}$`)

func checkObjectName(name string) error {
	if name == "" || len(name) > 1024 || !utf8.ValidString(name) || strings.ContainsAny(name, "\x00\r\n") {
		return fail(http.StatusBadRequest, "InvalidObjectName", "The object name %q is not valid.", name)
	}
	return nil
}

// bucketOf is the bucket that a signed request is about, within the caller's
// own namespace and the region that was called. The store's lock is held.
func (s *objectStore) bucketOf(q *call) (*bucket, error) {
	if err := ownNamespace(q); err != nil {
		return nil, err
	}
	ref := bucketRef{q.region().name, q.vars["namespace"], q.vars["bucket"]}
	b, ok := s.buckets[ref]
	if !ok {
		return nil, errBucketNotFound(ref)
	}
	return b, nil
}

// ownNamespace refuses every namespace but the caller's. Whose another one is,
// or whether it exists, the caller does not learn.
func ownNamespace(q *call) error {
	ns := q.vars["namespace"]
	if ns != q.tenancy().Namespace || (q.namespace != "" && q.namespace != ns) {
		return errNamespaceNotFound()
	}
	return nil
}

func errNamespaceNotFound() *apiError {
	return fail(http.StatusNotFound, "NamespaceNotFound",
		"You do not have authorization to perform this request, or the requested resource could not be found.")
}

func errBucketNotFound(ref bucketRef) *apiError {
	return fail(http.StatusNotFound, "BucketNotFound",
		"Either the bucket named '%s' does not exist in the namespace '%s' or you are not authorized to access it",
		ref.bucket, ref.namespace)
}

func errObjectNotFound(ref objectRef) *apiError {
	return fail(http.StatusNotFound, "ObjectNotFound",
		"The object '%s' was not found in the bucket '%s'", ref.object, ref.bucket)
}

// condition is a request's If-Match and If-None-Match.
type condition struct{ match, noneMatch string }

func conditionOf(h http.Header) condition {
	return condition{strings.Trim(h.Get("If-Match"), `"`), strings.Trim(h.Get("If-None-Match"), `"`)}
}

// check compares with the current etag, "" if there is no such object.
func (c condition) check(etag string) error {
	if c.match != "" && (etag == "" || c.match != "*" && c.match != etag) {
		return fail(http.StatusPreconditionFailed, "IfMatchFailed", "The If-Match header does not match the current etag.")
	}
	if c.noneMatch != "" && etag != "" && (c.noneMatch == "*" || c.noneMatch == etag) {
		return fail(http.StatusPreconditionFailed, "IfNoneMatchFailed", "The If-None-Match header matches the current etag.")
	}
	return nil
}

// newETag makes an etag: in this service a UUID, not a digest.
func newETag() string {
	h := strings.ToLower(randomHex(16))
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}

func httpTime(t time.Time) string { return t.UTC().Format(http.TimeFormat) }
